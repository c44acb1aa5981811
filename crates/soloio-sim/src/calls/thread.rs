//! Threads and futexes: a thread started by a world's thread is in the world too.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use libc::{pthread_attr_t, pthread_t, timespec};

use super::kernel::{self, Locked};
use super::poll::nanos;
use super::real::real;
use super::{set_errno, wait};
use crate::threads::{ThreadId, Wait, Waited};
use crate::world::Nanos;

type Attributes = *const pthread_attr_t;
type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type Argument = *mut c_void;
type Handle = *mut pthread_t;
type Returned = *mut *mut c_void;

/// The start of a new thread.
struct Beginning {
    start: Start,
    argument: Argument,
    id: ThreadId,
}

/// The numbers of threads by their handles, for joining.
static HANDLES: Mutex<BTreeMap<pthread_t, ThreadId>> = Mutex::new(BTreeMap::new());

/// pthread_create(3).
///
/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    handle: Handle,
    attributes: Attributes,
    start: Start,
    argument: Argument,
) -> c_int {
    if !kernel::is_inside() {
        return real!(pthread_create(
            handle: Handle, attributes: Attributes, start: Start, argument: Argument
        ) -> c_int);
    }
    let id = kernel::new_thread();
    kernel::with(|world| {
        let here = world.here;
        world.threads.begin(id, here);
        world.note("a thread begins");
    });
    let beginning = Box::into_raw(Box::new(Beginning {
        start,
        argument,
        id,
    }));
    let (start, argument): (Start, Argument) = (begin, beginning.cast());
    let failed = real!(pthread_create(
        handle: Handle, attributes: Attributes, start: Start, argument: Argument
    ) -> c_int);
    if failed == 0 {
        // SAFETY: libc has written it.
        let handle = unsafe { handle.read() };
        let mut handles = HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
        handles.insert(handle, id);
    } else {
        // SAFETY: no thread has taken it.
        drop(unsafe { Box::from_raw(beginning) });
        kernel::with(|world| world.threads.end(id));
    }
    failed
}

/// The first function of a thread in a world.
extern "C" fn begin(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` above made it for this thread alone.
    let Beginning {
        start,
        argument,
        id,
    } = *unsafe { Box::from_raw(argument.cast::<Beginning>()) };
    let mut locked = Locked::new();
    locked.wait_for_baton(id);
    if let Some(world) = locked.world() {
        world.here = world.threads.machine(id).unwrap_or(0);
    }
    drop(locked);
    kernel::set_thread(id);
    let returned = start(argument);
    end(id);
    returned
}

/// Ends a thread: passes the baton on, and moves the clock if necessary.
fn end(id: ThreadId) {
    // The last wait, which another thread ends by taking the baton.
    kernel::set_thread(0);
    let mut locked = Locked::new();
    if let Some(world) = locked.world() {
        world.threads.end(id);
        world.note("a thread ends");
        while world.threads.count() > 0 {
            world.advance();
            if let Some(next) = world.next_thread(None) {
                world.threads.holder = next;
                break;
            }
            if world.announce_idle() {
                continue;
            }
            match world.next_moment() {
                Some(at) => world.move_to(at),
                None => world.stuck = true,
            }
        }
    }
    locked.pass_baton();
}

/// pthread_join(3).
///
/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(handle: pthread_t, returned: Returned) -> c_int {
    if kernel::is_inside() {
        let mut handles = HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
        let id = handles.remove(&handle);
        drop(handles);
        if let Some(id) = id {
            if wait::wait(Wait::End(id), None) == Waited::Stuck {
                give_up("a thread is joined that never ends");
            }
        }
    }
    real!(pthread_join(handle: pthread_t, returned: Returned) -> c_int)
}

/// Aborts: a thread of the world waits for ever, in a call that cannot fail.
fn give_up(why: &str) -> ! {
    let lines = crate::report::tail(40);
    eprintln!("soloio-sim: {why}, and nothing can ever happen\n{lines}");
    std::process::abort()
}

/// Returns the end of a futex wait, in true time: a nanosecond after its limit, as in Linux, where
/// time passes before the caller sees it. At the limit itself std's `wait_timeout_while` has
/// waited no longer than it may, and would wait again and again, in a clock that stands.
///
/// # Safety
///
/// `time` is null or valid.
unsafe fn limit(operation: c_int, time: *const timespec) -> Option<Nanos> {
    if time.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let time = nanos(unsafe { *time }).unwrap_or(0);
    let absolute = operation & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT_BITSET;
    kernel::with(|world| {
        let limit = match absolute {
            true => world.true_time(time),
            false => world.now.saturating_add(time),
        };
        limit.saturating_add(1)
    })
}

/// # Safety
///
/// `address` is that of a futex, `time` null or valid.
unsafe fn futex_wait(
    address: *const AtomicU32,
    operation: c_int,
    value: u32,
    time: *const timespec,
) -> c_long {
    // SAFETY: as the caller promises. No other thread of the world runs between this and the wait.
    let now = unsafe { &*address }.load(Ordering::SeqCst);
    if now != value {
        set_errno(libc::EAGAIN);
        return -1;
    }
    // SAFETY: as the caller promises.
    let until = unsafe { limit(operation, time) };
    match wait::wait_on_futex(address, value, until) {
        Waited::Ready => 0,
        Waited::TimedOut => {
            set_errno(libc::ETIMEDOUT);
            -1
        }
        Waited::Stuck => give_up("the first thread waits for another one"),
    }
}

/// syscall(2) as std uses it: futexes for its locks, and entropy.
///
/// # Safety
///
/// As for the system call that `number` names.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let inside = kernel::is_inside();
    if number == libc::SYS_futex && (inside || kernel::exists() && !kernel::is_locked()) {
        let operation = c_int::try_from(b & 0xffff).expect("16 bits");
        let command = operation & libc::FUTEX_CMD_MASK;
        if matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) && inside {
            #[allow(clippy::cast_possible_truncation, reason = "a futex has 32 bits")]
            let value = c as u32;
            // SAFETY: as the caller promises.
            return unsafe {
                futex_wait(
                    std::ptr::with_exposed_provenance(a),
                    operation,
                    value,
                    std::ptr::with_exposed_provenance(d),
                )
            };
        }
        if matches!(command, libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET) {
            let count = c.min(i32::MAX as usize);
            let woken = kernel::with(|world| world.threads.wake_futex(a, count)).unwrap_or(0);
            if woken == count {
                return c_long::try_from(woken).expect("a few threads");
            }
        }
    }
    if number == libc::SYS_getrandom && inside {
        let flags = libc::c_uint::try_from(c).unwrap_or(0);
        let buffer = std::ptr::with_exposed_provenance_mut(a);
        // SAFETY: as the caller promises.
        let count = unsafe { libc::getrandom(buffer, b, flags) };
        return c_long::try_from(count).expect("as wide on 64-bit systems");
    }
    real!(syscall(
        number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize
    ) -> c_long)
}

/// sched_yield(2): lets other threads of the world run.
#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    if kernel::is_inside() {
        let until = kernel::with(|world| world.now);
        let _over = wait::wait(Wait::Time, until);
        return 0;
    }
    real!(sched_yield() -> c_int)
}
