//! Server processes: what they run, and how the benchmark starts and asks them.

mod child;
mod soloio_side;
mod soloio_tls;
mod tls;
mod tokio_side;
mod tokio_tls;

pub use child::Child;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::flavour::{CurrentThread, Local};
use crate::side::Side;
use crate::sys::{affinity, limits, signals};
use crate::work::Kind;

/// Buffer of a connection, the same on all sides.
const BUFFER: usize = 1024;
/// The timeout of `Kind::TcpEchoTimeout`; it never strikes.
const RECEIVE_LIMIT: Duration = Duration::from_secs(30);
/// How many loops, or worker threads, `Kind::CoresEcho` has.
const CORES: usize = 2;
/// Descriptors a server may need: 5,000 connections and some.
pub const OPEN_FILES: u64 = 6_000;

/// The whole life of a server process, which ends by a signal.
pub fn run(side: Side, kind: Kind, core: usize) -> io::Result<()> {
    if kind != Kind::CoresEcho {
        affinity::pin(core)?;
    }
    limits::raise_open_files(OPEN_FILES)?;
    signals::install_in_server()?;
    match side {
        Side::Soloio if kind.is_tls() => soloio_tls::run(kind),
        Side::Soloio => soloio_side::run(kind),
        Side::TokioCurrent if kind.is_tls() => tokio_tls::run::<CurrentThread>(kind),
        Side::TokioLocal if kind.is_tls() => tokio_tls::run::<Local>(kind),
        Side::TokioCurrent => tokio_side::run::<CurrentThread>(kind),
        Side::TokioLocal => tokio_side::run::<Local>(kind),
    }
}

/// Tells the parent where to connect.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{address}")?;
    out.flush()
}
