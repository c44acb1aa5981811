//! getaddrinfo, from the world's table of hosts.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use libc::{addrinfo, sockaddr, sockaddr_storage, socklen_t};

use super::real::real;
use super::{address, kernel, wait};
use crate::threads::Wait;
use crate::world::Result;
use crate::world::sockets::Address;

type Text = *const c_char;
type Hints = *const addrinfo;
type List = *mut addrinfo;
type Lists = *mut *mut addrinfo;

/// An entry with the address that it points at.
#[repr(C)]
struct Entry {
    info: addrinfo,
    address: sockaddr_storage,
}

/// The lists that were returned, by their first entry.
static LISTS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// getaddrinfo(3).
///
/// # Safety
///
/// The texts and `hints` are null or valid; `list` has room for a pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(node: Text, service: Text, hints: Hints, list: Lists) -> c_int {
    if !kernel::is_inside() || node.is_null() {
        return real!(
            getaddrinfo(node: Text, service: Text, hints: Hints, list: Lists) -> c_int
        );
    }
    // SAFETY: as the caller promises, here and below.
    let name = unsafe { CStr::from_ptr(node) }.to_string_lossy();
    let port = match service.is_null() {
        true => 0,
        false => {
            // SAFETY: as the caller promises.
            let text = unsafe { CStr::from_ptr(service) }.to_string_lossy();
            match text.parse() {
                Ok(port) => port,
                Err(_) => return libc::EAI_SERVICE,
            }
        }
    };
    // SAFETY: as the caller promises.
    let hints = (!hints.is_null()).then(|| unsafe { *hints });
    let family = hints.map_or(libc::AF_UNSPEC, |hints| hints.ai_family);
    match look_up(&name) {
        Ok(mut found) => {
            found.retain(|ip| match family {
                libc::AF_INET => ip.is_ipv4(),
                libc::AF_INET6 => ip.is_ipv6(),
                _ => true,
            });
            if found.is_empty() {
                return libc::EAI_NONAME;
            }
            let kind = hints.map_or(0, |hints| hints.ai_socktype);
            // SAFETY: as the caller promises.
            unsafe { list.write(build(&found, port, kind)) };
            0
        }
        Err(number) => number,
    }
}

/// Parses literals; a name takes some time, like a question to a server.
fn look_up(name: &str) -> std::result::Result<Vec<IpAddr>, c_int> {
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    let until = kernel::with(|world| {
        let (_, most) = world.dice.faults.latency;
        wait::after(world, 2 * most)
    });
    let _over = wait::wait(Wait::Time, until);
    let mut found = Err(libc::EAI_FAIL);
    let call = super::Call {
        name: "getaddrinfo",
        fd: -1,
    };
    call.run(|world| -> Result<i64> {
        found = world.look_up(name);
        Ok(found.as_ref().map_or_else(|number| (*number).into(), |_| 0))
    });
    found
}

fn build(found: &[IpAddr], port: u16, kind: c_int) -> List {
    let empty = || Entry {
        info: addrinfo {
            ai_flags: 0,
            ai_family: 0,
            ai_socktype: if kind == 0 { libc::SOCK_STREAM } else { kind },
            ai_protocol: 0,
            ai_addrlen: 0,
            ai_addr: std::ptr::null_mut(),
            ai_canonname: std::ptr::null_mut(),
            ai_next: std::ptr::null_mut(),
        },
        // SAFETY: integers, valid as zeros.
        address: unsafe { std::mem::zeroed() },
    };
    let entries: Box<[Entry]> = found.iter().map(|_| empty()).collect();
    let count = entries.len();
    let first = Box::into_raw(entries).cast::<Entry>();
    for (at, ip) in found.iter().enumerate() {
        // SAFETY: the entry is one of the box's, which is not freed before `freeaddrinfo`.
        unsafe {
            let entry = first.add(at);
            let place = (&raw mut (*entry).address).cast::<sockaddr>();
            let mut length = socklen_t::try_from(size_of::<sockaddr_storage>()).unwrap_or(0);
            let address = Address::Internet(SocketAddr::new(*ip, port));
            address::write(place, &raw mut length, &address);
            (*entry).info.ai_family = if ip.is_ipv4() {
                libc::AF_INET
            } else {
                libc::AF_INET6
            };
            (*entry).info.ai_addrlen = length;
            (*entry).info.ai_addr = place;
            if at + 1 < count {
                (*entry).info.ai_next = &raw mut (*first.add(at + 1)).info;
            }
        }
    }
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    lists.insert(first.addr(), count);
    first.cast()
}

/// freeaddrinfo(3).
///
/// # Safety
///
/// `list` comes from `getaddrinfo`, and is not used any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn freeaddrinfo(list: List) {
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = lists.remove(&list.addr());
    drop(lists);
    match ours {
        Some(count) => {
            let entries = std::ptr::slice_from_raw_parts_mut(list.cast::<Entry>(), count);
            // SAFETY: made by `build` from a box of this many, and just taken out of the list.
            drop(unsafe { Box::from_raw(entries) });
        }
        None => real!(freeaddrinfo(list: List) -> ()),
    }
}
