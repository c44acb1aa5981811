//! Sends to a file: [`FileWriteStream`].

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::task::{Context, Poll};

use soloio::{ByteSendStream, Half, Place, Result, run_in_thread};

use super::worker::{Worker, lock};

/// The most bytes that are accepted and not written.
const MOST: usize = 65_536;

/// A file as the sending half of a byte stream: written in soloio's threads, at the file's
/// position, so that a slow disk, a pipe or a terminal does not block the loop.
///
/// A send returns when all was written. If it is cut, at most 64 KiB of its bytes may be accepted
/// and not written yet: a write that has begun runs to its end, and the others are written by the
/// next send, or by [`close`](Self::close).
///
/// # Examples
///
/// ```
/// use soloio_streams::{FileReadStream, FileWriteStream};
///
/// # let path = std::env::temp_dir().join(format!("soloio-write-{}", std::process::id()));
/// soloio::block_on(async {
///     let file = FileWriteStream::from_path(&path).await?;
///     file.send(b"hello").await?;
///     file.close().await?;
///     let file = FileReadStream::from_path(&path).await?;
///     assert_eq!(file.receive().await?, b"hello");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub struct FileWriteStream {
    worker: Worker<Going>,
    sending: Half,
}

/// What was accepted and not written.
#[derive(Default)]
struct Going {
    bytes: Vec<u8>,
    /// The number of bytes before them that a thread writes.
    writing: usize,
    error: Option<io::Error>,
}

impl Going {
    fn failed(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Accepts a prefix of `parts`; `None` if there is no room.
    fn accept(&mut self, parts: &[IoSlice<'_>]) -> Option<Result<usize>> {
        if let Err(error) = self.failed() {
            return Some(Err(error));
        }
        let room = MOST.saturating_sub(self.bytes.len() + self.writing);
        let mut accepted = 0;
        for part in parts {
            let now = part.len().min(room - accepted);
            self.bytes.extend_from_slice(&part[..now]);
            accepted += now;
        }
        let is_empty = parts.iter().all(|part| part.is_empty());
        (accepted > 0 || is_empty).then_some(Ok(accepted))
    }

    /// `None` if some is left to be written.
    fn written(&mut self) -> Option<Result<()>> {
        let is_written = self.bytes.is_empty() && self.writing == 0;
        let ended = self.failed();
        (is_written || ended.is_err()).then_some(ended)
    }
}

/// Writes what was accepted, on a thread.
fn write(mut file: &File, going: &Mutex<Going>) {
    loop {
        let mut bytes = {
            let mut going = lock(going);
            let bytes = std::mem::take(&mut going.bytes);
            going.writing = bytes.len();
            bytes
        };
        if bytes.is_empty() {
            return;
        }
        let wrote = loop {
            match file.write(&bytes) {
                Ok(0) => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                wrote => break wrote,
            }
        };
        let mut going = lock(going);
        bytes.drain(..*wrote.as_ref().unwrap_or(&0));
        // What was accepted meanwhile comes after the rest.
        bytes.append(&mut going.bytes);
        (going.bytes, going.writing) = (bytes, 0);
        if let Err(error) = wrote {
            going.error = Some(error);
            return;
        }
    }
}

impl FileWriteStream {
    /// Writes to an open file: also to a pipe, a terminal, or whatever else blocks.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            worker: Worker::new(file, Going::default(), write),
            sending: Half::default(),
        }
    }

    /// Creates a file, or empties the one that is there, in a thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](soloio::Error::Io), that of opening it.
    ///
    /// # Cancel safety
    ///
    /// The file may have been created or emptied.
    pub async fn from_path(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = run_in_thread(move || File::create(path)).await??;
        Ok(Self::new(file))
    }

    /// Opens a file to append to it, and creates it if there is none, in a thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](soloio::Error::Io), that of opening it.
    ///
    /// # Cancel safety
    ///
    /// The file may have been created.
    pub async fn append(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let open = move || OpenOptions::new().append(true).create(true).open(path);
        Ok(Self::new(run_in_thread(open).await??))
    }

    /// As [`ByteSendStream::send`].
    ///
    /// # Errors
    ///
    /// As [`ByteSendStream::send`]; [`Error::Io`](soloio::Error::Io) of writing the file. Bytes
    /// that could not be written are tried again by the next send.
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was accepted; [`ByteSendStream::send_from`] reports how much.
    pub async fn send(&self, data: &[u8]) -> Result<()> {
        ByteSendStream::send(self, data).await
    }

    /// Writes what a cut send has left, and closes the file.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// What was accepted may not be written to its end.
    #[doc(alias = "aclose")]
    pub async fn close(self) -> Result<()> {
        // Waits until all is written.
        self.send(&[]).await
    }

    fn poll<T>(
        &self,
        place: &mut Place,
        cx: &Context<'_>,
        mut attempt: impl FnMut(&mut Going) -> Option<Result<T>>,
    ) -> Poll<Result<T>> {
        let attempt = || {
            loop {
                let done = attempt(&mut self.worker.data());
                if done.is_some() {
                    return done;
                }
                match self.worker.poll(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Some(Err(error)),
                    Poll::Pending => return None,
                }
            }
        };
        self.sending.poll(place, cx, || Ok(()), attempt)
    }
}

impl ByteSendStream for FileWriteStream {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll(place, cx, |going| going.accept(parts))
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll(place, cx, Going::written)
    }

    fn leave_send(&self, place: &mut Place) {
        self.sending.leave(place);
    }
}

impl fmt::Debug for FileWriteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriteStream").finish_non_exhaustive()
    }
}
