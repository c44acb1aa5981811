//! Several datagrams in one message: UDP_SEGMENT of a sender, UDP_GRO of a receiver.
//!
//! As in Linux over loopback: a message with segments stays together up to a receiver that takes it
//! whole; for any other one the kernel cuts it into its datagrams. Faults strike each datagram
//! alone, as on a network that carries them one by one; those that pass side by side arrive as one.

use std::net::SocketAddr;

use super::descriptors::{Id, Object};
use super::udp::Udp;
use super::{Result, World};

/// The largest number of datagrams in a message, since Linux 6.9.
const MOST: usize = 128;

/// The largest packet of the loopback device, with its headers. Linux cuts a message of this length
/// or more, with the frame around it, before it is on its way.
const PACKET: usize = 65_536;

/// The length of the headers of IP and UDP.
fn headers(to: SocketAddr) -> usize {
    8 + if to.is_ipv4() { 20 } else { 40 }
}

/// A datagram; or several, all of one size but the last, which may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Burst {
    pub(crate) data: Vec<u8>,
    /// The size of its datagrams; 0 if it is one.
    pub(crate) segment: usize,
}

impl Burst {
    /// Makes one of data to be sent in segments of a size; 0 for no segments.
    pub(super) fn new(data: Vec<u8>, segment: usize) -> Self {
        let several = segment > 0 && data.len() > segment;
        let segment = if several { segment } else { 0 };
        Self { data, segment }
    }

    /// Returns its datagrams; an empty one is one, too.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let size = match self.segment {
            0 => self.data.len(),
            size => size,
        };
        let empty = self.data.is_empty().then_some(&[][..]);
        empty.into_iter().chain(self.data.chunks(size.max(1)))
    }

    /// Returns true if it cannot stay together on its way to an address.
    pub(super) fn is_cut(&self, to: SocketAddr) -> bool {
        let frame = 14;
        self.data.len() + headers(to) + frame >= PACKET
    }

    /// Adds a datagram that came behind the others; returns false if it does not fit to them.
    pub(super) fn join(&mut self, datagram: &[u8]) -> bool {
        let size = match self.segment {
            0 => self.data.len(),
            size => size,
        };
        let fits = !datagram.is_empty() && datagram.len() <= size && self.data.len() % size == 0;
        if fits {
            self.segment = size;
            self.data.extend(datagram);
        }
        fits
    }
}

impl Udp {
    fn option(&self, name: i32) -> usize {
        let set = self.common.options.get(libc::SOL_UDP, name);
        set.and_then(|number| number.try_into().ok()).unwrap_or(0)
    }

    /// Returns true if it takes messages of several datagrams.
    pub(super) fn takes_several(&self) -> bool {
        self.option(libc::UDP_GRO) != 0
    }

    /// Checks data to be sent, as Linux does last: its segments have the size that the message
    /// states, or the socket's option.
    pub(super) fn burst(
        &self,
        data: Vec<u8>,
        segment: Option<u16>,
        to: SocketAddr,
    ) -> Result<Burst> {
        let segment = segment.map_or_else(|| self.option(libc::UDP_SEGMENT), usize::from);
        let burst = Burst::new(data, segment);
        if segment > 0 {
            if burst.data.len().min(segment) + headers(to) > PACKET {
                return Err(libc::EMSGSIZE);
            }
            let bare = self.common.options.get(libc::SOL_SOCKET, libc::SO_NO_CHECK);
            let too_many = burst.data.len() > segment * MOST;
            if too_many || bare.is_some_and(|on| on != 0) {
                return Err(libc::EINVAL);
            }
        }
        Ok(burst)
    }
}

impl World {
    /// Sets an option of level `SOL_UDP`.
    pub(super) fn set_udp_option(&mut self, id: Id, name: i32, value: i32) -> Result<()> {
        let Some(Object::Udp(udp)) = self.descriptors.get_mut(id) else {
            return Err(libc::ENOPROTOOPT);
        };
        let stored = match name {
            libc::UDP_SEGMENT if u16::try_from(value).is_err() => return Err(libc::EINVAL),
            libc::UDP_SEGMENT => value,
            libc::UDP_GRO => (value != 0).into(),
            _ => return Err(libc::ENOPROTOOPT),
        };
        udp.common.options.set(libc::SOL_UDP, name, stored);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_that_pass_are_one_again_as_far_as_they_fit() {
        let whole = Burst::new(vec![7; 25], 10);
        let sizes: Vec<usize> = whole.datagrams().map(<[u8]>::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        let mut burst = Burst::new(vec![7; 10], 0);
        assert!(burst.join(&[7; 10]) && burst.join(&[7; 5]));
        assert_eq!(burst, whole);
        assert!(!burst.join(&[7; 5]), "the last one was shorter");
        assert!(!Burst::new(vec![7; 10], 0).join(&[7; 11]));
        assert!(!Burst::new(vec![7; 10], 0).join(&[]));
        assert_eq!(Burst::new(Vec::new(), 10).datagrams().count(), 1);
    }
}
