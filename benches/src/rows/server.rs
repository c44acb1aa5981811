//! The costs of a server process: CPU per operation, allocations per message, memory per
//! connection. The server has one core, the load generator (this process) another.

use std::io;

use super::nanos_each;
use crate::load::{Idle, Load, Tls, TlsKind};
use crate::server::{Child, OPEN_FILES};
use crate::side::{Contestant, Side};
use crate::sys::{affinity, limits};
use crate::work::{Kind, Work};

pub fn echo(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpEcho, side, count)
}

pub fn echo_alone(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpEchoAlone, side, count)
}

pub fn busy(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpEchoBusy, side, count)
}

pub fn unix_echo(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::UnixEcho, side, count)
}

pub fn lines(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::Lines, side, count)
}

pub fn lines_together(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::LinesTogether, side, count)
}

pub fn timeout(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpEchoTimeout, side, count)
}

pub fn request(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpRequest, side, count)
}

pub fn udp(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::UdpEcho, side, count)
}

pub fn udp_many(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::UdpEchoMany, side, count)
}

pub fn udp_sink(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::UdpSink, side, count)
}

pub fn udp_bulk(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::UdpBulk, side, count)
}

pub fn cores_echo(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::CoresEcho, side, count)
}

pub fn cores_full(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::CoresEchoFull, side, count)
}

pub fn cores_request(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::CoresRequest, side, count)
}

/// Per 64 KiB that pass through.
pub fn relay(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpRelay, side, count)
}

pub fn relay_copied(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TcpRelayCopied, side, count)
}

pub fn tls_echo(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TlsEcho, side, count)
}

pub fn tls_full(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TlsFull, side, count)
}

pub fn tls_resumed(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TlsResumed, side, count)
}

pub fn tls_receive(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TlsReceive, side, count)
}

pub fn tls_send(side: Side, count: u64) -> io::Result<f64> {
    cpu(Work::TlsSend, side, count)
}

/// Resident bytes of the server per TLS connection that waits for its next message.
pub fn tls_memory(side: Side, count: u64) -> io::Result<f64> {
    affinity::pin(affinity::helper_core())?;
    limits::raise_open_files(OPEN_FILES)?;
    let server = Child::start(side, Kind::TlsIdle, None)?;
    let mut load = Tls::open(server.address(), TlsKind::Idle, false)?;
    load.run(50)?;
    let before = server.resident()?;
    load.run(count)?;
    let after = server.resident()?;
    server.finish()?;
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

/// Nanoseconds of server CPU, user and system, per operation.
pub fn cpu(work: Work, side: impl Into<Contestant>, count: u64) -> io::Result<f64> {
    // Thousands of connections on both ends.
    limits::raise_open_files(OPEN_FILES)?;
    // A server on all cores inherits them from this process.
    affinity::free()?;
    let server = Child::start(side, work.kind(), None)?;
    affinity::pin(affinity::helper_core())?;
    let mut load = Load::open(work, server.address())?;
    load.run(count / 10)?;
    let before = server.cpu()?;
    load.run(count)?;
    let used = server.cpu()? - before;
    server.finish()?;
    Ok(nanos_each(used, count))
}

/// Allocations of the server per echoed message.
pub fn allocations(side: Side, count: u64) -> io::Result<f64> {
    affinity::pin(affinity::helper_core())?;
    let mut server = Child::start(side, Kind::TcpEcho, None)?;
    let mut load = Load::open(Work::TcpEcho, server.address())?;
    load.run(count / 10)?;
    let before = server.allocations()?;
    load.run(count)?;
    let made = server.allocations()? - before;
    server.finish()?;
    Ok(made as f64 / count as f64)
}

/// Resident bytes of the server per connection that waits for its next message.
pub fn memory(side: Side, count: u64) -> io::Result<f64> {
    resident(Kind::TcpIdle, side, count)
}

/// The same where each handler has a buffer of 64 B on the heap.
pub fn memory_buffer(side: Side, count: u64) -> io::Result<f64> {
    resident(Kind::TcpIdleBuffer, side, count)
}

fn resident(kind: Kind, side: Side, count: u64) -> io::Result<f64> {
    affinity::pin(affinity::helper_core())?;
    limits::raise_open_files(OPEN_FILES)?;
    let server = Child::start(side, kind, None)?;
    let mut load = Idle::open(server.address());
    // The first connections include code pages and the runtime's one-time allocations.
    load.add(10)?;
    let before = server.resident()?;
    load.add(count)?;
    let after = server.resident()?;
    server.finish()?;
    Ok(after.saturating_sub(before) as f64 / count as f64)
}
