//! Resolves names to addresses with the system's resolver, which blocks.

use std::borrow::Cow;
use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::ptr;

use super::addr::Inet;
use super::errno::invalid;

/// Returns a name as DNS has it: one that is not ASCII is encoded, with the feature `idna`.
///
/// # Errors
///
/// `InvalidInput` if it cannot be.
pub(crate) fn ascii(name: &str) -> io::Result<Cow<'_, str>> {
    if name.is_ascii() {
        return Ok(name.into());
    }
    #[cfg(feature = "idna")]
    return idna::domain_to_ascii(name)
        .map(Cow::Owned)
        .map_err(|_| invalid("the name is not valid (IDNA)"));
    #[cfg(not(feature = "idna"))]
    Err(invalid(
        "the name is not ASCII: encode it (IDNA), or enable the feature `idna`",
    ))
}

/// Calls `getaddrinfo(3)` for the addresses of a name; their port is 0.
///
/// # Errors
///
/// `NotFound` if there is no such name, or it has no address; `ResourceBusy` if that is unknown
/// now, and a later try may succeed.
#[inline]
pub(crate) fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let name = CString::new(name)?;
    let hints = libc::addrinfo {
        ai_flags: 0,
        ai_family: libc::AF_UNSPEC,
        // Otherwise each address is returned once for each type of socket.
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    };
    let mut list = ptr::null_mut();
    // SAFETY: the name ends in a NUL, and all three places are valid for the length of the call.
    let number = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &raw mut list) };
    if number != 0 {
        return Err(error(number));
    }
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: the call succeeded, so `list` begins a list of valid entries, with addresses of the
    // lengths that they give. At most as much is copied as there is room for. Nothing of the list
    // is used after it is freed.
    unsafe {
        while let Some(entry) = next.as_ref() {
            let (mut address, length) = (Inet::default(), entry.ai_addrlen as usize);
            let (from, to) = (
                entry.ai_addr.cast::<u8>(),
                address.as_mut_ptr().cast::<u8>(),
            );
            ptr::copy_nonoverlapping(from, to, length.min(size_of::<Inet>()));
            found.extend(address.read());
            next = entry.ai_next;
        }
        libc::freeaddrinfo(list);
    }
    Ok(found)
}

/// EAI_NODATA and EAI_ADDRFAMILY, which the libc crate defines only for some systems.
const NO_ADDRESS: [i32; 2] = match cfg!(target_os = "linux") {
    true => [-5, -9],
    false => [7, 1],
};

/// Converts a number of getaddrinfo to an error.
fn error(number: i32) -> io::Error {
    use io::ErrorKind::{NotFound, OutOfMemory, ResourceBusy};
    let (kind, message) = match number {
        libc::EAI_SYSTEM => return io::Error::last_os_error(),
        libc::EAI_NONAME => (NotFound, "no such name"),
        libc::EAI_AGAIN => (
            ResourceBusy,
            "no name server gave a usable answer: try again",
        ),
        libc::EAI_FAIL => (ResourceBusy, "a name server failed or refused: try again"),
        libc::EAI_MEMORY => (OutOfMemory, "no memory to look it up"),
        other if NO_ADDRESS.contains(&other) => (NotFound, "no such name with an address"),
        other => {
            let message = format!("getaddrinfo failed with its number {other}");
            return io::Error::other(message);
        }
    };
    io::Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_kind() {
        for (number, kind, words) in [
            (libc::EAI_NONAME, io::ErrorKind::NotFound, "no such name"),
            (NO_ADDRESS[0], io::ErrorKind::NotFound, "with an address"),
            (libc::EAI_AGAIN, io::ErrorKind::ResourceBusy, "try again"),
            (libc::EAI_FAIL, io::ErrorKind::ResourceBusy, "try again"),
            (libc::EAI_MEMORY, io::ErrorKind::OutOfMemory, "no memory"),
            (12_345, io::ErrorKind::Other, "its number 12345"),
        ] {
            let error = error(number);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        // The error of the last system call.
        assert!(error(libc::EAI_SYSTEM).raw_os_error().is_some());
    }
}
