//! The load generator: plain sockets and one epoll loop, the same for every side, no futures.

mod each_core;
mod echo;
mod idle;
mod relay;
mod tcp_requests;
mod tls;
mod udp_bursts;
mod udp_echo;

pub use each_core::EachCore;
pub use echo::Echo;
pub use idle::Idle;
pub use relay::Relay;
pub use tcp_requests::TcpRequests;
pub use tls::{Kind as TlsKind, Tls};
pub use udp_bursts::{BULK, BURST, BURSTS, Shape, UdpBursts};
pub use udp_echo::UdpEcho;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::work::Work;

/// Bytes in a message.
pub const MESSAGE: usize = 64;
/// Lines in a message of lines.
pub const LINES: usize = 16;
/// Connections, or sockets, that have a message in flight at any time.
pub const IN_FLIGHT: usize = 64;
/// The same, of a server with many connections.
const BUSY: usize = 8_000;
/// Silence after which the server counts as stuck. Generous, because it may run under valgrind.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of one kind, connected and ready to run any number of operations.
pub enum Load {
    Echo(Echo<TcpStream>),
    EachCore(EachCore),
    UnixEcho(Echo<UnixStream>),
    Requests(TcpRequests),
    Udp(UdpEcho),
    Bursts(UdpBursts),
    Relay(Relay),
    Tls(Tls),
}

impl Load {
    pub fn open(work: Work, server: SocketAddr) -> io::Result<Self> {
        let bursts = |shape| UdpBursts::open(server, shape).map(Self::Bursts);
        match work {
            Work::TcpEcho | Work::TcpEchoTimeout | Work::CoresEcho => {
                Echo::tcp(server, IN_FLIGHT).map(Self::Echo)
            }
            Work::TcpEchoAlone => Echo::tcp(server, 1).map(Self::Echo),
            Work::TcpEchoBusy => Echo::tcp(server, BUSY).map(Self::Echo),
            Work::CoresEchoFull => EachCore::open(server).map(Self::EachCore),
            Work::UnixEcho => Echo::unix(server).map(Self::UnixEcho),
            Work::Lines | Work::LinesTogether => Echo::lines(server).map(Self::Echo),
            Work::TcpRequest | Work::CoresRequest => TcpRequests::open(server).map(Self::Requests),
            Work::UdpEcho | Work::UdpEchoMany => UdpEcho::open(server).map(Self::Udp),
            Work::UdpSink => bursts(Shape::Sink),
            Work::UdpBulk => bursts(Shape::Bulk),
            Work::TcpRelay | Work::TcpRelayCopied => Relay::open(server).map(Self::Relay),
            Work::TlsEcho => Tls::open(server, TlsKind::Echo, false).map(Self::Tls),
            Work::TlsFull => Tls::open(server, TlsKind::Handshakes, false).map(Self::Tls),
            Work::TlsResumed => Tls::open(server, TlsKind::Handshakes, true).map(Self::Tls),
            Work::TlsReceive | Work::TlsReceiveSmall => {
                Tls::open(server, TlsKind::Sink, false).map(Self::Tls)
            }
            Work::TlsSend => Tls::open(server, TlsKind::Source, false).map(Self::Tls),
        }
    }

    /// Runs exactly `count` operations and checks every answer; nothing is in flight after it.
    pub fn run(&mut self, count: u64) -> io::Result<()> {
        match self {
            Self::Echo(load) => load.run(count),
            Self::EachCore(load) => load.run(count),
            Self::UnixEcho(load) => load.run(count),
            Self::Requests(load) => load.run(count),
            Self::Udp(load) => load.run(count),
            Self::Bursts(load) => load.run(count),
            Self::Relay(load) => load.run(count),
            Self::Tls(load) => load.run(count),
        }
    }
}

/// Returns a message that differs from the one before, so that a late or doubled answer shows.
pub fn message(number: u64) -> [u8; MESSAGE] {
    let mut bytes = [0x5a; MESSAGE];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

pub fn wrong_answer() -> io::Error {
    io::Error::other("the server answered with something else than what it was sent")
}

fn stuck() -> io::Error {
    io::Error::other("the server stopped answering")
}
