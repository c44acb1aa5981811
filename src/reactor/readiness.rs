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

use std::task::Waker;

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

/// One source's readiness and its two waiters.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// `ready` bits: `READ` and `WRITE` come and go, `ENDED` and `URGENT` stay.
    bits: u8,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Readiness {
    /// Takes in an event; hands over who waited for it.
    #[inline]
    pub(crate) fn event(&mut self, bits: u8, mut woken: impl FnMut(Waker)) {
        self.bits |= bits;
        if bits & ready::READ != 0 {
            if let Some(waker) = self.reader.take() {
                woken(waker);
            }
        }
        if bits & ready::WRITE != 0 {
            if let Some(waker) = self.writer.take() {
                woken(waker);
            }
        }
    }

    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.bits & direction.bit() != 0
    }

    /// The call said `WouldBlock`.
    #[inline]
    pub(crate) fn clear(&mut self, direction: Direction) {
        self.bits &= !direction.bit();
    }

    /// A call succeeded, and nobody waits for it any more. A short receive means an empty queue if
    /// nothing else was seen that can cut one short: then the next `WouldBlock` need not be asked
    /// for.
    #[inline]
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn done(&mut self, direction: Direction, after: After) -> Option<Waker> {
        let drained = match after {
            After::Ready => false,
            After::Short => self.bits & (ready::ENDED | ready::URGENT) == 0,
            After::Taken => true,
        };
        if drained {
            self.clear(direction);
        }
        self.unpark(direction)
    }

    /// Stores who waits; the one before is to be dropped outside the borrow.
    #[inline]
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn park(&mut self, direction: Direction, waker: Waker) -> Option<Waker> {
        self.place(direction).replace(waker)
    }

    /// Nobody waits in this direction any more.
    #[inline]
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn unpark(&mut self, direction: Direction) -> Option<Waker> {
        self.place(direction).take()
    }

    /// Who waits.
    pub(crate) fn waiter(&self, direction: Direction) -> Option<&Waker> {
        match direction {
            Direction::Read => self.reader.as_ref(),
            Direction::Write => self.writer.as_ref(),
        }
    }

    pub(crate) fn is_waited_for(&self, direction: Direction) -> bool {
        self.waiter(direction).is_some()
    }

    #[inline]
    fn place(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waker() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn an_event_before_the_waiter_is_kept() {
        let mut source = Readiness::default();
        let mut woken = Vec::new();
        source.event(ready::READ, |waker| woken.push(waker));
        assert!(woken.is_empty());
        assert!(source.is_ready(Direction::Read) && !source.is_ready(Direction::Write));
    }

    #[test]
    fn a_waiter_is_woken_once_and_by_its_own_direction() {
        let mut source = Readiness::default();
        let mut woken = Vec::new();
        assert!(source.park(Direction::Read, waker()).is_none());
        source.event(ready::WRITE, |waker| woken.push(waker));
        assert!(woken.is_empty());
        source.event(ready::READ, |waker| woken.push(waker));
        source.event(ready::READ, |waker| woken.push(waker));
        assert_eq!(woken.len(), 1);
    }

    #[test]
    fn a_short_receive_drains_only_when_nothing_odd_was_seen() {
        for (odd, left) in [(0, false), (ready::ENDED, true), (ready::URGENT, true)] {
            let mut source = Readiness::default();
            source.event(ready::READ | odd, drop);
            assert!(source.done(Direction::Read, After::Short).is_none());
            assert_eq!(source.is_ready(Direction::Read), left);
        }
    }

    /// Against a twin with a flag and a name per direction, under random operations.
    #[test]
    fn behaves_as_two_flags_and_two_names() {
        let (mut source, mut woken) = (Readiness::default(), Vec::new());
        let (mut flags, mut waits, mut odd) = ([false; 2], [false; 2], false);
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..100_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let (n, direction) = match seed >> 32 & 1 {
                0 => (0, Direction::Read),
                _ => (1, Direction::Write),
            };
            match seed >> 40 & 7 {
                0..=2 => {
                    source.event(direction.bit(), |waker| woken.push(waker));
                    flags[n] = true;
                    assert_eq!(woken.drain(..).count(), usize::from(waits[n]));
                    waits[n] = false;
                }
                3 => {
                    source.clear(direction);
                    flags[n] = false;
                }
                4 => {
                    let waited = source.done(Direction::Read, After::Short).is_some();
                    assert_eq!(waited, std::mem::replace(&mut waits[0], false));
                    flags[0] &= odd;
                }
                5 => {
                    assert_eq!(source.park(direction, waker()).is_some(), waits[n]);
                    waits[n] = true;
                }
                6 => assert_eq!(
                    source.unpark(direction).is_some(),
                    std::mem::replace(&mut waits[n], false)
                ),
                _ if seed >> 50 & 1023 == 0 => {
                    source.event(ready::URGENT, |waker| woken.push(waker));
                    odd = true;
                }
                _ => {}
            }
            assert_eq!(source.is_ready(direction), flags[n]);
            assert_eq!(source.is_waited_for(direction), waits[n]);
        }
    }
}
