//! The faults of a world, and their chances.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rng::Rng;

/// A class of faults. Each draws from a random stream of its own, so leaving one out does not
/// affect the others: shrinking relies on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A call that may be interrupted fails with `EINTR`.
    Interrupt,
    /// A send takes only a part of the possible bytes.
    ShortSend,
    /// A connection is reset, at a send.
    Reset,
    /// A segment or datagram is lost; TCP sends it again, later. Resets are not lost by it.
    Loss,
    /// A datagram arrives twice.
    Double,
    /// A datagram takes ten times as long, so that later ones overtake it.
    Reorder,
    /// No descriptor is free in the process (`EMFILE`).
    ProcessDescriptors,
    /// No descriptor is free in the system (`ENFILE`).
    SystemDescriptors,
    /// A send finds no buffer (`ENOBUFS`).
    NoBuffers,
    /// A call that makes something finds no memory (`ENOMEM`).
    NoMemory,
    /// A connection is gone when it is accepted (`ECONNABORTED`).
    AbortedAccept,
    /// epoll reports an event that did not happen.
    SpuriousEvent,
    /// A wait ends before its time, without events.
    EarlyWake,
    /// epoll reports events in any order, and not all at once.
    EventOrder,
    /// A name cannot be looked up for now (`EAI_AGAIN`).
    LookUp,
}

impl Fault {
    /// All classes.
    pub const ALL: &[Self] = &[
        Self::Interrupt,
        Self::ShortSend,
        Self::Reset,
        Self::Loss,
        Self::Double,
        Self::Reorder,
        Self::ProcessDescriptors,
        Self::SystemDescriptors,
        Self::NoBuffers,
        Self::NoMemory,
        Self::AbortedAccept,
        Self::SpuriousEvent,
        Self::EarlyWake,
        Self::EventOrder,
        Self::LookUp,
    ];

    /// Returns its name in tables and traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "EINTR",
            Self::ShortSend => "short send",
            Self::Reset => "reset",
            Self::Loss => "loss",
            Self::Double => "double",
            Self::Reorder => "reorder",
            Self::ProcessDescriptors => "EMFILE",
            Self::SystemDescriptors => "ENFILE",
            Self::NoBuffers => "ENOBUFS",
            Self::NoMemory => "ENOMEM",
            Self::AbortedAccept => "ECONNABORTED",
            Self::SpuriousEvent => "spurious event",
            Self::EarlyWake => "early wake",
            Self::EventOrder => "event order",
            Self::LookUp => "EAI_AGAIN",
        }
    }
}

/// The faults and conditions of a world: latency, sizes of buffers, and the chance of each fault.
///
/// # Examples
///
/// ```
/// use soloio_sim::{Fault, Faults};
///
/// let calm = Faults::none();
/// let storm = Faults::swarm(7);
/// let lossy = Faults::none().with(Fault::Loss, 0.05);
/// assert_eq!(lossy.chance(Fault::Loss), 0.05);
/// assert_eq!(calm.chance(Fault::Loss), 0.0);
/// # drop(storm);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    chances: BTreeMap<Fault, f64>,
    pub(crate) latency: (Duration, Duration),
    pub(crate) buffer: usize,
    pub(crate) segment: usize,
    pub(crate) descriptors: usize,
    pub(crate) call_time: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

