//! The parent's requests to a server process: a count (SIGUSR1) and the end (SIGTERM).
//!
//! By signals, because a thread that listens for commands would make the server multi-threaded, and
//! the kernel's descriptor look-ups and the allocator's locks are cheaper in a process with one
//! thread.

use std::io;
use std::mem;
use std::ptr;

use super::check;
use crate::counting;

/// Prints a line for each SIGUSR1 (allocations so far), ends at SIGTERM, and dies together with the
/// parent.
pub fn install_in_server() -> io::Result<()> {
    handle(libc::SIGUSR1, report)?;
    handle(libc::SIGTERM, leave)?;
    // SAFETY: takes two integers and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    Ok(())
}

/// Sends `signal` to process `pid`.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let number = match signal {
        Signal::Report => libc::SIGUSR1,
        Signal::Leave => libc::SIGTERM,
    };
    // SAFETY: takes two integers and touches no memory of ours.
    check(unsafe { libc::kill(pid, number) })?;
    Ok(())
}

/// The two requests.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Report,
    Leave,
}

fn handle(number: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: a `sigaction` is plain integers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is readable, its handler calls only async-signal-safe functions.
    check(unsafe { libc::sigaction(number, &raw const action, ptr::null_mut()) })?;
    Ok(())
}

extern "C" fn report(_: libc::c_int) {
    // Formatted by hand: the standard formatting may allocate, and a handler must not.
    let mut line = [b'\n'; 24];
    let mut at = line.len() - 1;
    let mut rest = counting::allocations();
    loop {
        at -= 1;
        line[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let text = &line[at..];
    // SAFETY: `text` is readable; write(2) is async-signal-safe. If the parent has ended, this
    // process ends too, so the result is not needed.
    unsafe { libc::write(libc::STDOUT_FILENO, text.as_ptr().cast(), text.len()) };
}

extern "C" fn leave(_: libc::c_int) {
    // SAFETY: `_exit` is async-signal-safe and does not return.
    unsafe { libc::_exit(0) };
}
