//! Finds names that need no server: those of the hosts file, and `localhost`.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns true if the hosts file has the name.
#[inline]
pub(super) fn has(name: &str) -> bool {
    // Without the file there is no such name.
    fs::read("/etc/hosts").is_ok_and(|hosts| is_in(&hosts, bare(name)))
}

/// Returns the addresses of `localhost` and the names below it, for which no server may be queried
/// (RFC 6761, 6.3).
#[inline]
pub(super) fn localhost(name: &str) -> Option<Vec<SocketAddr>> {
    let last = bare(name).rsplit('.').next()?;
    let loopback = || {
        let v4 = (Ipv4Addr::LOCALHOST, 0).into();
        vec![v4, (Ipv6Addr::LOCALHOST, 0).into()]
    };
    last.eq_ignore_ascii_case("localhost").then(loopback)
}

/// Strips the dot at the end of a fully qualified name.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Searches a file in the format of hosts(5): each line has an address, its names, and optionally a
/// comment.
#[inline]
fn is_in(hosts: &[u8], name: &str) -> bool {
    hosts.split(|byte| *byte == b'\n').any(|line| {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        words.next().is_some() && words.any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_address_and_names() {
        let hosts =
            b"127.0.0.1\tlocalhost one\r\n# 127.0.0.2 two\n::1 three#four\n\nfive\n\xff six";
        for (name, is_there) in [
            ("localhost", true),
            ("ONE", true),
            ("two", false),
            ("three", true),
            ("four", false),
            ("five", false),
            ("six", true),
            ("127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_in(hosts, name), is_there, "{name}");
        }
    }

    #[test]
    fn localhost_is_the_loopback() {
        for name in ["localhost", "LOCALHOST", "localhost.", "a.b.localhost"] {
            assert_eq!(localhost(name).map(|found| found.len()), Some(2), "{name}");
        }
        for name in ["", ".", "localhost.example", "mylocalhost", "localhost.."] {
            assert_eq!(localhost(name), None, "{name}");
        }
    }
}
