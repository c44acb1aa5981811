//! Clocks, sleeps, entropy.

use std::ffi::{c_int, c_uint, c_void};

use libc::{clockid_t, size_t, ssize_t, timespec, timeval};

use super::poll::nanos;
use super::real::real;
use super::{Call, kernel, set_errno, wait};
use crate::threads::Wait;
use crate::world::{Nanos, World};

type Time = *mut timespec;
type TimeConst = *const timespec;
type Room = *mut c_void;
type Day = *mut timeval;

/// Returns the time in C's form. The calendar equals the clock: a day of the year 2070.
fn shown(now: Nanos) -> timespec {
    timespec {
        tv_sec: i64::try_from(now / 1_000_000_000).expect("some hundred years"),
        tv_nsec: i64::try_from(now % 1_000_000_000).expect("less than 10^9"),
    }
}

/// True for the clocks of a world; those that count CPU time are real.
fn is_simulated(clock: clockid_t) -> bool {
    let cpu = [
        libc::CLOCK_PROCESS_CPUTIME_ID,
        libc::CLOCK_THREAD_CPUTIME_ID,
    ];
    kernel::is_inside() && clock >= 0 && !cpu.contains(&clock)
}

fn read(world: &mut World, clock: clockid_t) -> Nanos {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => world.read_calendar(),
        _ => world.read_clock(),
    }
}

/// clock_gettime(2).
///
/// # Safety
///
/// `time` is valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: Time) -> c_int {
    if is_simulated(clock) {
        if let Some(now) = kernel::with(|world| read(world, clock)) {
            // SAFETY: as the caller promises.
            unsafe { time.write(shown(now)) };
            return 0;
        }
    }
    real!(clock_gettime(clock: clockid_t, time: Time) -> c_int)
}

/// gettimeofday(2).
///
/// # Safety
///
/// `day` is valid; `zone` is null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(day: Day, zone: Room) -> c_int {
    if kernel::is_inside() {
        if let Some(now) = kernel::with(World::read_calendar) {
            let now = shown(now);
            let now = timeval {
                tv_sec: now.tv_sec,
                tv_usec: now.tv_nsec / 1000,
            };
            // SAFETY: as the caller promises.
            unsafe { day.write(now) };
            return 0;
        }
    }
    real!(gettimeofday(day: Day, zone: Room) -> c_int)
}

/// Sleeps until a time of the machine's clock, or for a time.
fn sleeps(absolute: bool, time: Nanos) {
    let until = kernel::with(|world| match absolute {
        true => world.true_time(time),
        false => world.now.saturating_add(time),
    });
    // Only the time ends this wait.
    let _over = wait::wait(Wait::Time, until);
}

/// clock_nanosleep(2): std's sleep.
///
/// # Safety
///
/// `time` is valid; `left` is null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: TimeConst,
    left: Time,
) -> c_int {
    if !is_simulated(clock) {
        return real!(
            clock_nanosleep(clock: clockid_t, flags: c_int, time: TimeConst, left: Time) -> c_int
        );
    }
    // SAFETY: as the caller promises.
    match nanos(unsafe { *time }) {
        Ok(time) => {
            sleeps(flags & libc::TIMER_ABSTIME != 0, time);
            0
        }
        Err(errno) => errno,
    }
}

/// nanosleep(2).
///
/// # Safety
///
/// `time` is valid; `left` is null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: TimeConst, left: Time) -> c_int {
    if !kernel::is_inside() {
        return real!(nanosleep(time: TimeConst, left: Time) -> c_int);
    }
    // SAFETY: as the caller promises.
    match nanos(unsafe { *time }) {
        Ok(time) => {
            sleeps(false, time);
            0
        }
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

/// getrandom(2).
///
/// # Safety
///
/// `length` bytes at `buffer` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: Room, length: size_t, flags: c_uint) -> ssize_t {
    if length == 0 && kernel::is_inside() {
        // A library that finds out whether the call exists, once in a process: no event of the
        // world, since the next one would differ from it.
        return 0;
    }
    let Some(call) = Call::here("getrandom") else {
        return real!(getrandom(buffer: Room, length: size_t, flags: c_uint) -> ssize_t);
    };
    super::transfer::size(call.run(|world| {
        // SAFETY: as the caller promises.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        for part in bytes.chunks_mut(8) {
            let drawn = world.entropy.next().to_le_bytes();
            part.copy_from_slice(&drawn[..part.len()]);
        }
        Ok(i64::try_from(length).expect("no buffer is that long"))
    }))
}
