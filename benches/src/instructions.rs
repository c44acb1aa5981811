//! User-space instructions of a server per operation, counted by valgrind's callgrind.
//!
//! Each server runs twice, for two numbers of operations; the difference of the counts belongs to
//! the operations between them, and start-up, growth and the end cancel out.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use crate::load::Load;
use crate::rounds::{self, Verdict};
use crate::rows::Target;
use crate::server::Child;
use crate::side::{Contestant, Side};
use crate::sys::affinity;
use crate::work::Work;

/// A server, and the work that its instructions are counted for.
pub struct Counted {
    pub key: &'static str,
    pub title: &'static str,
    pub target: Target,
    work: Work,
}

/// Returns all of them, in the order of the table.
pub fn all() -> [Counted; 14] {
    let row = |key, title, most, work| Counted {
        key,
        title,
        target: Target::Ratio(most),
        work,
    };
    [
        row("tcp-echo", "tcp echo", 0.6, Work::TcpEcho),
        row(
            "tcp-echo-alone",
            "  one connection",
            0.71,
            Work::TcpEchoAlone,
        ),
        row(
            "tcp-echo-timeout",
            "  each receive in a timeout",
            0.55,
            Work::TcpEchoTimeout,
        ),
        row(
            "tcp-request",
            "connection per request",
            0.71,
            Work::TcpRequest,
        ),
        row("unix-echo", "unix echo", 0.95, Work::UnixEcho),
        row("lines", "16 pipelined lines", 1.0, Work::Lines),
        row("lines-together", "  in one call", 1.0, Work::LinesTogether),
        row("udp-echo", "udp echo", 0.39, Work::UdpEcho),
        row("udp-many", "udp many", 0.80, Work::UdpEchoMany),
        row("tls-echo", "tls echo", 1.0, Work::TlsEcho),
        row(
            "tls-receive-small",
            "tls receive in 1 KiB",
            1.01,
            Work::TlsReceiveSmall,
        ),
        row("tls-send", "tls send", 1.0, Work::TlsSend),
        row("tls-full", "tls handshake", 1.003, Work::TlsFull),
        row("tls-resumed", "  resumed", 1.003, Work::TlsResumed),
    ]
}

/// Returns true if valgrind can be started.
pub fn available() -> bool {
    let mut valgrind = Command::new("valgrind");
    let quiet = valgrind
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The folder of callgrind's files; removed at the end unless it was asked for.
pub struct Profiles {
    folder: PathBuf,
    keep: bool,
}

impl Profiles {
    pub fn new(keep: Option<PathBuf>) -> io::Result<Self> {
        let name = format!("soloio-benches-{}", process::id());
        let (folder, keep) = match keep {
            Some(folder) => (folder, true),
            None => (std::env::temp_dir().join(name), false),
        };
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, keep })
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        if !self.keep && fs::remove_dir_all(&self.folder).is_err() {
            eprintln!("left behind: {}", self.folder.display());
        }
    }
}

/// Counts all sides in `rounds` rounds: the number of operations that a server finds ready at a
/// time depends on the load of the machine.
pub fn run(
    counted: &Counted,
    profiles: &Profiles,
    rounds: usize,
    quick: bool,
) -> io::Result<Verdict> {
    affinity::pin(affinity::helper_core())?;
    let mut values = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for (side, values) in Side::ALL.into_iter().zip(&mut values) {
            values.push(per_operation(counted, side, profiles, quick)?);
        }
    }
    Ok(rounds::judge(counted.target, values))
}

fn per_operation(
    counted: &Counted,
    side: Side,
    profiles: &Profiles,
    quick: bool,
) -> io::Result<f64> {
    let [few, many] = match counted.work {
        // A thousand times the instructions of a message.
        Work::TlsFull | Work::TlsResumed => [100, 300],
        _ if quick => [256, 768],
        _ => [2_048, 12_288],
    };
    let count = |operations| {
        let name = format!(
            "{}-{}-{operations}.callgrind",
            counted.key,
            Contestant::from(side).argument()
        );
        total(counted.work, side, operations, &profiles.folder.join(name))
    };
    let (less, more) = (count(few)?, count(many)?);
    Ok((more as f64 - less as f64) / (many - few) as f64)
}

/// Returns all instructions of a server process that served `operations`.
fn total(work: Work, side: Side, operations: u64, profile: &Path) -> io::Result<u64> {
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(profile);
    let wrapper = ["valgrind", "--quiet", "--tool=callgrind"].map(OsString::from);
    let server = Child::start(side, work.kind(), Some([&wrapper[..], &[out]].concat()))?;
    Load::open(work, server.address())?.run(operations)?;
    server.finish()?;
    let text = fs::read_to_string(profile)?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    line.and_then(|count| count.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("no totals in {}", profile.display())))
}
