//! Waiting: passes the baton on, or lets the clock jump.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::kernel::{self, Locked};
use super::real::real;
use crate::threads::{Wait, Waited};
use crate::world::{Nanos, World};

/// Waits until the condition holds, or a (true) time has come. Other threads of the world run
/// meanwhile; if none can, the clock jumps.
pub(crate) fn wait(wait: Wait, until: Option<Nanos>) -> Waited {
    wait_unless(wait, until, || false)
}

/// Like `wait`, for a futex: a thread outside of the world may change its value unnoticed.
pub(crate) fn wait_on_futex(address: *const AtomicU32, value: u32, until: Option<Nanos>) -> Waited {
    // SAFETY: the thread that waits here keeps the futex alive.
    let changed = || unsafe { &*address }.load(Ordering::SeqCst) != value;
    wait_unless(Wait::Futex(address.expose_provenance()), until, changed)
}

fn wait_unless(wait: Wait, until: Option<Nanos>, over: impl Fn() -> bool) -> Waited {
    let me = kernel::thread();
    let mut locked = Locked::new();
    let Some(world) = locked.world() else {
        return Waited::Stuck;
    };
    let here = world.here;
    world.threads.set_wait(me, Some((wait, until)));
    let mut patience = 0;
    let result = loop {
        let Some(world) = locked.world() else {
            break Waited::Stuck;
        };
        world.advance();
        if over() {
            break Waited::Ready;
        }
        match world.next_thread(None) {
            Some(next) if next == me => {
                break world.waited(me).expect("it was drawn");
            }
            Some(next) => {
                world.threads.holder = next;
                locked.wait_for_baton(me);
                continue;
            }
            None => {}
        }
        // A thread outside of the world may hold a lock, which it releases soon.
        let alone = world.threads.count() == 1;
        if world.threads.waits_for_futex() && (alone || patience < 20) {
            patience += 1;
            drop(locked);
            real_pause();
            locked = Locked::new();
            continue;
        }
        patience = 0;
        if world.announce_idle() {
            continue;
        }
        match world.next_moment() {
            Some(at) => world.move_to(at),
            // The first thread gets `Stuck`: the next draw finds it.
            None => {
                world.stuck = true;
                world.note("every task waits, and nothing can ever happen");
            }
        }
    };
    if let Some(world) = locked.world() {
        world.threads.set_wait(me, None);
        world.here = here;
    }
    result
}

/// Lets the other threads run until all of them wait; true if one ran.
pub(crate) fn let_threads_run() -> bool {
    let me = kernel::thread();
    let mut ran = false;
    let mut locked = Locked::new();
    while let Some(world) = locked.world() {
        let here = world.here;
        let Some(next) = world.next_thread(Some(me)) else {
            break;
        };
        world
            .threads
            .set_wait(me, Some((Wait::Time, Some(world.now))));
        world.threads.holder = next;
        locked.wait_for_baton(me);
        ran = true;
        if let Some(world) = locked.world() {
            world.threads.set_wait(me, None);
            world.here = here;
        }
    }
    ran
}

/// Pauses for a tenth of a millisecond of the real clock.
fn real_pause() {
    type Timespec = *const libc::timespec;
    type Left = *mut libc::timespec;
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 100_000,
    };
    let (time, left): (Timespec, Left) = (&raw const time, std::ptr::null_mut());
    // A pause that a signal cuts short is as good.
    let _early = real!(nanosleep(time: Timespec, left: Left) -> i32);
}

/// Returns the true time at this distance from now.
pub(crate) fn after(world: &World, wait: Duration) -> Nanos {
    let wait = Nanos::try_from(wait.as_nanos()).unwrap_or(Nanos::MAX);
    world.now.saturating_add(wait)
}
