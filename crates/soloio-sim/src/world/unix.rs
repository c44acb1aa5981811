//! UNIX sockets: streams, datagrams, pairs, names, and descriptors sent in messages.
//!
//! Both ends are on one machine, so sent data arrives immediately.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::descriptors::{Fd, Id, Object};
use super::options::Options;
use super::readiness::bits::{ALL, CAME, ERR, HUP, RDHUP, READABLE, WRBAND, WRITABLE, when};
use super::{Errno, Result, World};

/// The name of a UNIX socket; empty if it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Name {
    /// As in `sun_path`: an abstract name begins with a zero.
    pub(crate) bytes: Vec<u8>,
    /// The file behind it: device and number.
    pub(crate) file: Option<(u64, u64)>,
}

/// The key of a name: the file, or the abstract name.
type Key = (Option<(u64, u64)>, Vec<u8>);

impl Name {
    fn key(&self) -> Key {
        match self.file {
            Some(file) => (Some(file), Vec::new()),
            None => (None, self.bytes.clone()),
        }
    }
}

/// A descriptor in a message.
#[derive(Debug)]
pub(crate) enum Right {
    /// A descriptor of the world.
    Object(Id),
    /// A descriptor of the real kernel.
    Real(OwnedFd),
}

#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) data: VecDeque<u8>,
    pub(crate) from: Name,
    pub(crate) rights: Vec<Right>,
    /// Notified when the message has left the queue.
    pub(super) sender: Option<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    Listening,
    /// It was connected, and stays so when the peer is gone.
    Connected,
}

#[derive(Debug)]
pub(crate) struct Unix {
    pub(super) datagram: bool,
    pub(crate) name: Name,
    pub(super) state: State,
    pub(super) peer: Option<Id>,
    pub(super) peer_name: Name,
    pub(crate) error: Errno,
    pub(super) inbox: VecDeque<Message>,
    pub(super) queue: VecDeque<Id>,
    pub(super) backlog: usize,
    pub(super) receive_shut: bool,
    pub(super) send_shut: bool,
    pub(crate) options: Options,
    pub(super) buffer: usize,
    pub(super) wants_room: bool,
}

impl Unix {
    pub(super) fn new(datagram: bool, buffer: usize) -> Self {
        Self {
            datagram,
            name: Name::default(),
            state: State::Closed,
            peer: None,
            peer_name: Name::default(),
            error: 0,
            inbox: VecDeque::new(),
            queue: VecDeque::new(),
            backlog: 0,
            receive_shut: false,
            send_shut: false,
            options: Options::default(),
            buffer,
            wants_room: false,
        }
    }

    pub(super) fn kind(&self) -> i32 {
        if self.datagram {
            libc::SOCK_DGRAM
        } else {
            libc::SOCK_STREAM
        }
    }

    pub(super) fn listens(&self) -> bool {
        self.state == State::Listening
    }

    pub(crate) fn is_datagram(&self) -> bool {
        self.datagram
    }

    pub(super) fn waiting(&self) -> usize {
        self.inbox.iter().map(|message| message.data.len()).sum()
    }
}

impl World {
    pub(crate) fn unix(&mut self, id: Id) -> Option<&mut Unix> {
        match self.descriptors.get_mut(id) {
            Some(Object::Unix(unix)) => Some(unix),
            _ => None,
        }
    }

    pub(super) fn peer_unix(&self, id: Id) -> Option<&Unix> {
        let peer = match self.descriptors.get(id) {
            Some(Object::Unix(unix)) => unix.peer?,
            _ => return None,
        };
        match self.descriptors.get(peer) {
            Some(Object::Unix(unix)) => Some(unix),
            _ => None,
        }
    }

