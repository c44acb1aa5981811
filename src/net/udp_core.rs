//! What both kinds of UDP sockets are made of: the socket, the datagrams it has ahead, and the
//! choice of the system call.
//!
//! # Receiving
//!
//! One plain call per datagram is the cheapest way for one or two of them. From the third on that
//! come without a wait in between, one call takes many: the first goes straight to the caller's
//! buffer, the others to a [`Batch`] that stays with the socket until they are asked for. Nothing
//! is asked of the kernel meanwhile, so at most one batch is ahead; the rest stays in its queue.
//!
//! ```text
//!   after a wait:    1, 1, then 4, 8, 16, 32 at a time     (1: no batch, straight to the caller)
//!   burst before had been long: begins with as many
//! ```
//!
//! A batch is taken from the loop, and given back when its last datagram is: sockets that wait
//! hold none. It is reached only with the receiving direction claimed, so the lock around it is
//! never waited for; it is there because a socket may be dropped on any thread.
//!
//! # Errors
//!
//! What is about one peer that is not there comes once, as the result of one call. On a socket
//! that talks to anybody it says nothing about the others, so receiving passes over it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, First};
use crate::runtime::socket::{Socket, Trigger};
use crate::sys::addr::Inet;
use crate::sys::batch::{Batch, SLOTS};
use crate::sys::udp::{self, Filled, Segments};
use crate::sys::{self, errno};

/// Datagrams received without a wait before one call takes several.
const PLAIN: usize = 2;
/// Batches of one sender's equal datagrams before the kernel is asked to hand them out together.
const TRAINS: u8 = 4;
/// Errors about peers that one receive passes over. Each is told once, so more of them in a row
/// mean something else.
const PASSED: usize = 16;

/// What both kinds share.
#[derive(Debug)]
pub(super) struct UdpCore {
    pub(super) socket: Socket,
    pub(super) local: SocketAddr,
    /// Who it is connected to.
    pub(super) peer: Option<SocketAddr>,
    /// The inbox holds datagrams. Changed with the receiving direction claimed.
    queued: AtomicBool,
    /// One datagram a call: asked for, or the system has no other.
    pub(super) plain: AtomicBool,
    pub(super) segments: Segments,
    inbox: Mutex<Inbox>,
}

/// What a receive leaves for the next.
#[derive(Debug, Default)]
struct Inbox {
    /// Set while datagrams are ahead.
    batch: Option<Box<Batch>>,
    /// Datagrams since the last wait.
    streak: usize,
    /// Datagrams between the last two waits.
    expected: usize,
    /// Whether a message may hold several datagrams; `None` while that was not asked for.
    coalesced: Option<bool>,
    trains: u8,
}

/// One datagram that a caller's buffer got.
#[derive(Debug)]
pub(super) struct One {
    pub(super) length: usize,
    pub(super) truncated: bool,
}

impl UdpCore {
    pub(super) fn new(
        fd: OwnedFd,
        local: SocketAddr,
        peer: Option<SocketAddr>,
        plain: bool,
    ) -> Self {
        Self {
            socket: Socket::new(fd, Trigger::Edge),
            local,
            peer,
            queued: AtomicBool::new(false),
            plain: AtomicBool::new(plain),
            segments: Segments::new(),
            inbox: Mutex::default(),
        }
    }

    /// The same for a socket that was made elsewhere, whose datagrams may come together already.
    pub(super) fn adopted(fd: OwnedFd, local: SocketAddr, peer: Option<SocketAddr>) -> Self {
        let coalesced = udp::is_coalescing(fd.as_fd()).then_some(true);
        let mut core = Self::new(fd, local, peer, false);
        let inbox = core.inbox.get_mut();
        inbox.unwrap_or_else(PoisonError::into_inner).coalesced = coalesced;
        core
    }

    /// The socket goes on elsewhere, where nobody expects datagrams that come together.
    pub(super) fn leaves(&self) {
        if self.inbox().coalesced == Some(true) {
            udp::part(self.socket.fd());
        }
    }

