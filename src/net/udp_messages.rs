//! The data beside a datagram: more datagrams, and the address that it was sent to.
//!
//! A receive is a plain call unless the kernel has more to report: the destination of a datagram,
//! or the size of several that it has merged. Datagrams that were not requested yet are stored with
//! the socket until they are. Meanwhile no system call is made, so at most one message is stored;
//! the others stay in the kernel's queue.
//!
//! Stored datagrams are in memory that is borrowed from the loop, and returned with the last of
//! them: sockets that wait have none. The memory is accessed only with the receiving direction
//! claimed, so there is never contention for its lock; the lock is needed because a socket may be
//! dropped on any thread.
//!
//! If the control data of a datagram had no room, the datagram is lost, and an error reports it
//! after all datagrams that came with it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::udp_core::UdpCore;
use crate::error::Result;
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Operation};
use crate::sys::addr::Inet;
use crate::sys::batch::Batch;
use crate::sys::udp::{self, Filled, Segments};
use crate::sys::{errno, sockopt};

/// A received datagram: its length, and its destination if the kernel has reported it.
type One = (usize, Option<IpAddr>);

/// The state of a socket beside its plain calls.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A datagram or an error is stored. Changed only with the receiving direction claimed.
    queued: AtomicBool,
    /// The kernel reports data beside datagrams.
    reports: AtomicBool,
    /// One datagram per call: because of an option, or because the system has no other call.
    pub(super) plain: AtomicBool,
    /// The kernel reports the destination of each datagram.
    destinations: bool,
    pub(super) segments: Segments,
    inbox: Mutex<Inbox>,
}

/// The state that a receive leaves for the next.
#[derive(Debug, Default)]
struct Inbox {
    /// Set while datagrams are stored.
    batch: Option<Box<Batch>>,
    /// Whether a message may have several datagrams; `None` while that was not requested.
    coalesced: Option<bool>,
    /// A datagram was lost, which is not reported yet.
    lost: bool,
}

impl Messages {
    pub(super) fn new(plain: bool, destinations: bool) -> Self {
        Self {
            plain: plain.into(),
            reports: destinations.into(),
            destinations,
            ..Self::default()
        }
    }

    /// Reads the options that were set before the socket was adopted.
    #[cfg(feature = "adopt")]
    pub(super) fn read_options(&mut self, fd: BorrowedFd<'_>) {
        let coalesced = udp::is_coalescing(fd);
        *self = Self::new(false, udp::is_telling(fd));
        self.inbox().coalesced = coalesced.then_some(true);
        *self.reports.get_mut() |= coalesced;
    }

    #[inline]
    pub(super) fn has_some(&self) -> bool {
        self.queued.load(Relaxed)
    }

    #[inline]
    pub(super) fn has_more_to_tell(&self) -> bool {
        self.reports.load(Relaxed)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether the kernel may merge datagrams.
    fn set_coalesced(&self, inbox: &mut Inbox, on: bool) {
        inbox.coalesced = Some(on);
        self.reports.store(on || self.destinations, Relaxed);
    }

    /// The socket leaves the crate, to code that does not expect merged datagrams.
    #[cfg(feature = "adopt")]
    pub(super) fn leaves(&self, fd: BorrowedFd<'_>) {
        if self.inbox().coalesced == Some(true) {
            sockopt::part(fd);
        }
    }
}

impl UdpCore {
    /// Polls a receive of one datagram on a socket of which the kernel reports more.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_message(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        buf: &mut [u8],
        from: &mut Inet,
    ) -> Poll<Result<One>> {
        let call = |core: &Core, fd: BorrowedFd<'_>| self.receive_message(core, fd, buf, from);
        operation.poll(cx, self.first(), call, |cause| self.not_received(cause))
    }

    /// Receives one datagram into `buf`, and its sender into `from`. The receiving direction must
    /// be claimed.
    #[cold]
    pub(super) fn receive_message(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        from: &mut Inet,
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
        let room = taken.data.len().min(buf.len());
        buf[..room].copy_from_slice(&taken.data[..room]);
        *from = *taken.from;
        let one = (taken.data.len(), taken.to());
        if batch.is_empty() {
            let empty = inbox.batch.take().expect("as above");
            core.put_batch(empty);
        }
        let queued = inbox.lost || inbox.batch.is_some();
        self.messages.queued.store(queued, Relaxed);
        Ok((one, After::Ready))
    }

    /// Receives at least one datagram into a batch. The receiving direction must be claimed.
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
        // Not before the call has succeeded, which is needed to separate them.
        if inbox.coalesced.is_none() && !messages.plain.load(Relaxed) {
            messages.set_coalesced(&mut inbox, udp::coalesce(fd));
        }
        Ok(((), filled?))
    }

    /// Receives up to `want` messages, at least one of them from our peer, if there is one.
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
            // Reported once, after all datagrams that came with the lost ones.
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
                    // Datagrams that came between bind and connect are still in the queue.
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

    /// Makes one system call.
    fn ask(&self, fd: BorrowedFd<'_>, room: &mut Batch, want: usize) -> io::Result<Filled> {
        let reports = self.messages.has_more_to_tell();
        match self.messages.plain.load(Relaxed) {
            true if !reports => udp::receive_plain(fd, room),
            true => udp::receive(fd, room, 1, true),
            false => udp::receive(fd, room, want, reports),
        }
    }

    /// Returns destination and source in the system's form; an error if the socket cannot reach
    /// that family, or the source is of the other one.
    #[inline]
    pub(super) fn way(
        &self,
        to: &SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<(Inet, Option<IpAddr>)> {
        let reached = match to {
            SocketAddr::V4(_) if self.local.is_ipv4() => Inet::new(to),
            _ => self.reach(to)?,
        };
        match source.map(|source| source.to_canonical()) {
            Some(source) if source.is_ipv4() != to.ip().to_canonical().is_ipv4() => {
                let message = format!("{source} is of another family than the destination");
                Err(errno::invalid(message))
            }
            source => Ok((reached, source)),
        }
    }
}
