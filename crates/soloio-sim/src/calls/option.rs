//! getsockopt, setsockopt, ioctl.

use std::ffi::{c_int, c_ulong, c_void};
use std::mem::size_of;
use std::time::Duration;

use libc::socklen_t;

use super::real::real;
use super::{Call, int};
use crate::world::Result;

type Room = *mut c_void;
type Value = *const c_void;
type Len = *mut socklen_t;

/// Writes a value as far as there is room, and sets `length`.
///
/// # Safety
///
/// `to` has as many bytes as `length` says.
unsafe fn put<T: Copy>(value: T, to: Room, length: Len) -> Result<i64> {
    if to.is_null() || length.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: as the caller promises.
    unsafe {
        let count = size_of::<T>().min(*length as usize);
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), to.cast(), count);
        *length = socklen_t::try_from(count).expect("a small value");
    }
    Ok(0)
}

/// getsockopt(2).
///
/// # Safety
///
/// `value` has as many bytes as `length` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: Room,
    length: Len,
) -> c_int {
    let Some(call) = Call::on("getsockopt", fd) else {
        return real!(
            getsockopt(fd: c_int, level: c_int, name: c_int, value: Room, length: Len) -> c_int
        );
    };
    int(call.run_on(|world, id| {
        // SAFETY: as the caller promises, in each case.
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let time = world.linger(id);
                let linger = libc::linger {
                    l_onoff: time.is_some().into(),
                    l_linger: time.map_or(0, |time| c_int::try_from(time.as_secs()).unwrap_or(0)),
                };
                // SAFETY: as the caller promises.
                unsafe { put(linger, value, length) }
            }
            (libc::SOL_SOCKET, libc::SO_PEERCRED) => {
                let credentials = libc::ucred {
                    // SAFETY: as the caller promises.
                    pid: unsafe { libc::getpid() },
                    // SAFETY: as the caller promises.
                    uid: unsafe { libc::geteuid() },
                    // SAFETY: as the caller promises.
                    gid: unsafe { libc::getegid() },
                };
                // SAFETY: as the caller promises.
                unsafe { put(credentials, value, length) }
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                let limit = world.limit(id, name)?.unwrap_or_default();
                let time = libc::timeval {
                    tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
                    tv_usec: limit.subsec_micros().into(),
                };
                // SAFETY: as the caller promises.
                unsafe { put(time, value, length) }
            }
            // SAFETY: as the caller promises.
            (libc::SOL_SOCKET, libc::SO_MEMINFO) => unsafe { put([0_u32; 9], value, length) },
            _ => {
                let number = world.option(id, level, name)?;
                // SAFETY: as the caller promises.
                unsafe { put(number, value, length) }
            }
        }
    }))
}

/// setsockopt(2).
///
/// # Safety
///
/// `value` has as many bytes as `length` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: Value,
    length: socklen_t,
) -> c_int {
    let Some(call) = Call::on("setsockopt", fd) else {
        return real!(
            setsockopt(fd: c_int, level: c_int, name: c_int, value: Value, length: socklen_t)
                -> c_int
        );
    };
    int(call.run_on(|world, id| {
        let length = length as usize;
        if value.is_null() || length == 0 {
            return Err(if value.is_null() {
                libc::EFAULT
            } else {
                libc::EINVAL
            });
        }
        if (level, name) == (libc::SOL_SOCKET, libc::SO_LINGER) {
            if length < size_of::<libc::linger>() {
                return Err(libc::EINVAL);
            }
            // SAFETY: the length was just checked.
            let linger = unsafe { value.cast::<libc::linger>().read_unaligned() };
            let seconds = u64::try_from(linger.l_linger).unwrap_or(0);
            let time = (linger.l_onoff != 0).then(|| Duration::from_secs(seconds));
            world.set_linger(id, time)?;
            return Ok(0);
        }
        if let (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) = (level, name) {
            if length < size_of::<libc::timeval>() {
                return Err(libc::EINVAL);
            }
            // SAFETY: the length was just checked.
            let time = unsafe { value.cast::<libc::timeval>().read_unaligned() };
            let micros = u32::try_from(time.tv_usec).ok();
            let micros = micros.filter(|micros| *micros < 1_000_000);
            let micros = micros.ok_or(libc::EDOM)?;
            // Linux takes a time before the call for none.
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            world.set_limit(id, name, Duration::new(seconds, micros * 1000))?;
            return Ok(0);
        }
        let number = match length {
            // SAFETY: one byte, as the caller promises.
            1..4 => c_int::from(unsafe { value.cast::<u8>().read() }),
            // SAFETY: at least as long as that.
            _ => unsafe { value.cast::<c_int>().read_unaligned() },
        };
        world.set_option(id, level, name, number).map(|()| 0)
    }))
}

/// ioctl(2): the requests that return a number of bytes, and `FIONBIO`.
///
/// # Safety
///
/// `argument` has the type that the request needs.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_int) -> c_int {
    type Argument = *mut c_int;
    let Some(call) = Call::on("ioctl", fd) else {
        return real!(ioctl(fd: c_int, request: c_ulong, argument: Argument) -> c_int);
    };
    int(call.run_on(|world, id| {
        let number = match request {
            libc::FIONREAD => world.unread(id)?,
            libc::TIOCOUTQ => world.unacknowledged(id)?,
            libc::FIONBIO => {
                // SAFETY: as the caller promises.
                let on = unsafe { argument.read() } != 0;
                world.set_nonblocking(id, on);
                return Ok(0);
            }
            _ => return Err(libc::ENOTTY),
        };
        // SAFETY: these requests write one integer.
        unsafe { argument.write(c_int::try_from(number).unwrap_or(c_int::MAX)) };
        Ok(0)
    }))
}