    /// The descriptor, for a call that needs no loop.
    pub(super) fn open_fd(&self) -> Result<BorrowedFd<'_>> {
        if self.socket.is_closed() {
            return Err(Error::Closed);
        }
        Ok(self.socket.fd())
    }

    /// Whether a receive has to ask the kernel at all.
    #[inline]
    pub(super) fn first(&self) -> First {
        if self.queued.load(Relaxed) {
            First::AtHand
        } else {
            First::Wait
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives one datagram into `buf`, and its sender into `from`, where it is written once: an
    /// address is many moves. The receiving direction is claimed.
    #[inline]
    pub(super) fn receive_one(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        from: &mut SocketAddr,
    ) -> io::Result<(One, After)> {
        let mut inbox = self.inbox();
        if let Some(one) = self.pop_into(core, &mut inbox, buf, from) {
            return Ok((one, After::Ready));
        }
        self.fill_one(core, fd, &mut inbox, buf, from)
    }

    /// The same as a vector; `buf` has room for the largest datagram.
    pub(super) fn receive_vec(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
    ) -> io::Result<((Vec<u8>, SocketAddr), After)> {
        let mut inbox = self.inbox();
        let owned = |data: &[u8], from: &Inet| (data.to_vec(), from.address());
        if let Some(datagram) = self.pop(core, &mut inbox, owned) {
            return Ok((datagram, After::Ready));
        }
        let (mut scratch, mut from) = (core.scratch(), self.local);
        let (one, after) = self.fill_one(core, fd, &mut inbox, &mut scratch, &mut from)?;
        Ok(((scratch[..one.length].to_vec(), from), after))
    }

    #[inline]
    fn pop_into(
        &self,
        core: &Core,
        inbox: &mut Inbox,
        buf: &mut [u8],
        from: &mut SocketAddr,
    ) -> Option<One> {
        self.pop(core, inbox, |data, sender| {
            let length = data.len().min(buf.len());
            buf[..length].copy_from_slice(&data[..length]);
            *from = sender.address();
            One {
                length,
                truncated: length < data.len(),
            }
        })
    }

    /// Takes the oldest datagram that is ahead.
    #[inline]
    fn pop<T>(
        &self,
        core: &Core,
        inbox: &mut Inbox,
        take: impl FnOnce(&[u8], &Inet) -> T,
    ) -> Option<T> {
        let batch = inbox.batch.as_mut()?;
        let datagram = batch.pop().map(|(data, from)| take(data, from));
        if batch.is_empty() {
            self.queued.store(false, Relaxed);
            if let Some(batch) = inbox.batch.take() {
                core.put_batch(batch);
            }
        }
        datagram
    }

    /// Asks the kernel, which may give more than the one.
    fn fill_one(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        inbox: &mut Inbox,
        buf: &mut [u8],
        from: &mut SocketAddr,
    ) -> io::Result<(One, After)> {
        let mut passed = 0;
        loop {
            let filled = self.fill(core, fd, inbox, buf);
            let Some(filled) = self.judge(inbox, &mut passed, filled)? else {
                continue;
            };
            let after = if filled.drained {
                After::Taken
            } else {
                After::Ready
            };
            let direct = filled.direct.and_then(|got| self.accept(&got, from));
            if let Some(one) = direct.or_else(|| self.pop_into(core, inbox, buf, from)) {
                return Ok((one, after));
            }
        }
    }

    /// What a call's result asks for: an answer, an error for the caller, or (`None`) the call once
    /// more.
    fn judge(
        &self,
        inbox: &mut Inbox,
        passed: &mut usize,
        filled: io::Result<Filled>,
    ) -> io::Result<Option<Filled>> {
        let error = match filled {
            Ok(filled) => return Ok(Some(filled)),
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            inbox.end_streak();
        } else if errno::is_missing_call(&error) && !self.plain.swap(true, Relaxed) {
            if inbox.coalesced.replace(false) == Some(true) {
                udp::part(self.socket.fd());
            }
            return Ok(None);
        } else if self.peer.is_none() && errno::is_about_a_peer(&error) && *passed < PASSED {
            *passed += 1;
            return Ok(None);
        }
        Err(error)
    }

    /// One system call for one or more datagrams, of which the first may go to `buf`.
    fn fill(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        inbox: &mut Inbox,
        buf: &mut [u8],
    ) -> io::Result<Filled> {
        let want = self.want(inbox);
        let coalesced = inbox.coalesced == Some(true);
        if want == 1 && !coalesced {
            let direct = Some(sys::socket::recv_from(fd, buf)?);
            inbox.streak += 1;
            return Ok(Filled {
                direct,
                count: 1,
                drained: false,
            });
        }
        let mut batch = core.take_batch();
        // A message of several datagrams must not be cut off by a small buffer.
        let direct = (!coalesced).then_some(buf);
        let filled = udp::receive(fd, direct, &mut batch, want, coalesced);
        if let Ok(filled) = &filled {
            self.note(fd, inbox, &batch, filled);
            self.leave_out_strangers(&mut batch);
        }
        if batch.is_empty() {
            core.put_batch(batch);
        } else {
            inbox.batch = Some(batch);
            self.queued.store(true, Relaxed);
        }
        filled
    }

    /// How many datagrams to ask for.
    fn want(&self, inbox: &Inbox) -> usize {
        let few = inbox.streak < PLAIN && inbox.expected <= PLAIN;
        if few || self.plain.load(Relaxed) {
            return 1;
        }
        (inbox.streak.max(inbox.expected) + 1)
            .next_power_of_two()
            .clamp(4, SLOTS)
    }

    /// Draws conclusions from what came.
    fn note(&self, fd: BorrowedFd<'_>, inbox: &mut Inbox, batch: &Batch, filled: &Filled) {
        inbox.streak += filled.count;
        if inbox.coalesced.is_none() && filled.count >= 8 {
            inbox.trains = if batch.is_one_train() {
                inbox.trains + 1
            } else {
                0
            };
            // Whoever reads from the descriptor by other means would not expect it.
            if inbox.trains == TRAINS && !self.socket.is_lent() {
                inbox.coalesced = Some(udp::coalesce(fd));
            }
        }
        if filled.drained {
            inbox.end_streak();
        }
    }

    /// What came between bind and connect is still in the queue.
    fn leave_out_strangers(&self, batch: &mut Batch) {
        if let Some(peer) = &self.peer {
            batch.retain_from(peer);
        }
    }

    /// Receives at least one datagram into a batch; the receiving direction is claimed.
    pub(super) fn receive_batch(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        room: &mut Box<Batch>,
    ) -> io::Result<((), After)> {
        let mut inbox = self.inbox();
        let inbox = &mut *inbox;
        if let Some(ahead) = inbox.batch.take() {
            self.queued.store(false, Relaxed);
            core.put_batch(std::mem::replace(room, ahead));
            return Ok(((), After::Ready));
        }
        let mut passed = 0;
        loop {
            let filled = self.fill_batch(fd, inbox, room);
            let Some(filled) = self.judge(inbox, &mut passed, filled)? else {
                continue;
            };
            if !room.is_empty() {
                let after = if filled.drained {
                    After::Taken
                } else {
                    After::Ready
                };
                return Ok(((), after));
            }
        }
    }

    fn fill_batch(
        &self,
        fd: BorrowedFd<'_>,
        inbox: &mut Inbox,
        room: &mut Batch,
    ) -> io::Result<Filled> {
        if self.plain.load(Relaxed) {
            let filled = udp::receive_plain(fd, None, room)?;
            self.leave_out_strangers(room);
            return Ok(filled);
        }
        let coalesced = inbox.coalesced == Some(true);
        let want = self.want(inbox).max(4);
        let filled = udp::receive(fd, None, room, want, coalesced);
        // Not before the call is known to be there, which alone can take them apart.
        if !matches!(&filled, Err(error) if errno::is_missing_call(error)) {
            inbox.coalesced.get_or_insert_with(|| udp::coalesce(fd));
        }
        let filled = filled?;
        self.note(fd, inbox, room, &filled);
        self.leave_out_strangers(room);
        Ok(filled)
    }
}

impl Inbox {
    /// The queue is empty: the next receive will most likely wait.
    fn end_streak(&mut self) {
        self.expected = std::mem::take(&mut self.streak);
    }
}
