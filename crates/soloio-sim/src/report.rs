//! The report of a run: its trace, the injected faults, and the `sometimes` that were met.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::calls::kernel;
use crate::faults::Fault;
use crate::trace::{Line, Record};
use crate::world::World;
use crate::world::descriptors::Object;
use crate::world::readiness::bits;

/// The record of one run.
#[derive(Debug, Default, Clone)]
pub struct Replay {
    pub(crate) hash: u64,
    pub(crate) records: Vec<Record>,
    pub(crate) machines: Vec<String>,
    pub(crate) injected: BTreeMap<Fault, u64>,
    pub(crate) faults: u64,
    pub(crate) sometimes: BTreeMap<String, bool>,
    pub(crate) elapsed: u64,
}

impl Replay {
    pub(crate) fn of(world: &mut World) -> Self {
        let machines = world.machines.iter().map(|machine| machine.name.clone());
        Self {
            hash: world.trace.hash(),
            machines: machines.collect(),
            records: std::mem::take(&mut world.trace.records),
            injected: world.dice.injected.clone(),
            faults: world.dice.count(),
            sometimes: std::mem::take(&mut world.sometimes),
            elapsed: world.elapsed(),
        }
    }

    /// Returns its duration in virtual time.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed)
    }

    /// Returns a number that is equal for equal runs, and most likely different for others.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the number of events in the trace.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns how often a fault was injected.
    #[must_use]
    pub fn injected(&self, fault: Fault) -> u64 {
        self.injected.get(&fault).copied().unwrap_or(0)
    }

    /// Returns the last `count` events as text: time in seconds, machine, call, result.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let first = self.records.len().saturating_sub(count);
        lines(&self.records[first..], &self.machines)
    }

    /// Describes the first event in which two runs differ.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let length = self.records.len().max(other.records.len());
        let at = (0..length).find(|at| self.records.get(*at) != other.records.get(*at))?;
        let line = |replay: &Self| match replay.records.get(at) {
            Some(record) => Line(record, &replay.machines).to_string(),
            None => "the end".to_owned(),
        };
        Some(format!("event {at}:\n{}\n{}", line(self), line(other)))
    }

    /// Lists the injected faults, one class a line.
    #[must_use]
    pub fn table(&self) -> String {
        table(&self.injected)
    }
}

pub(crate) fn table(injected: &BTreeMap<Fault, u64>) -> String {
    let mut text = String::new();
    for (fault, count) in injected {
        // Writing into a String does not fail.
        let _written = writeln!(text, "  {count:>8} {}", fault.name());
    }
    text
}

fn lines(records: &[Record], machines: &[String]) -> String {
    let mut text = String::new();
    for record in records {
        // Writing into a String does not fail.
        let _written = writeln!(text, "{}", Line(record, machines));
    }
    text
}

/// Returns the last events of the present world.
pub(crate) fn tail(count: usize) -> String {
    let text = kernel::with(|world| {
        let machines = world.machines.iter().map(|machine| machine.name.clone());
        let records = &world.trace.records;
        let first = records.len().saturating_sub(count);
        lines(&records[first..], &machines.collect::<Vec<_>>())
    });
    text.unwrap_or_default()
}

/// Lists the descriptors that are watched, with their states.
pub(crate) fn waiting() -> String {
    let text = kernel::with(|world| {
        let mut watched = Vec::new();
        for description in world.descriptors.objects.values() {
            if let Object::Epoll(epoll) = &description.object {
                watched.extend(
                    epoll
                        .watched()
                        .map(|(fd, id, _)| (description.machine, fd, id)),
                );
            }
        }
        let mut text = String::new();
        for (machine, fd, id) in watched {
            let name = world
                .machines
                .get(machine)
                .map_or("", |machine| &machine.name);
            let (name, number) = (name.to_owned(), world.descriptors.shown(fd));
            let ready = world.ready(id);
            let what = describe(world, id);
            let readable = if ready & bits::IN == 0 {
                "nothing to receive"
            } else {
                "readable"
            };
            // Writing into a String does not fail.
            let _written = writeln!(text, "  {name} fd {number}: {what}, {readable}");
        }
        text
    });
    text.unwrap_or_default()
}

fn describe(world: &World, id: u32) -> String {
    match world.descriptors.get(id) {
        Some(Object::Tcp(tcp)) => {
            let address = |address: Option<std::net::SocketAddr>| {
                address.map_or_else(|| "-".to_owned(), |address| address.to_string())
            };
            let (local, remote) = (address(tcp.common.local), address(tcp.common.remote));
            format!("TCP {local} to {remote}, {:?}", tcp.state)
        }
        Some(Object::Udp(udp)) => format!("UDP {:?}", udp.common.local),
        Some(Object::Unix(_)) => "UNIX socket".to_owned(),
        Some(Object::Pipe(_)) => "pipe".to_owned(),
        Some(Object::Event(_)) => "eventfd".to_owned(),
        Some(Object::Timer(_)) => "timerfd".to_owned(),
        Some(Object::Epoll(_)) => "epoll".to_owned(),
        Some(Object::Idle { .. }) => "wait_all_tasks_blocked".to_owned(),
        None => "closed".to_owned(),
    }
}

/// Asserts that `condition` is true in at least one of the runs of a [`check`](crate::check): a
/// simulation that never reaches the interesting place tests nothing, and so it fails.
///
/// Outside of a world it does nothing.
///
/// # Examples
///
/// ```
/// use soloio_sim::{check, run, sometimes};
///
/// check(10, |seed| run(async { sometimes(seed == 7, "the seventh") }));
/// ```
pub fn sometimes(condition: bool, name: &str) {
    if kernel::is_inside() {
        kernel::with(|world| *world.sometimes.entry(name.to_owned()).or_default() |= condition);
    }
}

/// The parts that shrinking leaves out of the runs of this thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) without: Vec<Fault>,
    /// The limit of faults; `None` for any number.
    pub(crate) most: Option<u64>,
    pub(crate) without_clients: Vec<String>,
}

thread_local! {
    static PLAN: RefCell<Plan> = RefCell::default();
    /// The worlds that were on this thread, and the clients in them.
    static LAST: RefCell<(Vec<Replay>, Vec<String>)> = RefCell::default();
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn set_plan(plan: Plan) {
    PLAN.with_borrow_mut(|place| *place = plan);
}

pub(crate) fn plan() -> Plan {
    PLAN.with_borrow(Plan::clone)
}

/// Notes that a world on this thread has ended.
pub(crate) fn leave(replay: Replay, clients: Vec<String>) {
    LAST.with_borrow_mut(|(replays, names)| {
        replays.push(replay);
        names.extend(clients);
    });
}

pub(crate) fn take() -> (Vec<Replay>, Vec<String>) {
    LAST.with_borrow_mut(std::mem::take)
}

/// Keeps the messages of panics on this thread, instead of having them printed.
pub(crate) fn keep_messages() {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.try_with(Cell::get).unwrap_or(false) {
                MESSAGE.with_borrow_mut(|message| {
                    message.get_or_insert(info.to_string());
                });
            } else {
                before(info);
            }
        }));
    });
    QUIET.set(true);
}

pub(crate) fn take_message() -> Option<String> {
    MESSAGE.with_borrow_mut(Option::take)
}