    /// socketpair(2).
    pub(crate) fn unix_pair(&mut self, kind: i32) -> Result<(Fd, Fd)> {
        let (nonblocking, cloexec) = (
            kind & libc::SOCK_NONBLOCK != 0,
            kind & libc::SOCK_CLOEXEC != 0,
        );
        let datagram = match kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
            libc::SOCK_STREAM => false,
            libc::SOCK_DGRAM => true,
            _ => return Err(libc::ESOCKTNOSUPPORT),
        };
        self.may_open()?;
        let buffer = self.dice.faults.buffer;
        let mut made = Vec::new();
        for _ in 0..2 {
            let mut unix = Unix::new(datagram, buffer);
            unix.state = State::Connected;
            match self.open(Object::Unix(Box::new(unix)), nonblocking, cloexec) {
                Ok(fd) => made.push(fd),
                Err(errno) => {
                    if let Some(first) = made.first() {
                        self.close(*first)?;
                    }
                    return Err(errno);
                }
            }
        }
        let (a, b) = (self.descriptors.id(made[0])?, self.descriptors.id(made[1])?);
        for (own, peer) in [(a, b), (b, a)] {
            if let Some(unix) = self.unix(own) {
                unix.peer = Some(peer);
            }
        }
        Ok((made[0], made[1]))
    }

    /// `unix_poll` and `unix_dgram_poll` of Linux.
    pub(super) fn unix_ready(&mut self, id: Id) -> u32 {
        let room = self.unix_room(id) > 0;
        let Some(unix) = self.unix(id) else { return 0 };
        let mut mask = when(unix.error != 0, ERR);
        if unix.receive_shut {
            mask |= RDHUP | READABLE;
        }
        let closed = !unix.datagram && unix.state == State::Closed;
        if unix.receive_shut && unix.send_shut || closed {
            mask |= HUP;
        }
        if !unix.inbox.is_empty() || !unix.queue.is_empty() {
            mask |= READABLE;
        }
        if unix.state != State::Listening && room {
            mask |= WRITABLE | WRBAND;
        } else {
            unix.wants_room = true;
        }
        mask
    }

    pub(super) fn unix_named(&self, machine: usize, name: &Name) -> Option<Id> {
        let key = name.key();
        let objects = self.descriptors.objects.iter();
        let mut fits = objects.filter(|(_, description)| match &description.object {
            Object::Unix(unix) => {
                let named = !unix.name.bytes.is_empty() && unix.name.key() == key;
                description.machine == machine && named && description.references > 0
            }
            _ => false,
        });
        fits.next().map(|(id, _)| *id)
    }

    pub(super) fn unix_bind(&mut self, id: Id, name: &Name) -> Result<()> {
        let machine = self.tcp_machine(id);
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        if !unix.name.bytes.is_empty() {
            return Err(libc::EINVAL);
        }
        let mut name = name.clone();
        if name.bytes.is_empty() {
            // "autobind": the kernel chooses a name.
            let drawn = self.dice.nature.below(1 << 20);
            name.bytes = format!("\0{drawn:05x}").into_bytes();
        }
        self.forget_file(&name);
        if self.unix_named(machine, &name).is_some() {
            return Err(libc::EADDRINUSE);
        }
        if let Some(unix) = self.unix(id) {
            unix.name = name;
        }
        Ok(())
    }

    /// Forgets an earlier file of the same number: it is gone, since this one was just made. Linux
    /// gives no number away while a socket has it.
    fn forget_file(&mut self, made: &Name) {
        let objects = self.descriptors.objects.values_mut();
        for description in objects.filter(|_| made.file.is_some()) {
            if let Object::Unix(unix) = &mut description.object {
                for name in [&mut unix.name, &mut unix.peer_name] {
                    name.file = name.file.filter(|file| Some(*file) != made.file);
                }
            }
        }
    }

    pub(super) fn unix_listen(&mut self, id: Id, backlog: usize) -> Result<()> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        if unix.datagram {
            return Err(libc::EOPNOTSUPP);
        }
        if unix.name.bytes.is_empty() || unix.state == State::Connected {
            return Err(libc::EINVAL);
        }
        (unix.state, unix.backlog) = (State::Listening, backlog);
        Ok(())
    }

    pub(super) fn unix_connect(&mut self, id: Id, name: &Name) -> Result<()> {
        let machine = self.tcp_machine(id);
        let found = self.unix_named(machine, name).ok_or(libc::ECONNREFUSED)?;
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        let (datagram, state) = (unix.datagram, unix.state);
        let own_name = unix.name.clone();
        let other = self.unix(found).ok_or(libc::ECONNREFUSED)?;
        if other.datagram != datagram {
            return Err(libc::EPROTOTYPE);
        }
        let peer_name = other.name.clone();
        if datagram {
            if other.peer.is_some_and(|peer| peer != id) {
                return Err(libc::EPERM);
            }
            let unix = self.unix(id).expect("looked at above");
            (unix.peer, unix.peer_name) = (Some(found), peer_name);
            unix.state = State::Connected;
            return Ok(());
        }
        match (state, other.state) {
            (_, State::Closed | State::Connected) => return Err(libc::ECONNREFUSED),
            _ if other.receive_shut => return Err(libc::ECONNREFUSED),
            _ if other.queue.len() > other.backlog => return Err(libc::EAGAIN),
            (State::Connected, _) => return Err(libc::EISCONN),
            (State::Listening, _) => return Err(libc::EINVAL),
            (State::Closed, State::Listening) => {}
        }
        let mut child = Unix::new(false, self.dice.faults.buffer);
        (child.state, child.peer) = (State::Connected, Some(id));
        (child.name, child.peer_name) = (peer_name.clone(), own_name);
        let child = self.descriptors.add(Object::Unix(Box::new(child)), machine);
        let unix = self.unix(id).expect("looked at above");
        (unix.state, unix.peer) = (State::Connected, Some(child));
        unix.peer_name = peer_name;
        if let Some(other) = self.unix(found) {
            other.queue.push_back(child);
        }
        self.wake(found, CAME);
        self.wake(id, ALL);
        Ok(())
    }

    pub(super) fn unix_accept(&mut self, id: Id) -> Result<Id> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        if unix.datagram {
            return Err(libc::EOPNOTSUPP);
        }
        if unix.state != State::Listening {
            return Err(libc::EINVAL);
        }
        if unix.queue.is_empty() {
            return Err(if unix.receive_shut {
                libc::EINVAL
            } else {
                libc::EAGAIN
            });
        }
        self.may_open()?;
        if !self.has_number() {
            return Err(libc::EMFILE);
        }
        let unix = self.unix(id).expect("looked at above");
        unix.queue.pop_front().ok_or(libc::EAGAIN)
    }

    pub(super) fn unix_peer_name(&mut self, id: Id) -> Result<Name> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        match unix.peer {
            Some(_) => Ok(unix.peer_name.clone()),
            None => Err(libc::ENOTCONN),
        }
    }

    pub(super) fn unix_shutdown(&mut self, id: Id, receive: bool, send: bool) -> Result<()> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        unix.receive_shut |= receive;
        unix.send_shut |= send;
        let peer = unix.peer.filter(|_| !unix.datagram);
        self.wake(id, ALL);
        if let Some(other) = peer.and_then(|peer| self.unix(peer)) {
            other.receive_shut |= send;
            other.send_shut |= receive;
        }
        if let Some(peer) = peer {
            self.wake(peer, ALL);
        }
        Ok(())
    }

    /// Closes the last descriptor.
    pub(super) fn end_unix(&mut self, id: Id) {
        let Some(Object::Unix(mut unix)) = self
            .descriptors
            .objects
            .remove(&id)
            .map(|description| description.object)
        else {
            return;
        };
        if let Some(other) = unix.peer.filter(|_| !unix.datagram) {
            if let Some(peer) = self.unix(other) {
                (peer.receive_shut, peer.send_shut) = (true, true);
                if !unix.inbox.is_empty() {
                    peer.error = libc::ECONNRESET;
                }
            }
            self.wake(other, ALL);
        }
        // Connections that were never accepted end with a reset.
        for child in std::mem::take(&mut unix.queue) {
            let peer = self.unix(child).and_then(|unix| unix.peer);
            self.descriptors.objects.remove(&child);
            if let Some(client) = peer.and_then(|peer| self.unix(peer)) {
                (client.receive_shut, client.send_shut) = (true, true);
                client.error = libc::ECONNRESET;
            }
            if let Some(peer) = peer {
                self.wake(peer, ALL);
            }
        }
        self.drop_messages(unix.inbox);
    }

    pub(super) fn unix_unread(&mut self, id: Id) -> usize {
        match self.descriptors.get(id) {
            Some(Object::Unix(unix)) if unix.datagram => {
                unix.inbox.front().map_or(0, |message| message.data.len())
            }
            Some(Object::Unix(unix)) => unix.waiting(),
            _ => 0,
        }
    }

    pub(super) fn unix_unsent(&self, id: Id) -> usize {
        self.peer_unix(id).map_or(0, Unix::waiting)
    }
}
