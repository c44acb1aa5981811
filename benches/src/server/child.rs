//! A server process seen from outside: starting, measuring, queries, the end.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::side::Contestant;
use crate::sys::signals::Signal;
use crate::sys::{affinity, cpu_clock, signals};
use crate::work::Kind;

/// For long copies glibc takes one instruction that valgrind counts once a byte. It must not be
/// taken when instructions are counted: a loop over vectors says more about the time.
const STRING_INSTRUCTIONS: &str = "glibc.cpu.x86_rep_movsb_threshold=0x10000000:\
                                   glibc.cpu.x86_rep_stosb_threshold=0x10000000";

/// This program as a server; killed when dropped.
pub struct Child {
    process: std::process::Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Child {
    /// Starts a server and waits until it prints its address. `wrapper` is a program that runs it,
    /// with its arguments: valgrind, or none.
    pub fn start(
        side: impl Into<Contestant>,
        kind: Kind,
        wrapper: Option<Vec<OsString>>,
    ) -> io::Result<Self> {
        let side = side.into().argument();
        let program = std::env::current_exe()?;
        let mut command = match wrapper.as_deref() {
            Some([tool, arguments @ ..]) => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(program);
                command.env("GLIBC_TUNABLES", STRING_INSTRUCTIONS);
                command
            }
            _ => Command::new(program),
        };
        command.args(["server", "--side", side, "--kind", kind.argument()]);
        command.args(["--core", &affinity::measured_core().to_string()]);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = process
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no pipe"))?;
        let mut out = BufReader::new(pipe);
        let line = read_line(&mut out)?;
        let address = line
            .parse()
            .map_err(|_| io::Error::other(format!("the {side} server did not start: {line:?}")))?;
        Ok(Self {
            process,
            out,
            address,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the CPU time so far, user and system.
    pub fn cpu(&self) -> io::Result<Duration> {
        cpu_clock::process(self.process.id())
    }

    /// Returns how often its threads have gone to sleep so far.
    pub fn sleeps(&self) -> io::Result<u64> {
        let mut sleeps = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            let field = |line: &str| {
                line.strip_prefix("voluntary_ctxt_switches:")?
                    .trim()
                    .parse()
                    .ok()
            };
            let own: Option<u64> = status.lines().find_map(field);
            sleeps += own.ok_or_else(|| io::Error::other("status has no such field"))?;
        }
        Ok(sleeps)
    }

    /// Returns the resident memory now, in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id()))?;
        let pages: Option<u64> = statm.split(' ').nth(1).and_then(|field| field.parse().ok());
        // 4 KiB on all machines of this comparison; the ratio does not depend on it.
        pages
            .map(|pages| pages * 4096)
            .ok_or_else(|| io::Error::other("statm has no such field"))
    }

    /// Returns the number of allocations so far.
    pub fn allocations(&mut self) -> io::Result<u64> {
        signals::send(self.process.id(), Signal::Report)?;
        read_line(&mut self.out)?.parse().map_err(io::Error::other)
    }

    /// Ends the server and waits for it, so that a wrapper's output at the end is complete.
    pub fn finish(mut self) -> io::Result<()> {
        signals::send(self.process.id(), Signal::Leave)?;
        let status = self.process.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("server: {status}")))
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After `finish` the process has ended already; the error does not matter.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn read_line(out: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    out.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
