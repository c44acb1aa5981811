//! Standard input and output as byte streams.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use soloio::Result;

use super::{FileReadStream, FileWriteStream};

/// The standard input as the receiving half of a byte stream: a terminal, a pipe or a file.
///
/// A receive that waits for a terminal blocks neither the loop nor the end of the program. Bytes
/// that [`std::io::stdin`] has in its buffer are not seen here, so a program uses one of the two,
/// and makes one stream: what it has read ahead is lost with it.
///
/// # Errors
///
/// [`Error::Io`](soloio::Error::Io) if there is none, or no further descriptor.
///
/// # Examples
///
/// ```no_run
/// use soloio_streams::{Lines, stdin, stdout};
///
/// soloio::block_on(async {
///     let (lines, output) = (Lines::new(stdin()?, 1_000), stdout()?);
///     while let Some(line) = lines.next().await? {
///         output.send(format!("{}\n", line.to_uppercase()).as_bytes()).await?;
///     }
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn stdin() -> Result<FileReadStream> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok(FileReadStream::new(file))
}

/// The standard output as the sending half of a byte stream.
///
/// It has no buffer, and is written besides that of [`std::io::stdout`]: what `print!` has left
/// there comes later.
///
/// # Errors
///
/// [`Error::Io`](soloio::Error::Io) if there is none, or no further descriptor.
pub fn stdout() -> Result<FileWriteStream> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(FileWriteStream::new(file))
}
