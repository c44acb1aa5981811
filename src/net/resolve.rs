//! Turns hosts into addresses: literals directly, names through their resolver.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;
use std::sync::Arc;

use super::resolver::{Resolver, Resolving, SystemResolver};
use crate::error::{Content, Error, ResolveError, Result};
use crate::runtime::context::describe;
use crate::sys;
use crate::sys::errno::invalid;

/// A host: an address, or a name or an address in a string. An IPv6 address in a string may have a
/// scope, by number or by the interface's name, as in `fe80::1%2` and `fe80::1%eth0`, and may be in
/// brackets. An IPv4-mapped one (`::ffff:127.0.0.1`) is the IPv4 address, here and in all other
/// arguments.
///
/// Made by `into()` from `&str`, `String` and the address types: of a [`SocketAddr`] it keeps the
/// IPv6 scope, and the port is an argument of its own everywhere. [`with_port`](Self::with_port)
/// parses both from text. An address is never looked up and starts no thread. A name is looked up
/// by [`SystemResolver`](crate::net::SystemResolver), or by the resolver that
/// [`resolved_by`](Self::resolved_by) sets.
///
/// # Examples
///
/// ```
/// use soloio::Host;
/// use std::net::Ipv4Addr;
///
/// assert_eq!(Host::from("127.0.0.1"), Host::from(Ipv4Addr::LOCALHOST));
/// assert_eq!(Host::from("server.example").to_string(), "server.example");
/// ```
#[derive(Clone)]
pub struct Host {
    kind: Kind,
    resolver: Option<Arc<dyn Resolver>>,
    /// The system's resolver, if there is a name: so a program that uses only addresses does not
    /// contain the code of the lookup threads.
    system: Option<&'static dyn Resolver>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// With its IPv6 scope; 0 means none.
    Address(IpAddr, u32),
    /// With the name of the interface that is its IPv6 scope.
    Interface(Ipv6Addr, String),
    Name(String),
}

impl Host {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            resolver: None,
            system: None,
        }
    }

    /// Parses a host and a port, as in `server.example:80`, `127.0.0.1:80`, `[::1]:80` and
    /// `[fe80::1%eth0]:80`.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`], whose text has the value and its fault, one of these:
    ///
    /// * There is no port, or none from 0 to 65535. (Zeros before it are accepted.)
    /// * An IPv6 address is without brackets, or something else is in them.
    /// * The host has a space or a control character, or the text is a URL.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::Host;
    ///
    /// let (host, port) = Host::with_port("[::1]:80")?;
    /// assert_eq!((host, port), (Host::from("::1"), 80));
    /// assert!(Host::with_port("server.example").is_err());
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub fn with_port(text: &str) -> Result<(Self, u16)> {
        parse(text).map_err(|cause| failed(text.to_owned(), cause))
    }

    /// Uses `resolver` instead of the system's for the name of this host.
    #[must_use]
    pub fn resolved_by(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Returns the address if it needs no lookup.
    pub(super) fn literal(&self, port: u16) -> Option<SocketAddr> {
        match self.kind {
            Kind::Address(IpAddr::V6(ip), scope) => {
                Some(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            Kind::Address(ip, _) => Some(SocketAddr::new(ip, port)),
            Kind::Interface(..) | Kind::Name(_) => None,
        }
    }

    /// Returns all addresses of the host, in the resolver's order; at least one.
    pub(super) async fn resolve(&self, port: u16) -> Result<Vec<SocketAddr>> {
        if let Some(address) = self.literal(port) {
            return Ok(vec![address]);
        }
        let found = self.look_up(port).await.map_err(|error| {
            let host = format!("{self}");
            describe(error, &mut |part| format!("looking up {host:?}, {part}"))
        });
        self.found(found)
    }

    /// Converts the result of a lookup: a failure becomes [`Error::Resolve`].
    fn found(&self, found: Result<Vec<SocketAddr>>) -> Result<Vec<SocketAddr>> {
        let cause = match found {
            Ok(addresses) if addresses.is_empty() => {
                io::Error::new(io::ErrorKind::NotFound, "the name has no address")
            }
            Ok(mut addresses) => {
                let each = addresses.iter_mut();
                each.for_each(|address| *address = sys::addr::unmapped(*address));
                return Ok(addresses);
            }
            // The system's resolver names no operation: this error is of a loop that cannot wait.
            Err(Error::Io(error)) if self.resolver.is_none() && !error.operation().is_empty() => {
                return Err(Error::Io(error));
            }
            Err(Error::Io(error)) => error.into_inner().cause,
            // These errors are not the resolver's own.
            Err(error @ (Error::Cancelled | Error::NoRuntime | Error::Resolve(_))) => {
                return Err(error);
            }
            Err(error) => error.into(),
        };
        Err(failed(self.to_string(), cause))
    }

    fn look_up(&self, port: u16) -> Resolving<'_> {
        Box::pin(async move {
            let name = match &self.kind {
                Kind::Interface(ip, interface) => {
                    let scope = sys::interface::index(interface)?;
                    return Ok(vec![SocketAddrV6::new(*ip, port, 0, scope).into()]);
                }
                Kind::Address(..) => return Ok(self.literal(port).into_iter().collect()),
                Kind::Name(name) => checked(name)?,
            };
            match self.resolver.as_deref().or(self.system) {
                Some(resolver) => resolver.resolve(name, port).await,
                None => Ok(Vec::new()),
            }
        })
    }
}

fn failed(host: String, cause: io::Error) -> Error {
    Error::Resolve(Content::new(ResolveError { host, cause }))
}

/// Parses a host and a port.
fn parse(text: &str) -> io::Result<(Host, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        _ if text.contains('/') => return Err(invalid(URL)),
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => return Err(invalid("there is no port, as in `server.example:80`")),
    };
    if host.contains(':') && !host.starts_with('[') {
        let message = "an IPv6 address before a port is in brackets, as in `[::1]:80`";
        return Err(invalid(message));
    }
    let host = Host::from(host);
    if let Kind::Name(name) | Kind::Interface(_, name) = &host.kind {
        checked(name)?;
    }
    match number(port) {
        Some(number) => Ok((host, number)),
        None => Err(invalid("the port is no number from 0 to 65535")),
    }
}

