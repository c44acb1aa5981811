//! `cargo bench`: runs the comparison with tokio, which is a package of its own. Arguments behind
//! `--` are passed on: `cargo bench -- --quick`.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // cargo adds `--bench` for the harness that this is not.
    let arguments = std::env::args_os().skip(1).filter(|one| one != "--bench");
    let status = Command::new(cargo)
        .args(["run", "--release", "--package", "soloio-benches", "--"])
        .args(arguments)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("the comparison ended with {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cargo cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}
