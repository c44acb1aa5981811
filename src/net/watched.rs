//! A foreign descriptor that stays watched: [`Watched`].
//!
//! Each wait of [`wait_readable`](crate::wait_readable) needs a descriptor, an entry of the poller
//! and some system calls. Here the duplicate is made once and stays with the loop, so a wait needs
//! none. Other crates call such a type `AsyncFd`.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::place::Place;
use crate::runtime::socket::{Socket, Trigger};
use crate::sys::foreign;

/// A foreign descriptor that stays watched, for code that reads and writes it itself: a socket of
/// another protocol, a device, a library that exposes its descriptor.
///
/// A closure makes the call, and is called again whenever it may succeed; in between the task
/// waits. Each direction has one operation at a time: a second one gets [`Error::Busy`]. It may be
/// used on one runtime after the other, and is `Send` and `Sync` if the value is.
///
/// # Examples
///
/// ```
/// use soloio::{task_group, net::Watched};
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (ours, theirs) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// theirs.set_nonblocking(true)?;
/// soloio::block_on(task_group(async |group| {
///     let (ours, theirs) = (Watched::new(ours)?, Watched::new(theirs)?);
///     let read = group.spawn(async move {
///         let mut bytes = [0; 16];
///         let got = ours.read_with(|mut stream| stream.read(&mut bytes)).await?;
///         Ok(bytes[..got].to_vec())
///     });
///     theirs.write_with(|mut stream| stream.write(b"hello")).await?;
///     assert_eq!(read.await?, b"hello");
///     Ok(())
/// }))?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "AsyncFd")]
pub struct Watched<T: AsFd> {
    value: T,
    /// For a duplicate: the value's own descriptor may be watched elsewhere.
    socket: Socket,
}

impl<T: AsFd> Watched<T> {
    /// Takes a value with a non-blocking descriptor. Needs no runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is blocking, because a call would block the loop; [`Error::Io`] if no
    /// descriptor is left. A descriptor that cannot be watched, such as that of a file, is an error
    /// of a wait.
    pub fn new(value: T) -> Result<Self> {
        let fd = value.as_fd();
        let failed = |cause: io::Error| Error::io("watch descriptor", fd.as_raw_fd(), cause);
        if foreign::is_blocking(fd).map_err(failed)? {
            let message = "the descriptor is not non-blocking: a call would hold up the loop";
            return Err(Error::invalid("watch", message));
        }
        let (duplicate, _) = foreign::duplicate(fd).map_err(failed)?;
        let socket = Socket::new(duplicate, Trigger::Edge);
        // Closing it does not remove it from the poller: the original is still open.
        socket.lend();
        Ok(Self { value, socket })
    }

    /// Returns the value.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        &self.value
    }

    /// Returns the value, which is no longer watched.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Makes a call that reads. While it returns [`WouldBlock`](io::ErrorKind::WouldBlock) it is
    /// repeated, with waits in between.
    ///
    /// # Errors
    ///
    /// The error of `call`; [`Error::Busy`] while another task reads; [`Error::OtherLoop`] while
    /// another runtime that is alive uses it. After `Interrupted` the call is repeated.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has had no effect: `call` was not called, or it would have blocked.
    pub async fn read_with<R>(&self, call: impl FnMut(&T) -> io::Result<R>) -> Result<R> {
        self.operate(Direction::Read, call).await
    }

    /// Makes a call that writes; see [`read_with`](Self::read_with).
    ///
    /// # Errors
    ///
    /// As [`read_with`](Self::read_with).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has had no effect: `call` was not called, or it would have blocked.
    pub async fn write_with<R>(&self, call: impl FnMut(&T) -> io::Result<R>) -> Result<R> {
        self.operate(Direction::Write, call).await
    }

    /// [`read_with`](Self::read_with) in polls; the place has the same meaning as for a
    /// [`ByteReceiveStream`](crate::ByteReceiveStream).
    ///
    /// # Errors
    ///
    /// As [`read_with`](Self::read_with).
    pub fn poll_read_with<R>(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        call: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<Result<R>> {
        self.poll_with((place, Direction::Read), cx, call)
    }

    /// [`write_with`](Self::write_with) in polls; see [`poll_read_with`](Self::poll_read_with).
    ///
    /// # Errors
    ///
    /// As [`read_with`](Self::read_with).
    pub fn poll_write_with<R>(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        call: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<Result<R>> {
        self.poll_with((place, Direction::Write), cx, call)
    }

    /// Gives up a [`poll_read_with`](Self::poll_read_with) that is pending.
    pub fn leave_read(&self, place: &mut Place) {
        place.leave_socket(&self.socket, Direction::Read);
    }

    /// Gives up a [`poll_write_with`](Self::poll_write_with) that is pending.
    pub fn leave_write(&self, place: &mut Place) {
        place.leave_socket(&self.socket, Direction::Write);
    }

    async fn operate<R>(
        &self,
        direction: Direction,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> Result<R> {
        let mut operation = Operation::new(&self.socket, direction).briefly();
        poll_fn(|cx| self.poll_with((operation.place(), direction), cx, &mut call)).await
    }

    fn poll_with<R>(
        &self,
        (place, direction): (&mut Place, Direction),
        cx: &Context<'_>,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<Result<R>> {
        let on = (&self.socket, direction);
        // Only its own result counts; after a success the next call finds the new state.
        let call = |_: &Core, _: BorrowedFd<'_>| Ok((call(&self.value)?, After::Ready));
        place.operate(on, cx, First::Try, call, |cause| {
            let number = self.value.as_fd().as_raw_fd();
            Error::io("use descriptor", number, cause)
        })
    }
}

impl<T: AsFd> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("descriptor", &self.value.as_fd().as_raw_fd())
            .finish_non_exhaustive()
    }
}
