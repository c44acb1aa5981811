//! What messages bring beside a datagram: more datagrams, and the address that it came to.
//!
//! An ordinary receive is a plain call unless the kernel has more to tell: the address a datagram
//! came to, or the size of several that it put together. Those that were not asked for yet stay
//! with the socket until they are. Nothing is asked of the kernel meanwhile, so at most one message
//! is ahead; the rest stays in its queue.
//!
//! What is ahead lies in room that is taken from the loop, and given back with its last datagram:
//! sockets that wait hold none. It is reached only with the receiving direction claimed, so the
//! lock around it is never waited for; it is there because a socket may be dropped on any thread.
//!
//! A datagram is lost if its control data had no room, and an error says so after all that came
//! with it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::udp_core::{Ends, One, UdpCore};
use crate::runtime::context::Core;
use crate::runtime::operation::After;
use crate::sys::addr::fitting;
use crate::sys::batch::Batch;
use crate::sys::udp::{self, Filled, Segments};
use crate::sys::{errno, sockopt};

/// What a socket has beside its plain calls.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A datagram is ahead, or an error. Changed with the receiving direction claimed.
    queued: AtomicBool,
    /// The kernel tells something beside datagrams.
    tells: AtomicBool,
    /// One datagram a call: asked for, or the system has no other.
    pub(super) plain: AtomicBool,
    /// The kernel tells the address that each datagram came to.
    destinations: bool,
    pub(super) segments: Segments,
    inbox: Mutex<Inbox>,
}

/// What a receive leaves for the next.
#[derive(Debug, Default)]
struct Inbox {
    /// Set while datagrams are ahead.
    batch: Option<Box<Batch>>,
    /// Whether a message may hold several datagrams; `None` while that was not asked for.
    coalesced: Option<bool>,
    /// A datagram was lost, which is still to be told.
    lost: bool,
}

impl Messages {
    pub(super) fn new(plain: bool, destinations: bool) -> Self {
        Self {
            plain: plain.into(),
            tells: destinations.into(),
            destinations,
            ..Self::default()
        }
    }

    /// Looks what the kernel was told before the socket came here.
    #[cfg(feature = "adopt")]
    pub(super) fn look(&mut self, fd: BorrowedFd<'_>) {
        let coalesced = udp::is_coalescing(fd);
        *self = Self::new(false, udp::is_telling(fd));
        self.inbox().coalesced = coalesced.then_some(true);
        *self.tells.get_mut() |= coalesced;
    }

    #[inline]
    pub(super) fn has_some(&self) -> bool {
        self.queued.load(Relaxed)
    }

    #[inline]
    pub(super) fn has_more_to_tell(&self) -> bool {
        self.tells.load(Relaxed)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the kernel may put datagrams together.
    fn set_coalesced(&self, inbox: &mut Inbox, on: bool) {
        inbox.coalesced = Some(on);
        self.tells.store(on || self.destinations, Relaxed);
    }
}

impl UdpCore {
    /// The socket goes on elsewhere, where nothing expects datagrams that come together.
    #[cfg(feature = "adopt")]
    pub(super) fn leaves(&self) {
        if self.messages.inbox().coalesced == Some(true) {
            sockopt::part(self.socket.fd());
        }
    }

    /// Receives one datagram into `buf`, and its ends into `ends`. The receiving direction is
    /// claimed.
    #[cold]
    pub(super) fn receive_message(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        ends: &mut Ends,
    ) -> io::Result<(One, After)> {
        let mut inbox = self.messages.inbox();
        if inbox.batch.is_none() {
            let mut room = core.take_batch();
            let filled = self.fill(fd, &mut inbox, &mut room, 1);
            if let Err(error) = filled {
                core.put_batch(room);
                return Err(error);
            }
            inbox.batch = Some(room);
        }
        let batch = inbox.batch.as_mut().expect("there, or just filled");
        let taken = batch.pop().expect("what is ahead is not empty");
        let length = taken.data.len().min(buf.len());
        buf[..length].copy_from_slice(&taken.data[..length]);
        ends.from = taken.from.address();
        ends.to = taken.to();
        let truncated = length < taken.data.len();
        if batch.is_empty() {
            let empty = inbox.batch.take().expect("as above");
            core.put_batch(empty);
        }
        let queued = inbox.lost || inbox.batch.is_some();
        self.messages.queued.store(queued, Relaxed);
        Ok((One { length, truncated }, After::Ready))
    }

    /// Receives at least one datagram into a batch; the receiving direction is claimed.
    pub(super) fn receive_batch(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        room: &mut Box<Batch>,
    ) -> io::Result<((), After)> {
        let messages = &self.messages;
        let mut inbox = messages.inbox();
        if let Some(ahead) = inbox.batch.take() {
            messages.queued.store(inbox.lost, Relaxed);
            core.put_batch(std::mem::replace(room, ahead));
            return Ok(((), After::Ready));
        }
        let want = room.want();
        let filled = self.fill(fd, &mut inbox, room, want);
        // Not before the call is known to be there, which alone can take them apart.
        if inbox.coalesced.is_none() && !messages.plain.load(Relaxed) {
            messages.set_coalesced(&mut inbox, udp::coalesce(fd));
        }
        Ok(((), filled?))
    }

    /// Asks the kernel for up to `want` messages, of which at least one is ours.
    fn fill(
        &self,
        fd: BorrowedFd<'_>,
        inbox: &mut Inbox,
        room: &mut Batch,
        want: usize,
    ) -> io::Result<After> {
        let messages = &self.messages;
        let mut passed = 0;
        loop {
            // Once for datagrams that were lost, after all that came with them.
            if std::mem::take(&mut inbox.lost) {
                messages.queued.store(false, Relaxed);
                return Err(errno::no_room());
            }
            match self.ask(fd, room, want) {
                Ok(Filled { drained, cut }) => {
                    if cut {
                        inbox.lost = true;
                        messages.queued.store(true, Relaxed);
                    }
                    // What came between bind and connect is still in the queue.
                    if let Some(peer) = &self.peer {
                        room.retain_from(peer);
                    }
                    match drained {
                        _ if room.is_empty() => {}
                        true => return Ok(After::Taken),
                        false => return Ok(After::Ready),
                    }
                }
                Err(error) if errno::is_missing_call(&error) => {
                    if messages.plain.swap(true, Relaxed) {
                        return Err(error);
                    }
                    if inbox.coalesced == Some(true) {
                        sockopt::part(fd);
                    }
                    messages.set_coalesced(inbox, false);
                }
                Err(error) => self.pass(error, &mut passed)?,
            }
        }
    }

    /// One system call.
    fn ask(&self, fd: BorrowedFd<'_>, room: &mut Batch, want: usize) -> io::Result<Filled> {
        let tells = self.messages.has_more_to_tell();
        match self.messages.plain.load(Relaxed) {
            true if !tells => udp::receive_plain(fd, room),
            true => udp::receive(fd, room, 1, true),
            false => udp::receive(fd, room, want, tells),
        }
    }

    /// Destination and source as the system takes them; an error if the socket cannot reach that
    /// family, or the source is of the other one.
    #[inline]
    pub(super) fn way(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<(SocketAddr, Option<IpAddr>)> {
        let reached = fitting(&self.local, to)?;
        match source.map(|source| source.to_canonical()) {
            Some(source) if source.is_ipv4() != to.ip().to_canonical().is_ipv4() => {
                let message = format!("{source} is of another family than the destination");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            source => Ok((reached, source)),
        }
    }
}
