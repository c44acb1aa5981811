//! Signals: one handler for the process, which records them and wakes the receivers.
//!
//! It is a handler rather than a signalfd: that needs the signals blocked on every thread, and
//! processes that are started from here would inherit the blocked signals.
//!
//! ```text
//!   handler, any thread     for each seat that wants it: pending |= bit; write one byte
//!   reader, on its loop     take a bit; none: read the bell empty, check again, wait for the bell
//! ```
//!
//! The bit is set before the byte is written, and checked after the last byte was read: a signal in
//! between leaves a byte, so no wait begins while a bit is set without a byte.
//!
//! # State shared with the handler
//!
//! The handler may run at any moment on any thread, so it takes no lock and allocates nothing: it
//! uses the atomics of [`SEATS`], [`MET`], [`PREVIOUS`] and [`OWNER`], and calls `getpid`, `write`,
//! and in the worst case `sigaction` and `raise`, all of which are allowed there
//! (signal-safety(7)). It restores `errno`. A seat's descriptor is closed only after all handlers
//! that may have read its number have left (`visitors`): none ever writes to a number that was
//! reused.
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
//!
//! Long because the state that the handler shares has to be seen in one place.

use std::io;
use std::mem::{transmute, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
use libc::__errno as errno;
#[cfg(any(target_os = "linux", target_os = "dragonfly"))]
use libc::__errno_location as errno;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
use libc::__error as errno;
use libc::{c_int, c_void, siginfo_t};

use super::check;
use super::socket::recv;

/// The numbers of the signals that have a name above.
pub(crate) mod number {
    pub(crate) use libc::{
        SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
        SIGUSR2, SIGWINCH,
    };
}

/// The highest number: a set of signals is 64 bits.
const LAST: c_int = 64;
/// The largest number of receivers in a process at a time.
const ROOM: usize = 1024;
/// One entry for each signal's number.
const NUMBERS: usize = LAST as usize + 1;

/// One receiver, in the form for the handler.
struct Seat {
    /// The descriptor to write to, plus 1; 0 if the seat is free.
    bell: AtomicI32,
    /// The wanted signals, one bit each; and those that have come.
    wanted: AtomicU64,
    pending: AtomicU64,
    /// The number of handlers that may have read the number of the bell.
    visitors: AtomicU32,
}

impl Seat {
    const fn new() -> Self {
        Self {
            bell: AtomicI32::new(0),
            wanted: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            visitors: AtomicU32::new(0),
        }
    }

    /// Called by the handler: records a signal.
    fn note(&self, bit: u64) {
        // Together with `rise`, in one order for all: either that sees the visitor, or the visitor
        // sees that the seat is free.
        self.visitors.fetch_add(1, SeqCst);
        let bell = self.bell.load(SeqCst) - 1;
        if bell >= 0 && self.wanted.load(Relaxed) & bit != 0 {
            self.pending.fetch_or(bit, SeqCst);
            let byte = 1_u8;
            // A full bell is as good: its receiver has not read it empty yet.
            // SAFETY: the byte is valid for the length of the call; the descriptor is open, since
            // it is closed only when no visitor is left.
            unsafe { libc::write(bell, (&raw const byte).cast(), 1) };
        }
        self.visitors.fetch_sub(1, SeqCst);
    }

    /// Frees the seat; afterwards no handler uses the bell.
    fn rise(&self) {
        self.bell.store(0, SeqCst);
        while self.visitors.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

/// The action of a signal before ours.
struct Previous {
    /// The address in the system's form.
    address: usize,
    /// SA_SIGINFO; and SA_RESETHAND: it is called for one signal, and then replaced by the default.
    flags: c_int,
    call: Call,
}

#[derive(Clone, Copy)]
enum Call {
    Default,
    Nothing,
    Plain(extern "C" fn(c_int)),
    Informed(Handler),
}

static SEATS: [Seat; ROOM] = [const { Seat::new() }; ROOM];
/// Seats from this number on were never taken.
static SEATS_USED: AtomicUsize = AtomicUsize::new(0);
/// Each handler that was replaced, stored once and never changed, so that our handler reads it
/// consistently. The first entry is that of [`Call::Default`].
static MET: [OnceLock<Previous>; 256] = [const { OnceLock::new() }; 256];
/// The entries of the handlers that ours has replaced.
static PREVIOUS: [AtomicUsize; NUMBERS] = [const { AtomicUsize::new(0) }; NUMBERS];
/// The process that these signals belong to; 0 while no seat is taken.
static OWNER: AtomicU32 = AtomicU32::new(0);

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
        match recv(bell, &mut bytes) {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
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

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

fn index(signal: c_int) -> usize {
    usize::try_from(signal).expect("1 to 64")
}

fn process() -> u32 {
    // Calls only getpid.
    std::process::id()
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

/// Returns the entry of a former action, which is added if it is new.
fn met(before: &libc::sigaction) -> io::Result<usize> {
    let address = before.sa_sigaction;
    let flags = before.sa_flags & (libc::SA_SIGINFO | libc::SA_RESETHAND);
    let call = match address {
        libc::SIG_DFL => return Ok(0),
        libc::SIG_IGN => Call::Nothing,
        // SAFETY: the code that installed it has stated by the flag that it is a handler with
        // three arguments, or with one. It exposed the address when it gave it to the system as a
        // number; and it is not null, which is SIG_DFL.
        _ => unsafe {
            let function = ptr::with_exposed_provenance::<()>(address);
            match flags & libc::SA_SIGINFO {
                0 => Call::Plain(transmute::<*const (), extern "C" fn(c_int)>(function)),
                _ => Call::Informed(transmute::<*const (), Handler>(function)),
            }
        },
    };
    let is_it = |place: &OnceLock<Previous>| {
        let previous = || Previous {
            address,
            flags,
            call,
        };
        let met = place.get_or_init(previous);
        met.address == address && met.flags == flags
    };
    let place = MET[1..].iter().position(is_it).map(|place| place + 1);
    place.ok_or_else(|| io::Error::other("the signals had too many different handlers before"))
}

/// Makes the action with our handler that replaces `before`.
fn ours(before: &libc::sigaction) -> libc::sigaction {
    let kept = libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT | libc::SA_NODEFER;
    let mut ours = *before;
    ours.sa_sigaction = address(on_signal);
    // RESTART: system calls of other code must not fail because of it. ONSTACK: code of other
    // languages may run on stacks without room for a handler.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    ours.sa_flags |= before.sa_flags & kept;
    ours
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == address(on_signal)
}

fn is_function(action: &libc::sigaction) -> bool {
    ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn address(handler: Handler) -> usize {
    handler as usize
}

/// The handler. The head of this file lists the calls that it may make.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let error = io::Error::last_os_error();
    let (number, owner) = (index_in_handler(signal), OWNER.load(SeqCst));
    let is_child = owner != 0 && owner != process();
    if !is_child {
        let seats = SEATS.iter().take(SEATS_USED.load(SeqCst));
        seats.for_each(|seat| seat.note(bit(signal)));
    }
    match previous(number) {
        Call::Nothing => {}
        Call::Default if is_child => by_default(signal),
        Call::Default => {}
        Call::Plain(function) => function(signal),
        Call::Informed(function) => function(signal, info, context),
    }
    // SAFETY: the place is the thread's own.
    unsafe { *errno() = error.raw_os_error().unwrap_or(0) };
}

/// Returns the former handler to call. A handler to be called once is returned for one signal only.
fn previous(number: usize) -> Call {
    let place = PREVIOUS[number].load(SeqCst);
    let Some(previous) = MET[place].get() else {
        return Call::Default;
    };
    let is_once = previous.flags & libc::SA_RESETHAND != 0;
    let taken = || PREVIOUS[number].compare_exchange(place, 0, SeqCst, SeqCst);
    match is_once && taken().is_err() {
        true => Call::Default,
        false => previous.call,
    }
}

/// An installed signal has a number from 1 to 64; nothing in a handler may panic.
fn index_in_handler(signal: c_int) -> usize {
    usize::try_from(signal).unwrap_or(0).min(NUMBERS - 1)
}

/// Restores the default action and raises the signal again, which takes effect at the return.
fn by_default(signal: c_int) {
    // SAFETY: both may be called in a handler; a sigaction is valid as zeros, which mean SIG_DFL.
    unsafe {
        let action: libc::sigaction = zeroed();
        libc::sigaction(signal, &raw const action, ptr::null_mut());
        libc::raise(signal);
    }
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
