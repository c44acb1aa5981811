//! Signals: one handler for the process, which notes them and rings for whoever asked.
//!
//! A handler rather than a signalfd: that needs the signals blocked on every thread, which
//! processes that are started from here would inherit, and keep.
//!
//! ```text
//!   handler, any thread     for each seat that wants it: pending |= bit; write one byte
//!   reader, on its loop     take a bit; none: read the bell empty, look again, wait for the bell
//! ```
//!
//! The bit is set before the byte is written, and looked for after the last byte was read: a
//! signal in between leaves a byte, so no wait begins with a bit that nobody rings for.
//!
//! # What is shared with the handler
//!
//! It may run at any moment on any thread, so it takes no lock and allocates nothing: it touches
//! the atomics of [`SEATS`], [`MET`], [`PREVIOUS`] and [`OWNER`], and calls `getpid`, `write`, and
//! at worst `sigaction` and `raise`, all of which may be called there (signal-safety(7)). `errno`
//! is as before when it returns. A seat's descriptor is closed only after the handlers that may
//! have read its number are through (`visitors`): none ever writes to a number that was used again.
//!
//! # What is left as it was
//!
//! A signal gets our handler when its first seat is taken, and what it had before when the last
//! one is given back. In between a handler that was there is called after ours, with its mask and
//! its SA_NODEFER, and once if it has SA_RESETHAND. If other code has put a handler on top of ours
//! it stays there, and ours with it.
//!
//! A signal that is blocked where a receiver is opened is unblocked on that thread, and stays so:
//! the mask may be that of the process's parent, and no signal would ever arrive.
//!
//! A child process inherits handlers until it calls exec, and the descriptors with them. There the
//! handler does what would have happened without it: the parent is told nothing.
//!
//! Long because all that the handler and the others share is to be seen in one place.

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
/// How many receivers a process can have at a time.
const ROOM: usize = 1024;
/// One place for each signal's number.
const NUMBERS: usize = LAST as usize + 1;

/// One receiver, as far as the handler knows of it.
struct Seat {
    /// Where to write, plus 1; 0 if nobody sits here.
    bell: AtomicI32,
    /// Which signals are wanted, one bit each; and which have come.
    wanted: AtomicU64,
    pending: AtomicU64,
    /// Handlers that may hold the number of the bell right now.
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

    /// The handler's part.
    fn note(&self, bit: u64) {
        // Together with `rise`, in one order for all: either that sees the visitor, or the visitor
        // sees that nobody sits here any more.
        self.visitors.fetch_add(1, SeqCst);
        let bell = self.bell.load(SeqCst) - 1;
        if bell >= 0 && self.wanted.load(Relaxed) & bit != 0 {
            self.pending.fetch_or(bit, SeqCst);
            let byte = 1_u8;
            // A full bell is as good: whoever is to hear it has not yet read it empty.
            // SAFETY: the byte is valid for the length of the call; the descriptor is open, since
            // it is closed only when no visitor is left.
            unsafe { libc::write(bell, (&raw const byte).cast(), 1) };
        }
        self.visitors.fetch_sub(1, SeqCst);
    }

    /// Nobody sits here from now on, and no handler will use the bell.
    fn rise(&self) {
        self.bell.store(0, SeqCst);
        while self.visitors.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

/// What a signal did before ours.
struct Previous {
    /// As the system knows it.
    address: usize,
    /// SA_SIGINFO; and SA_RESETHAND: it is called for one signal, and then made the default.
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
/// Seats from here on were never taken.
static SEATS_USED: AtomicUsize = AtomicUsize::new(0);
/// Each handler that was met, once and for good, so that our handler reads one of them as a whole.
/// The first place is that of [`Call::Default`].
static MET: [OnceLock<Previous>; 256] = [const { OnceLock::new() }; 256];
/// The places of those that ours is on top of.
static PREVIOUS: [AtomicUsize; NUMBERS] = [const { AtomicUsize::new(0) }; NUMBERS];
/// The process whose signals these are; 0 while no seat is taken.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// What only those know who take seats and give them back.
struct Table {
    /// How many seats are taken.
    taken: usize,
    /// How many seats want a signal.
    users: [u32; NUMBERS],
    /// What a signal did before ours; `None` if ours is not there.
    before: [Option<libc::sigaction>; NUMBERS],
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    taken: 0,
    users: [0; NUMBERS],
    before: [None; NUMBERS],
});

/// Why a signal cannot be received; `None` if it can, as far as is known here.
pub(crate) fn refusal(signal: c_int) -> Option<&'static str> {
    match signal {
        libc::SIGKILL => Some("SIGKILL cannot be caught"),
        libc::SIGSTOP => Some("SIGSTOP cannot be caught"),
        // The instruction would be run again, fail again, and so on.
        libc::SIGSEGV => Some("SIGSEGV is about the thread that got it, which cannot go on"),
        libc::SIGBUS => Some("SIGBUS is about the thread that got it, which cannot go on"),
        libc::SIGFPE => Some("SIGFPE is about the thread that got it, which cannot go on"),
        libc::SIGILL => Some("SIGILL is about the thread that got it, which cannot go on"),
        1..=LAST => None,
        _ => Some("there is no signal of that number: they are 1 to 64"),
    }
}

/// A seat that is taken: signals that come are pending until they are taken.
#[derive(Debug)]
pub(crate) struct Receiving {
    seat: usize,
    /// How many bits the search for the next one skips: behind the last, so that one that comes
    /// all the time keeps no other from being seen.
    skip: AtomicU32,
    /// Closed after the seat is given back.
    _bell: OwnedFd,
}

/// Begins to receive `signals`, none of which is refused; also gives the descriptor that becomes
/// readable when one has come. An error names the signal it is about, if it is about one.
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
    // Last: a signal that has waited comes at once, and is noted.
    unblock(signals).map_err(|error| (error, 0))?;
    Ok((receiving, read))
}

