//! Cores: those this process may use, and pinning the calling thread to one of them.

use std::io;
use std::mem;
use std::sync::OnceLock;

use super::check;

/// Returns the core of the code under measurement: the in-process rows and the servers.
pub fn measured_core() -> usize {
    allowed()[0]
}

/// Returns the core of the load generator and of helper threads; another one if there is one.
pub fn helper_core() -> usize {
    allowed()[allowed().len().min(2) - 1]
}

/// Pins the calling thread (and threads it starts) to one core.
pub fn pin(core: usize) -> io::Result<()> {
    tie(&[core])
}

fn tie(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a `cpu_set_t` is plain integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &core in cores {
        // SAFETY: `set` is a valid set; the macro checks `core` against its size.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is readable for the size given.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// Lets the calling thread (and threads it starts) use every core the process was started with.
pub fn free() -> io::Result<()> {
    tie(allowed())
}

/// Returns the cores the process was started with, read once: pinning narrows the kernel's answer.
fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        // SAFETY: a `cpu_set_t` is plain integers, for which zero is a value.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        // SAFETY: `set` is writable for the size given.
        check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })
            .expect("a process may read its own affinity");
        let limit = usize::try_from(libc::CPU_SETSIZE).expect("a small positive constant");
        // SAFETY: every index is below the size of the set.
        let cores: Vec<usize> = (0..limit)
            .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
            .collect();
        assert!(!cores.is_empty(), "a running process has a core");
        cores
    })
}
