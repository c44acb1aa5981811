//! A foreign descriptor that stays watched: [`Watched`].
//!
//! Each wait of [`wait_readable`](crate::wait_readable) needs a descriptor, an entry of the poller
//! and some system calls. Here the duplicate is made once and stays with the loop, so a wait needs
//! none. Other crates call such a type `AsyncFd`.
//!
//! `readable` and `writable` rely on the loop's readiness once. After that they check it with the
//! kernel until a closure was called (`told`). Priority events have their own registration: to
//! clear one clears no readiness.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::foreign::ask;
use super::foreign::told;
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::place::Place;
use crate::runtime::socket::{Socket, Trigger};
use crate::shown::shown;
use crate::sys::foreign;
use crate::sys::poller::ready;

/// How many times in a poll a call may be interrupted until other tasks have their turn.
const INTERRUPTED: u8 = 16;

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
    /// For each direction: a wait has reported that it is ready, and no closure was called since.
    told: [AtomicBool; 2],
    /// For priority events; made at the first wait for one.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    prior: std::sync::OnceLock<Socket>,
}

/// Duplicates a descriptor and makes a place for it in a loop.
fn watch(fd: BorrowedFd<'_>) -> io::Result<Socket> {
    let socket = Socket::new(foreign::duplicate(fd)?.0, Trigger::Edge);
    // Closing it does not remove it from the poller: the original is still open.
    socket.lend();
    Ok(socket)
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
        let socket = watch(fd).map_err(failed)?;
        Ok(Self {
            value,
            socket,
            told: Default::default(),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            prior: std::sync::OnceLock::new(),
        })
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

    /// The same as [`read_with`](Self::read_with), in polls; the place has the same meaning as for
    /// a [`ByteReceiveStream`](crate::ByteReceiveStream).
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

    /// The same as [`write_with`](Self::write_with), in polls; see
    /// [`poll_read_with`](Self::poll_read_with).
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

    /// Makes a call that reads once, and does not wait: its result is returned, `WouldBlock` too,
    /// after which [`readable`](Self::readable) waits.
    ///
    /// # Errors
    ///
    /// The error of `call`.
    #[doc(alias = "try_io")]
    pub fn try_read_with<R>(&self, call: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.try_with(Direction::Read, call)
    }

    /// Makes a call that writes once; see [`try_read_with`](Self::try_read_with).
    ///
    /// # Errors
    ///
    /// The error of `call`.
    #[doc(alias = "try_io")]
    pub fn try_write_with<R>(&self, call: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.try_with(Direction::Write, call)
    }

    /// Waits until a read may succeed, for code that makes its calls elsewhere: there is data, the
    /// end, or an error. A call may block all the same, if another reader was faster.
    ///
    /// Make the call by [`try_read_with`](Self::try_read_with), which clears the loop's readiness
    /// if nothing is left. Without that, the next wait costs a system call.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while another task reads or waits; [`Error::OtherLoop`]; [`Error::Io`] if
    /// the descriptor cannot be watched.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has had no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::net::Watched;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// theirs.write_all(b"hello")?;
    /// let ours = Watched::new(ours)?;
    /// soloio::block_on(ours.readable())?;
    /// let mut bytes = [0; 16];
    /// assert_eq!(ours.try_read_with(|mut stream| stream.read(&mut bytes))?, 5);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub async fn readable(&self) -> Result<()> {
        self.ready(Direction::Read).await
    }

    /// Waits until a write may succeed; see [`readable`](Self::readable).
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has had no effect.
    pub async fn writable(&self) -> Result<()> {
        self.ready(Direction::Write).await
    }

    /// The same as [`readable`](Self::readable), in polls; see
    /// [`poll_read_with`](Self::poll_read_with).
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    pub fn poll_readable(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_ready((place, Direction::Read), cx)
    }

    /// The same as [`writable`](Self::writable), in polls; see
    /// [`poll_read_with`](Self::poll_read_with).
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    pub fn poll_writable(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_ready((place, Direction::Write), cx)
    }

    /// Waits for an event that poll(2) calls `POLLPRI`, as [`wait_priority`](crate::wait_priority)
    /// does. Each event is reported once; an end or an error each time. Readers may wait meanwhile.
    /// It needs a descriptor of its own, from the first wait on. Linux only.
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable), and [`Error::Io`] if no descriptor is left.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has had no effect.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[doc(alias = "POLLPRI")]
    pub async fn priority(&self) -> Result<()> {
        let socket = match self.prior.get() {
            Some(socket) => socket,
            None => {
                let socket = watch(self.value.as_fd()).map_err(|cause| self.failed(cause))?;
                self.prior.get_or_init(|| socket)
            }
        };
        let call = |core: &Core, fd: BorrowedFd<'_>| ask(core, socket, fd, ready::URGENT);
        let mut operation = Operation::new(socket, Direction::Read).briefly();
        poll_fn(|cx| operation.poll(cx, First::Try, call, |cause| self.failed(cause))).await
    }

    /// Gives up a [`poll_read_with`](Self::poll_read_with) that is pending.
    pub fn leave_read(&self, place: &mut Place) {
        place.leave_socket(&self.socket, Direction::Read);
    }

    /// Gives up a poll of the other direction that is pending.
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
        self.told[direction as usize].store(false, Relaxed);
        let mut interrupted = 0;
        // Only its own result counts; after a success the next call finds the new state.
        let call = |_: &Core, _: BorrowedFd<'_>| match call(&self.value) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {
                interrupted += 1;
                match interrupted < INTERRUPTED {
                    true => Err(cause),
                    false => Ok((None, After::Ready)),
                }
            }
            called => Ok((Some(called?), After::Ready)),
        };
        let failed = |cause| self.failed(cause);
        match ready!(place.operate(on, cx, First::Try, call, failed))? {
            Some(value) => Poll::Ready(Ok(value)),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn try_with<R>(
        &self,
        direction: Direction,
        call: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.told[direction as usize].store(false, Relaxed);
        let called = call(&self.value);
        if matches!(&called, Err(cause) if cause.kind() == io::ErrorKind::WouldBlock) {
            self.socket.clear(direction);
        }
        called
    }

    async fn ready(&self, direction: Direction) -> Result<()> {
        let mut operation = Operation::new(&self.socket, direction).briefly();
        poll_fn(|cx| self.poll_ready((operation.place(), direction), cx)).await
    }

    fn poll_ready(
        &self,
        (place, direction): (&mut Place, Direction),
        cx: &Context<'_>,
    ) -> Poll<Result<()>> {
        let is_told = &self.told[direction as usize];
        let way = match direction {
            Direction::Read => ready::READ,
            Direction::Write => ready::WRITE,
        };
        let call = |_: &Core, fd: BorrowedFd<'_>| {
            let asks = self.socket.slot() == 0 || is_told.load(Relaxed);
            let found = !asks || foreign::is_ready(fd, way)?;
            is_told.store(found, Relaxed);
            told(found)
        };
        let on = (&self.socket, direction);
        place.operate(on, cx, First::Try, call, |cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> Error {
        Error::io("use descriptor", self.value.as_fd().as_raw_fd(), cause)
    }
}

shown!([T: AsFd] Watched<T>, "Watched", this => descriptor: this.value.as_fd().as_raw_fd(), ..);
