//! The rows of the table: name, unit, number of operations, target, and the code that measures.

mod channel;
mod cold;
mod lock;
mod ping_pong;
mod ready;
mod rearm;
mod runtime;
mod self_wake;
mod server;
mod sleep;
mod spawn;
mod thread_wake;
mod timer;

pub use server::cpu as server_cpu;
pub use timer::among_live as timer_among;

use std::io;
use std::time::Duration;

use crate::side::Side;
use crate::sys::affinity;

/// One measurement with its target.
pub struct Row {
    /// The name on the command line.
    pub key: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub target: Target,
    /// The number of operations of a measurement, in full and in a smoke run.
    pub full: u64,
    pub quick: u64,
    run: fn(Side, u64) -> io::Result<f64>,
}

/// The target for soloio.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At most this share of tokio's value.
    Ratio(f64),
    /// At most this value, independent of tokio's.
    Value(f64),
}

/// The rows with soloio on both sides.
pub const OURS: &[&str] = &["scope"];

impl Row {
    /// One measurement of one side.
    pub fn measure(&self, side: Side, quick: bool) -> io::Result<f64> {
        affinity::pin(affinity::measured_core())?;
        (self.run)(side, if quick { self.quick } else { self.full })
    }
}

fn nanos_each(total: Duration, count: u64) -> f64 {
    total.as_nanos() as f64 / count as f64
}

/// Returns a number without visible order for each number, the same in every run (splitmix64).
fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn row(
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    target: Target,
    [full, quick]: [u64; 2],
    run: fn(Side, u64) -> io::Result<f64>,
) -> Row {
    Row {
        key,
        title,
        unit,
        target,
        full,
        quick,
        run,
    }
}

/// Returns all rows, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = in_process();
    rows.extend(servers());
    rows.extend(tls());
    rows
}

const K: u64 = 1_000;
const M: u64 = 1_000_000;

#[rustfmt::skip] // One row a line: this is the table.
fn in_process() -> Vec<Row> {
    use Target::Ratio as R;
    let ns = "ns";
    vec![
        row("spawn", "spawn and join an empty task", ns, R(0.25), [400 * K, 2 * K], spawn::measure),
        row("self-wake", "task that wakes itself", ns, R(0.5), [4 * M, 20 * K], self_wake::measure),
        row("ping-pong", "two tasks ping-pong", ns, R(0.65), [M, 5 * K], ping_pong::measure),
        row("channel", "channel, there and back", ns, R(1.0), [M, 5 * K], channel::ping_pong),
        row("channel-flow", "  one way, 64 places", ns, R(1.0), [2 * M, 10 * K], channel::flow),
        row("lock", "lock, free", ns, R(0.8), [4 * M, 20 * K], lock::free),
        row("lock-wanted", "  wanted by two tasks", ns, R(0.4), [M, 5 * K], lock::wanted),
        row("thread-wake", "woken by a thread", ns, R(1.0), [5 * K, 100], thread_wake::measure),
        row("timer", "timer made, cancelled: alone", ns, R(0.12), [300 * K, 2 * K], timer::alone),
        row("timer-among", "  one among 25,000 live", ns, R(0.6), [500 * K, 2 * K], timer::among),
        row("timer-batch", "  25,000 made, then cancelled", ns, R(0.12), [6, 1], timer::batches),
        row("rearm", "timer re-armed: alone", ns, R(0.12), [300 * K, 2 * K], rearm::alone),
        row("rearm-among", "  among 25,000", ns, R(0.6), [500 * K, 2 * K], rearm::among),
        row("rearm-later", "  25,000, always later", ns, R(0.6), [500 * K, 2 * K], rearm::later),
        row("sleep", "sleep fired, CPU", ns, R(0.8), [2 * K, 50], sleep::measure),
        row("ready", "timeout, ready future", ns, R(0.5), [2 * M, 10 * K], ready::future),
        row("ready-receive", "timeout, ready receive", ns, R(0.5), [2 * K, 10], ready::receive),
        row("scope", "receive in a scope, to none", ns, R(1.15), [4 * K, 10], ready::in_scope),
        row("runtime", "runtime made and dropped", ns, R(0.8), [10 * K, 50], runtime::as_value),
        row("block-on", "  the same by block_on", ns, R(0.04), [10 * K, 50], runtime::by_block_on),
        row("cold", "  with a connect, an echo", ns, R(1.0), [3 * K, 20], cold::measure),
    ]
}

