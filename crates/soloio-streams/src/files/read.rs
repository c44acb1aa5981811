//! Receives from a file: [`FileReadStream`].

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::task::{Context, Poll};

use soloio::{ByteReceiveStream, Error, Half, Place, Result, Room, run_in_thread};

use super::worker::{Worker, lock};
use crate::object::or_end;

/// The most bytes of a read.
const MOST: usize = 65_536;

/// A file as the receiving half of a byte stream: read in soloio's threads, from the file's
/// position on, so that a slow disk, a pipe or a terminal does not block the loop.
///
/// At the end of the file the stream has ended, also if the file grows later. A read that has begun
/// when its receive is cut runs to its end, and the next receive gets its bytes.
///
/// # Examples
///
/// ```
/// use soloio_streams::FileReadStream;
///
/// soloio::block_on(async {
///     let file = FileReadStream::from_path("Cargo.toml").await?;
///     let mut bytes = 0;
///     while let Some(data) = file.next().await? {
///         bytes += data.len();
///     }
///     assert!(bytes > 100);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub struct FileReadStream {
    worker: Worker<Came>,
    receiving: Half,
}

/// What was read and not received.
#[derive(Default)]
struct Came {
    bytes: Vec<u8>,
    /// The number of bytes at the front that were received.
    gone: usize,
    ended: bool,
    error: Option<io::Error>,
}

impl Came {
    fn has_some(&self) -> bool {
        !self.bytes.is_empty() || self.ended || self.error.is_some()
    }

    /// Moves what was read into `room`; `None` if there is nothing.
    fn take(&mut self, room: &mut Room<'_>) -> Option<Result<()>> {
        if let Some(error) = self.error.take() {
            return Some(Err(error.into()));
        }
        if self.bytes.is_empty() {
            return self.ended.then_some(Err(Error::EndOfStream));
        }
        self.gone += room.put(&self.bytes[self.gone..]);
        if self.gone == self.bytes.len() {
            (self.bytes, self.gone) = (Vec::new(), 0);
        }
        Some(Ok(()))
    }
}

/// Reads once, on a thread.
fn read(mut file: &File, came: &Mutex<Came>) {
    if lock(came).has_some() {
        return;
    }
    let mut bytes = vec![0; MOST];
    let got = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => break got,
        }
    };
    let mut came = lock(came);
    match got {
        Ok(0) => came.ended = true,
        Ok(got) => came.bytes.extend_from_slice(&bytes[..got]),
        Err(error) => came.error = Some(error),
    }
}

impl FileReadStream {
    /// Reads from an open file: also from a pipe, a terminal, or whatever else blocks.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            worker: Worker::new(file, Came::default(), read),
            receiving: Half::default(),
        }
    }

    /// Opens a file, in a thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], that of opening it.
    ///
    /// # Cancel safety
    ///
    /// The file is closed again.
    pub async fn from_path(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = run_in_thread(move || File::open(path)).await??;
        Ok(Self::new(file))
    }

    /// As [`ByteReceiveStream::receive`].
    ///
    /// # Errors
    ///
    /// As [`ByteReceiveStream::receive`]; [`Error::Io`] of reading the file. The next receive tries
    /// again.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: every byte is still there for the next receive.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        ByteReceiveStream::receive(self).await
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), except for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Vec<u8>>> {
        or_end(self.receive().await)
    }
}

impl ByteReceiveStream for FileReadStream {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if room.remaining() == 0 {
            let message = "a receive of at most 0 bytes can never give any";
            let cause = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Poll::Ready(Err(cause.into()));
        }
        let cx = &*cx;
        let attempt = || {
            loop {
                let taken = self.worker.data().take(room);
                if taken.is_some() {
                    return taken;
                }
                match self.worker.poll(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Some(Err(error)),
                    Poll::Pending => return None,
                }
            }
        };
        self.receiving.poll(place, cx, || Ok(()), attempt)
    }

    fn leave_receive(&self, place: &mut Place) {
        self.receiving.leave(place);
    }
}

impl fmt::Debug for FileReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReadStream").finish_non_exhaustive()
    }
}
