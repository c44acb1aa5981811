//! recv, send and their relatives; read and write.

use std::borrow::Cow;
use std::ffi::{c_int, c_void};

use libc::{iovec, size_t, sockaddr, socklen_t, ssize_t};

use super::control::Beside;
use super::real::real;
use super::{Call, address, socket};
use crate::world::descriptors::{Id, Object};
use crate::world::readiness::bits::{ERR, HUP, IN, OUT};
use crate::world::sockets::Address;
use crate::world::unix::Right;
use crate::world::{Result, World};

type Addr = *const sockaddr;
type AddrMut = *mut sockaddr;
type Len = *mut socklen_t;
type Data = *const c_void;
type Room = *mut c_void;
type Parts = *const iovec;

/// The result of a receive beside the bytes.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes in the room.
    pub(super) count: usize,
    /// Bytes of the datagram.
    pub(super) whole: usize,
    pub(super) from: Option<Address>,
    pub(super) rights: Vec<Right>,
    /// The size of the datagrams in it, if they are several.
    pub(super) segment: Option<usize>,
}

/// Returns the parts of an iovec list as slices.
///
/// # Safety
///
/// Each of the `count` entries names valid memory that nothing else refers to for `'a`.
pub(super) unsafe fn parts<'a>(list: Parts, count: usize) -> Vec<&'a mut [u8]> {
    let entry = |at: usize| {
        // SAFETY: as the caller promises; an empty part may have any address.
        unsafe {
            let part = &*list.add(at);
            match part.iov_len {
                0 => &mut [][..],
                length => std::slice::from_raw_parts_mut(part.iov_base.cast::<u8>(), length),
            }
        }
    };
    (0..count).map(entry).collect()
}

/// Returns one buffer as a slice.
///
/// # Safety
///
/// `length` bytes at `buffer` are valid, and nothing else refers to them for `'a`.
unsafe fn room<'a>(buffer: Room, length: usize) -> &'a mut [u8] {
    match length {
        // It may have any address.
        0 => &mut [],
        // SAFETY: as the caller promises.
        _ => unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) },
    }
}

/// Returns the bytes of all parts, copied if there are several.
fn joined<'a>(parts: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match parts {
        [one] => Cow::Borrowed(one),
        _ => Cow::Owned(parts.concat()),
    }
}