/// Parses digits: `parse` accepts a sign, too.
fn number<N: FromStr>(digits: &str) -> Option<N> {
    (!digits.starts_with('+')).then(|| digits.parse().ok())?
}

const URL: &str = "it is a URL or a path: the host is a part of it";

/// Returns the name if it can be valid.
fn checked(name: &str) -> io::Result<&str> {
    Err(invalid(match name {
        "" => "the host is empty",
        _ if name.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            "the host holds a space, a NUL or another control character"
        }
        _ if name.len() > 255 => "the host is longer than the 255 bytes a name can have (RFC 1035)",
        _ if name.contains('/') => URL,
        _ if name.contains(':') => {
            "it is neither a name nor an IPv6 address: a port is an argument of its own"
        }
        _ if name.contains(['[', ']', '%']) => "brackets and `%` are only for IPv6 addresses",
        _ => return Ok(name),
    }))
}

impl PartialEq for Host {
    /// Compares the text or address, and the identity of the resolver.
    fn eq(&self, other: &Self) -> bool {
        let resolvers = match (&self.resolver, &other.resolver) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        resolvers && self.kind == other.kind
    }
}

impl Eq for Host {}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.kind).finish()
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::of(Kind::Address(ip.to_canonical(), 0))
    }
}

impl From<Ipv4Addr> for Host {
    fn from(ip: Ipv4Addr) -> Self {
        IpAddr::from(ip).into()
    }
}

impl From<Ipv6Addr> for Host {
    fn from(ip: Ipv6Addr) -> Self {
        IpAddr::from(ip).into()
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        match sys::addr::unmapped(address) {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                Self::of(Kind::Address((*v6.ip()).into(), v6.scope_id()))
            }
            address => address.ip().into(),
        }
    }
}

impl From<&str> for Host {
    // Here and below: a program that gives no names compiles nothing of the resolver.
    #[inline]
    fn from(text: &str) -> Self {
        // The form in a URL (RFC 3986, 3.2.2).
        let in_brackets = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = in_brackets.unwrap_or(text);
        let (address, scope) = match address.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (address, None),
        };
        let mut host = Self::of(match (address.parse::<IpAddr>(), scope) {
            (Ok(ip), None) if ip.is_ipv6() || in_brackets.is_none() => return ip.into(),
            (Ok(IpAddr::V6(ip)), Some(scope)) if !scope.is_empty() => match number(scope) {
                Some(it) => return SocketAddr::from(SocketAddrV6::new(ip, 0, 0, it)).into(),
                None => Kind::Interface(ip, scope.to_owned()),
            },
            _ => Kind::Name(text.to_owned()),
        });
        host.system = Some(&SystemResolver);
        host
    }
}

