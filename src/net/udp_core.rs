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
//! A batch is taken from the loop, and given back when its last datagram is: sockets that wait
//! hold none. It is reached only with the receiving direction claimed, so the lock around it is
//! never waited for; it is there because a socket may be dropped on any thread.
//!
//! # Errors
//!
//! An error about one peer comes once, as the result of one call. On an unconnected socket it says
//! nothing about the other peers, so receiving passes over it. A datagram is lost if its control
//! data had no room, and an error says so after all that came with it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::udp_inbox::Inbox;
use crate::runtime::context::Core;
use crate::runtime::operation::{After, First};
use crate::runtime::socket::{Socket, Trigger};
use crate::sys::batch::{Batch, Taken};
use crate::sys::udp::{self, Filled, Segments};
use crate::sys::{self, errno};

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
    /// The inbox holds datagrams, or an error. Changed with the receiving direction claimed.
    queued: AtomicBool,
    /// One datagram a call: asked for, or the system has no other.
    pub(super) plain: AtomicBool,
    /// The kernel tells the address that each datagram came to.
    tells: bool,
    pub(super) segments: Segments,
    inbox: Mutex<Inbox>,
}

/// Both ends of a received datagram's way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) from: SocketAddr,
    /// The address of this host, if the kernel told it.
    pub(super) to: Option<IpAddr>,
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
        tells: bool,
    ) -> Self {
        Self {
            socket: Socket::new(fd, Trigger::Edge),
            local,
            peer,
            queued: AtomicBool::new(false),
            plain: AtomicBool::new(plain),
            tells,
            segments: Segments::new(),
            inbox: Mutex::default(),
        }
    }

    /// The same for a socket that was made elsewhere, whose datagrams may come together already.
    #[cfg(feature = "adopt")]
    pub(super) fn adopted(fd: OwnedFd, local: SocketAddr, peer: Option<SocketAddr>) -> Self {
        let borrowed = std::os::fd::AsFd::as_fd(&fd);
        let coalesced = udp::is_coalescing(borrowed).then_some(true);
        let tells = udp::is_telling(borrowed);
        let mut core = Self::new(fd, local, peer, false, tells);
        let inbox = core.inbox.get_mut();
        inbox.unwrap_or_else(PoisonError::into_inner).coalesced = coalesced;
        core
    }

    /// The socket goes on elsewhere, where nobody expects datagrams that come together.
    #[cfg(feature = "adopt")]
    pub(super) fn leaves(&self) {
        if self.inbox().coalesced == Some(true) {
            udp::part(self.socket.fd());
        }
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

    /// A place for the ends of a datagram that is still to come.
    pub(super) fn ends(&self) -> Ends {
        Ends {
            from: self.local,
            to: None,
        }
    }

    /// Receives one datagram into `buf`, and its ends into `ends`, where they are written once: an
    /// address is many moves. The receiving direction is claimed.
    #[inline]
    pub(super) fn receive_one(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        ends: &mut Ends,
    ) -> io::Result<(One, After)> {
        let mut inbox = self.inbox();
        if let Some(one) = self.pop_into(core, &mut inbox, buf, ends) {
            return Ok((one, After::Ready));
        }
        self.fill_one(core, fd, &mut inbox, buf, ends)
    }

    /// The same as a vector; `buf` has room for the largest datagram.
    pub(super) fn receive_vec(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
    ) -> io::Result<((Vec<u8>, SocketAddr), After)> {
        let mut inbox = self.inbox();
        let owned = |taken: Taken<'_>| (taken.data.to_vec(), taken.from.address());
        if let Some(datagram) = self.pop(core, &mut inbox, owned) {
            return Ok((datagram, After::Ready));
        }
        let (mut scratch, mut ends) = (core.scratch(), self.ends());
        let (one, after) = self.fill_one(core, fd, &mut inbox, &mut scratch, &mut ends)?;
        Ok(((scratch[..one.length].to_vec(), ends.from), after))
    }

    #[inline]
    fn pop_into(
        &self,
        core: &Core,
        inbox: &mut Inbox,
        buf: &mut [u8],
        ends: &mut Ends,
    ) -> Option<One> {
        self.pop(core, inbox, |taken| {
            let length = taken.data.len().min(buf.len());
            buf[..length].copy_from_slice(&taken.data[..length]);
            ends.from = taken.from.address();
            ends.to = taken.to();
            One {
                length,
                truncated: length < taken.data.len(),
            }
        })
    }

    /// Takes the oldest datagram that is ahead.
    #[inline]
    fn pop<T>(
        &self,
        core: &Core,
        inbox: &mut Inbox,
        take: impl FnOnce(Taken<'_>) -> T,
    ) -> Option<T> {
        let batch = inbox.batch.as_mut()?;
        let datagram = batch.pop().map(take);
        if batch.is_empty() {
            self.queued.store(inbox.lost, Relaxed);
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
        ends: &mut Ends,
    ) -> io::Result<(One, After)> {
        let mut passed = 0;
        loop {
            self.tell_lost(inbox)?;
            let filled = self.fill(core, fd, inbox, buf);
            let Some(filled) = self.judge(inbox, &mut passed, filled)? else {
                continue;
            };
            let after = after(&filled);
            let direct = filled
                .direct
                .and_then(|got| self.accept(&got, &mut ends.from));
            if let Some(one) = direct.or_else(|| self.pop_into(core, inbox, buf, ends)) {
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
            Ok(filled) => {
                if filled.cut {
                    inbox.lost = true;
                    self.queued.store(true, Relaxed);
                }
                return Ok(Some(filled));
            }
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

    /// An error once for datagrams that were lost, after all that came with them.
    fn tell_lost(&self, inbox: &mut Inbox) -> io::Result<()> {
        if !std::mem::take(&mut inbox.lost) {
            return Ok(());
        }
        self.queued.store(false, Relaxed);
        Err(errno::no_room())
    }

    /// Whether room is needed for what the kernel tells beside a datagram.
    fn beside(&self, inbox: &Inbox) -> bool {
        self.tells || inbox.coalesced == Some(true)
    }

    /// One system call for one or more datagrams, of which the first may go to `buf`.
    fn fill(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        inbox: &mut Inbox,
        buf: &mut [u8],
    ) -> io::Result<Filled> {
        let want = inbox.want(self.plain.load(Relaxed));
        let beside = self.beside(inbox);
        if want == 1 && !beside {
            let direct = Some(sys::socket::recv_from(fd, buf)?);
            inbox.streak += 1;
            return Ok(Filled {
                direct,
                count: 1,
                drained: false,
                cut: false,
            });
        }
        let mut batch = core.take_batch();
        // A message of several datagrams must not be cut off by a small buffer.
        let direct = (!beside).then_some(buf);
        let filled = udp::receive(fd, direct, &mut batch, want, beside);
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

    /// Draws conclusions from what came.
    fn note(&self, fd: BorrowedFd<'_>, inbox: &mut Inbox, batch: &Batch, filled: &Filled) {
        // Code that reads from the descriptor by other means would not expect it.
        if inbox.note(batch, filled) && !self.socket.is_lent() {
            inbox.coalesced = Some(udp::coalesce(fd));
        }
    }

    /// What came between bind and connect is still in the queue.
    fn leave_out_strangers(&self, batch: &mut Batch) {
        if let Some(peer) = &self.peer {
            batch.retain_from(peer);
        }
    }

    /// Receives at least one datagram into a batch; the receiving direction is claimed.
    #[cfg(feature = "udp-batch")]
    pub(super) fn receive_batch(
        &self,
        core: &Core,
        fd: BorrowedFd<'_>,
        room: &mut Box<Batch>,
    ) -> io::Result<((), After)> {
        let mut inbox = self.inbox();
        let inbox = &mut *inbox;
        if let Some(ahead) = inbox.batch.take() {
            self.queued.store(inbox.lost, Relaxed);
            core.put_batch(std::mem::replace(room, ahead));
            return Ok(((), After::Ready));
        }
        let mut passed = 0;
        loop {
            self.tell_lost(inbox)?;
            let filled = self.fill_batch(fd, inbox, room);
            let Some(filled) = self.judge(inbox, &mut passed, filled)? else {
                continue;
            };
            if !room.is_empty() {
                return Ok(((), after(&filled)));
            }
        }
    }

    #[cfg(feature = "udp-batch")]
    fn fill_batch(
        &self,
        fd: BorrowedFd<'_>,
        inbox: &mut Inbox,
        room: &mut Batch,
    ) -> io::Result<Filled> {
        let plain = self.plain.load(Relaxed);
        if plain && !self.tells {
            let filled = udp::receive_plain(fd, None, room)?;
            self.leave_out_strangers(room);
            return Ok(filled);
        }
        let want = if plain { 1 } else { inbox.want(false).max(4) };
        let filled = udp::receive(fd, None, room, want, self.beside(inbox));
        // Not before the call is known to be there, which alone can take them apart.
        if !plain && !matches!(&filled, Err(error) if errno::is_missing_call(error)) {
            inbox.coalesced.get_or_insert_with(|| udp::coalesce(fd));
        }
        let filled = filled?;
        self.note(fd, inbox, room, &filled);
        self.leave_out_strangers(room);
        Ok(filled)
    }
}

fn after(filled: &Filled) -> After {
    if filled.drained {
        After::Taken
    } else {
        After::Ready
    }
}
