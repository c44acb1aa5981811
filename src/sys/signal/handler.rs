//! The handler of signals, and the state that it shares with the receivers.
//!
//! The handler may run at any moment on any thread, so it takes no lock and allocates nothing: it
//! uses the atomics of [`SEATS`], [`MET`], [`PREVIOUS`] and [`OWNER`], and calls `getpid`, `write`,
//! and in the worst case `sigaction` and `raise`, all of which are allowed there
//! (signal-safety(7)). It restores `errno`. A seat's descriptor is closed only after all handlers
//! that may have read its number have left (`visitors`): none ever writes to a number that was
//! reused.

use std::io;
use std::mem::{transmute, zeroed};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
use libc::__errno as errno;
#[cfg(any(target_os = "linux", target_os = "dragonfly"))]
use libc::__errno_location as errno;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
use libc::__error as errno;
use libc::{c_int, c_void, siginfo_t};

/// The highest number: a set of signals is 64 bits.
pub(super) const LAST: c_int = 64;
/// The largest number of receivers in a process at a time.
pub(super) const ROOM: usize = 1024;
/// One entry for each signal's number.
pub(super) const NUMBERS: usize = LAST as usize + 1;

/// One receiver, in the form for the handler.
pub(super) struct Seat {
    /// The descriptor to write to, plus 1; 0 if the seat is free.
    pub(super) bell: AtomicI32,
    /// The wanted signals, one bit each; and those that have come.
    pub(super) wanted: AtomicU64,
    pub(super) pending: AtomicU64,
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
    pub(super) fn rise(&self) {
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
pub(super) enum Call {
    Default,
    Nothing,
    Plain(extern "C" fn(c_int)),
    Informed(Handler),
}

pub(super) static SEATS: [Seat; ROOM] = [const { Seat::new() }; ROOM];
/// Seats from this number on were never taken.
pub(super) static SEATS_USED: AtomicUsize = AtomicUsize::new(0);
/// Each handler that was replaced, stored once and never changed, so that our handler reads it
/// consistently. The first entry is that of [`Call::Default`].
static MET: [OnceLock<Previous>; 256] = [const { OnceLock::new() }; 256];
/// The entries of the handlers that ours has replaced.
pub(super) static PREVIOUS: [AtomicUsize; NUMBERS] = [const { AtomicUsize::new(0) }; NUMBERS];
/// The process that these signals belong to; 0 while no seat is taken.
pub(super) static OWNER: AtomicU32 = AtomicU32::new(0);

pub(super) fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

pub(super) fn process() -> u32 {
    // Calls only getpid.
    std::process::id()
}

/// Returns the entry of a former action, which is added if it is new.
pub(super) fn met(before: &libc::sigaction) -> io::Result<usize> {
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
pub(super) fn ours(before: &libc::sigaction) -> libc::sigaction {
    let kept = libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT | libc::SA_NODEFER;
    let mut ours = *before;
    ours.sa_sigaction = address(on_signal);
    // RESTART: system calls of other code must not fail because of it. ONSTACK: code of other
    // languages may run on stacks without room for a handler.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    ours.sa_flags |= before.sa_flags & kept;
    ours
}

pub(super) fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == address(on_signal)
}

pub(super) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

pub(super) fn address(handler: Handler) -> usize {
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
pub(super) fn previous(number: usize) -> Call {
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
