//! Runs an example: reads its lines, feeds its input, waits for its end, never without a limit.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Everything below takes far less time; an example that takes longer hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// A running example; killed when dropped.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    pub(crate) deadline: Instant,
}

/// The exit of an example, and the output that was not read before.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Expects success and an empty stderr; returns what it printed.
    pub(crate) fn well(self) -> Vec<u8> {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""));
        self.stdout
    }

    /// Like `well`, as text.
    pub(crate) fn said(self) -> String {
        String::from_utf8(self.well()).expect("UTF-8")
    }

    /// Expects this exit code and one line on stderr, which it returns.
    pub(crate) fn with_one_line(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stderr.matches('\n').count(), 1, "{}", self.stderr);
        self.stderr
    }
}

pub(crate) fn start<S: AsRef<OsStr>>(name: &'static str, args: &[S]) -> Running {
    start_with(name, args, Stdio::piped())
}

/// With variables in its environment.
pub(crate) fn start_in<S: AsRef<OsStr>>(
    name: &'static str,
    args: &[S],
    environment: &[(&str, &str)],
) -> Running {
    let mut command = example(name, args);
    command.envs(environment.iter().copied());
    run(name, command, Stdio::piped())
}

pub(crate) fn start_with<S: AsRef<OsStr>>(name: &'static str, args: &[S], stdin: Stdio) -> Running {
    run(name, example(name, args), stdin)
}

fn example<S: AsRef<OsStr>>(name: &str, args: &[S]) -> Command {
    let tests = std::env::current_exe().expect("the path of this test");
    let target = tests
        .ancestors()
        .nth(2)
        .expect("it stands in target/debug/deps");
    let example = target.join("examples").join(name);
    assert!(
        example.exists(),
        "{} is not built: cargo build --examples",
        example.display()
    );
    let mut command = Command::new(example);
    command.args(args);
    command
}

fn run(name: &'static str, mut command: Command, stdin: Stdio) -> Running {
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("an example that starts");
    Running {
        name,
        stdin: child.stdin.take(),
        stdout: lines(child.stdout.take().expect("piped")),
        stderr: lines(child.stderr.take().expect("piped")),
        child,
        deadline: Instant::now() + GUARD,
    }
}

/// Reads to the end on a thread, so that the reader of a line can stop waiting for it.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            let got = pipe.read_until(b'\n', &mut line).expect("a readable pipe");
            if got == 0 || sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Running {
    /// Returns the next line the example prints, without the newline.
    pub(crate) fn line(&mut self) -> String {
        self.line_of(&self.stdout)
    }

    /// Returns the next line on its stderr.
    pub(crate) fn error_line(&mut self) -> String {
        self.line_of(&self.stderr)
    }

    fn line_of(&self, pipe: &Receiver<Vec<u8>>) -> String {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let line = pipe.recv_timeout(left);
        let line = line.unwrap_or_else(|error| panic!("{} printed no line: {error}", self.name));
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Returns the address in the line `{kind} {address}`.
    pub(crate) fn address(&mut self, kind: &str) -> SocketAddr {
        let line = self.line();
        let (its_kind, address) = line.split_once(' ').unwrap_or_default();
        assert_eq!(its_kind, kind, "{line}");
        address
            .parse()
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Writes all the input from a thread, then closes the pipe.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        let (mut stdin, data) = (self.stdin.take().expect("piped"), data.to_vec());
        thread::spawn(move || {
            // The example may end without reading everything; its exit is checked elsewhere.
            drop(stdin.write_all(&data));
        });
    }

    pub(crate) fn ended(mut self) -> Ended {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for (pipe, all) in [(&self.stdout, &mut stdout), (&self.stderr, &mut stderr)] {
            loop {
                let left = self.deadline.saturating_duration_since(Instant::now());
                match pipe.recv_timeout(left) {
                    Ok(line) => all.extend(line),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => panic!("{} does not end", self.name),
                }
            }
        }
        let code = self.child.wait().expect("it has closed its outputs").code();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ended {
            code,
            stdout,
            stderr,
        }
    }

    pub(crate) fn terminate(&self) {
        let command = format!("kill -TERM {}", self.child.id());
        let done = Command::new("sh").args(["-c", &command]).status();
        assert!(done.expect("a shell").success());
    }

    /// Sends SIGTERM, and expects success.
    pub(crate) fn terminated(self) {
        self.terminate();
        self.ended().well();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A fresh directory, removed when dropped.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let dir = format!("soloio-examples-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(dir);
        fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
