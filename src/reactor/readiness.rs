//! A pure machine: what is known of one source, and who waits for it.
//!
//! Readiness is a hint. It is set by events, whether or not anybody waits, and cleared where a
//! system call says so: by `WouldBlock`, or by a receive that came back short *and* could not have
//! been cut short by anything else. Since one thread both sets and clears, no event can slip in
//! between, and no tick counts are needed.
//!
//! ```text
//!              event                          event
//!   unknown ──────────> ready ──WouldBlock──> not ready ──> ready ...
//!                         │  └─short receive, nothing odd seen──^
//!                         └─ended: stays ready for ever (the call tells which end it is)
//! ```

use crate::sys::poller::ready;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards us: receive, accept.
    Read,
    /// From us: send, connect.
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

/// What a successful call says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Ready,
    /// It gave less than was asked for.
    Short,
    /// It took what the event was about (a listener's).
    Taken,
}

/// Who waits, by a number that is never 0: of a task, or of a waker that is kept `apart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(super) number: usize,
    pub(super) apart: bool,
}

/// One source's readiness and its two waiters.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// `ready` bits: `READ` and `WRITE` come and go, `ENDED` and `URGENT` stay.
    bits: u8,
    /// The directions whose waiter is kept apart.
    apart: u8,
    /// The waiters' numbers; 0 for nobody.
    reader: usize,
    writer: usize,
    /// Set for a listener. Here, not beside it in the source, where it would take 8 bytes more.
    pub(super) listener: Option<Listening>,
}

/// A listener is armed while an accept waits for it, and only then.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) armed: bool,
}

impl Readiness {
    /// Nothing is known yet, of a listener that is not armed.
    pub(super) fn of_listener() -> Self {
        Self {
            listener: Some(Listening { armed: false }),
            ..Self::default()
        }
    }

    /// Takes in an event; hands over who waited for it.
    #[inline]
    pub(crate) fn event(&mut self, bits: u8, mut woken: impl FnMut(Parked)) {
        self.bits |= bits;
        // One call for both, so that it is inlined.
        let mut parked = match bits & ready::READ {
            0 => None,
            _ => self.unpark(Direction::Read),
        };
        let mut writes = bits & ready::WRITE != 0;
        loop {
            if let Some(parked) = parked {
                woken(parked);
            }
            if !writes {
                return;
            }
            writes = false;
            parked = self.unpark(Direction::Write);
        }
    }

    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.bits & direction.bit() != 0
    }

    /// True of a listener that has to be armed before it is waited for.
    #[inline]
    pub(super) fn is_unarmed(&self) -> bool {
        let listener = self.listener.as_ref();
        listener.is_some_and(|listener| !(listener.armed && super::STAYS_ARMED))
    }

    /// True if an event had more to say than that a call may succeed. That stays.
    pub(super) fn is_prior(&self) -> bool {
        self.bits & (ready::ENDED | ready::URGENT) != 0
    }

    /// The call said `WouldBlock`.
    #[inline]
    pub(crate) fn clear(&mut self, direction: Direction) {
        self.bits &= !direction.bit();
    }

    /// A call succeeded. A short receive means an empty queue if nothing else was seen that can cut
    /// one short: then the next `WouldBlock` need not be asked for.
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

    /// Stores who waits; gives back who did before.
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

    /// Nobody waits in this direction any more.
    #[inline(always)]
    #[must_use = "what is kept apart is to be dropped"]
    pub(crate) fn unpark(&mut self, direction: Direction) -> Option<Parked> {
        let number = std::mem::take(self.place(direction));
        if number == 0 {
            return None;
        }
        let apart = self.apart & direction.bit() != 0;
        self.apart &= !direction.bit();
        Some(Parked { number, apart })
    }

    /// Who waits.
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