impl Faults {
    /// No fault, no latency; a system call takes no time.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            chances: BTreeMap::new(),
            latency: (Duration::ZERO, Duration::ZERO),
            buffer: 64 * 1024,
            segment: 64 * 1024,
            descriptors: 1024,
            call_time: Duration::ZERO,
        }
    }

    /// Draws faults and conditions from `seed`: some classes of faults, each seldom or often, a
    /// latency, sizes of buffers and segments. Different seeds test different things; some have no
    /// faults.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::named(seed, "swarm");
        let mut faults = Self::none();
        for fault in Fault::ALL {
            // Half of the classes are out in each seed, so that they do not hide each other.
            if rng.hit(0.5) {
                let chance: f64 = *rng.pick(&[0.002, 0.01, 0.05, 0.2]);
                faults = faults.with(*fault, chance.min(fault.most()));
            }
        }
        let micros = *rng.pick(&[0, 20, 500, 10_000, 60_000]);
        let most = micros * rng.between(1, 4);
        faults.latency = (Duration::from_micros(micros), Duration::from_micros(most));
        faults.buffer = *rng.pick(&[1, 7, 1000, 5000, 65_536, 262_144]);
        faults.segment = *rng.pick(&[1, 100, 1460, 65_536]);
        faults.segment = faults.segment.max(faults.buffer / 100);
        faults.call_time = Duration::from_nanos(*rng.pick(&[0, 300, 2_000]));
        if faults.segment < 1000 || faults.buffer < 1000 {
            // Each loss costs a fifth of a second, and there are many segments.
            let loss = faults.chance(Fault::Loss).min(0.002);
            faults = faults.with(Fault::Loss, loss);
        }
        faults
    }

    /// Sets the chance (0.0 to 1.0) of a fault.
    #[must_use]
    pub fn with(mut self, fault: Fault, chance: f64) -> Self {
        self.chances.insert(fault, chance);
        self
    }

    /// Leaves out a class of faults.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Self {
        self.chances.remove(&fault);
        self
    }

    /// Returns the chance of a fault, at each call or packet that it can affect.
    #[must_use]
    pub fn chance(&self, fault: Fault) -> f64 {
        self.chances.get(&fault).copied().unwrap_or(0.0)
    }

    /// Returns the classes that can occur.
    pub fn classes(&self) -> impl Iterator<Item = Fault> + '_ {
        let likely = self.chances.iter().filter(|(_, chance)| **chance > 0.0);
        likely.map(|(fault, _)| *fault)
    }

    /// Sets the time of packets on their way, from `least` to `most`.
    #[must_use]
    pub fn with_latency(mut self, least: Duration, most: Duration) -> Self {
        self.latency = (least, most.max(least));
        self
    }

    /// Sets the size of socket buffers in each direction, in bytes (at least 1).
    #[must_use]
    pub fn with_buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes.max(1);
        self
    }

    /// Sets the largest size of TCP segments, in bytes (at least 1).
    #[must_use]
    pub fn with_segment(mut self, bytes: usize) -> Self {
        self.segment = bytes.max(1);
        self
    }

    /// Limits the number of descriptors of each machine.
    #[must_use]
    pub fn with_descriptors(mut self, count: usize) -> Self {
        self.descriptors = count;
        self
    }

    /// Sets the time that each system call takes.
    #[must_use]
    pub fn with_call_time(mut self, time: Duration) -> Self {
        self.call_time = time;
        self
    }
}

impl Fault {
    /// The largest chance with which a program still makes progress.
    fn most(self) -> f64 {
        match self {
            Self::Reset | Self::NoBuffers | Self::NoMemory => 0.01,
            Self::ProcessDescriptors | Self::SystemDescriptors => 0.05,
            _ => 0.2,
        }
    }
}

/// The state for drawing faults: chances, streams, and the number injected.
#[derive(Debug)]
pub(crate) struct Dice {
    pub(crate) faults: Faults,
    streams: BTreeMap<Fault, Rng>,
    /// Latency, sizes, order: random values that are no faults.
    pub(crate) nature: Rng,
    pub(crate) injected: BTreeMap<Fault, u64>,
    /// The limit of all faults together.
    most: u64,
    count: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64, faults: Faults, most: u64) -> Self {
        let streams = faults
            .classes()
            .map(|fault| (fault, Rng::named(seed, fault.name())));
        Self {
            streams: streams.collect(),
            nature: Rng::named(seed, "nature"),
            injected: BTreeMap::new(),
            most,
            count: 0,
            faults,
        }
    }

    /// Returns true if the fault can strike in this world.
    pub(crate) fn may_strike(&self, fault: Fault) -> bool {
        self.streams.contains_key(&fault)
    }

    /// Returns true if the fault strikes now, and counts it.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let Some(stream) = self.streams.get_mut(&fault) else {
            return false;
        };
        let hit = stream.hit(self.faults.chance(fault)) && self.count < self.most;
        if hit {
            self.count += 1;
            *self.injected.entry(fault).or_default() += 1;
        }
        hit
    }

    /// A number below `end` from the stream of a fault that has just struck.
    pub(crate) fn detail(&mut self, fault: Fault, end: usize) -> usize {
        let stream = self.streams.get_mut(&fault);
        let drawn = stream.map_or(0, |stream| stream.below(end as u64));
        usize::try_from(drawn).expect("below a usize")
    }

    /// Returns the number of all faults.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}
