//! Socket addresses in C's form.

use std::mem::{offset_of, size_of};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use libc::{sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};

use crate::world::Result;
use crate::world::sockets::Address;
use crate::world::unix::Name;

const PATH: usize = offset_of!(sockaddr_un, sun_path);

/// Reads an address.
///
/// # Safety
///
/// `length` bytes at `from` are valid.
pub(crate) unsafe fn read(from: *const sockaddr, length: socklen_t) -> Result<Address> {
    if from.is_null() {
        return Err(libc::EFAULT);
    }
    let length = length as usize;
    if length < size_of::<libc::sa_family_t>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: a storage is integers, valid as zeros, and at most its own size is copied.
    let storage: sockaddr_storage = unsafe {
        let mut storage: sockaddr_storage = std::mem::zeroed();
        let count = length.min(size_of::<sockaddr_storage>());
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut storage).cast(), count);
        storage
    };
    match i32::from(storage.ss_family) {
        libc::AF_INET if length >= size_of::<sockaddr_in>() => {
            // SAFETY: a storage has room for each kind of address, and is aligned for it.
            let v4 = unsafe { &*(&raw const storage).cast::<sockaddr_in>() };
            let ip = v4.sin_addr.s_addr.to_ne_bytes();
            let address = SocketAddr::new(ip.into(), u16::from_be(v4.sin_port));
            Ok(Address::Internet(address))
        }
        libc::AF_INET6 if length >= size_of::<sockaddr_in6>() => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const storage).cast::<sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let address = SocketAddr::new(ip.into(), u16::from_be(v6.sin6_port));
            Ok(Address::Internet(address))
        }
        libc::AF_UNIX => {
            // SAFETY: as many bytes are valid as the caller says.
            let bytes = unsafe {
                std::slice::from_raw_parts(
                    from.cast::<u8>().add(PATH.min(length)),
                    length.max(PATH) - PATH,
                )
            };
            Ok(Address::Unix(name(bytes)))
        }
        libc::AF_UNSPEC => Ok(Address::None),
        libc::AF_INET | libc::AF_INET6 => Err(libc::EINVAL),
        _ => Err(libc::EAFNOSUPPORT),
    }
}

fn name(bytes: &[u8]) -> Name {
    let bytes = match bytes {
        // An abstract name has the length that the caller gave; a path ends at its first zero.
        [0, ..] => bytes,
        path => {
            &path[..path
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(path.len())]
        }
    };
    Name {
        bytes: bytes.to_vec(),
        file: None,
    }
}

/// Writes an address, cut off if there is no room; `length` gets its full length.
///
/// # Safety
///
/// `to` is null, or has as many bytes as `length` says, which is valid then.
pub(crate) unsafe fn write(to: *mut sockaddr, length: *mut socklen_t, address: &Address) {
    if to.is_null() || length.is_null() {
        return;
    }
    // SAFETY: integers, valid as zeros.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    let place = &raw mut storage;
    let size = match address {
        Address::Internet(SocketAddr::V4(v4)) => {
            // SAFETY: a storage has room for each kind of address, and is aligned for it.
            let to = unsafe { &mut *place.cast::<sockaddr_in>() };
            to.sin_family = family(libc::AF_INET);
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<sockaddr_in>()
        }
        Address::Internet(SocketAddr::V6(v6)) => {
            // SAFETY: as above.
            fill_v6(unsafe { &mut *place.cast::<sockaddr_in6>() }, v6);
            size_of::<sockaddr_in6>()
        }
        Address::Unix(name) => {
            // SAFETY: as above.
            let to = unsafe { &mut *place.cast::<sockaddr_un>() };
            to.sun_family = family(libc::AF_UNIX);
            for (place, byte) in to.sun_path.iter_mut().zip(&name.bytes) {
                *place = libc::c_char::from_ne_bytes([*byte]);
            }
            let zero = !name.bytes.is_empty() && name.bytes[0] != 0;
            PATH + name.bytes.len() + usize::from(zero)
        }
        Address::None => 0,
    };
    // SAFETY: the caller's room is not exceeded.
    unsafe {
        let count = size.min(*length as usize);
        std::ptr::copy_nonoverlapping(place.cast::<u8>(), to.cast(), count);
        *length = socklen_t::try_from(size).unwrap_or(socklen_t::MAX);
    }
}

fn fill_v6(to: &mut sockaddr_in6, from: &SocketAddrV6) {
    to.sin6_family = family(libc::AF_INET6);
    to.sin6_port = from.port().to_be();
    to.sin6_addr.s6_addr = from.ip().octets();
}

fn family(number: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).expect("a small number")
}
