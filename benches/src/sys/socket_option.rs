//! The socket options that socket2 does not have.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::check;

/// Makes `bind` with port 0 choose only the address; `connect` then finds a port that is free for
/// this very peer.
pub fn bind_address_only(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Makes the kernel cut each send into datagrams of `size` bytes.
pub fn cut_datagrams(socket: &impl AsFd, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).map_err(io::Error::other)?;
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, size)
}

/// Lets one call receive the datagrams that one call has sent.
pub fn join_datagrams(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Sets the size of the receive buffer; the system clamps it.
pub fn receive_room(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 1 << 20)
}

fn set(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let size = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: `value` is readable for the size given, the descriptor is open for the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) })?;
    Ok(())
}
