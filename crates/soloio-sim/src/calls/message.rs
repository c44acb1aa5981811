//! recvmsg, sendmsg, and several of them in one call.

use std::ffi::{c_int, c_uint};

use libc::{mmsghdr, msghdr, ssize_t, timespec};

use super::control::{self, Beside};
use super::real::real;
use super::transfer::{self, FOR_RECEIVING, FOR_SENDING};
use super::{Call, address, socket};
use crate::world::descriptors::{Id, Object};
use crate::world::sockets::Address;
use crate::world::{Result, World};

type Message = *mut msghdr;
type MessageConst = *const msghdr;
type Messages = *mut mmsghdr;
type Time = *mut timespec;

/// # Safety
///
/// `message` is valid, as for recvmsg(2).
unsafe fn receives(world: &mut World, id: Id, message: Message, flags: c_int) -> Result<i64> {
    // SAFETY: as the caller promises, here and below.
    let message = unsafe { &mut *message };
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between C libraries"
    )]
    let count = message.msg_iovlen as usize;
    // SAFETY: as the caller promises.
    let mut parts = unsafe { transfer::parts(message.msg_iov, count) };
    let received = transfer::receive(world, id, &mut parts, flags)?;
    message.msg_flags = 0;
    if received.whole > received.count {
        message.msg_flags |= libc::MSG_TRUNC;
    }
    let cloexec = flags & libc::MSG_CMSG_CLOEXEC != 0;
    // SAFETY: as the caller promises, in both cases.
    match received.segment {
        // SAFETY: as the caller promises.
        Some(size) => unsafe { control::write_segment(message, size) },
        // SAFETY: as the caller promises.
        None => unsafe { control::write(world, message, received.rights, cloexec) },
    }
    match received.from {
        Some(from) => {
            let room = &raw mut message.msg_namelen;
            // SAFETY: as the caller promises.
            unsafe { address::write(message.msg_name.cast(), room, &from) };
        }
        None => message.msg_namelen = 0,
    }
    let told = match flags & libc::MSG_TRUNC {
        0 => received.count,
        _ => received.whole,
    };
    Ok(i64::try_from(told).expect("no buffer is that long"))
}

/// # Safety
///
/// `message` is valid, as for sendmsg(2).
unsafe fn sends(world: &mut World, id: Id, message: MessageConst) -> Result<i64> {
    // SAFETY: as the caller promises, here and below; data is only read.
    let message = unsafe { &*message };
    let to = match message.msg_name.is_null() || message.msg_namelen == 0 {
        true => None,
        // SAFETY: as the caller promises.
        false => Some(unsafe { address::read(message.msg_name.cast(), message.msg_namelen) }?),
    };
    let to: Option<Address> = to.map(socket::with_file).transpose()?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between C libraries"
    )]
    let count = message.msg_iovlen as usize;
    // SAFETY: as the caller promises.
    let parts = unsafe { transfer::parts(message.msg_iov, count) };
    let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
    let mut beside = Beside::default();
    match world.descriptors.get(id) {
        // SAFETY: as the caller promises.
        Some(Object::Unix(_)) => beside.rights = unsafe { control::read(world, message) }?,
        // SAFETY: as the caller promises.
        Some(Object::Udp(_)) => beside.segment = unsafe { control::read_segment(message) },
        // Others ignore descriptors.
        _ => {}
    }
    let sent = transfer::send_parts(world, id, &parts, to.as_ref(), &mut beside);
    world.drop_rights(beside.rights);
    let count = sent?;
    Ok(i64::try_from(count).expect("no buffer is that long"))
}

/// recvmsg(2).
///
/// # Safety
///
/// `message` is valid, with all that it points at.
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(fd: c_int, message: Message, flags: c_int) -> ssize_t {
    let Some(call) = Call::on("recvmsg", fd) else {
        return real!(recvmsg(fd: c_int, message: Message, flags: c_int) -> ssize_t);
    };
    let now = flags & libc::MSG_DONTWAIT != 0;
    transfer::size(call.run_blocking(now, FOR_RECEIVING, |world, id| {
        // SAFETY: as the caller promises.
        unsafe { receives(world, id, message, flags) }
    }))
}

/// sendmsg(2).
///
/// # Safety
///
/// `message` is valid, with all that it points at.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: MessageConst, flags: c_int) -> ssize_t {
    let Some(call) = Call::on("sendmsg", fd) else {
        return real!(sendmsg(fd: c_int, message: MessageConst, flags: c_int) -> ssize_t);
    };
    let now = flags & libc::MSG_DONTWAIT != 0;
    transfer::size(call.run_blocking(now, FOR_SENDING, |world, id| {
        // SAFETY: as the caller promises.
        unsafe { sends(world, id, message) }
    }))
}

/// Continues until one fails; the failure is returned only if it is the first.
fn many(count: c_uint, mut one: impl FnMut(usize) -> Result<i64>) -> Result<i64> {
    let mut done = 0;
    for at in 0..count as usize {
        match one(at) {
            Ok(_) => done += 1,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// recvmmsg(2).
///
/// # Safety
///
/// `count` valid messages at `list`.
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    fd: c_int,
    list: Messages,
    count: c_uint,
    flags: c_int,
    time: Time,
) -> c_int {
    let Some(call) = Call::on("recvmmsg", fd) else {
        return real!(
            recvmmsg(fd: c_int, list: Messages, count: c_uint, flags: c_int, time: Time) -> c_int
        );
    };
    let now = flags & libc::MSG_DONTWAIT != 0;
    super::int(call.run_blocking(now, FOR_RECEIVING, |world, id| {
        many(count, |at| {
            // SAFETY: as the caller promises.
            unsafe {
                let message = &mut *list.add(at);
                let length = receives(world, id, &raw mut message.msg_hdr, flags)?;
                message.msg_len = c_uint::try_from(length).expect("a datagram is short");
                Ok(length)
            }
        })
    }))
}

/// sendmmsg(2).
///
/// # Safety
///
/// `count` valid messages at `list`.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmmsg(fd: c_int, list: Messages, count: c_uint, flags: c_int) -> c_int {
    let Some(call) = Call::on("sendmmsg", fd) else {
        return real!(sendmmsg(fd: c_int, list: Messages, count: c_uint, flags: c_int) -> c_int);
    };
    let now = flags & libc::MSG_DONTWAIT != 0;
    super::int(call.run_blocking(now, FOR_SENDING, |world, id| {
        many(count, |at| {
            // Without latency each has arrived, or is refused, before the next one.
            world.advance();
            // SAFETY: as the caller promises.
            unsafe {
                let message = &mut *list.add(at);
                let length = sends(world, id, &raw const message.msg_hdr)?;
                message.msg_len = c_uint::try_from(length).expect("a datagram is short");
                Ok(length)
            }
        })
    }))
}
