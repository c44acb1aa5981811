//! Every system call of the crate, behind plain functions that expose nothing of libc.
//!
//! (Exceptions are std's threads, and reading PEM files and the hosts file.)
//!
//! It is deliberately narrow, so that a simulated kernel can replace it:
//!
//! | file | content |
//! |---|---|
//! | `clock.rs` | the one clock |
//! | `current.rs` | no system call, but `unsafe`: the current value of a thread |
//! | `beside.rs`, `fields.rs` | no system call, but `unsafe`: pinned fields of a pinned value |
//! | `fork.rs` | detects that a process was forked from the one that made an object |
//! | `poller.rs` | mio's `Poll`, level-triggered listeners beside it, the bell |
//! | `timerfd.rs` | waits shorter than a millisecond (Linux) |
//! | `adopt.rs` | sockets that were made elsewhere |
//! | `udp.rs`, `udp_linux.rs` | many datagrams in one call, and plain calls instead |
//! | `batch.rs` | the memory that they are received into |
//! | `udp_options.rs` | broadcast, multicast, hop limits of datagram sockets |
//! | `unix.rs` | UNIX pairs, datagrams by name, credentials |
//! | `splice.rs` | bytes that stay in the kernel: splice, sendfile (Linux) |
//! | `control.rs` | control data: the data beside the bytes of a message |
//! | `ancillary.rs` | descriptors sent beside bytes |
//! | `signal.rs`, `signal/` | the receivers of each signal, the former actions; the handler |
//! | `names.rs` | getaddrinfo |
//! | `interface.rs` | network interfaces by name |
//! | `socket.rs` | making, connecting, accepting, receiving, sending |
//! | `room.rs` | memory to receive bytes into, which need not be initialised |
//! | `search.rs` | no system call, but `unsafe`: the C library's search for a byte |
//! | `queues.rs` | the number of bytes in a socket's queues |
//! | `sockopt.rs` | socket options in the kernel's form |
//! | `options.rs` | socket options as numbers and times |
//! | `addr.rs` | socket addresses to and from the kernel's form, UNIX names |
//! | `file.rs` | the file of a UNIX socket; files to be sent |
//! | `spare.rs` | a descriptor kept in reserve |
//! | `foreign.rs` | foreign descriptors |
//! | `errno.rs` | the meaning of an error number to the layers above |

#![allow(unsafe_code, reason = "this is the layer that talks to the kernel")]

pub(crate) mod addr;
#[cfg(feature = "adopt")]
pub(crate) mod adopt;
#[cfg(feature = "unix-ext")]
pub(crate) mod ancillary;
#[cfg(feature = "udp-batch")]
pub(crate) mod batch;
pub(crate) mod beside;
pub(crate) mod clock;
#[cfg(any(feature = "udp-batch", feature = "unix-ext"))]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "other systems need less of it")
)]
mod control;
pub(crate) mod current;
pub(crate) mod errno;
#[cfg(feature = "extras")]
pub(crate) mod fields;
pub(crate) mod file;
#[cfg(any(feature = "adopt", feature = "unix-ext"))]
#[cfg_attr(
    not(feature = "adopt"),
    allow(dead_code, reason = "one function is for `unix-ext`")
)]
pub(crate) mod foreign;
pub(crate) mod fork;
pub(crate) mod interface;
pub(crate) mod names;
#[cfg(feature = "options")]
pub(crate) mod options;
pub(crate) mod poller;
pub(crate) mod queues;
pub(crate) mod room;
pub(crate) mod search;
#[cfg(feature = "signal")]
pub(crate) mod signal;
pub(crate) mod socket;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "other systems need less of it")
)]
pub(crate) mod sockopt;
pub(crate) mod spare;
#[cfg(all(feature = "relay", any(target_os = "linux", target_os = "android")))]
pub(crate) mod splice;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod timerfd;
#[cfg(feature = "udp-batch")]
pub(crate) mod udp;
#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
mod udp_linux;
#[cfg(feature = "options")]
pub(crate) mod udp_options;
#[cfg(feature = "unix-ext")]
pub(crate) mod unix;

use std::io;

/// Converts the `-1` of a system call to its error.
fn check(result: impl TryInto<usize>) -> io::Result<usize> {
    // Only -1 does not fit: no call returns any other negative number.
    result.try_into().map_err(|_| io::Error::last_os_error())
}

/// Copies an error.
pub(crate) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), format!("{error}")),
    }
}
