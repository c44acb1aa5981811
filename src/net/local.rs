//! The local end of a socket that is about to be made: its address, and a step of the caller's
//! before the bind.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(feature = "options")]
use std::sync::Arc;

use super::Family;
use super::resolve::Host;
use crate::error::Result;
use crate::runtime::socket::{Socket, Trigger};
use crate::sys;
use crate::sys::errno;
use crate::sys::socket::Kind;

/// The options of builders for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Local {
    pub(super) host: Option<Host>,
    pub(super) port: u16,
    pub(super) family: Option<Family>,
    #[cfg(feature = "options")]
    pub(super) prepare: Prepare,
}

/// Declares the options for builders with a [`Local`]; only the text about the host differs.
macro_rules! local_options {
    ([$($local:tt)+] $host:literal) => {
        #[doc = $host]
        pub fn local_host(mut self, host: impl Into<Host>) -> Self {
            self.$($local)+.host = Some(host.into());
            self
        }

        /// Sets the local port; 0, the default, lets the kernel choose.
        pub fn local_port(mut self, port: u16) -> Self {
            self.$($local)+.port = port;
            self
        }

        /// Prepares each socket before it is bound or connected, for options that must be set by
        /// then: a mark, an interface, TCP Fast Open, buffer sizes that the window depends on.
        /// Accepted connections inherit them. If there are several attempts, an error of it fails
        /// one attempt. It must not block. A linger time (`SO_LINGER`) other than zero is removed:
        /// closing would block the loop.
        ///
        /// # Examples
        ///
        /// ```
        /// soloio::block_on(async {
        ///     let listener = soloio::create_tcp_listener()
        ///         .local_host("127.0.0.1")
        ///         .prepare(|fd| socket2::SockRef::from(&fd).set_recv_buffer_size(50_000))
        ///         .await?;
        ///     assert!(listener.receive_buffer_size()? >= 50_000);
        ///     Ok::<_, soloio::Error>(())
        /// })?;
        /// # Ok::<_, soloio::Error>(())
        /// ```
        #[cfg(feature = "options")]
        #[doc(alias = "TcpSocket")]
        pub fn prepare(
            mut self,
            prepare: impl Fn(std::os::fd::BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static,
        ) -> Self {
            let prepare = std::sync::Arc::new(prepare);
            self.$($local)+.prepare = crate::net::local::Prepare(Some(prepare));
            self
        }
    };
}

pub(super) use local_options;

impl Local {
    /// Returns the addresses of its host, if there is one.
    pub(super) async fn resolve(&self) -> Result<Option<Vec<SocketAddr>>> {
        match &self.host {
            Some(host) => host.resolve(self.port).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns whether addresses of this family are requested.
    pub(super) fn takes(&self, address: &SocketAddr) -> bool {
        self.family.is_none_or(|family| family.has(address))
    }

    /// Makes a socket of the family of `address`, and prepares it; a stream sends small packets at
    /// once.
    pub(super) fn socket(&self, address: &SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
        let fd = sys::socket::internet(address, kind)?;
        if kind == Kind::Stream {
            sys::socket::set_nodelay(fd.as_fd(), true)?;
        }
        #[cfg(feature = "options")]
        if let Some(step) = &self.prepare.0 {
            step(fd.as_fd())?;
            sys::sockopt::linger_no_longer(fd.as_fd())?;
        }
        Ok(fd)
    }

    /// Returns true if the caller has prepared its sockets, and may have duplicated them.
    pub(super) fn is_prepared(&self) -> bool {
        #[cfg(feature = "options")]
        return self.prepare.0.is_some();
        #[cfg(not(feature = "options"))]
        false
    }

    /// Makes a socket of a descriptor of [`socket`](Self::socket).
    pub(super) fn own(&self, fd: OwnedFd) -> Socket {
        let socket = Socket::new(fd, Trigger::Edge);
        if self.is_prepared() {
            socket.lend();
        }
        socket
    }

    /// The same for a connect to `address`. Binds the socket to the first local one of `locals`,
    /// and returns that; all are of the family of `address`.
    #[inline]
    pub(super) fn bound(
        &self,
        address: &SocketAddr,
        locals: &[SocketAddr],
    ) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        let fd = self.socket(address, Kind::Stream)?;
        let mut first = None;
        for local in locals {
            match bind(fd.as_fd(), local) {
                Err(error) if errno::is_out_of_reach(&error) => {
                    first.get_or_insert_with(|| about_local("bind to", local, &error));
                }
                Err(error) => return Err(about_local("bind to", local, &error)),
                Ok(()) => return Ok((fd, Some(*local))),
            }
        }
        first.map_or(Ok((fd, None)), Err)
    }
}

#[inline]
fn bind(fd: BorrowedFd<'_>, local: &SocketAddr) -> io::Result<()> {
    if local.port() == 0 {
        // Otherwise each connection has a port of its own, even for different peers.
        sys::socket::choose_port_late(fd);
    } else {
        // For concurrent attempts, and for reuse while an earlier connection is in TIME_WAIT.
        sys::socket::set_reuse_addr(fd)?;
    }
    sys::socket::bind(fd, local)
}

/// Makes an error about the local address: other causes of a failed attempt are about the peer's.
#[inline]
pub(super) fn about_local(what: &str, local: impl fmt::Display, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{what} {local} ({cause})"))
}

/// The caller's step, if there is one.
#[cfg(feature = "options")]
#[derive(Clone, Default)]
pub(super) struct Prepare(pub(super) Option<Arc<Step>>);

#[cfg(feature = "options")]
type Step = dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync;

#[cfg(feature = "options")]
impl fmt::Debug for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepare({})", self.0.is_some())
    }
}
