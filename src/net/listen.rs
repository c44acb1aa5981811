//! Listens for TCP: `create_tcp_listener`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::Family;
use super::connect::any_address;
use super::local::{Local, local_options};
use super::resolve::Host;
use super::tcp::TcpListener;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::sys;
use crate::sys::errno;
use crate::sys::socket::Kind;

/// The default for the number of connections that wait to be accepted; the kernel clamps it to its
/// own limit (`net.core.somaxconn` on Linux).
pub(super) const BACKLOG: u32 = 65_536;

/// Listens for TCP connections on a port of this host.
///
/// Without [`local_host`](CreateTcpListener::local_host) it listens on every address, IPv6 and
/// IPv4, with one socket where the system supports that; IPv4 peers have IPv4 addresses. Without
/// [`local_port`](CreateTcpListener::local_port) the kernel chooses one, the same for all
/// addresses.
///
/// # Errors
///
/// [`Error::Io`], which names the address: in use, not local, not permitted. [`Error::Resolve`] for
/// a name.
///
/// # Cancel safety
///
/// Dropping the future closes what was bound.
///
/// # Examples
///
/// ```
/// soloio::block_on(async {
///     let listener = soloio::create_tcp_listener().local_host("127.0.0.1").await?;
///     assert_ne!(listener.local_addr().port(), 0);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "bind")]
pub fn create_tcp_listener() -> CreateTcpListener {
    CreateTcpListener {
        local: Local::default(),
        backlog: BACKLOG,
        reuse_port: false,
    }
}

/// A TCP listener that is about to be made: await it. Made by [`create_tcp_listener`].
#[derive(Debug, Clone)]
#[must_use = "nothing listens unless awaited"]
pub struct CreateTcpListener {
    local: Local,
    backlog: u32,
    reuse_port: bool,
}

impl CreateTcpListener {
    local_options!(
        [local]
        "The address to listen on; of a name, all its addresses that are this host's."
    );

    /// Listens on addresses of one family only.
    pub fn family(mut self, family: Family) -> Self {
        self.local.family = Some(family);
        self
    }

    /// Sets the number of connections that may wait to be accepted (65,536 unless the kernel's
    /// limit is lower).
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Lets several listeners, of one or several processes, share the port; each of them must set
    /// it.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    async fn create(self) -> Result<TcpListener> {
        context::checkpoint().await?;
        let listener = match self.local.resolve().await? {
            Some(addresses) => self.on(addresses)?,
            None => self.everywhere()?,
        };
        if self.local.is_prepared() {
            // Marks all as lent: they may have duplicates.
            listener.as_fds().for_each(drop);
        }
        Ok(listener)
    }

    /// Listens on the local ones of these addresses.
    fn on(&self, found: Vec<SocketAddr>) -> Result<TcpListener> {
        let mut addresses = Vec::with_capacity(found.len());
        for address in found {
            if self.local.takes(&address) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            let message = "the local host has no address of the family asked for";
            return Err(Error::invalid("listen", message));
        }
        self.with_one_port(&addresses).map(TcpListener::new)
    }

    /// Listens on all addresses of this host.
    fn everywhere(&self) -> Result<TcpListener> {
        let any = |v4| any_address(v4, self.local.port);
        let bound = match self.local.family {
            Some(family) => self.bind(any(family == Family::V4), true),
            // One socket for both if the system has IPv6 and such a socket also accepts IPv4.
            None => match self.bind(any(false), false) {
                Err(Error::Io(error)) if errno::is_unsupported(&error) => {
                    self.bind(any(true), true)
                }
                bound => bound,
            },
        };
        Ok(TcpListener::new(vec![bound?]))
    }

    /// Binds all addresses to one port. If the kernel chooses it, the port that was free for the
    /// first address may be in use for another one: then a retry begins with another address.
    fn with_one_port(&self, addresses: &[SocketAddr]) -> Result<Vec<(OwnedFd, SocketAddr)>> {
        let mut first = 0;
        loop {
            let bound = self.bind_all(addresses, first);
            first += 1;
            let others = self.local.port == 0 && first < addresses.len();
            match &bound {
                Err(Error::Io(error)) if others && error.kind() == io::ErrorKind::AddrInUse => {}
                _ => return bound,
            }
        }
    }

    /// Binds the local ones of the addresses, at least one; begins with that at `first`.
    fn bind_all(
        &self,
        addresses: &[SocketAddr],
        first: usize,
    ) -> Result<Vec<(OwnedFd, SocketAddr)>> {
        let mut port = self.local.port;
        let mut bound = Vec::with_capacity(addresses.len());
        let mut missing = None;
        for n in first..first + addresses.len() {
            let mut address = addresses[n % addresses.len()];
            address.set_port(port);
            match self.bind(address, true) {
                Err(Error::Io(error)) if errno::is_out_of_reach(&error) => {
                    missing.get_or_insert(Error::Io(error));
                }
                other => {
                    bound.push(other?);
                    port = bound[0].1.port();
                }
            }
        }
        match missing {
            Some(error) if bound.is_empty() => Err(error),
            _ => Ok(bound),
        }
    }

    fn bind(&self, address: SocketAddr, only_v6: bool) -> Result<(OwnedFd, SocketAddr)> {
        self.try_bind(&address, only_v6)
            .map_err(|cause| Error::io("listen on", address, cause))
    }

    fn try_bind(&self, address: &SocketAddr, only_v6: bool) -> io::Result<(OwnedFd, SocketAddr)> {
        let fd = self.local.socket(address, Kind::Stream)?;
        let socket = fd.as_fd();
        if address.is_ipv6() {
            sys::socket::set_only_v6(socket, only_v6)?;
        }
        sys::socket::set_reuse_addr(socket)?;
        if self.reuse_port {
            sys::socket::set_reuse_port(socket)?;
        }
        sys::socket::bind(socket, address)?;
        sys::socket::listen(socket, self.backlog)?;
        let local = sys::socket::local_addr(socket)?;
        Ok((fd, local))
    }
}

awaited!(IntoFuture for CreateTcpListener, create -> TcpListener);
