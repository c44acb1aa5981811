//! Runs other programs as children: their input and output, with a limit on each wait.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Everything here takes a second; a program that takes longer hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(30);

/// Returns true if a program can be started.
pub(crate) fn is_here(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg(if tool == "openssl" {
        "version"
    } else {
        "--version"
    });
    let started = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.is_ok_and(|status| status.success())
}

/// The output of a child so far, stdout and stderr together; and how many of the two are open.
type Printed = Arc<(Mutex<(Vec<u8>, usize)>, Condvar)>;

/// A started program; killed when dropped.
pub(crate) struct Tool {
    child: Child,
    printed: Printed,
    deadline: Instant,
}

impl Tool {
    pub(crate) fn start(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("a program that is here");
        let printed: Printed = Arc::new((Mutex::new((Vec::new(), 2)), Condvar::new()));
        gather(child.stdout.take().expect("piped"), printed.clone());
        gather(child.stderr.take().expect("piped"), printed.clone());
        Self {
            child,
            printed,
            deadline: Instant::now() + GUARD,
        }
    }

    /// Writes to its standard input. An error is ignored: it may have ended, and its output says
    /// more.
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self
            .child
            .stdin
            .as_mut()
            .expect("piped, and not closed yet");
        drop(
            stdin
                .write_all(text.as_bytes())
                .and_then(|()| stdin.flush()),
        );
    }

    /// Closes its standard input.
    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until the text was printed `times` times; returns the whole output.
    pub(crate) fn wait_for(&self, text: &str, times: usize) -> Result<String, String> {
        let there = |printed: &str| printed.matches(text).count() >= times;
        let printed = self.wait(GUARD, |printed, open| there(printed) || open == 0)?;
        if there(&printed) {
            return Ok(printed);
        }
        Err(format!("not {times} times {text:?} in: {printed}"))
    }

    /// Returns true if the text is printed within `soon`.
    pub(crate) fn prints(&self, text: &str, soon: Duration) -> bool {
        self.wait(soon, |printed, _| printed.contains(text)).is_ok()
    }

    /// Waits until it has ended; returns true for success, and the whole output.
    pub(crate) fn ended(mut self) -> Result<(bool, String), String> {
        let printed = self.wait(GUARD, |_, open| open == 0)?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Ok((status.success(), printed))
    }

    /// Kills it: the kernel closes its connections.
    pub(crate) fn kill(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn wait(&self, limit: Duration, done: impl Fn(&str, usize) -> bool) -> Result<String, String> {
        let deadline = self.deadline.min(Instant::now() + limit);
        let (lock, bell) = &*self.printed;
        let mut printed = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = String::from_utf8_lossy(&printed.0).into_owned();
            if done(&text, printed.1) {
                return Ok(text);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("it hangs, having printed: {text}"));
            }
            printed = bell
                .wait_timeout(printed, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn gather(mut pipe: impl Read + Send + 'static, printed: Printed) {
    thread::spawn(move || {
        let mut buf = [0; 4096];
        loop {
            let got = pipe.read(&mut buf).unwrap_or(0);
            let (lock, bell) = &*printed;
            let mut all = lock.lock().unwrap_or_else(PoisonError::into_inner);
            if got == 0 {
                all.1 -= 1;
            }
            all.0.extend_from_slice(&buf[..got]);
            bell.notify_all();
            if got == 0 {
                return;
            }
        }
    });
}