fn fill(parts: &mut [&mut [u8]], data: &[u8]) -> usize {
    let mut rest = data;
    for part in parts {
        let count = part.len().min(rest.len());
        part[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
    }
    data.len() - rest.len()
}

/// Receives from a socket, or reads from a pipe.
pub(super) fn receive(
    world: &mut World,
    id: Id,
    parts: &mut [&mut [u8]],
    flags: c_int,
) -> Result<Received> {
    let peek = flags & libc::MSG_PEEK != 0;
    let most = parts.iter().map(|part| part.len()).sum();
    match world.descriptors.get(id) {
        Some(Object::Tcp(_)) => {
            if flags & libc::MSG_OOB != 0 {
                return Err(libc::EINVAL);
            }
            let count = world.tcp_recv(id, parts, peek)?;
            Ok(Received {
                count,
                whole: count,
                ..Received::default()
            })
        }
        Some(Object::Udp(_)) => {
            let datagram = world.udp_recv(id, peek)?;
            Ok(Received {
                count: fill(parts, &datagram.data),
                whole: datagram.data.len(),
                from: Some(Address::Internet(datagram.from)),
                segment: datagram.segment,
                ..Received::default()
            })
        }
        Some(Object::Unix(unix)) => {
            let datagram = unix.is_datagram();
            let message = world.unix_recv(id, most, peek)?;
            let data = Vec::from(message.data);
            Ok(Received {
                count: fill(parts, &data),
                whole: data.len(),
                from: datagram.then_some(Address::Unix(message.from)),
                rights: message.rights,
                segment: None,
            })
        }
        _ => Err(libc::ENOTSOCK),
    }
}

/// Sends over a socket.
pub(super) fn send_parts(
    world: &mut World,
    id: Id,
    parts: &[&[u8]],
    to: Option<&Address>,
    beside: &mut Beside,
) -> Result<usize> {
    let segment = beside.segment;
    match (world.descriptors.get(id), to) {
        // Linux ignores the address on a connected stream.
        (Some(Object::Tcp(_)), _) => world.tcp_send(id, &joined(parts)),
        (Some(Object::Udp(_)), to) => match to {
            None => world.udp_send(id, parts.concat(), None, segment),
            Some(Address::Internet(to)) => world.udp_send(id, parts.concat(), Some(*to), segment),
            Some(_) => Err(libc::EAFNOSUPPORT),
        },
        (Some(Object::Unix(_)), to) => world.unix_send(id, &joined(parts), to, &mut beside.rights),
        _ => Err(libc::ENOTSOCK),
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).expect("no buffer is that long")
}

pub(super) fn size(value: i64) -> ssize_t {
    ssize_t::try_from(value).expect("as wide on 64-bit systems")
}

/// The events that a blocking receive waits for.
pub(super) const FOR_RECEIVING: u32 = IN | HUP | ERR;
/// The events that a blocking send waits for.
pub(super) const FOR_SENDING: u32 = OUT | HUP | ERR;

/// # Safety
///
/// As recvfrom(2).
unsafe fn receives(
    call: Call,
    buffer: (Room, usize),
    flags: c_int,
    from: (AddrMut, Len),
) -> ssize_t {
    let waits = flags & libc::MSG_DONTWAIT != 0;
    size(call.run_blocking(waits, FOR_RECEIVING, |world, id| {
        // SAFETY: as the caller promises.
        let received = receive(world, id, &mut [unsafe { room(buffer.0, buffer.1) }], flags)?;
        world.drop_rights(received.rights);
        if let Some(name) = received.from {
            // SAFETY: as the caller promises.
            unsafe { address::write(from.0, from.1, &name) };
        } else if !from.1.is_null() {
            // SAFETY: as the caller promises.
            unsafe { *from.1 = 0 };
        }
        let told = match flags & libc::MSG_TRUNC {
            0 => received.count,
            _ => received.whole,
        };
        Ok(length(told))
    }))
}

/// recv(2).
///
/// # Safety
///
/// `length` bytes at `buffer` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buffer: Room, length: size_t, flags: c_int) -> ssize_t {
    let Some(call) = Call::on("recv", fd) else {
        return real!(recv(fd: c_int, buffer: Room, length: size_t, flags: c_int) -> ssize_t);
    };
    let nowhere = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as the caller promises.
    unsafe { receives(call, (buffer, length), flags, nowhere) }
}

/// recvfrom(2).
///
/// # Safety
///
/// `length` bytes at `buffer` are valid; `from` is null or has as many bytes as `room` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: Room,
    length: size_t,
    flags: c_int,
    from: AddrMut,
    room: Len,
) -> ssize_t {
    let Some(call) = Call::on("recvfrom", fd) else {
        return real!(recvfrom(
            fd: c_int, buffer: Room, length: size_t, flags: c_int, from: AddrMut, room: Len
        ) -> ssize_t);
    };
    // SAFETY: as the caller promises.
    unsafe { receives(call, (buffer, length), flags, (from, room)) }
}

/// # Safety
///
/// As sendto(2).
unsafe fn sends(call: Call, data: (Data, usize), flags: c_int, to: (Addr, socklen_t)) -> ssize_t {
    let waits = flags & libc::MSG_DONTWAIT != 0;
    let to = match to.0.is_null() {
        true => Ok(None),
        // SAFETY: as the caller promises.
        false => unsafe { address::read(to.0, to.1) }.map(Some),
    };
    let to = to.and_then(|to| to.map(socket::with_file).transpose());
    size(call.run_blocking(waits, FOR_SENDING, |world, id| {
        let to = to.as_ref().map_err(|errno| *errno)?;
        // SAFETY: as the caller promises; they are only read.
        let part = unsafe { room(data.0.cast_mut(), data.1) };
        send_parts(world, id, &[part], to.as_ref(), &mut Beside::default()).map(length)
    }))
}

/// send(2).
///
/// # Safety
///
/// `length` bytes at `data` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, data: Data, length: size_t, flags: c_int) -> ssize_t {
    let Some(call) = Call::on("send", fd) else {
        return real!(send(fd: c_int, data: Data, length: size_t, flags: c_int) -> ssize_t);
    };
    // SAFETY: as the caller promises.
    unsafe { sends(call, (data, length), flags, (std::ptr::null(), 0)) }
}

