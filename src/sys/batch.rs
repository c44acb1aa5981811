//! Memory for the datagrams of one receiving system call, and a cursor over those that are left.
//!
//! A slot has room for the largest message that the kernel can deliver, so no datagram is ever
//! truncated. Before it is room for the control data, in the page that also has a small message
//! completely. The memory is zeroed and was never touched: it takes address space, and real memory
//! only as far as datagrams have reached. A message may have several datagrams of one sender, all
//! but the last of the same size (UDP_GRO, udp(7)).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::addr::Inet;
use super::udp;

/// The largest number of messages in one call.
pub(crate) const SLOTS: usize = 32;
/// The smallest number to request.
const FEWEST: usize = 4;
/// The room of a slot in bytes: the length field of UDP has 16 bits.
pub(super) const ROOM: usize = 65_536;
/// The room for the control data of a message: for all that the kernel can add, except IPv6
/// extension headers, which have no limit.
pub(super) const BESIDE: usize = 1_024;
/// The distance of two slots: a page and a cache line more than the room, because neighbours at a
/// power of two would share the same few lines of a cache.
pub(super) const STRIDE: usize = ROOM + 4_096 + 64;

/// One received message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Message {
    pub(super) slot: usize,
    pub(super) length: usize,
    /// The size of each datagram but the last; the length of the message if it is one.
    pub(super) segment: usize,
    /// The length of its control data.
    pub(super) beside: usize,
}

/// A received datagram.
pub(crate) struct Taken<'b> {
    pub(crate) data: &'b [u8],
    pub(crate) from: &'b Inet,
    beside: &'b [u8],
}

impl Taken<'_> {
    /// The local address that it was sent to, if that option is on.
    #[inline]
    pub(crate) fn to(&self) -> Option<IpAddr> {
        if self.beside.is_empty() {
            return None;
        }
        udp::destination(self.beside)
    }
}

impl Message {
    /// Returns the number of datagrams in it; an empty one counts.
    fn datagrams(&self) -> usize {
        match self.segment {
            0 => 1,
            segment => self.length.div_ceil(segment).max(1),
        }
    }
}

/// A position between two datagrams of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    message: usize,
    offset: usize,
}

/// Received messages, and the position of the next one to be taken out.
pub(crate) struct Batch {
    storage: Vec<u8>,
    /// The sender of each slot, as the kernel wrote it; it is converted only when needed. Known for
    /// every message.
    names: [Inet; SLOTS],
    messages: [Message; SLOTS],
    count: usize,
    next: Cursor,
    /// The number of messages that the next call requests.
    want: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            storage: vec![0; SLOTS * STRIDE],
            names: [Inet::default(); SLOTS],
            messages: [Message::default(); SLOTS],
            count: 0,
            next: Cursor::default(),
            want: FEWEST,
        }
    }

    /// The number of messages to request: one more than came last, and twice as many if all came.
    pub(crate) fn want(&self) -> usize {
        self.want
    }

    /// Records the number of messages that came.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn came(&mut self, count: usize) {
        self.want = (count + 1).next_power_of_two().clamp(FEWEST, SLOTS);
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.next = Cursor::default();
    }

    /// Returns true if no datagram is left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next.message >= self.count
    }

    /// Returns the position of the first datagram that is left.
    pub(crate) fn cursor(&self) -> Cursor {
        self.next
    }

    /// Takes out the oldest datagram.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Taken<'_>> {
        let place = take(&self.messages[..self.count], &mut self.next)?;
        Some(self.datagram(place))
    }

    /// Returns the datagram at the cursor, and advances it.
    #[inline]
    pub(crate) fn at(&self, cursor: &mut Cursor) -> Option<Taken<'_>> {
        let place = take(&self.messages[..self.count], cursor)?;
        Some(self.datagram(place))
    }

    /// Advances the cursor by a datagram, if there is one.
    pub(crate) fn skip(&self, cursor: &mut Cursor) -> Option<()> {
        take(&self.messages[..self.count], cursor).map(|_| ())
    }

    #[inline]
    fn datagram(&self, (place, start, length): (usize, usize, usize)) -> Taken<'_> {
        let message = &self.messages[place];
        let slot = &self.storage[message.slot * STRIDE..];
        Taken {
            data: &slot[BESIDE + start..][..length],
            from: &self.names[message.slot],
            beside: &slot[..message.beside],
        }
    }

    /// Returns the number of datagrams from the cursor on.
    pub(crate) fn left(&self, cursor: Cursor) -> usize {
        let messages = &self.messages[cursor.message.min(self.count)..self.count];
        let all: usize = messages.iter().map(Message::datagrams).sum();
        let taken = messages.first().map_or(0, |first| match first.segment {
            0 => 0,
            segment => cursor.offset / segment,
        });
        all - taken
    }

    /// Keeps only the messages of this sender; must be called before any is taken out.
    pub(crate) fn retain_from(&mut self, sender: &SocketAddr) {
        let mut kept = 0;
        for at in 0..self.count {
            let message = self.messages[at];
            if self.names[message.slot].is_at(sender) {
                self.messages[kept] = message;
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// Returns the memory of all slots, and of their senders; the first `want` of these are marked
    /// as not written. Both in one call, as the kernel needs them together: a second access to the
    /// batch would conflict with them.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn memory(&mut self, want: usize) -> (*mut u8, *mut Inet) {
        self.names[..want].iter_mut().for_each(Inet::forget);
        (self.storage.as_mut_ptr(), self.names.as_mut_ptr())
    }

    /// Returns the control data of a slot's message.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn beside(&self, slot: usize, length: usize) -> &[u8] {
        &self.storage[slot * STRIDE..][..length]
    }

    /// Returns the memory of a slot, for the kernel to write into.
    #[inline]
    pub(super) fn room(&mut self, slot: usize) -> &mut [u8] {
        &mut self.storage[slot * STRIDE + BESIDE..][..ROOM]
    }

    /// Returns the memory for the sender of a slot's message.
    #[inline]
    pub(super) fn name(&mut self, slot: usize) -> &mut Inet {
        &mut self.names[slot]
    }

    /// Adds a message, if its sender is known.
    #[inline]
    pub(super) fn push(&mut self, message: Message) {
        if self.names[message.slot].is_known() {
            self.messages[self.count] = message;
            self.count += 1;
        }
    }
}

