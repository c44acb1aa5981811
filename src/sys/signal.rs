//! Signals: one handler for the process, which records them and wakes the receivers.
//!
//! It is a handler rather than a signalfd: that needs the signals blocked on every thread, and
//! processes that are started from here would inherit the blocked signals.
//!
//! ```text
//!   handler, any thread     for each seat with this signal: pending |= bit; write one byte
//!   reader, on its loop     take a bit; none: read the bell empty, check again, wait for the bell
//! ```
//!
//! The bit is set before the byte is written, and checked after the last byte was read: a signal in
//! between leaves a byte, so no wait begins while a bit is set without a byte.
//!
//! # State that is preserved
//!
//! A signal gets our handler when its first seat is taken, and its former action when the last seat
//! is given back. In between a former handler is called after ours, with its mask and its
//! SA_NODEFER, and only once if it has SA_RESETHAND. If other code has installed a handler on top
//! of ours, that stays, and ours stays below it.
//!
//! A signal that is blocked when a receiver is opened is unblocked on that thread, and stays
//! unblocked: the process may have inherited the mask from its parent, and then no signal would
//! ever arrive.
//!
//! A child process inherits handlers until it calls exec, and the descriptors with them. In a child
//! the handler acts as if it were not installed: the parent is not notified.

mod handler;

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::c_int;

use super::check;
use super::room::{Room, no_scratch};
use handler::{
    LAST, NUMBERS, OWNER, PREVIOUS, ROOM, SEATS, SEATS_USED, bit, is_ours, met, ours, process,
};

/// The numbers of the signals that have a name above.
pub(crate) mod number {
    pub(crate) use libc::{
        SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
        SIGUSR2, SIGWINCH,
    };
}

/// State that only taking and giving back seats uses.
struct Table {
    /// The number of seats that are taken.
    taken: usize,
    /// The number of seats for each signal.
    users: [u32; NUMBERS],
    /// The former action of each signal; `None` if our handler is not installed.
    before: [Option<libc::sigaction>; NUMBERS],
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    taken: 0,
    users: [0; NUMBERS],
    before: [None; NUMBERS],
});

/// Returns the reason why a signal cannot be received; `None` if it can, as far as is known here.
pub(crate) fn refusal(signal: c_int) -> Option<&'static str> {
    match signal {
        libc::SIGKILL => Some("SIGKILL cannot be caught"),
        libc::SIGSTOP => Some("SIGSTOP cannot be caught"),
        // The instruction would run again and fail again, forever.
        libc::SIGSEGV => Some("SIGSEGV is about the thread that got it, which cannot go on"),
        libc::SIGBUS => Some("SIGBUS is about the thread that got it, which cannot go on"),
        libc::SIGFPE => Some("SIGFPE is about the thread that got it, which cannot go on"),
        libc::SIGILL => Some("SIGILL is about the thread that got it, which cannot go on"),
        1..=LAST => None,
        _ => Some("there is no signal of that number: they are 1 to 64"),
    }
}

/// A seat that is taken: signals are pending until they are received.
#[derive(Debug)]
pub(crate) struct Receiving {
    seat: usize,
    /// The number of bits that the search for the next one skips. The search begins after the last
    /// one, so that a frequent signal cannot hide others.
    skip: AtomicU32,
    /// Closed after the seat is given back.
    _bell: OwnedFd,
}

/// Begins to receive `signals`, none of which is refused; also returns the descriptor that becomes
/// readable when one has come. An error has the number of the signal that it is about, if any.
pub(crate) fn receive(signals: &[c_int]) -> Result<(Receiving, OwnedFd), (io::Error, c_int)> {
    let pair = || {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok((OwnedFd::from(read), OwnedFd::from(write)))
    };
    let (read, write) = pair().map_err(|error: io::Error| (error, 0))?;
    let seat = table().take_seat(signals, write.as_fd())?;
    let receiving = Receiving {
        seat,
        skip: AtomicU32::new(0),
        _bell: write,
    };
    // Last: a pending signal comes at once, and is recorded.
    unblock(signals).map_err(|error| (error, 0))?;
    Ok((receiving, read))
}

impl Receiving {
    /// Returns a pending signal, which is then no longer pending; `WouldBlock` with an empty bell.
    pub(crate) fn take(&self, bell: BorrowedFd<'_>) -> io::Result<c_int> {
        if let Some(signal) = self.take_pending() {
            return Ok(signal);
        }
        let emptied = read_empty(bell);
        self.take_pending().ok_or(emptied)
    }

    fn take_pending(&self) -> Option<c_int> {
        let pending = &SEATS[self.seat].pending;
        let skip = self.skip.load(Relaxed);
        let distance = pending.load(SeqCst).rotate_right(skip).trailing_zeros();
        if distance == u64::BITS {
            return None;
        }
        let index = (distance + skip) % u64::BITS;
        self.skip.store((index + 1) % u64::BITS, Relaxed);
        pending.fetch_and(!(1 << index), SeqCst);
        Some(c_int::try_from(index).expect("less than 64") + 1)
    }
}

