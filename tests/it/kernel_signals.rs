//! Kernel functions for the tests of signals: sending them, reading and setting their actions,
//! fork.

#![allow(unsafe_code, reason = "system calls; each is explained")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Sends a signal to this process: any of its threads may handle it.
pub(crate) fn send(signal: i32) {
    // SAFETY: the process is ours.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}

/// Sends a signal to this thread, which has handled it when the call returns.
pub(crate) fn raise(signal: i32) {
    // SAFETY: the thread is ours.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// Returns a signal's action: the address of a handler, `SIG_DFL` or `SIG_IGN`.
pub(crate) fn action(signal: i32) -> usize {
    exchange(signal, None)
}

/// Sets a signal's action, and returns the one before.
pub(crate) fn set_action(signal: i32, action: usize) -> usize {
    exchange(signal, Some(action))
}

fn exchange(signal: i32, new: Option<usize>) -> usize {
    exchange_with(signal, new, libc::SA_RESTART)
}

fn exchange_with(signal: i32, new: Option<usize>, flags: i32) -> usize {
    // SAFETY: sigactions are integers and pointers, valid as zeros. The new action is one of the
    // handlers below, or one that was set before.
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
/// The number of signals the handler is to send itself, its depth of nesting, and the deepest.
static AGAIN: AtomicUsize = AtomicUsize::new(0);
static DEPTH: AtomicUsize = AtomicUsize::new(0);
static DEEPEST: AtomicUsize = AtomicUsize::new(0);
static BELOW: AtomicUsize = AtomicUsize::new(0);

/// Counts a signal, then calls the handler that was set before.
extern "C" fn count(signal: i32) {
    COUNT.fetch_add(1, SeqCst);
    DEEPEST.fetch_max(DEPTH.fetch_add(1, SeqCst) + 1, SeqCst);
    if AGAIN.swap(0, SeqCst) != 0 {
        raise(signal);
    }
    DEPTH.fetch_sub(1, SeqCst);
    let below = BELOW.load(SeqCst);
    if ![libc::SIG_DFL, libc::SIG_IGN].contains(&below) {
        // SAFETY: the address is a handler's. Only the library's handler takes three arguments, and
        // it uses the two that are missing only to pass them on.
        unsafe {
            let below: extern "C" fn(i32, usize, usize) = std::mem::transmute(below);
            below(signal, 0, 0);
        }
    }
}

/// Sets the counting handler above the present one: only for a test that runs alone.
pub(crate) fn count_on_top(signal: i32) -> usize {
    BELOW.store(action(signal), SeqCst);
    set_action(signal, counting());
    counting()
}

/// Sets the counting handler with these flags: only for a test that runs alone.
pub(crate) fn set_counting(signal: i32, flags: i32) -> usize {
    exchange_with(signal, Some(counting()), flags);
    counting()
}

/// The signals that each of the two handlers below has seen, and those that came in another form.
static FORMS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

extern "C" fn plain(_signal: i32) {
    FORMS[0].fetch_add(1, SeqCst);
}

extern "C" fn informed(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    FORMS[1].fetch_add(1, SeqCst);
    // SAFETY: a handler with SA_SIGINFO gets valid pointers. If it is called in another form, this
    // may end the process, which is a failure as well.
    let right = unsafe { (*info).si_signo == signal && (*info).si_pid() == libc::getpid() };
    FORMS[2].fetch_add(usize::from(!right || context.is_null()), SeqCst);
}

/// Sets a handler that takes one argument, or one that takes three.
pub(crate) fn set_form(signal: i32, takes_three: bool) {
    let (handler, flags) = match takes_three {
        true => {
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = informed;
            (handler as usize, libc::SA_SIGINFO)
        }
        false => (plain as extern "C" fn(i32) as usize, 0),
    };
    exchange_with(signal, Some(handler), flags | libc::SA_RESTART);
}

/// The numbers of signals that the two have seen, and of those that came in a wrong form.
pub(crate) fn forms() -> [usize; 3] {
    [0, 1, 2].map(|form| FORMS[form].load(SeqCst))
}

/// Makes the next handler raise its signal once more; `deepest` returns the depth of nesting.
pub(crate) fn raise_again_in_handler() {
    AGAIN.store(1, SeqCst);
}

pub(crate) fn deepest() -> usize {
    DEEPEST.load(SeqCst)
}

/// Blocks a signal on this thread; returns the set that was blocked before.
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
    // SAFETY: the set is filled in.
    unsafe { libc::sigismember(&raw const blocked, signal) == 1 }
}

/// Makes the process start with a signal blocked.
pub(crate) fn start_blocked(command: &mut Command, signal: i32) {
    let block = move || {
        block(signal);
        Ok(())
    };
    // SAFETY: the closure makes two calls, both allowed after a fork.
    unsafe { command.pre_exec(block) };
}

fn counting() -> usize {
    count as extern "C" fn(i32) as usize
}

/// Returns the number of signals that the counting handler has seen.
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

/// Forks, runs `work` in the child, and returns its exit code, or as `Err` the signal that ended
/// it.
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