#[rustfmt::skip] // One row a line: this is the table.
fn servers() -> Vec<Row> {
    use Target::{Ratio as R, Value};
    let ns = "ns";
    vec![
        row("tcp-echo", "tcp echo, server CPU", ns, R(1.0), [60 * K, 2 * K], server::echo),
        row("tcp-echo-alone", "  one connection", ns, R(1.0), [15 * K, 500], server::echo_alone),
        row("tcp-echo-busy", "  8,000 connections", ns, R(0.95), [80 * K, 8 * K], server::busy),
        row("tcp-echo-timeout", "  with a timeout", ns, R(1.0), [60 * K, 2 * K], server::timeout),
        row("unix-echo", "unix echo, server CPU", ns, R(1.0), [60 * K, 2 * K], server::unix_echo),
        row("lines", "16 pipelined lines", ns, R(1.0), [30 * K, K], server::lines),
        row("lines-together", "  in one call", ns, R(1.0), [30 * K, K], server::lines_together),
        row("tcp-request", "request, server CPU", ns, R(0.92), [15 * K, 500], server::request),
        row("cores-echo", "tcp echo, two cores", ns, R(0.92), [60 * K, 2 * K], server::cores_echo),
        row("cores-full", "  a load on each core", ns, R(1.0), [60 * K, 2 * K], server::cores_full),
        row("cores-request", "  request", ns, R(0.92), [15 * K, 500], server::cores_request),
        row("udp-echo", "udp echo, server CPU", ns, R(1.0), [60 * K, 2 * K], server::udp),
        row("udp-many", "  a batch at a time", ns, R(0.8), [60 * K, 2 * K], server::udp_many),
        row("udp-sink", "udp from a GSO sender", ns, R(0.12), [384 * K, 3_840], server::udp_sink),
        row("udp-bulk", "udp, 1,200 B segments", ns, R(0.25), [128 * K, 6_400], server::udp_bulk),
        row("relay", "relay 64 KiB, proxy CPU", ns, R(0.555), [16 * K, 100], server::relay),
        row("relay-copied", "  without splice", ns, R(1.0), [16 * K, 100], server::relay_copied),
        row("memory", "memory, idle connection", "B", R(0.37), [5 * K, K], server::memory),
        row("memory-buffer", "  and a buffer", "B", R(0.54), [5 * K, K], server::memory_buffer),
        row("allocations", "allocs per echo", "", Value(0.0), [20 * K, 2 * K], server::allocations),
    ]
}

#[rustfmt::skip] // One row a line: this is the table.
fn tls() -> Vec<Row> {
    use Target::Ratio as R;
    let ns = "ns";
    vec![
        row("tls-full", "tls handshake", ns, R(1.0), [1_500, 20], server::tls_full),
        row("tls-resumed", "  resumed", ns, R(1.0), [1_500, 20], server::tls_resumed),
        row("tls-receive", "tls received, KiB", ns, R(0.87), [256 * K, K], server::tls_receive),
        row("tls-send", "tls sent, KiB", ns, R(1.0), [256 * K, K], server::tls_send),
        row("tls-echo", "tls echo of 1 KiB", ns, R(1.0), [40 * K, 500], server::tls_echo),
        row("tls-memory", "memory, idle tls", "B", R(0.6), [2 * K, 100], server::tls_memory),
    ]
}
