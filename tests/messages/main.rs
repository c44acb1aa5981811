//! The compiler's texts for common mistakes: each file of `compile_fail` fails to compile, with
//! those in its lines that begin with `//~`.
//!
//! Only texts that are this library's own are compared, so that any compiler will do.
//!
//! Some mistakes get no text of ours, since rustc 1.95 consults no `on_unimplemented` for them:
//!
//! * A method of a builder that was not awaited, `connect_tcp(..).send(..)`. It is "no method named
//!   `send` found for struct `ConnectTcp`": the hint to await is for the futures of `async fn`s
//!   alone. A builder that is not used at all, or given to a function, is caught.
//! * A method of a `Box<dyn ByteStream>`: "the `send` method cannot be invoked on a trait object".
//! * A limited future without a `Result`, `fail_after(limit, async { 5 })`. Its output is compared,
//!   with no trait in between: "expected `Result<_, _>`, found integer", once for the argument, for
//!   the call, and for the await. With a trait there would be as many, each of them longer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a package of the files as programs; returns its folder and their names.
fn package() -> (PathBuf, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("messages");
    let programs = folder.join("src/bin");
    if programs.exists() {
        fs::remove_dir_all(&programs).expect("the programs of a former run");
    }
    fs::create_dir_all(&programs).expect("a folder");
    let manifest = format!(
        "[package]\nname = \"messages\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies.soloio]\npath = {root:?}\ndefault-features = false\n\
         features = [\"extras\"]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file");
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("tests/messages/compile_fail")).expect("the files") {
        let path = entry.expect("a readable folder").path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name");
        fs::copy(&path, programs.join(format!("{name}.rs"))).expect("a copy");
        names.push(name.to_owned());
    }
    names.sort();
    (folder, names)
}

/// Returns what the compiler says of one program.
fn check(folder: &Path, name: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline", "--bin", name]);
    cargo.current_dir(folder);
    cargo.env("CARGO_TARGET_DIR", folder.join("target"));
    // Those of a run of this test under another tool are not for it.
    cargo.env_remove("RUSTFLAGS");
    let output = cargo.output().expect("cargo runs");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success(), "{name} compiles");
    assert!(text.contains("src/bin"), "{name} was not compiled:\n{text}");
    text
}

#[test]
fn mistakes_lead_to_the_remedy() {
    let (folder, names) = package();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let source = fs::read_to_string(folder.join(format!("src/bin/{name}.rs")));
        let source = source.expect("the copy");
        let expected: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//~ "))
            .collect();
        assert!(!expected.is_empty(), "{name} expects nothing");
        let said = check(&folder, &name);
        for text in expected {
            assert!(said.contains(text), "{name}: no {text:?} in\n{said}");
        }
    }
}