/// Returns message, start and length of the datagram at `next`, and advances it.
#[inline]
fn take(messages: &[Message], next: &mut Cursor) -> Option<(usize, usize, usize)> {
    let place = next.message;
    let message = messages.get(place)?;
    let start = next.offset;
    let left = message.length - start;
    if message.segment < left && message.segment != 0 {
        next.offset += message.segment;
        return Some((place, start, message.segment));
    }
    *next = Cursor {
        message: next.message + 1,
        offset: 0,
    };
    Some((place, start, left))
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} left)", self.left(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(batch: &mut Batch, slot: usize, length: usize, segment: usize, port: u16) {
        *batch.name(slot) = Inet::new(&SocketAddr::from(([127, 0, 0, 1], port)));
        batch.push(Message {
            slot,
            length,
            segment,
            beside: 0,
        });
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
                push(&mut batch, slot, length, segment, 1_000);
                match segment {
                    // An empty message is one datagram for any segment size.
                    0 => twin.push(data),
                    _ if data.is_empty() => twin.push(data),
                    segment => twin.extend(data.chunks(segment).map(<[u8]>::to_vec)),
                }
            }
            let mut cursor = batch.cursor();
            for (at, expected) in twin.iter().enumerate() {
                assert_eq!(batch.left(cursor), twin.len() - at);
                assert_eq!(batch.at(&mut cursor).expect("as many").data, expected);
            }
            assert!(batch.at(&mut cursor).is_none());
            for expected in &twin {
                assert!(!batch.is_empty());
                assert_eq!(batch.pop().expect("as many").data, expected);
            }
            assert!(batch.is_empty() && batch.pop().is_none());
        }
    }

    #[test]
    fn strangers_are_left_out() {
        let mut batch = Batch::new();
        let friend = SocketAddr::from(([127, 0, 0, 1], 1));
        for (slot, port) in [1, 2, 1, 3].into_iter().enumerate() {
            push(&mut batch, slot, slot, slot, port);
        }
        batch.retain_from(&friend);
        let lengths: Vec<usize> =
            std::iter::from_fn(|| batch.pop().map(|got| got.data.len())).collect();
        assert_eq!(lengths, [0, 2]);
        batch.clear();
        batch.name(0).forget();
        batch.push(Message::default());
        assert!(batch.is_empty(), "nobody sent it");
    }
}
