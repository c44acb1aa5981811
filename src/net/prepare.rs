//! Prepares a socket before its connect: a step of the caller's, a local address.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::sys;
use crate::sys::errno;
use crate::sys::socket::Kind;

/// The caller's step, if there is one.
#[derive(Clone, Default)]
pub(super) struct Prepare(Option<Arc<Step>>);

type Step = dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync;

impl Prepare {
    pub(super) fn with(
        step: impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(step)))
    }

    /// Makes a socket of the family of `address`, and prepares it; a stream sends small packets at
    /// once.
    pub(super) fn socket(&self, address: &SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
        let fd = sys::socket::internet(address, kind)?;
        if kind == Kind::Stream {
            sys::socket::set_nodelay(fd.as_fd())?;
        }
        if let Some(step) = &self.0 {
            step(fd.as_fd())?;
        }
        Ok(fd)
    }

    /// The same for a connect to `address`. Binds the socket to the first local one of `locals`,
    /// and returns that; all are of the family of `address`.
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
pub(super) fn about_local(what: &str, local: impl fmt::Display, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{what} {local} ({cause})"))
}

impl fmt::Debug for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepare({})", self.0.is_some())
    }
}
