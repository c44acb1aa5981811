//! Programs that the tests run: an example, with its lines and its end; curl. The tests of
//! `crates/ecosystem` include the file.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running example; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        let tests = std::env::current_exe().expect("the path of this test");
        let target = tests.ancestors().nth(2).expect("target/debug/deps");
        let mut child = Command::new(target.join("examples").join(name))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("`cargo test` builds the examples");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The address in the line `{kind} {address}`.
    pub(crate) fn address(&mut self, kind: &str) -> String {
        let line = self.line();
        let address = line
            .strip_prefix(kind)
            .unwrap_or_else(|| panic!("{line:?}"));
        address.trim().to_owned()
    }

    pub(crate) fn terminate(&self) {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.expect("kill").success());
    }

    /// Expects that it ends well, and gives the rest of what it said.
    pub(crate) fn ended(mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "{status}: {rest}");
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs curl and returns its output; `None` if there is no curl.
pub(crate) fn curl(args: &[&str]) -> Option<String> {
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "50"])
        .args(args)
        .output();
    let Ok(output) = curl else {
        eprintln!("there is no curl: not tested against it");
        return None;
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {args:?}: {error}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
