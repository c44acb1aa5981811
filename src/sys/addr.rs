//! Socket addresses to and from the kernel's form, and the names of UNIX sockets.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use socket2::SockAddr;

use super::errno;
use crate::shown::printed;

/// An internet address in the kernel's form, IPv4 or IPv6, or memory for one, with family 0.
///
/// The fields are those of an IPv6 address. An IPv4 address has family and port at the same place,
/// and then its 4 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Inet {
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    length: u8,
    family: libc::sa_family_t,
    /// In the order of the network.
    port: u16,
    /// The address of IPv4, the flow of IPv6.
    flow: u32,
    ip: [u8; 16],
    scope: u32,
}

const _: () = assert!(size_of::<Inet>() == size_of::<libc::sockaddr_in6>());

#[allow(
    clippy::cast_possible_truncation,
    clippy::needless_update,
    reason = "families and sizes are small; some systems have one more field"
)]
impl Inet {
    const V4: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
    const V6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;
    /// The size of the memory.
    pub(super) const SIZE: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    /// Returns the kernel's form of `address`.
    #[inline]
    pub(crate) fn new(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self {
                family: Self::V4,
                port: v4.port().to_be(),
                flow: u32::from_ne_bytes(v4.ip().octets()),
                ..Self::default()
            },
            SocketAddr::V6(v6) => Self {
                family: Self::V6,
                port: v6.port().to_be(),
                flow: v6.flowinfo(),
                ip: v6.ip().octets(),
                scope: v6.scope_id(),
                ..Self::default()
            },
        }
    }

    /// Returns the length of an address that is there.
    #[inline]
    pub(super) fn length(&self) -> libc::socklen_t {
        match self.is_ipv4() {
            true => size_of::<libc::sockaddr_in>() as libc::socklen_t,
            false => Self::SIZE,
        }
    }

    /// Returns true if it is of IPv4.
    #[inline]
    pub(crate) fn is_ipv4(&self) -> bool {
        self.family == Self::V4
    }

    /// Marks the memory as not written.
    #[cfg(all(
        feature = "udp-batch",
        any(test, target_os = "linux", target_os = "android")
    ))]
    #[inline]
    pub(super) fn forget(&mut self) {
        self.family = 0;
    }

    /// Returns true if the kernel has written an internet address.
    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.family, Self::V4 | Self::V6)
    }

    /// Returns the address that the kernel has written; `None` if it wrote no internet address.
    pub(crate) fn read(&self) -> Option<SocketAddr> {
        self.is_known().then(|| self.address())
    }

    /// Returns the address, which must be there. IPv4 peers of a dual-stack socket have IPv4
    /// addresses.
    #[inline]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_v4().unwrap_or_else(|| self.address_v6())
    }

    /// Returns the address if it is of IPv4.
    #[inline]
    pub(crate) fn address_v4(&self) -> Option<SocketAddr> {
        if !self.is_ipv4() {
            return None;
        }
        let ip = Ipv4Addr::from(self.flow.to_ne_bytes());
        Some(SocketAddrV4::new(ip, u16::from_be(self.port)).into())
    }

    // Not inlined: both variants together are much code.
    #[inline(never)]
    fn address_v6(&self) -> SocketAddr {
        let port = u16::from_be(self.port);
        let v6 = SocketAddrV6::new(self.ip.into(), port, self.flow, self.scope);
        unmapped(v6.into())
    }

    /// Returns true if it has this IP address and port.
    pub(crate) fn is_at(&self, other: &SocketAddr) -> bool {
        let this = self.address();
        (this.ip(), this.port()) == (other.ip(), other.port())
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        std::ptr::from_mut(self).cast()
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        std::ptr::from_ref(self).cast()
    }
}

/// Turns `::ffff:a.b.c.d` into `a.b.c.d`.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(v6) = address {
        if let Some(v4) = v6.ip().to_ipv4_mapped() {
            return SocketAddr::new(v4.into(), v6.port());
        }
    }
    address
}

/// Converts `to` for a socket that is bound to `local`. An IPv4 peer of a dual-stack socket has an
/// IPv4 address here, and is reached as mapped IPv6. An IPv4 socket accepts an IPv6 address only if
/// it is a mapped IPv4 address.
#[inline]
pub(crate) fn fitting(local: &SocketAddr, to: SocketAddr) -> io::Result<SocketAddr> {
    match (local, to) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
            let ip = v4.ip().to_ipv6_mapped().into();
            Ok(SocketAddr::new(ip, v4.port()))
        }
        (SocketAddr::V4(_), SocketAddr::V6(_)) => match unmapped(to) {
            to if to.is_ipv4() => Ok(to),
            _ => Err(other_family(to)),
        },
        _ => Ok(to),
    }
}

#[cold]
fn other_family(to: SocketAddr) -> io::Error {
    errno::invalid(format!(
        "{to} is an IPv6 destination, and the socket is of IPv4"
    ))
}

