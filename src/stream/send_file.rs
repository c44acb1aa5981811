//! `send_file`: sends part of a file, by the kernel if stream and file allow it (Linux), else
//! through a buffer.
//!
//! The file is read at explicit offsets, so its own position is neither used nor changed. Reading
//! blocks the loop: data that is not in the page cache delays other tasks.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::{ByteSendStream, RECEIVE_MAX};
use crate::error::{Error, Result};
use crate::sys;

/// Sends the bytes `rest` of a file, and moves its start past the bytes handed over.
pub(super) async fn send_file<S: ByteSendStream>(
    stream: &S,
    file: &File,
    rest: &mut Range<u64>,
) -> Result<()> {
    if rest.is_empty() {
        return stream.send(&[]).await;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(socket) = stream.plain_sender() {
        if by_kernel(socket, file, rest).await? {
            return Ok(());
        }
    }
    by_buffer(stream, file, rest).await
}

/// Makes the range `offset..offset + length`.
pub(super) fn part(offset: u64, length: u64) -> Result<Range<u64>> {
    let end = offset.checked_add(length);
    let end = end.ok_or_else(|| Error::invalid("send a file", "no file is that long"))?;
    Ok(offset..end)
}

/// The largest number of bytes in one call, so that other tasks have their turn.
#[cfg(any(target_os = "linux", target_os = "android"))]
const AT_ONCE: u64 = 1 << 20;

/// Sends by sendfile(2); returns false if the kernel does not support it for this file.
#[cfg(any(target_os = "linux", target_os = "android"))]
async fn by_kernel(socket: super::Plain<'_>, file: &File, rest: &mut Range<u64>) -> Result<bool> {
    use std::os::fd::{AsFd, BorrowedFd};

    use crate::runtime::context::Core;
    use crate::runtime::operation::Direction;

    let mut operation = socket.0.operation(Direction::Write);
    while !rest.is_empty() {
        let mut refused = false;
        let mut call = |_: &Core, fd: BorrowedFd<'_>| {
            let length = (rest.end - rest.start).min(AT_ONCE) as usize;
            match sys::splice::send_file(fd, file.as_fd(), rest.start, length) {
                // An error of the file, not the connection: if it is real, a read fails with it.
                Err(error) if sys::errno::is_refused_shortcut(&error) => {
                    refused = true;
                    Ok(0)
                }
                sent => sent,
            }
        };
        let polled =
            std::future::poll_fn(|cx| socket.0.poll_send_by(&mut operation, cx, &mut call));
        let sent = polled.await?;
        if refused {
            return Ok(false);
        }
        if sent == 0 {
            return Err(ends_early(rest));
        }
        rest.start += sent as u64;
        // The progress is known, so a cancelled scope need not wait for the end.
        operation.again();
    }
    Ok(true)
}

async fn by_buffer<S: ByteSendStream>(
    stream: &S,
    file: &File,
    rest: &mut Range<u64>,
) -> Result<()> {
    let mut buffer = Vec::new();
    while !rest.is_empty() {
        let length = (rest.end - rest.start).min(RECEIVE_MAX as u64);
        buffer.resize(usize::try_from(length).unwrap_or(RECEIVE_MAX), 0);
        let read = sys::file::read_at(file, &mut buffer, rest.start);
        let read = read.map_err(|cause| Error::io("read", "the file to be sent", cause))?;
        if read == 0 {
            return Err(ends_early(rest));
        }
        let mut progress = Progress {
            left: &buffer[..read],
            end: rest.start + read as u64,
            rest,
        };
        super::futures::send_all(stream, &mut progress.left).await?;
    }
    Ok(())
}

/// Records on drop how much of `left` was sent.
struct Progress<'a> {
    left: &'a [u8],
    end: u64,
    rest: &'a mut Range<u64>,
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.rest.start = self.end - self.left.len() as u64;
    }
}

#[cold]
fn ends_early(rest: &Range<u64>) -> Error {
    let message = format!(
        "it ends at byte {} or before, {} bytes too early",
        rest.start,
        rest.end - rest.start
    );
    let cause = io::Error::new(io::ErrorKind::UnexpectedEof, message);
    Error::io("send", "a file", cause)
}
