//! A pure machine: the known readiness of one source, and its waiters.
//!
//! Readiness is a hint. It is set by events, with or without a waiter, and cleared only by a system
//! call: by `WouldBlock`, or by a receive that was short *and* could not have been cut short for
//! another reason. Since one thread both sets and clears it, no event can slip in between, and no
//! tick counts are needed.
//!
//! ```text
//!              event                          event
//!   unknown ──────────> ready ──WouldBlock──> not ready ──> ready ...
//!                         │  └─short receive, nothing else seen──^
//!                         └─ended: stays ready (the call returns which end it is)
//! ```

use crate::sys::poller::ready;

/// The direction of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To this side: receive, accept.
    Read,
    /// From this side: send, connect.
    Write,
}

impl Direction {
    #[inline]
    fn bit(self) -> u8 {
        match self {
            Self::Read => ready::READ,
            Self::Write => ready::WRITE,
        }
    }
}

/// The readiness after a successful call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Unknown: still ready.
    Ready,
    /// It transferred less than requested.
    Short,
    /// It took the connection that the event was about (of a listener).
    Taken,
}

/// A waiter, as a number that is never 0: of a task, or of a waker that is stored `apart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(super) number: usize,
    pub(super) apart: bool,
}

/// One source's readiness and its two waiters.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// `ready` bits: `READ` and `WRITE` are set and cleared, `ENDED` and `URGENT` stay set.
    bits: u8,
    /// The directions with a waiter that is stored apart.
    apart: u8,
    /// The waiters' numbers; 0 for none.
    reader: usize,
    writer: usize,
    /// Set for a listener. Here, not beside it in the source, where padding would make the source
    /// larger.
    pub(super) listener: Option<Listening>,
}

/// A listener is armed while an accept waits for it, and only then.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) armed: bool,
}

impl Readiness {
    /// The state of a listener without events that is not armed.
    pub(super) fn of_listener() -> Self {
        Self {
            listener: Some(Listening { armed: false }),
            ..Self::default()
        }
    }

    /// Records an event, and removes the waiter for it in one direction. It is called for both.
    #[inline(always)]
    #[must_use = "it is woken"]
    pub(crate) fn event(&mut self, bits: u8, direction: Direction) -> Option<Parked> {
        self.bits |= bits;
        match bits & direction.bit() {
            0 => None,
            _ => self.unpark(direction),
        }
    }

    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.bits & direction.bit() != 0
    }

    /// Returns true for a listener that has to be armed before a wait.
    #[inline]
    pub(super) fn is_unarmed(&self) -> bool {
        let listener = self.listener.as_ref();
        listener.is_some_and(|listener| !(listener.armed && super::STAYS_ARMED))
    }

    /// Returns true if an event has reported more than readiness.
    fn is_prior(&self) -> bool {
        self.bits & (ready::ENDED | ready::URGENT) != 0
    }

    /// The same, and forgets urgent data: for a source that is only waited for because of them.
    #[cfg(feature = "adopt")]
    pub(super) fn take_prior(&mut self) -> bool {
        let is_prior = self.is_prior();
        self.bits &= !ready::URGENT;
        is_prior
    }

    /// Records a `WouldBlock`.
    #[inline]
    pub(crate) fn clear(&mut self, direction: Direction) {
        self.bits &= !direction.bit();
    }

    /// Records a successful call. A short receive means an empty queue, if no event was seen that
    /// can also cut one short: then no call is needed to get the next `WouldBlock`.
    #[inline]
    pub(crate) fn settle(&mut self, direction: Direction, after: After) {
        let drained = match after {
            After::Ready => false,
            After::Short => !self.is_prior(),
            After::Taken => true,
        };
        if drained {
            self.clear(direction);
        }
    }

    /// Stores a waiter; returns the previous one.
    #[inline]
    #[must_use = "what is kept apart is to be dropped"]
    pub(crate) fn park(&mut self, direction: Direction, parked: Parked) -> Option<Parked> {
        let before = self.unpark(direction);
        *self.place(direction) = parked.number;
        if parked.apart {
            self.apart |= direction.bit();
        }
        before
    }

    /// Stores a task, unless a waiter that is stored apart is there; returns whether it has.
    #[inline(always)]
    pub(crate) fn park_task(&mut self, direction: Direction, number: usize) -> bool {
        let free = self.apart & direction.bit() == 0;
        if free {
            *self.place(direction) = number;
        }
        free
    }

    /// Removes the waiter of this direction.
    #[inline(always)]
    #[must_use = "what is kept apart is to be dropped"]
    pub(crate) fn unpark(&mut self, direction: Direction) -> Option<Parked> {
        let number = std::mem::take(self.place(direction));
        if number == 0 {
            return None;
        }
        let apart = self.apart & direction.bit() != 0;
        if apart {
            self.apart &= !direction.bit();
        }
        Some(Parked { number, apart })
    }

    /// Returns the waiter.
    pub(crate) fn waiter(&self, direction: Direction) -> Option<Parked> {
        let number = match direction {
            Direction::Read => self.reader,
            Direction::Write => self.writer,
        };
        let apart = self.apart & direction.bit() != 0;
        (number != 0).then_some(Parked { number, apart })
    }

    pub(crate) fn is_waited_for(&self, direction: Direction) -> bool {
        self.waiter(direction).is_some()
    }

    #[inline]
    fn place(&mut self, direction: Direction) -> &mut usize {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

#[cfg(test)]
mod tests;
