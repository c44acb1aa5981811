//! The simulated kernel: a clock, machines, descriptors, sockets, and the network between them.
//!
//! Pure: numbers and bytes in, numbers and bytes out. `calls` puts it behind the C functions,
//! `sim` drives it.
//!
//! | file | its one responsibility |
//! |---|---|
//! | `machine.rs` | a machine: its addresses, its state, its clock |
//! | `descriptors.rs` | descriptor numbers, and the objects behind them |
//! | `readiness.rs` | the readiness of an object; waking its watchers |
//! | `epoll.rs` | epoll: registrations, the ready list, both triggers, one-shot |
//! | `counters.rs` | eventfd and timerfd |
//! | `network.rs` | packets in transit: latency, loss, partitions |
//! | `tcp.rs` | TCP sockets: connecting, listening, accepting, ending |
//! | `tcp_transfer.rs` | bytes into and out of them |
//! | `segments.rs` | TCP on the wire, sending: segments, windows, retries |
//! | `arrivals.rs` | TCP on the wire, receiving |
//! | `udp.rs` | UDP sockets |
//! | `udp_segments.rs` | several datagrams in one message |
//! | `unix.rs` | UNIX sockets: pairs, names, connecting, ending |
//! | `unix_messages.rs` | bytes, datagrams and descriptors between them |
//! | `pipe.rs` | pipes |
//! | `sockets.rs` | the part that all sockets share: making, binding, names |
//! | `options.rs` | socket options |
//! | `moving.rs` | bytes between objects: splice, sendfile |
//! | `hosts.rs` | the table of host names |

mod arrivals;
pub(crate) mod counters;
pub(crate) mod descriptors;
pub(crate) mod epoll;
pub(crate) mod hosts;
pub(crate) mod machine;
pub(crate) mod moving;
pub(crate) mod network;
pub(crate) mod options;
pub(crate) mod pipe;
pub(crate) mod readiness;
pub(crate) mod segments;
pub(crate) mod sockets;
pub(crate) mod tcp;
mod tcp_transfer;
pub(crate) mod udp;
pub(crate) mod udp_segments;
pub(crate) mod unix;
mod unix_messages;

use std::collections::BTreeMap;

use crate::faults::{Dice, Fault, Faults};
use crate::rng::Rng;
use crate::threads::Threads;
use crate::trace::{Trace, What};
use descriptors::Descriptors;
use machine::Machine;
use network::{Due, Network};

/// Nanoseconds of the world's clock.
pub(crate) type Nanos = u64;

/// An error number of the kernel.
pub(crate) type Errno = i32;

/// The result of a system call.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// The start of the clock: a hundred years, which no real monotonic clock has reached. So a pair of
/// clock readings from outside of any world lies before all readings inside.
pub(crate) const START: Nanos = 3_155_760_000 * 1_000_000_000;

/// The number of clock readings at one moment after which time moves: a busy loop that waits for a
/// time makes progress.
const READS: u32 = 10_000;

/// The number of system calls at one moment after which the program counts as hung.
const CALLS: u64 = 20_000_000;

/// One world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Nanos,
    reads: u32,
    calls: u64,
    pub(crate) dice: Dice,
    /// The source of `getrandom`.
    pub(crate) entropy: Rng,
    pub(crate) trace: Trace,
    /// The running machine.
    pub(crate) here: usize,
    pub(crate) machines: Vec<Machine>,
    pub(crate) descriptors: Descriptors,
    pub(crate) network: Network,
    pub(crate) threads: Threads,
    /// The `sometimes` assertions that were reached; true if they held once.
    pub(crate) sometimes: BTreeMap<String, bool>,
    /// Set when every task waits and nothing can ever happen.
    pub(crate) stuck: bool,
    /// A signal that is being handled: what its handler calls is of the machine that it informs.
    pub(crate) signal: Option<i32>,
    /// A driver decides when the clock moves; a wait of the program's own must not.
    pub(crate) driven: bool,
}

impl World {
    /// Makes a world without machines.
    pub(crate) fn new(generation: i32, seed: u64, faults: Faults, most_faults: u64) -> Self {
        Self {
            now: START,
            reads: 0,
            calls: 0,
            dice: Dice::new(seed, faults, most_faults),
            entropy: Rng::named(seed, "entropy"),
            trace: Trace::default(),
            here: 0,
            machines: Vec::new(),
            descriptors: Descriptors::new(generation),
            network: Network::default(),
            threads: Threads::default(),
            sometimes: BTreeMap::new(),
            stuck: false,
            signal: None,
            driven: false,
        }
    }

    /// The time since the world began.
    pub(crate) fn elapsed(&self) -> Nanos {
        self.now - START
    }

    /// Returns the clock of the running machine.
    pub(crate) fn read_clock(&mut self) -> Nanos {
        self.reads += 1;
        if self.reads > READS {
            self.reads = 0;
            self.move_to(self.now + 1000);
        }
        let machine = self.machines.get(self.here);
        machine.map_or(self.now, |machine| machine.clock(self.now))
    }

    /// Returns the calendar of the running machine: its clock, plus its error.
    pub(crate) fn read_calendar(&mut self) -> Nanos {
        let clock = self.read_clock();
        let machine = self.machines.get(self.here);
        clock.saturating_add_signed(machine.map_or(0, |machine| machine.skew))
    }

    /// Returns the true time at which the running machine's clock shows `shown`.
    pub(crate) fn true_time(&self, shown: Nanos) -> Nanos {
        let machine = self.machines.get(self.here);
        machine.map_or(shown, |machine| machine.true_time(shown))
    }

    /// Moves the clock forward; events that are due by then happen at the next `advance`.
    pub(crate) fn move_to(&mut self, to: Nanos) {
        if to > self.now {
            self.now = to;
            self.reads = 0;
            self.calls = 0;
        }
    }

    /// Begins a system call: it takes its time, and events that are due by then happen first.
    pub(crate) fn begin_call(&mut self) {
        let cost = self.dice.faults.call_time.as_nanos();
        let cost = Nanos::try_from(cost).unwrap_or(Nanos::MAX);
        self.move_to(self.now.saturating_add(cost));
        self.calls += 1;
        // A busy loop at one moment would never end: let time pass, slowly.
        if self.calls > CALLS {
            self.note("a busy loop: time moves on by 1 ms");
            self.move_to(self.now + 1_000_000);
        }
        self.advance();
    }

    /// Runs all events that are due.
    pub(crate) fn advance(&mut self) {
        while let Some(due) = self.network.pop(self.now) {
            self.happen(due);
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Arrive {
                source,
                target,
                packet,
            } => self.arrive(source, target, packet),
            Due::Retry(id) => self.retry(id),
            Due::Expire(id, at) => self.expire(id, at),
            Due::Forget(id) => self.forget(id),
        }
    }

    /// Draws a fault; the trace records it if it strikes.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let hit = self.dice.strikes(fault);
        if hit {
            let (at, here) = (self.elapsed(), self.here);
            self.trace.push(at, here, What::Fault(fault));
        }
        hit
    }

    /// Notes an event that no call shows.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.note_of(self.here, text);
    }

    pub(crate) fn note_of(&mut self, machine: usize, text: impl Into<String>) {
        let at = self.elapsed();
        self.trace.push(at, machine, What::Note(text.into()));
    }

    /// Ends a system call: records it, with its result as one number.
    pub(crate) fn end_call(&mut self, name: &'static str, first: i64, result: Result<i64>) {
        let result = result.unwrap_or_else(|errno| -i64::from(errno));
        let (at, here) = (self.elapsed(), self.here);
        self.trace.push(at, here, What::Call(name, first, result));
    }
}
