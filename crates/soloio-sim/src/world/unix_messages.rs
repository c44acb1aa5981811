//! Bytes, datagrams and descriptors between UNIX sockets.

use super::descriptors::{Id, Object};
use super::readiness::bits::{CAME, ROOM};
use super::sockets::Address;
use super::unix::{Message, Name, Right, State};
use super::{Result, World};
use crate::faults::Fault;

/// The number of datagrams that may wait at a receiver, in Linux's count.
const WAITING: usize = 11;

/// The same for two that are connected with each other, of which Linux counts only the memory: each
/// datagram takes 768 bytes or more of 212,992. A quarter of it makes a sender writable.
const MUTUAL: usize = 278;
const FEW: usize = 69;

impl World {
    /// Sends a message: bytes of a stream, or a datagram. The rights go with its first byte, and
    /// are taken only if a byte is sent.
    pub(crate) fn unix_send(
        &mut self,
        id: Id,
        data: &[u8],
        to: Option<&Address>,
        rights: &mut Vec<Right>,
    ) -> Result<usize> {
        let sent = self.try_unix_send(id, data, to, rights);
        let made = self
            .unix(id)
            .is_some_and(|unix| unix.datagram && !unix.send_shut);
        if made && !matches!(sent, Ok(_) | Err(libc::EINVAL | libc::EMSGSIZE)) {
            // Linux has made the datagram and freed it again, which counts as room.
            self.wake(id, ROOM);
        }
        sent
    }

    fn try_unix_send(
        &mut self,
        id: Id,
        data: &[u8],
        to: Option<&Address>,
        rights: &mut Vec<Right>,
    ) -> Result<usize> {
        let machine = self.tcp_machine(id);
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        let (datagram, from, state) = (unix.datagram, unix.name.clone(), unix.state);
        let target = match (to, datagram) {
            (Some(_), false) if state == State::Connected => return Err(libc::EISCONN),
            (Some(_), false) => return Err(libc::EOPNOTSUPP),
            (Some(Address::Unix(name)), true) => {
                self.unix_named(machine, name).ok_or(libc::ECONNREFUSED)?
            }
            (Some(_), true) => return Err(libc::EINVAL),
            (None, true) if unix.send_shut => return Err(libc::EPIPE),
            (None, _) => unix.peer.ok_or(libc::ENOTCONN)?,
        };
        let unix = self.unix(id).expect("looked at above");
        if unix.send_shut {
            return Err(libc::EPIPE);
        }
        if unix.error != 0 {
            return Err(std::mem::take(&mut unix.error));
        }
        let buffer = unix.buffer;
        let gone = if datagram {
            libc::ECONNREFUSED
        } else {
            libc::EPIPE
        };
        let Some(peer) = self.unix(target) else {
            if datagram {
                // Linux disconnects it, and data that it had not received is lost.
                let unix = self.unix(id).expect("looked at above");
                (unix.peer, unix.state) = (None, State::Closed);
                let lost = std::mem::take(&mut unix.inbox);
                self.drop_messages(lost);
            }
            return Err(gone);
        };
        if peer.receive_shut {
            return Err(libc::EPIPE);
        }
        if datagram && !peer.datagram {
            return Err(libc::EPROTOTYPE);
        }
        if datagram && peer.peer.is_some_and(|other| other != id) {
            return Err(libc::EPERM);
        }
        let mutual = peer.peer == Some(id);
        let most = if mutual { MUTUAL } else { WAITING };
        let room = match datagram {
            true if data.len() > 212_960 => return Err(libc::EMSGSIZE),
            true if peer.inbox.len() >= most => 0,
            true => data.len().max(1),
            false => buffer.saturating_sub(peer.waiting()),
        };
        if room == 0 && (datagram || !data.is_empty()) {
            self.unix(id).expect("looked at above").wants_room = true;
            return Err(libc::EAGAIN);
        }
        let mut count = data.len().min(if datagram { data.len() } else { room });
        if !datagram && count > 1 && self.strikes(Fault::ShortSend) {
            count = 1 + self.dice.detail(Fault::ShortSend, count - 1);
        }
        if count < data.len() {
            self.unix(id).expect("looked at above").wants_room = true;
        }
        if count == 0 && !datagram {
            return Ok(0);
        }
        let rights = std::mem::take(rights);
        self.unix_deliver((id, target), &data[..count], from, rights);
        Ok(count)
    }

    /// Returns the number of bytes, or datagrams, that a send would take.
    pub(super) fn unix_room(&self, id: Id) -> usize {
        let Some(Object::Unix(unix)) = self.descriptors.get(id) else {
            return 0;
        };
        match self.peer_unix(id) {
            None => 1,
            Some(peer) if unix.datagram => {
                let most = match peer.peer == Some(id) {
                    true => FEW + 1,
                    false => WAITING,
                };
                most.saturating_sub(peer.inbox.len())
            }
            Some(peer) => unix.buffer.saturating_sub(peer.waiting()),
        }
    }

