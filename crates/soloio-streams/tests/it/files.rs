//! Files and pipes as byte streams: ends, errors, cuts.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use proptest::prelude::*;
use soloio::{ByteReceiveStream, ByteSendStream, CancelScope, Error, Result, block_on, join};
use soloio_streams::{FileReadStream, FileWriteStream, Lines, stdin, stdout};

use crate::support::{cut, cuts, run};

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("soloio-streams-{name}-{}", std::process::id()))
}

/// A stream that reads, and what writes to it: sockets, which block as pipes do.
fn read_pipe() -> Result<(FileReadStream, UnixStream)> {
    let (reader, writer) = UnixStream::pair()?;
    Ok((FileReadStream::new(OwnedFd::from(reader).into()), writer))
}

/// A stream that writes, and what reads from it.
fn write_pipe() -> Result<(UnixStream, FileWriteStream)> {
    let (reader, writer) = UnixStream::pair()?;
    Ok((reader, FileWriteStream::new(OwnedFd::from(writer).into())))
}

#[test]
fn a_file_is_written_appended_and_read() {
    run(async || {
        let path = path("both");
        let data: Vec<u8> = (0..200_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 3])
            .collect();
        let file = FileWriteStream::from_path(&path).await?;
        file.send(&data[..150_000]).await?;
        file.close().await?;
        let file = FileWriteStream::append(&path).await?;
        file.send(&data[150_000..]).await?;
        file.close().await?;
        let file = FileReadStream::from_path(&path).await?;
        let mut got = Vec::new();
        while let Some(some) = file.next().await? {
            got.extend(some);
        }
        assert!(got == data);
        assert!(
            matches!(file.receive().await, Err(Error::EndOfStream)),
            "it stays"
        );
        fs::remove_file(&path)?;
        Ok(())
    });
}

#[test]
fn errors_are_those_of_the_file() {
    run(async || {
        let missing = FileReadStream::from_path("/no/such/file").await;
        assert!(matches!(missing, Err(Error::Io(error)) if error.kind() == ErrorKind::NotFound));
        // A folder can be opened and not read.
        let folder = FileReadStream::from_path("/").await?;
        for _ in 0..2 {
            let failed = folder.receive().await;
            assert!(
                matches!(failed, Err(Error::Io(error)) if error.kind() == ErrorKind::IsADirectory)
            );
        }
        let full = FileWriteStream::append("/dev/full").await?;
        for _ in 0..2 {
            let failed = full.send(b"x").await;
            assert!(
                matches!(failed, Err(Error::Io(error)) if error.kind() == ErrorKind::StorageFull)
            );
        }
        assert!(full.close().await.is_err());
        let empty = folder.receive_into(&mut []).await;
        assert!(matches!(empty, Err(Error::Io(error)) if error.kind() == ErrorKind::InvalidInput));
        Ok(())
    });
}

/// A read that has begun when its scope is cancelled, or its future dropped: its bytes come later,
/// and the cancelled scope does not wait for it.
#[test]
fn a_read_that_is_cut_loses_nothing() {
    run(async || {
        let (stream, mut writer) = read_pipe()?;
        for number in 0..20_u8 {
            let scope = CancelScope::new();
            let cancel = async {
                scope.cancel("enough");
            };
            let (ended, ()) = join((scope.run(stream.receive()), cancel)).await;
            assert!(matches!(ended, Some(Err(Error::Cancelled))));
            assert!(cut(1, stream.receive()).await.is_none());
            writer.write_all(&[number])?;
            assert_eq!(stream.receive().await?, [number]);
        }
        drop(writer);
        assert_eq!(stream.next().await?, None);
        Ok(())
    });
}

#[test]
fn a_second_receiver_gets_busy() {
    run(async || {
        let (stream, _writer) = read_pipe()?;
        let mut first = Box::pin(stream.receive());
        assert!(cut(0, first.as_mut()).await.is_none());
        assert!(matches!(stream.receive().await, Err(Error::Busy)));
        drop(first);
        assert!(cut(0, stream.receive()).await.is_none());
        Ok(())
    });
}

#[test]
fn a_full_pipe_blocks_no_loop() {
    run(async || {
        let (mut reader, stream) = write_pipe()?;
        let data = vec![7; 1_000_000];
        let mut rest = &data[..];
        assert!(cut(3, stream.send_from(&mut rest)).await.is_none());
        let read = thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).map(|_| got)
        });
        stream.send_from(&mut rest).await?;
        stream.close().await?;
        assert!(read.join().expect("no panic")? == data);
        Ok(())
    });
}

/// The loop ends although a thread still waits for input.
#[test]
fn the_end_of_the_loop_does_not_wait_for_input() {
    let (stream, writer) = read_pipe().expect("a pipe");
    block_on(async { assert!(cut(2, stream.receive()).await.is_none()) });
    // On another loop it goes on.
    let got = thread::spawn(move || block_on(stream.receive()));
    { writer }.write_all(b"x").expect("it is read");
    assert_eq!(got.join().expect("no panic").expect("a byte"), b"x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_cut_loses_a_byte(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 0..9),
        mut of_sender in cuts(),
        mut of_receiver in cuts(),
        most in 1..9_usize,
    ) {
        run(async || {
            let (reader, writer) = UnixStream::pair()?;
            let reader = FileReadStream::new(File::from(OwnedFd::from(reader)));
            let writer = FileWriteStream::new(File::from(OwnedFd::from(writer)));
            let send = async {
                for piece in &pieces {
                    let rest = std::cell::Cell::new(&piece[..]);
                    let attempt = async || {
                        let mut home = Home(&rest, rest.get());
                        writer.send_from(&mut home.1).await
                    };
                    of_sender.until_done(attempt).await?;
                }
                writer.close().await
            };
            let receive = async {
                let mut got = Vec::new();
                loop {
                    match of_receiver.until_done(async || reader.receive_max(most).await).await {
                        Ok(some) => got.extend(some),
                        Err(Error::EndOfStream) => return Ok(got),
                        Err(error) => return Err(error),
                    }
                }
            };
            let (sent, got) = join((send, receive)).await;
            sent?;
            assert_eq!(got?, pieces.concat());
            Ok(())
        });
    }
}

/// Notes what was not sent when an attempt is cut.
struct Home<'a, 'b>(&'a std::cell::Cell<&'b [u8]>, &'b [u8]);

impl Drop for Home<'_, '_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

const CHILD: &str = "SOLOIO_STREAMS_SHOUT";

/// Not a test of its own: the child of the next one.
#[test]
fn shouts_back() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    run(async || {
        let (lines, output) = (Lines::new(stdin()?, 100), stdout()?);
        while let Some(line) = lines.next().await? {
            output
                .send(format!("<{}>\n", line.to_uppercase()).as_bytes())
                .await?;
        }
        output.close().await
    });
}

#[test]
fn standard_input_and_output_are_streams() {
    let tests = std::env::current_exe().expect("the path of this test");
    let mut child = Command::new(tests)
        .args(["--exact", "files::shouts_back", "--nocapture", "--quiet"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"one\ntwo\n").expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success() && text.contains("<ONE>\n<TWO>\n"),
        "{text}"
    );
}
