//! Network interfaces, by name and number.

use std::ffi::CString;
use std::io;

/// Returns the number of the interface with this name (RFC 3493, 4.1).
pub(crate) fn index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: the name is a valid string that ends in a NUL.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers_or_errors() {
        let loopback = if cfg!(target_os = "linux") {
            "lo"
        } else {
            "lo0"
        };
        assert_ne!(index(loopback).expect("always there"), 0);
        assert!(index("no such one").is_err());
        assert!(index("a\0b").is_err());
    }
}