    fn unix_deliver(&mut self, way: (Id, Id), data: &[u8], from: Name, rights: Vec<Right>) {
        let (sender, target) = way;
        let message = Message {
            data: data.to_vec().into(),
            from,
            rights,
            sender: Some(sender),
        };
        if let Some(peer) = self.unix(target) {
            peer.inbox.push_back(message);
        }
        self.wake(target, CAME);
    }

    /// Returns the number of bytes that a stream takes, or the error of a send that can take none.
    pub(super) fn unix_write_room(&mut self, id: Id) -> Result<usize> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        let (shut, peer) = (unix.send_shut, unix.peer.ok_or(libc::ENOTCONN)?);
        if shut || self.unix(peer).is_none_or(|peer| peer.receive_shut) {
            return Err(libc::EPIPE);
        }
        let room = self.unix_room(id);
        if room == 0 {
            self.unix(id).ok_or(libc::ENOTSOCK)?.wants_room = true;
        }
        Ok(room)
    }

    /// Sends bytes for which there is room.
    pub(super) fn unix_put(&mut self, id: Id, bytes: &[u8]) -> Result<usize> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        let (from, peer) = (unix.name.clone(), unix.peer.ok_or(libc::ENOTCONN)?);
        if !bytes.is_empty() {
            self.unix_deliver((id, peer), bytes, from, Vec::new());
        }
        Ok(bytes.len())
    }

    /// Receives bytes of a stream up to the end of a message with rights, or one datagram with its
    /// true length.
    pub(crate) fn unix_recv(&mut self, id: Id, most: usize, peek: bool) -> Result<Message> {
        let unix = self.unix(id).ok_or(libc::ENOTSOCK)?;
        if !unix.datagram && unix.state != State::Connected {
            return Err(libc::EINVAL);
        }
        if unix.datagram && unix.error != 0 {
            return Err(std::mem::take(&mut unix.error));
        }
        let Some(first) = unix.inbox.front_mut() else {
            return match unix {
                unix if unix.error != 0 => Err(std::mem::take(&mut unix.error)),
                unix if unix.receive_shut && !unix.datagram => Ok(Message::default()),
                _ => Err(libc::EAGAIN),
            };
        };
        let mut got = Message {
            from: first.from.clone(),
            ..Message::default()
        };
        if peek {
            if unix.datagram {
                got.data.clone_from(&first.data);
                return Ok(got);
            }
            // Bytes up to the end of the first message with rights, which a peek leaves.
            let mut more = true;
            let run = unix.inbox.iter().take_while(|message| {
                let take = more;
                more = message.rights.is_empty();
                take
            });
            let bytes = run.flat_map(|message| message.data.iter().copied());
            got.data = bytes.take(most).collect();
            return Ok(got);
        }
        let mut gone = Vec::new();
        if unix.datagram {
            got = unix.inbox.pop_front().expect("looked at above");
            gone.extend(got.sender);
        } else {
            while let Some(first) = unix.inbox.front_mut() {
                let count = first.data.len().min(most - got.data.len());
                got.data.extend(first.data.drain(..count));
                got.rights.append(&mut first.rights);
                if first.data.is_empty() {
                    gone.extend(first.sender);
                    unix.inbox.pop_front();
                    // Linux stops here, whether or not more bytes wait.
                    if !got.rights.is_empty() {
                        break;
                    }
                }
                // At the end: a receive of no bytes takes the descriptors, too.
                if got.data.len() == most {
                    break;
                }
            }
        }
        for sender in gone {
            self.wake(sender, ROOM);
        }
        self.wake_unix_senders(id);
        Ok(got)
    }

    /// Notifies senders of new room at a receiver.
    fn wake_unix_senders(&mut self, receiver: Id) {
        let objects = self.descriptors.objects.iter();
        let senders: Vec<Id> = objects
            .filter_map(|(id, description)| match &description.object {
                Object::Unix(unix) if unix.peer == Some(receiver) && unix.wants_room => Some(*id),
                _ => None,
            })
            .collect();
        for id in senders {
            if self.unix_room(id) > 0 {
                if let Some(unix) = self.unix(id) {
                    unix.wants_room = false;
                }
                self.wake(id, ROOM);
            }
        }
    }

    pub(super) fn drop_messages(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.drop_rights(message.rights);
            if let Some(sender) = message.sender {
                self.wake(sender, ROOM);
            }
        }
    }

    /// Closes descriptors that no program will receive.
    pub(crate) fn drop_rights(&mut self, rights: Vec<Right>) {
        for right in rights {
            if let Right::Object(id) = right {
                self.release(id);
            }
        }
    }
}
