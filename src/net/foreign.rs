//! Waits for foreign descriptors: pipes, terminals, inotify, sockets of another library.
//!
//! Each wait watches a duplicate. So a descriptor that is already watched, by a socket of this
//! crate or by another wait, is no special case. Closing the original during the wait is harmless:
//! a descriptor that reuses its number is not the watched one. The cost is one more descriptor for
//! each wait in progress.
//!
//! The table is shared by the process, as descriptors are: closing is announced from any thread.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::runtime::context::{self, Core};
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::{Socket, Trigger};
use crate::sys::poller::ready;
use crate::sys::{errno, foreign};

/// Waits until a read from a foreign descriptor would not block: because of data, the end, or an
/// error.
///
/// For pipes, terminals, inotify, eventfds, sockets of other libraries: all that poll(2) supports.
/// The descriptor stays the caller's and need not be non-blocking, but a read of a blocking one may
/// still block, since another reader may be faster. Any number of tasks may wait for one
/// descriptor; all of them are woken. Each wait uses one more descriptor until it ends.
///
/// # Errors
///
/// [`Error::Closed`] if [`notify_closing`] was called meanwhile. `InvalidInput` for a regular file
/// or a directory, which the kernel does not watch: a read of it never waits for another process.
/// Linux does watch most files of procfs and cgroups; they are readable at once, and
/// `wait_priority` waits for their changes. [`Error::Io`] if the descriptor cannot be watched, or
/// no further descriptor is available.
///
/// # Cancel safety
///
/// A dropped future has had no effect.
///
/// # Examples
///
/// ```
/// use soloio::{task_group, wait_readable, yield_now};
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (mut reader, mut writer) = UnixStream::pair()?;
/// soloio::block_on(task_group(async |group| {
///     let waiting = group.spawn(wait_readable(&reader));
///     yield_now().await?;
///     writer.write_all(b"!").map_err(soloio::Error::from)?;
///     waiting.await
/// }))?;
/// reader.read_exact(&mut [0; 1])?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "wait_socket_readable")]
#[doc(alias = "AsyncFd")]
pub async fn wait_readable(fd: impl AsFd) -> Result<()> {
    wait(fd.as_fd(), ready::READ).await
}

/// Waits until a write to a foreign descriptor would not block: because of room, or an error. See
/// [`wait_readable`].
///
/// # Errors
///
/// As [`wait_readable`].
///
/// # Cancel safety
///
/// A dropped future has had no effect.
///
/// # Examples
///
/// ```
/// let (_reader, writer) = std::os::unix::net::UnixStream::pair()?;
/// soloio::block_on(soloio::wait_writable(&writer))?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "wait_socket_writable")]
pub async fn wait_writable(fd: impl AsFd) -> Result<()> {
    wait(fd.as_fd(), ready::WRITE).await
}

/// Waits until a foreign descriptor has the event that poll(2) calls `POLLPRI`: urgent data of TCP,
/// a change of `/proc/self/mounts`, a trigger of pressure stall information, an event of a cgroup.
/// It also returns at an end or an error, after which no such event can come. Linux only. See
/// [`wait_readable`].
///
/// The kernel reports each change of a file once, to one of the waits that share the open file. A
/// change at the very moment when a wait begins is missed: read the file after the future was
/// polled once.
///
/// # Errors
///
/// As [`wait_readable`].
///
/// # Cancel safety
///
/// A dropped future has had no effect, but a change of a file that it was about to report is
/// reported to no other wait.
///
/// # Examples
///
/// Each time a file system is mounted or unmounted:
///
/// ```
/// # use soloio::{Error, move_on_after, wait_priority};
/// # use std::time::Duration;
/// let mounts = std::fs::File::open("/proc/self/mounts")?;
/// # soloio::block_on(async {
/// # move_on_after(Duration::from_millis(1), async {
/// wait_priority(&mounts).await?;
/// println!("{}", std::fs::read_to_string("/proc/self/mounts")?);
/// # Ok::<_, Error>(()) }).await.map(drop) })?;
/// # Ok::<_, Error>(())
/// ```
#[cfg(any(target_os = "linux", target_os = "android"))]
#[doc(alias = "POLLPRI")]
pub async fn wait_priority(fd: impl AsFd) -> Result<()> {
    wait(fd.as_fd(), ready::URGENT).await
}