/// sendto(2).
///
/// # Safety
///
/// `length` bytes at `data` are valid; `to` is null or has as many bytes as `size` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    fd: c_int,
    data: Data,
    length: size_t,
    flags: c_int,
    to: Addr,
    size: socklen_t,
) -> ssize_t {
    let Some(call) = Call::on("sendto", fd) else {
        return real!(sendto(
            fd: c_int, data: Data, length: size_t, flags: c_int, to: Addr, size: socklen_t
        ) -> ssize_t);
    };
    // SAFETY: as the caller promises.
    unsafe { sends(call, (data, length), flags, (to, size)) }
}

/// Reads from anything.
fn reads(world: &mut World, id: Id, parts: &mut [&mut [u8]]) -> Result<i64> {
    let most: usize = parts.iter().map(|part| part.len()).sum();
    match world.descriptors.get(id) {
        Some(Object::Event(_) | Object::Timer(_)) => {
            if most < 8 {
                return Err(libc::EINVAL);
            }
            let count = world.read_counter(id)?;
            Ok(length(fill(parts, &count.to_ne_bytes())))
        }
        Some(Object::Pipe(_)) => {
            let bytes = world.pipe_read(id, most)?;
            Ok(length(fill(parts, &bytes)))
        }
        Some(Object::Epoll(_) | Object::Idle { .. }) => Err(libc::EINVAL),
        _ if most == 0 => Ok(0),
        _ => {
            let received = receive(world, id, parts, 0)?;
            world.drop_rights(received.rights);
            Ok(length(received.count))
        }
    }
}

/// Writes to anything.
fn writes(world: &mut World, id: Id, parts: &[&[u8]]) -> Result<i64> {
    match world.descriptors.get(id) {
        Some(Object::Event(_)) => {
            let bytes = parts.concat();
            let number = bytes.first_chunk::<8>().ok_or(libc::EINVAL)?;
            world.write_counter(id, u64::from_ne_bytes(*number))?;
            Ok(8)
        }
        Some(Object::Pipe(_)) => world.pipe_write(id, &parts.concat()).map(length),
        Some(Object::Timer(_) | Object::Epoll(_) | Object::Idle { .. }) => Err(libc::EINVAL),
        _ => send_parts(world, id, parts, None, &mut Beside::default()).map(length),
    }
}

/// read(2).
///
/// # Safety
///
/// `length` bytes at `buffer` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buffer: Room, length: size_t) -> ssize_t {
    let Some(call) = Call::on("read", fd) else {
        return real!(read(fd: c_int, buffer: Room, length: size_t) -> ssize_t);
    };
    size(call.run_blocking(false, FOR_RECEIVING, |world, id| {
        // SAFETY: as the caller promises.
        reads(world, id, &mut [unsafe { room(buffer, length) }])
    }))
}

/// readv(2).
///
/// # Safety
///
/// `count` valid parts at `list`.
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, list: Parts, count: c_int) -> ssize_t {
    let Some(call) = Call::on("readv", fd) else {
        return real!(readv(fd: c_int, list: Parts, count: c_int) -> ssize_t);
    };
    let count = usize::try_from(count).unwrap_or(0);
    size(call.run_blocking(false, FOR_RECEIVING, |world, id| {
        // SAFETY: as the caller promises.
        reads(world, id, &mut unsafe { parts(list, count) })
    }))
}

/// write(2).
///
/// # Safety
///
/// `length` bytes at `data` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, data: Data, length: size_t) -> ssize_t {
    let Some(call) = Call::on("write", fd) else {
        return real!(write(fd: c_int, data: Data, length: size_t) -> ssize_t);
    };
    size(call.run_blocking(false, FOR_SENDING, |world, id| {
        // SAFETY: as the caller promises; they are only read.
        writes(world, id, &[unsafe { room(data.cast_mut(), length) }])
    }))
}

/// writev(2).
///
/// # Safety
///
/// `count` valid parts at `list`.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, list: Parts, count: c_int) -> ssize_t {
    let Some(call) = Call::on("writev", fd) else {
        return real!(writev(fd: c_int, list: Parts, count: c_int) -> ssize_t);
    };
    let count = usize::try_from(count).unwrap_or(0);
    size(call.run_blocking(false, FOR_SENDING, |world, id| {
        // SAFETY: as the caller promises; they are only read.
        let parts = unsafe { parts(list, count) };
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        writes(world, id, &parts)
    }))
}
