//! The one socket option that socket2 does not know.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::check;

/// Lets `bind` with port 0 choose the address only; `connect` then finds a port that is free for
/// this very peer.
pub fn bind_address_only(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let fd = socket.as_fd().as_raw_fd();
    let size = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: `on` is readable for the size given, the descriptor is open for the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), size) })?;
    Ok(())
}
