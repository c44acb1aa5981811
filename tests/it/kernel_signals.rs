//! What the tests of signals ask of the kernel: to send them, to see and set what they do, to fork.

#![allow(unsafe_code, reason = "system calls; each is explained")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Sends a signal to this process: any of its threads may get it.
pub(crate) fn send(signal: i32) {
    // SAFETY: the process is ours.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}

/// Sends a signal to this thread, which has handled it when this returns.
pub(crate) fn raise(signal: i32) {
    // SAFETY: the thread is ours.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// What a signal does: the address of a handler, `SIG_DFL` or `SIG_IGN`.
pub(crate) fn action(signal: i32) -> usize {
    exchange(signal, None)
}

/// Sets what a signal does, and says what it did.
pub(crate) fn set_action(signal: i32, action: usize) -> usize {
    exchange(signal, Some(action))
}

fn exchange(signal: i32, new: Option<usize>) -> usize {
    exchange_with(signal, new, libc::SA_RESTART)
}

fn exchange_with(signal: i32, new: Option<usize>, flags: i32) -> usize {
    // SAFETY: sigactions are integers and pointers, valid as zeros. What is put in place is one of
    // the handlers below, or what was there before.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = new.unwrap_or_default();
        action.sa_flags = flags;
        let given = new.map_or(std::ptr::null(), |_| &raw const action);
        assert_eq!(libc::sigaction(signal, given, &raw mut old), 0);
        old.sa_sigaction
    }
}

static COUNT: AtomicUsize = AtomicUsize::new(0);
/// How many signals the handler is to send itself, how deep it is inside itself, and was at most.
static AGAIN: AtomicUsize = AtomicUsize::new(0);
static DEPTH: AtomicUsize = AtomicUsize::new(0);
static DEEPEST: AtomicUsize = AtomicUsize::new(0);
static BELOW: AtomicUsize = AtomicUsize::new(0);

/// Counts a signal, and does what was done before.
extern "C" fn count(signal: i32) {
    COUNT.fetch_add(1, SeqCst);
    DEEPEST.fetch_max(DEPTH.fetch_add(1, SeqCst) + 1, SeqCst);
    if AGAIN.swap(0, SeqCst) != 0 {
        raise(signal);
    }
    DEPTH.fetch_sub(1, SeqCst);
    let below = BELOW.load(SeqCst);
    if ![libc::SIG_DFL, libc::SIG_IGN].contains(&below) {
        // SAFETY: the address of a handler; what takes three arguments is only the library's,
        // which takes the two that are missing for nothing but to pass them on.
        unsafe {
            let below: extern "C" fn(i32, usize, usize) = std::mem::transmute(below);
            below(signal, 0, 0);
        }
    }
}

/// Puts a handler that counts on top of what is there: only for a test that runs alone.
pub(crate) fn count_on_top(signal: i32) -> usize {
    BELOW.store(action(signal), SeqCst);
    set_action(signal, counting());
    counting()
}

/// Puts the handler that counts in place, with these flags: only for a test that runs alone.
pub(crate) fn set_counting(signal: i32, flags: i32) -> usize {
    exchange_with(signal, Some(counting()), flags);
    counting()
}

/// The next signal's handler sends it once more, and how deep handlers were in each other.
pub(crate) fn raise_again_in_handler() {
    AGAIN.store(1, SeqCst);
}

pub(crate) fn deepest() -> usize {
    DEEPEST.load(SeqCst)
}

/// Blocks a signal on this thread; says which were blocked before.
pub(crate) fn block(signal: i32) -> libc::sigset_t {
    // SAFETY: a set is integers, valid as zeros, and the calls fill it in.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        if signal != 0 {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut old);
        old
    }
}

pub(crate) fn is_blocked(signal: i32) -> bool {
    let blocked = block(0);
    // SAFETY: a set that is filled in.
    unsafe { libc::sigismember(&raw const blocked, signal) == 1 }
}

/// Has the process started with a signal blocked.
pub(crate) fn start_blocked(command: &mut Command, signal: i32) {
    let block = move || {
        block(signal);
        Ok(())
    };
    // SAFETY: the closure makes two calls that are allowed after a fork.
    unsafe { command.pre_exec(block) };
}

fn counting() -> usize {
    count as extern "C" fn(i32) as usize
}

/// How many the counting handler has seen.
pub(crate) fn counted() -> usize {
    COUNT.load(SeqCst)
}

/// The error number of this thread.
pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().expect("a number")
}

/// Sets the error number of this thread.
pub(crate) fn set_errno(number: i32) {
    // SAFETY: the place is the thread's own.
    unsafe { *libc::__errno_location() = number };
}

/// What a child process that was forked off and did `work` ended by: `Err` of a signal.
pub(crate) fn forked(work: impl FnOnce()) -> Result<i32, i32> {
    // SAFETY: the child calls only what is safe after a fork, and leaves by `_exit`.
    unsafe {
        match libc::fork() {
            -1 => panic!("{}", io::Error::last_os_error()),
            0 => {
                work();
                libc::_exit(0)
            }
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                match libc::WIFSIGNALED(status) {
                    true => Err(libc::WTERMSIG(status)),
                    false => Ok(libc::WEXITSTATUS(status)),
                }
            }
        }
    }
}