impl From<String> for Host {
    #[inline]
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Host {
    #[inline]
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Address(ip, 0) => ip.fmt(f),
            Kind::Interface(ip, interface) => write!(f, "{ip}%{interface}"),
            Kind::Address(ip, scope) => write!(f, "{ip}%{scope}"),
            Kind::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    #[test]
    fn literals_are_not_looked_up() {
        let literal = |text: &str| Host::from(text).literal(7).map(|a| a.to_string());
        assert_eq!(literal("127.0.0.1").as_deref(), Some("127.0.0.1:7"));
        assert_eq!(literal("::1").as_deref(), Some("[::1]:7"));
        assert_eq!(literal("fe80::1%3").as_deref(), Some("[fe80::1%3]:7"));
        assert_eq!(literal("localhost"), None);
        assert_eq!(literal("127.0.0.1%3"), None);
        assert_eq!(literal("fe80::1%lo"), None);
        assert_eq!(literal(""), None);
        assert_eq!(Host::from("fe80::1%3").to_string(), "fe80::1%3");
        assert_eq!(Host::from("fe80::1%lo").to_string(), "fe80::1%lo");
    }

    #[test]
    fn a_host_and_a_port_are_parsed() {
        let parsed = |text: &str| match Host::with_port(text) {
            Ok((host, port)) => format!("{host} {port}"),
            Err(error) => error.to_string(),
        };
        for (text, expected) in [
            ("server.example:80", "server.example 80"),
            ("127.0.0.1:0", "127.0.0.1 0"),
            ("[::1]:65535", "::1 65535"),
            ("[fe80::1%lo]:7", "fe80::1%lo 7"),
        ] {
            assert_eq!(parsed(text), expected);
        }
        for (text, expected) in [
            ("", "no port"),
            ("server.example", "no port"),
            ("[::1]", "no port"),
            ("::1", "in brackets"),
            ("::1:80", "in brackets"),
            ("http://server.example", "URL"),
            ("http://server.example:80/", "URL"),
            (":80", "empty"),
            ("a:", "no number"),
            ("a:+80", "no number"),
            ("a:65536", "no number"),
            ("a: 80", "no number"),
            ("[::1]x:80", "neither a name"),
            ("[x:1]:80", "neither a name"),
            ("[abc]:80", "only for IPv6"),
            ("[fe80::1%lo ]:80", "a space"),
        ] {
            let said = parsed(text);
            assert!(
                said.contains(expected) && said.contains(&format!("{text:?}")),
                "{said}"
            );
        }
    }

    /// Text that is no name is an error before a resolver is called.
    #[test]
    fn what_is_no_host_is_an_error_that_says_so() {
        for (text, expected) in [
            ("server.example:80", "a port is an argument of its own"),
            ("[::1]:80", "a port is an argument of its own"),
            ("1::2::3", "a port is an argument of its own"),
            ("http://server.example/", "URL"),
            ("server.example/", "URL"),
            ("[127.0.0.1]", "only for IPv6"),
            ("server.example\n", "control character"),
        ] {
            let found = block_on(Host::from(text).resolve(1)).expect_err("no host");
            assert!(found.to_string().contains(expected), "{found}");
        }
    }

    #[test]
    fn an_address_keeps_its_scope() {
        let scoped = "[fe80::1%3]:7".parse::<SocketAddr>().expect("valid");
        assert_eq!(Host::from(scoped).literal(7), Some(scoped));
        let mapped = "[::ffff:127.0.0.1]:7".parse::<SocketAddr>().expect("valid");
        assert_eq!(Host::from(mapped), Host::from("127.0.0.1"));
        // IPv4 has none.
        let both = SocketAddrV6::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 7, 0, 3);
        assert_eq!(Host::from(SocketAddr::from(both)), Host::from("127.0.0.1"));
        assert_eq!(Host::from("::ffff:127.0.0.1%3"), Host::from("127.0.0.1"));
    }

    #[test]
    fn a_scope_may_be_an_interface() {
        let name = if cfg!(target_os = "linux") {
            "lo"
        } else {
            "lo0"
        };
        let index = sys::interface::index(name).expect("loopback is always there");
        let resolve = |text: &str| block_on(Host::from(text).resolve(7));
        let found = resolve(&format!("fe80::1%{name}")).expect("an address");
        assert_eq!(found[0].to_string(), format!("[fe80::1%{index}]:7"));
        let error = resolve("fe80::1%nowhere9").expect_err("no such interface");
        assert!(error.to_string().contains("fe80::1%nowhere9"), "{error}");
    }
}