/// Ends all waits for a foreign descriptor, on all threads, with [`Error::Closed`]. Call it before
/// you close the descriptor.
///
/// # Examples
///
/// ```
/// use soloio::{Error, notify_closing, task_group, wait_readable, yield_now};
///
/// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
/// let ended = soloio::block_on(task_group(async |group| {
///     let waiting = group.spawn(async { Ok(wait_readable(&reader).await) });
///     yield_now().await?;
///     notify_closing(&reader);
///     waiting.await
/// }))?;
/// assert!(matches!(ended, Err(Error::Closed)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn notify_closing(fd: impl AsFd) {
    let number = fd.as_fd().as_raw_fd();
    let is_its = |(of, _): &&(RawFd, _)| *of == number;
    let sockets: Vec<_> = waits().iter().filter(is_its).cloned().collect();
    // The lock is released: a waker may be foreign code.
    for (_, socket) in sockets {
        socket.retire();
    }
}

/// Waits for one of the bits of [`ready`].
async fn wait(fd: BorrowedFd<'_>, way: u8) -> Result<()> {
    context::checkpoint().await?;
    let number = fd.as_raw_fd();
    let failed = |cause: io::Error| Error::io("use descriptor", number, cause);
    let (duplicate, is_file) = foreign::duplicate(fd).map_err(failed)?;
    let failed = |cause: io::Error| match is_file && errno::is_forbidden(&cause) {
        true => failed(foreign::unwatched()),
        false => failed(cause),
    };
    let priority = way == ready::URGENT;
    // poll(2) reports every file as ready; the poller knows the files that can be watched.
    let first = match is_file && !priority {
        true => First::Wait,
        false => First::Try,
    };
    let direction = match way {
        ready::WRITE => Direction::Write,
        _ => Direction::Read,
    };
    let watched = Watched::new(number, duplicate);
    let mut operation = Operation::new(&watched.socket, direction);
    let call = |core: &Core, fd: BorrowedFd<'_>| ask(core, &watched.socket, fd, way);
    poll_fn(|cx| operation.poll(cx, first, call, failed)).await
}

/// Asks for one of the bits of [`ready`].
pub(super) fn ask(
    core: &Core,
    socket: &Socket,
    fd: BorrowedFd<'_>,
    way: u8,
) -> io::Result<((), After)> {
    told(match socket.slot() {
        // Once it is watched the poller decides: another poll(2) would clear a file's change mark.
        slot if way == ready::URGENT && slot != 0 => core.reactor().take_prior(slot),
        _ => foreign::is_ready(fd, way)?,
    })
}

/// The result of a call that only checks.
pub(super) fn told(found: bool) -> io::Result<((), After)> {
    match found {
        true => Ok(((), After::Ready)),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

type Waits = Vec<(RawFd, Arc<Socket>)>;

/// The waits in progress: the numbers as the callers know them, and our duplicates.
static WAITS: Mutex<Waits> = Mutex::new(Waits::new());

fn waits() -> MutexGuard<'static, Waits> {
    // Nothing panics while it is locked; and after a panic each entry would still be complete.
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One wait in the table.
struct Watched {
    socket: Arc<Socket>,
}

impl Watched {
    fn new(number: RawFd, duplicate: OwnedFd) -> Self {
        let socket = Socket::new(duplicate, Trigger::Edge);
        // Closing it does not remove it from the poller: the original is still open.
        socket.lend();
        let socket = Arc::new(socket);
        waits().push((number, Arc::clone(&socket)));
        Self { socket }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut waits = waits();
        let is_own = |(_, socket): &(RawFd, Arc<Socket>)| Arc::ptr_eq(socket, &self.socket);
        let place = waits.iter().position(is_own);
        // `self.socket` is another reference, so nothing is closed under the lock.
        drop(place.map(|place| waits.swap_remove(place)));
    }
}
