//! Server processes: the servers they run, and their start and control by the benchmark.

mod bare;
mod child;
#[cfg(feature = "peers")]
mod monoio_side;
#[cfg(feature = "peers")]
mod smol_side;
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
use crate::side::Contestant;
use crate::sys::{affinity, limits, signals};
use crate::work::Kind;

/// Buffer of a connection, the same on all sides.
const BUFFER: usize = 1024;
/// The timeout of `Kind::TcpEchoTimeout`; it never expires.
const RECEIVE_LIMIT: Duration = Duration::from_secs(30);
/// The number of loops, or worker threads, of `Kind::CoresEcho`.
const CORES: usize = 2;
/// Descriptors a server may need: 10,000 connections and some more.
pub const OPEN_FILES: u64 = 11_000;

/// Runs a server process, which ends by a signal.
pub fn run(side: Contestant, kind: Kind, core: usize) -> io::Result<()> {
    if kind != Kind::CoresEcho {
        affinity::pin(core)?;
    }
    limits::raise_open_files(OPEN_FILES)?;
    signals::install_in_server()?;
    match side {
        Contestant::Bare => bare::run(kind),
        Contestant::Soloio if kind.is_tls() => soloio_tls::run(kind),
        Contestant::Soloio => soloio_side::run(kind),
        Contestant::TokioCurrent if kind.is_tls() => tokio_tls::run::<CurrentThread>(kind),
        Contestant::TokioLocal if kind.is_tls() => tokio_tls::run::<Local>(kind),
        Contestant::TokioCurrent => tokio_side::run::<CurrentThread>(kind),
        Contestant::TokioLocal => tokio_side::run::<Local>(kind),
        #[cfg(feature = "peers")]
        Contestant::Smol => smol_side::run(kind),
        #[cfg(feature = "peers")]
        Contestant::Monoio => monoio_side::run(kind),
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

/// Returns the error of a side that has no server of this kind.
fn not_here(kind: Kind) -> io::Error {
    io::Error::other(format!("this side has no server {:?}", kind.argument()))
}

/// Prints the port to connect to, for the parent.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{address}")?;
    out.flush()
}
