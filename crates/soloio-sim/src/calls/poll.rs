//! epoll, poll, eventfd, timerfd.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_short, c_uint};
use std::time::Duration;

use libc::{epoll_event, itimerspec, nfds_t, pollfd, sigset_t, timespec};

use super::real::real;
use super::{Call, int, kernel, set_errno, wait};
use crate::faults::Fault;
use crate::run;
use crate::threads::{Wait, Waited};
use crate::world::counters::{EventFd, TimerFd};
use crate::world::descriptors::{Id, Object};
use crate::world::epoll::Epoll;
use crate::world::readiness::bits;
use crate::world::{Nanos, Result, World};

type Event = *mut epoll_event;
type PollFds = *mut pollfd;
type Timer = *const itimerspec;
type TimerMut = *mut itimerspec;
type Signals = *const sigset_t;

/// epoll_create1(2).
#[unsafe(no_mangle)]
extern "C" fn epoll_create1(flags: c_int) -> c_int {
    let Some(call) = Call::here("epoll_create1") else {
        return real!(epoll_create1(flags: c_int) -> c_int);
    };
    int(call.run(|world| {
        world.may_open()?;
        let cloexec = flags & libc::EPOLL_CLOEXEC != 0;
        let fd = world.open(Object::Epoll(Epoll::default()), false, cloexec)?;
        Ok(fd.into())
    }))
}

/// epoll_ctl(2).
///
/// # Safety
///
/// `event` is null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(epfd: c_int, operation: c_int, fd: c_int, event: Event) -> c_int {
    let Some(call) = Call::on("epoll_ctl", epfd) else {
        return real!(epoll_ctl(epfd: c_int, operation: c_int, fd: c_int, event: Event) -> c_int);
    };
    int(call.run_on(|world, _| {
        // SAFETY: as the caller promises; the type is packed.
        let event = (!event.is_null()).then(|| unsafe { event.read_unaligned() });
        let event = event.map(|event| (event.events, event.u64));
        world.epoll_ctl(epfd, operation, fd, event).map(|()| 0)
    }))
}

fn until(world: &World, timeout: Option<Duration>) -> Option<Nanos> {
    timeout.map(|timeout| wait::after(world, timeout))
}

fn millis(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

/// Waits for events of a set, and writes them to `events`.
fn waits(call: Call, events: Event, most: c_int, timeout: Option<Duration>) -> c_int {
    let Ok(most @ 1..) = usize::try_from(most) else {
        set_errno(libc::EINVAL);
        return -1;
    };
    let mut end = None;
    loop {
        let mut waits_on = None;
        let first = end.is_none();
        let count = call.run_on(|world, id| {
            end.get_or_insert_with(|| until(world, timeout));
            let passive = timeout == Some(Duration::ZERO);
            if first && !passive && world.strikes(Fault::Interrupt) {
                return Err(libc::EINTR);
            }
            let list = world.take_events(id, most)?;
            for (at, (bits, data)) in list.iter().enumerate() {
                let event = epoll_event {
                    events: *bits,
                    u64: *data,
                };
                // SAFETY: room for `most`, as the caller promises.
                unsafe { events.add(at).write_unaligned(event) };
            }
            let over = passive || end.flatten().is_some_and(|end| end <= world.now);
            if list.is_empty() && !over && !world.strikes(Fault::EarlyWake) {
                waits_on = Some(id);
            }
            Ok(i64::try_from(list.len()).expect("a few events"))
        });
        let Some(id) = waits_on else {
            return int(count);
        };
        if wait::wait(Wait::Ready(id, bits::IN), end.flatten()) == Waited::Stuck {
            let observed = run::wake_observer();
            set_errno(if observed { libc::EINTR } else { libc::EDEADLK });
            return -1;
        }
    }
}

/// epoll_wait(2).
///
/// # Safety
///
/// `events` has room for `most`.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(epfd: c_int, events: Event, most: c_int, timeout: c_int) -> c_int {
    match Call::on("epoll_wait", epfd) {
        Some(call) => waits(call, events, most, millis(timeout)),
        None => real!(epoll_wait(epfd: c_int, events: Event, most: c_int, timeout: c_int) -> c_int),
    }
}

/// epoll_pwait(2): no signal comes in a world.
///
/// # Safety
///
/// As `epoll_wait`; `signals` is null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    epfd: c_int,
    events: Event,
    most: c_int,
    timeout: c_int,
    signals: Signals,
) -> c_int {
    match Call::on("epoll_wait", epfd) {
        Some(call) => waits(call, events, most, millis(timeout)),
        None => real!(epoll_pwait(
            epfd: c_int, events: Event, most: c_int, timeout: c_int, signals: Signals
        ) -> c_int),
    }
}

/// The events of poll(2) are epoll's first ones.
fn asked(entry: &pollfd) -> u32 {
    u32::from(u16::from_ne_bytes(entry.events.to_ne_bytes())) | bits::ERR | bits::HUP
}