impl Receiving {
    /// A signal that is pending, which it is no more; `WouldBlock` with an empty bell.
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

/// Reads until there is nothing left, and says so: `WouldBlock` if all is well.
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
        // In a child that was forked off there is nothing to give back: its parent has the seat.
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
            // Wanted before it is there, so that the first one to come is noted.
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

    /// One more wants the signal.
    fn begin(&mut self, signal: c_int) -> io::Result<()> {
        let number = index(signal);
        if self.users[number] == 0 {
            let now = action(signal, None)?;
            // If another handler was put on top of ours, ours is still called by it: to put ours
            // on top once more would make the two call each other for ever.
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

    /// One less wants it; the last one leaves it as it was.
    fn end(&mut self, signal: c_int) {
        let number = index(signal);
        self.users[number] -= 1;
        if self.users[number] == 0 && action(signal, None).is_ok_and(|now| is_ours(&now)) {
            if let Some(mut before) = self.before[number].take() {
                if before.sa_flags & libc::SA_RESETHAND != 0 && PREVIOUS[number].load(SeqCst) == 0 {
                    // It had its signal.
                    before.sa_sigaction = libc::SIG_DFL;
                }
                let restored = action(signal, Some(&before));
                debug_assert!(restored.is_ok(), "it had this action before");
            }
        }
    }
}

/// What the system said, and about which signal; 0 for none.
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
    // Calls getpid, and nothing else.
    std::process::id()
}

/// What a signal does; and what it is to do from now on, if that is given.
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

/// The place of what was there before ours, among those that were met.
fn met(before: &libc::sigaction) -> io::Result<usize> {
    let address = before.sa_sigaction;
    let flags = before.sa_flags & (libc::SA_SIGINFO | libc::SA_RESETHAND);
    let call = match address {
        libc::SIG_DFL => return Ok(0),
        libc::SIG_IGN => Call::Nothing,
        // SAFETY: the code that put a function there said by the flag that it is a handler with
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

/// Our handler, in the place of `before`.
fn ours(before: &libc::sigaction) -> libc::sigaction {
    let kept = libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT | libc::SA_NODEFER;
    let mut ours = *before;
    ours.sa_sigaction = address(on_signal);
    // RESTART: system calls of others are not to fail for it. ONSTACK: code of other languages
    // runs on stacks that have no room for a handler.
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

/// The handler. See the head of this file for what it may do.
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

/// What is to be called besides; what is called once, for the first of several signals only.
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

/// A number that was installed is 1 to 64; nothing in a handler may panic.
fn index_in_handler(signal: c_int) -> usize {
    usize::try_from(signal).unwrap_or(0).min(NUMBERS - 1)
}

/// Takes the handler away and lets the signal come again, which it does when this one returns.
fn by_default(signal: c_int) {
    // SAFETY: both may be called in a handler; a sigaction is valid as zeros, which say SIG_DFL.
    unsafe {
        let action: libc::sigaction = zeroed();
        libc::sigaction(signal, &raw const action, ptr::null_mut());
        libc::raise(signal);
    }
}

/// Lets signals arrive on this thread that were blocked, perhaps since the process began.
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
