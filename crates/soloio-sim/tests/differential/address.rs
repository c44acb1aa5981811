//! The address of this machine in a family.

use std::ffi::c_int;
use std::mem::{size_of, zeroed};

/// A loopback address with a port.
#[derive(Clone, Copy)]
pub(crate) enum Address {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl Address {
    pub(crate) fn loopback(family: c_int, port: u16) -> Self {
        if family == libc::AF_INET6 {
            // SAFETY: integers, valid as zeros.
            let mut address: libc::sockaddr_in6 = unsafe { zeroed() };
            address.sin6_family = libc::AF_INET6 as u16;
            address.sin6_addr.s6_addr[15] = 1;
            address.sin6_port = port.to_be();
            return Self::V6(address);
        }
        // SAFETY: integers, valid as zeros.
        let mut address: libc::sockaddr_in = unsafe { zeroed() };
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        address.sin_port = port.to_be();
        Self::V4(address)
    }

    pub(crate) fn length(&self) -> u32 {
        match self {
            Self::V4(_) => size_of::<libc::sockaddr_in>() as u32,
            Self::V6(_) => size_of::<libc::sockaddr_in6>() as u32,
        }
    }

    pub(crate) fn place(&self) -> *const libc::sockaddr {
        match self {
            Self::V4(address) => std::ptr::from_ref(address).cast(),
            Self::V6(address) => std::ptr::from_ref(address).cast(),
        }
    }

    pub(crate) fn place_mut(&mut self) -> *mut libc::sockaddr {
        match self {
            Self::V4(address) => std::ptr::from_mut(address).cast(),
            Self::V6(address) => std::ptr::from_mut(address).cast(),
        }
    }

    /// Returns the port, if the kernel has written an address of this family with one.
    pub(crate) fn port(&self) -> Option<u16> {
        let (family, expected, port) = match self {
            Self::V4(address) => (address.sin_family, libc::AF_INET, address.sin_port),
            Self::V6(address) => (address.sin6_family, libc::AF_INET6, address.sin6_port),
        };
        (i32::from(family) == expected && port != 0).then(|| u16::from_be(port))
    }
}
