//! Room for the datagrams of one receiving system call, and a cursor over those that are left.
//!
//! A slot has room for the largest message the kernel can hand out, so nothing is ever cut off.
//! The room is zeroed memory that was never touched: it takes address space, and real memory only
//! as far as datagrams have reached. A message may hold several datagrams of one sender, all but
//! the last of the same size (UDP_GRO, udp(7)).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// How many messages one call takes at most.
pub(crate) const SLOTS: usize = 32;
/// Room of a slot in bytes: the length field of UDP has 16 bits.
pub(super) const ROOM: usize = 65_536;
/// From one slot to the next: a page and a cache line more than the room, because neighbours at a
/// power of two would share the same few lines of a cache.
const STRIDE: usize = ROOM + 4_096 + 64;

/// One received message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) slot: usize,
    pub(super) length: usize,
    /// Size of each datagram but the last; that of the message if it is one.
    pub(super) segment: usize,
    pub(super) from: SocketAddr,
}

impl Message {
    const NONE: Self = Self {
        slot: 0,
        length: 0,
        segment: 0,
        from: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    };

    /// How many datagrams it holds; an empty one counts.
    fn datagrams(&self) -> usize {
        match self.segment {
            0 => 1,
            segment => self.length.div_ceil(segment).max(1),
        }
    }
}

/// A place between two datagrams of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    message: usize,
    offset: usize,
}

/// Received messages, and how far they have been taken out.
pub(crate) struct Batch {
    storage: Vec<u8>,
    messages: [Message; SLOTS],
    count: usize,
    next: Cursor,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            storage: vec![0; SLOTS * STRIDE],
            messages: [Message::NONE; SLOTS],
            count: 0,
            next: Cursor::default(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.next = Cursor::default();
    }

    /// True if nothing is left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next.message >= self.count
    }

    /// Where the datagrams that are left begin.
    pub(crate) fn cursor(&self) -> Cursor {
        self.next
    }

    /// Takes out the oldest datagram.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(&[u8], SocketAddr)> {
        let mut next = self.next;
        let datagram = take(&self.storage, &self.messages[..self.count], &mut next);
        self.next = next;
        datagram
    }

    /// The datagram at the cursor, which moves on to the next.
    pub(crate) fn at(&self, cursor: &mut Cursor) -> Option<(&[u8], SocketAddr)> {
        take(&self.storage, &self.messages[..self.count], cursor)
    }

    /// How many datagrams stand from the cursor on.
    pub(crate) fn left(&self, cursor: Cursor) -> usize {
        let messages = &self.messages[cursor.message.min(self.count)..self.count];
        let all: usize = messages.iter().map(Message::datagrams).sum();
        let taken = messages.first().map_or(0, |first| match first.segment {
            0 => 0,
            segment => cursor.offset / segment,
        });
        all - taken
    }

    /// Keeps the messages of this sender only; to be called before any is taken out.
    pub(crate) fn retain_from(&mut self, sender: &SocketAddr) {
        let same = |from: &SocketAddr| (from.ip(), from.port()) == (sender.ip(), sender.port());
        if self.messages[..self.count]
            .iter()
            .all(|message| same(&message.from))
        {
            return;
        }
        let mut kept = 0;
        for at in 0..self.count {
            if same(&self.messages[at].from) {
                self.messages[kept] = self.messages[at];
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// True if all messages came from one sender, and all but the last are of one size: what a
    /// sender's single call, or one connection's burst, looks like.
    pub(crate) fn is_one_train(&self) -> bool {
        let Some((last, rest)) = self.messages[..self.count].split_last() else {
            return false;
        };
        let same = |message: &Message| message.from == last.from;
        rest.first().is_some_and(|first| {
            rest.iter()
                .all(|message| same(message) && message.length == first.length)
                && last.length <= first.length
        })
    }

    /// The room of a slot, for the kernel to write into.
    pub(super) fn room(&mut self, slot: usize) -> &mut [u8] {
        &mut self.storage[slot * STRIDE..][..ROOM]
    }

    pub(super) fn push(&mut self, message: Message) {
        self.messages[self.count] = message;
        self.count += 1;
    }
}

/// The datagram at `next`, which moves on.
#[inline]
fn take<'b>(
    storage: &'b [u8],
    messages: &[Message],
    next: &mut Cursor,
) -> Option<(&'b [u8], SocketAddr)> {
    let message = messages.get(next.message)?;
    let start = message.slot * STRIDE + next.offset;
    let left = message.length - next.offset;
    let length = if message.segment < left && message.segment != 0 {
        next.offset += message.segment;
        message.segment
    } else {
        *next = Cursor {
            message: next.message + 1,
            offset: 0,
        };
        left
    };
    Some((&storage[start..start + length], message.from))
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} left)", self.left(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(slot: usize, length: usize, segment: usize) -> Message {
        let from = SocketAddr::from(([127, 0, 0, 1], 1_000));
        Message {
            slot,
            length,
            segment,
            from,
        }
    }

    /// Against a list of vectors, for messages of all shapes.
    #[test]
    fn behaves_as_a_list_of_datagrams() {
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 33).expect("31 bits") % below
        };
        let mut batch = Batch::new();
        for _ in 0..300 {
            batch.clear();
            let mut twin = Vec::new();
            for slot in 0..random(SLOTS + 1) {
                let length = random(200);
                let segment = [length, 0, 1 + random(40)][random(3)];
                let fill = u8::try_from(random(256)).expect("a byte");
                for (at, byte) in batch.room(slot)[..length].iter_mut().enumerate() {
                    *byte = fill.wrapping_add(u8::try_from(at).expect("below 200"));
                }
                let data = batch.room(slot)[..length].to_vec();
                batch.push(message(slot, length, segment));
                match segment {
                    // However an empty message is cut, it is one datagram.
                    0 => twin.push(data),
                    _ if data.is_empty() => twin.push(data),
                    segment => twin.extend(data.chunks(segment).map(<[u8]>::to_vec)),
                }
            }
            let mut cursor = batch.cursor();
            for (at, expected) in twin.iter().enumerate() {
                assert_eq!(batch.left(cursor), twin.len() - at);
                assert_eq!(batch.at(&mut cursor).expect("as many").0, expected);
            }
            assert!(batch.at(&mut cursor).is_none());
            for expected in &twin {
                assert!(!batch.is_empty());
                assert_eq!(batch.pop().expect("as many").0, expected);
            }
            assert!(batch.is_empty() && batch.pop().is_none());
        }
    }

    #[test]
    fn a_train_has_one_sender_and_one_size() {
        let mut batch = Batch::new();
        assert!(!batch.is_one_train());
        for (slot, length) in [100, 100, 60].into_iter().enumerate() {
            batch.push(message(slot, length, length));
        }
        assert!(batch.is_one_train());
        batch.push(message(3, 100, 100));
        assert!(!batch.is_one_train());
    }

    #[test]
    fn strangers_are_left_out() {
        let mut batch = Batch::new();
        let friend = SocketAddr::from(([127, 0, 0, 1], 1));
        for (slot, port) in [1, 2, 1, 3].into_iter().enumerate() {
            let from = SocketAddr::from(([127, 0, 0, 1], port));
            batch.push(Message {
                from,
                ..message(slot, slot, slot)
            });
        }
        batch.retain_from(&friend);
        let lengths: Vec<usize> =
            std::iter::from_fn(|| batch.pop().map(|got| got.0.len())).collect();
        assert_eq!(lengths, [0, 2]);
    }
}
