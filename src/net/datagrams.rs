//! The buffer for whole batches of datagrams, and the view of one batch.

use std::fmt;
use std::iter::FusedIterator;
use std::net::{IpAddr, SocketAddr};

use crate::sys::batch::{Batch, Cursor};

/// A buffer for a batch of datagrams, reused for each: see
/// [`receive_many`](crate::UdpSocket::receive_many).
///
/// It has room for 32 messages of 64 KiB, each of which is one datagram, or several of one sender
/// that the kernel merged. That is 2.2 MB of address space. Real memory is used only as far as the
/// largest messages so far have reached: one page each for small ones.
pub struct DatagramBuffer {
    batch: Box<Batch>,
}

impl DatagramBuffer {
    /// Makes an empty buffer. This is the only allocation.
    #[must_use]
    pub fn new() -> Self {
        Self {
            batch: Box::new(Batch::new()),
        }
    }

    /// Returns the datagrams of the last [`receive_many`](crate::UdpSocket::receive_many).
    #[must_use]
    pub fn datagrams(&self) -> Datagrams<'_> {
        Datagrams {
            batch: &self.batch,
            cursor: self.batch.cursor(),
        }
    }

    pub(super) fn room(&mut self) -> &mut Box<Batch> {
        &mut self.batch
    }
}

impl Default for DatagramBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DatagramBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatagramBuffer")
            .field(&self.datagrams().len())
            .finish()
    }
}

/// A received batch: an iterator over the bytes and the sender of each datagram, in order of
/// arrival. Nothing is cut off.
///
/// It is a view, so a clone costs nothing and begins at the position of the original.
#[derive(Clone)]
pub struct Datagrams<'b> {
    batch: &'b Batch,
    cursor: Cursor,
}

impl<'b> Datagrams<'b> {
    /// Returns true if no datagram is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the same datagrams, each with the local address that it was sent to, as
    /// [`Datagram::to`](crate::Datagram::to) has it. [`send_many`](crate::UdpSocket::send_many)
    /// needs it to answer from there.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// soloio::block_on(async {
    ///     use soloio::{DatagramBuffer, Family, create_udp_socket};
    ///
    ///     let udp = create_udp_socket().family(Family::V4).tell_destination(true).await?;
    ///     let client = create_udp_socket().local_host("127.0.0.1").await?;
    ///     let to = ([127, 0, 0, 7], udp.local_addr().port()).into();
    ///     client.send_to(b"hello", to).await?;
    ///
    ///     let mut buffer = DatagramBuffer::new();
    ///     let batch = udp.receive_many(&mut buffer).await?;
    ///     udp.send_many(&mut batch.with_destinations()).await?;
    ///     assert_eq!(client.receive().await?, (b"hello".to_vec(), to));
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub fn with_destinations(
        self,
    ) -> impl Iterator<Item = (&'b [u8], SocketAddr, Option<IpAddr>)> + Clone {
        let Self { batch, mut cursor } = self;
        std::iter::from_fn(move || {
            let taken = batch.at(&mut cursor)?;
            Some((taken.data, taken.from.address(), taken.to()))
        })
    }
}

impl<'b> Iterator for Datagrams<'b> {
    type Item = (&'b [u8], SocketAddr);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.batch.at(&mut self.cursor)?;
        Some((taken.data, taken.from.address()))
    }

    // Skips without a look at the senders.
    fn nth(&mut self, skipped: usize) -> Option<Self::Item> {
        for _ in 0..skipped {
            self.batch.skip(&mut self.cursor)?;
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.left(self.cursor);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Datagrams<'_> {}
impl FusedIterator for Datagrams<'_> {}

impl fmt::Debug for Datagrams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.clone().map(|(data, from)| (data.len(), from));
        f.debug_list().entries(sizes).finish()
    }
}