/// The name of a UNIX socket: a path, an abstract name (Linux), or none.
///
/// A path may have any bytes except NUL; an abstract name is written with a leading NUL and may
/// have any bytes after it.
///
/// Linux also lets other programs bind a path of 108 bytes, which leaves no room for the NUL that
/// ends it (unix(7)). The name of such a sender is read as it is, but it cannot be answered: a path
/// of more than 107 bytes is refused here, as by std and socket2, because the kernel itself reports
/// it with a length that it does not accept.
#[derive(Clone, PartialEq, Eq)]
pub struct UnixName(Box<[u8]>);

impl UnixName {
    /// Checks length and content without access to the file system.
    pub(crate) fn new(name: &OsStr) -> io::Result<Self> {
        let bytes = name.as_bytes();
        let invalid = |message: &str| Err(errno::invalid(message));
        match bytes {
            [] => invalid("the socket path is empty"),
            [0, ..] if !cfg!(any(target_os = "linux", target_os = "android")) => {
                invalid("abstract socket names exist on Linux only")
            }
            [0, rest @ ..] if rest.len() >= Self::ROOM => {
                invalid("the abstract socket name is longer than 107 bytes")
            }
            [0, ..] => Ok(Self(bytes.into())),
            _ if bytes.contains(&0) => invalid("the socket path holds a NUL byte"),
            _ if bytes.len() >= Self::ROOM => {
                invalid("the socket path is too long (at most 107 bytes on Linux, 103 elsewhere)")
            }
            _ => Ok(Self(bytes.into())),
        }
    }

    /// Bytes of `sun_path` (unix(7)).
    const ROOM: usize = {
        let whole = size_of::<libc::sockaddr_un>();
        whole - std::mem::offset_of!(libc::sockaddr_un, sun_path)
    };

    /// Returns the name that the kernel wrote into `address`.
    pub(super) fn read(address: &SockAddr) -> Self {
        if let Some(path) = address.as_pathname() {
            return Self(path.as_os_str().as_bytes().into());
        }
        match address.as_abstract_namespace() {
            Some(name) => Self([&[0], name].concat().into()),
            None => Self::unnamed(),
        }
    }

    /// Makes the name of an unnamed socket.
    pub(crate) fn unnamed() -> Self {
        Self(Box::default())
    }

    /// Returns the path, if it is one.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match &*self.0 {
            [] | [0, ..] => None,
            bytes => Some(Path::new(OsStr::from_bytes(bytes))),
        }
    }

    /// Returns the abstract name without its leading NUL, if it is one (Linux).
    #[must_use]
    pub fn as_abstract(&self) -> Option<&[u8]> {
        match &*self.0 {
            [0, name @ ..] => Some(name),
            _ => None,
        }
    }

    /// Returns the name in the form of arguments: a path, an abstract name with its leading NUL, or
    /// empty.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Returns true for a socket without a name, such as that of a client that did not bind.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_sock_addr(&self) -> io::Result<SockAddr> {
        SockAddr::unix(OsStr::from_bytes(&self.0))
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [] => f.write_str("an unnamed socket"),
            [0, name @ ..] => write!(f, "@{}", printed(String::from_utf8_lossy(name).into())),
            path => f.write_str(&printed(String::from_utf8_lossy(path).into())),
        }
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_where_the_kernel_has_them() {
        use std::mem::offset_of;
        type V4 = libc::sockaddr_in;
        type V6 = libc::sockaddr_in6;
        for (field, v4, v6) in [
            (
                offset_of!(Inet, family),
                offset_of!(V4, sin_family),
                offset_of!(V6, sin6_family),
            ),
            (
                offset_of!(Inet, port),
                offset_of!(V4, sin_port),
                offset_of!(V6, sin6_port),
            ),
            (
                offset_of!(Inet, flow),
                offset_of!(V4, sin_addr),
                offset_of!(V6, sin6_flowinfo),
            ),
        ] {
            assert_eq!((field, field), (v4, v6));
        }
        assert_eq!(offset_of!(Inet, ip), offset_of!(V6, sin6_addr));
        assert_eq!(offset_of!(Inet, scope), offset_of!(V6, sin6_scope_id));
    }

    #[test]
    fn internet_addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%7]:9", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().expect("a literal");
            assert_eq!(Inet::new(&address).read(), Some(address));
        }
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:7".parse().expect("a literal");
        assert_eq!(
            Inet::new(&mapped).read(),
            Some("10.0.0.1:7".parse().expect("a literal"))
        );
        assert_eq!(Inet::default().read(), None);
    }

    #[test]
    fn unix_names_are_checked_and_survive_the_round_trip() {
        let name = |bytes: &[u8]| UnixName::new(OsStr::from_bytes(bytes));
        for bytes in [&b"/tmp/x"[..], b"rel \xff", b"\0abstract\0with nul"] {
            let name = name(bytes).expect("a good name");
            let back = UnixName::read(&name.to_sock_addr().expect("fits"));
            assert_eq!(back, name);
        }
        assert!(name(b"").is_err());
        assert!(name(b"a\0b").is_err());
        assert!(name(&[b'a'; 108]).is_err());
        let longest = name(&[b'a'; 107]).expect("107 bytes fit");
        assert_eq!(
            UnixName::read(&longest.to_sock_addr().expect("fits")),
            longest
        );
    }
}