/// Reads until no byte is left, and returns the last error: `WouldBlock` on success.
fn read_empty(bell: BorrowedFd<'_>) -> io::Error {
    let mut bytes = [0_u8; 64];
    loop {
        match Room::new(&mut bytes).receive(bell, false, no_scratch) {
            Ok((0, _)) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // In a forked child there is nothing to give back: its parent has the seat.
        if OWNER.load(SeqCst) == process() {
            table().give_back(self.seat);
        }
    }
}

impl Table {
    fn take_seat(&mut self, signals: &[c_int], bell: BorrowedFd<'_>) -> Result<usize, Failed> {
        let owner = OWNER.load(SeqCst);
        if owner != 0 && owner != process() {
            let message = "this process was forked from one that has received signals";
            return Err((io::Error::other(message), 0));
        }
        OWNER.store(process(), SeqCst);
        let free = SEATS.iter().position(|seat| seat.bell.load(SeqCst) == 0);
        let Some(free) = free else {
            let message = format!("a process can have {ROOM} signal receivers");
            return Err((io::Error::other(message), 0));
        };
        let seat = &SEATS[free];
        seat.wanted.store(0, SeqCst);
        seat.pending.store(0, SeqCst);
        SEATS_USED.fetch_max(free + 1, SeqCst);
        seat.bell.store(bell.as_raw_fd() + 1, SeqCst);
        self.taken += 1;
        for signal in signals.iter().copied() {
            if seat.wanted.load(SeqCst) & bit(signal) != 0 {
                continue;
            }
            // Wanted before the handler is installed, so that the first signal is recorded.
            seat.wanted.fetch_or(bit(signal), SeqCst);
            if let Err(error) = self.begin(signal) {
                seat.wanted.fetch_and(!bit(signal), SeqCst);
                self.give_back(free);
                return Err((error, signal));
            }
        }
        Ok(free)
    }

    fn give_back(&mut self, seat: usize) {
        let wanted = SEATS[seat].wanted.load(SeqCst);
        for signal in (1..=LAST).filter(|signal| wanted & bit(*signal) != 0) {
            self.end(signal);
        }
        SEATS[seat].rise();
        self.taken -= 1;
        if self.taken == 0 {
            OWNER.store(0, SeqCst);
        }
    }

    /// Counts one more receiver of the signal; the first one installs the handler.
    fn begin(&mut self, signal: c_int) -> io::Result<()> {
        let number = index(signal);
        if self.users[number] == 0 {
            let now = action(signal, None)?;
            // If another handler was installed on top of ours, ours is still called by it: if ours
            // were installed on top again, the two would call each other forever.
            let is_below = self.before[number].is_some() && is_function(&now);
            if !is_ours(&now) && !is_below {
                PREVIOUS[number].store(met(&now)?, SeqCst);
                action(signal, Some(&ours(&now)))?;
                self.before[number] = Some(now);
            }
        }
        self.users[number] += 1;
        Ok(())
    }

    /// Counts one receiver less; the last one restores the former action.
    fn end(&mut self, signal: c_int) {
        let number = index(signal);
        self.users[number] -= 1;
        if self.users[number] == 0 && action(signal, None).is_ok_and(|now| is_ours(&now)) {
            if let Some(mut before) = self.before[number].take() {
                if before.sa_flags & libc::SA_RESETHAND != 0 && PREVIOUS[number].load(SeqCst) == 0 {
                    // It has been called for a signal.
                    before.sa_sigaction = libc::SIG_DFL;
                }
                let restored = action(signal, Some(&before));
                debug_assert!(restored.is_ok(), "it had this action before");
            }
        }
    }
}

/// The error of the system, and the signal that it is about; 0 for none.
type Failed = (io::Error, c_int);

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index(signal: c_int) -> usize {
    usize::try_from(signal).expect("1 to 64")
}

/// Returns the action of a signal; sets a new one if it is given.
fn action(signal: c_int, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: a sigaction is integers and pointers, valid as zeros; both places are valid for the
    // length of the call. What is put there is our handler, which may run at any moment, or what
    // was there before.
    unsafe {
        let mut old = zeroed();
        check(libc::sigaction(signal, new, &raw mut old))?;
        Ok(old)
    }
}

fn is_function(action: &libc::sigaction) -> bool {
    ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
}

/// Unblocks signals on this thread that were blocked, perhaps since the process began.
fn unblock(signals: &[c_int]) -> io::Result<()> {
    // SAFETY: a set is integers, valid as zeros, which the calls fill in; all of them have valid
    // places for their length.
    let number = unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut())
    };
    match number {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

#[cfg(test)]
mod tests;