/// Checks all descriptors of a poll(2) once.
fn look(world: &mut World, list: &mut [pollfd], found: &mut BTreeMap<c_int, Id>) -> i64 {
    let mut count = 0;
    for entry in list {
        entry.revents = 0;
        if entry.fd < 0 {
            continue;
        }
        entry.revents = match world.descriptors.id(entry.fd) {
            Ok(id) => {
                found.insert(entry.fd, id);
                let ready = world.ready(id) & asked(entry) & 0x3fff;
                c_short::try_from(ready).expect("14 bits")
            }
            Err(_) => libc::POLLNVAL,
        };
        count += i64::from(entry.revents != 0);
    }
    count
}

/// poll(2). All descriptors have to be of one kernel: that of the first one.
///
/// # Safety
///
/// `count` entries at `list` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn poll(list: PollFds, count: nfds_t, timeout: c_int) -> c_int {
    let length = usize::try_from(count).unwrap_or(0);
    let entries = match length {
        0 => &mut [][..],
        // SAFETY: as the caller promises.
        _ => unsafe { std::slice::from_raw_parts_mut(list, length) },
    };
    let simulated = entries.iter().any(|entry| kernel::is_simulated(entry.fd));
    let sleeps = length == 0 && kernel::is_inside();
    if !simulated && !sleeps {
        return real!(poll(list: PollFds, count: nfds_t, timeout: c_int) -> c_int);
    }
    let call = Call {
        name: "poll",
        fd: entries.first().map_or(-1, |entry| entry.fd),
    };
    let mut end = None;
    loop {
        let mut waits_on = None;
        let ready = call.run(|world| {
            let mut found = BTreeMap::new();
            let end = *end.get_or_insert_with(|| until(world, millis(timeout)));
            let ready = look(world, entries, &mut found);
            if ready == 0 && end.is_none_or(|end| end > world.now) {
                let all = entries.iter().filter_map(|entry| {
                    let id = found.get(&entry.fd)?;
                    Some((*id, asked(entry)))
                });
                waits_on = Some(all.collect());
            }
            Ok(ready)
        });
        let Some(all) = waits_on else {
            return int(ready);
        };
        if wait::wait(Wait::Any(all), end.flatten()) == Waited::Stuck {
            set_errno(libc::EDEADLK);
            return -1;
        }
    }
}

/// eventfd(2).
#[unsafe(no_mangle)]
extern "C" fn eventfd(count: c_uint, flags: c_int) -> c_int {
    let Some(call) = Call::here("eventfd") else {
        return real!(eventfd(count: c_uint, flags: c_int) -> c_int);
    };
    int(call.run(|world| {
        world.may_open()?;
        let event = EventFd {
            count: count.into(),
            semaphore: flags & libc::EFD_SEMAPHORE != 0,
        };
        let (nonblocking, cloexec) = (
            flags & libc::EFD_NONBLOCK != 0,
            flags & libc::EFD_CLOEXEC != 0,
        );
        let fd = world.open(Object::Event(event), nonblocking, cloexec)?;
        Ok(fd.into())
    }))
}

/// timerfd_create(2).
#[unsafe(no_mangle)]
extern "C" fn timerfd_create(clock: c_int, flags: c_int) -> c_int {
    let Some(call) = Call::here("timerfd_create") else {
        return real!(timerfd_create(clock: c_int, flags: c_int) -> c_int);
    };
    int(call.run(|world| {
        world.may_open()?;
        let (nonblocking, cloexec) = (
            flags & libc::TFD_NONBLOCK != 0,
            flags & libc::TFD_CLOEXEC != 0,
        );
        let fd = world.open(Object::Timer(TimerFd::default()), nonblocking, cloexec)?;
        Ok(fd.into())
    }))
}

/// The nanoseconds of a time, if it is one.
pub(super) fn nanos(time: timespec) -> Result<Nanos> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_| libc::EINVAL)?;
    let rest = u64::try_from(time.tv_nsec).map_err(|_| libc::EINVAL)?;
    if rest >= 1_000_000_000 {
        return Err(libc::EINVAL);
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

/// timerfd_settime(2). The former setting is not returned: no program here asks for it.
///
/// # Safety
///
/// `new` is valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_settime(fd: c_int, flags: c_int, new: Timer, old: TimerMut) -> c_int {
    let Some(call) = Call::on("timerfd_settime", fd) else {
        return real!(
            timerfd_settime(fd: c_int, flags: c_int, new: Timer, old: TimerMut) -> c_int
        );
    };
    int(call.run(|world| {
        // SAFETY: as the caller promises.
        let new = unsafe { *new };
        let (value, interval) = (nanos(new.it_value)?, nanos(new.it_interval)?);
        let absolute = flags & libc::TFD_TIMER_ABSTIME != 0;
        world.set_timer(fd, absolute, value, interval).map(|()| 0)
    }))
}
