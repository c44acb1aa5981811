//! Server processes: the servers they run, and their start and control by the benchmark.

mod child;
mod soloio_side;
mod soloio_tls;
mod tls;
mod tokio_side;
mod tokio_tls;

pub use child::Child;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::flavour::{CurrentThread, Local};
use crate::side::Side;
use crate::sys::{affinity, limits, signals};
use crate::work::Kind;

/// Buffer of a connection, the same on all sides.
const BUFFER: usize = 1024;
/// The timeout of `Kind::TcpEchoTimeout`; it never expires.
const RECEIVE_LIMIT: Duration = Duration::from_secs(30);
/// The number of loops, or worker threads, of `Kind::CoresEcho`.
const CORES: usize = 2;
/// Descriptors a server may need: 5,000 connections and some more.
pub const OPEN_FILES: u64 = 6_000;

/// Runs a server process, which ends by a signal.
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

/// Returns the path of a UNIX listener, and the address that is announced in its place.
fn unix_address() -> io::Result<(PathBuf, SocketAddr)> {
    // No other server with this number runs now.
    let port = u16::try_from(std::process::id() % 60_000).map_err(io::Error::other)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Ok((unix_path(address), address))
}

/// Returns the path of the UNIX listener that was announced as `address`.
pub fn unix_path(address: SocketAddr) -> PathBuf {
    std::env::temp_dir().join(format!("soloio-benches-{}.sock", address.port()))
}

/// Prints the port to connect to, for the parent.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{address}")?;
    out.flush()
}
