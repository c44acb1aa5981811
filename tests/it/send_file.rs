//! `send_file`: exactly the requested bytes, over every kind of stream; files that are too short,
//! that shrink meanwhile, or that are not regular files; peers that are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use futures_util::future::join;
use soloio::{ByteStream, Error, Result, create_memory_byte_stream};

use crate::cancel_everywhere::{Cut, everywhere};
use crate::kernel;
use crate::net_support::{
    TempDir, check_numbered, clog, numbered, polled, refused, run, tcp_pair, turns, unix_pair,
};
use crate::support::{alone, rounds};

/// Makes a file of this many numbered bytes.
fn file_of(dir: &TempDir, length: usize) -> (PathBuf, File) {
    let path = dir.path("file");
    fs::write(&path, numbered(0, length)).expect("room for a file");
    let file = File::open(&path).expect("it is there");
    (path, file)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Err(Error::Io(error)) => error.kind(),
        other => panic!("{other:?} instead of an error of the system"),
    }
}

async fn receive_all<S: ByteStream>(stream: &S, from: usize) -> usize {
    let mut at = from;
    while let Some(data) = stream.next().await.expect("an orderly end") {
        check_numbered(at, &data);
        at += data.len();
    }
    at - from
}

/// Runs a body over every kind of stream.
macro_rules! over_all_kinds {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(async {
                let (a, b) = tcp_pair().await;
                kinds::$name(a, b).await;
                let (a, b) = unix_pair().await;
                kinds::$name(a, b).await;
                let (a, b) = tcp_pair().await;
                kinds::$name(&a, &b).await;
                let (a, b) = create_memory_byte_stream(777);
                kinds::$name(a, b).await;
            });
        }
    )*};
}

over_all_kinds! {
    the_part_asked_for_goes
    a_short_file_is_told
    what_is_no_file_is_told
    it_is_a_send_like_others
}

mod kinds {
    use super::*;

    pub(super) async fn the_part_asked_for_goes(a: impl ByteStream, b: impl ByteStream) {
        let (dir, length) = (TempDir::new(), rounds(30_000_000));
        let (_, mut file) = file_of(&dir, length);
        let send = async {
            a.send_file(&file, 0, 10).await.expect("sent");
            a.send_file(&file, 10, 0).await.expect("nothing to send");
            a.send_file(&file, 10, 1).await.expect("sent");
            let mut rest = 11..length as u64;
            a.send_file_from(&file, &mut rest).await.expect("sent");
            assert!(rest.is_empty());
            a.send_eof().await.expect("ended");
            refused!(a.send_file(&file, 0, 1).await, Error::Closed);
            refused!(a.send_file(&file, 0, 0).await, Error::Closed);
        };
        let ((), got) = join(send, receive_all(&b, 0)).await;
        assert_eq!(got, length);
        assert_eq!(file.stream_position().expect("a file"), 0, "not moved");
    }

    pub(super) async fn a_short_file_is_told(a: impl ByteStream, b: impl ByteStream) {
        let dir = TempDir::new();
        let (path, file) = file_of(&dir, 200_000);
        let send = async {
            let mut rest = 150_000..200_001;
            let sent = a.send_file_from(&file, &mut rest).await;
            assert_eq!(kind(sent), ErrorKind::UnexpectedEof);
            assert_eq!(rest, 200_000..200_001);
            let beyond = a.send_file(&file, 1 << 40, 1).await;
            assert_eq!(kind(beyond), ErrorKind::UnexpectedEof);
            let none = a.send_file(&file, u64::MAX, 2).await;
            assert_eq!(kind(none), ErrorKind::InvalidInput);
            let never = a.send_file(&file, 1 << 63, 2).await;
            assert!(matches!(never, Err(Error::Io(_))), "{never:?}");
            // The file is truncated meanwhile.
            let mut rest = 0..200_000;
            let first = polled(2, a.send_file_from(&file, &mut (0..0))).await;
            first.expect("never waits").expect("nothing to send");
            let truncate = OpenOptions::new().write(true).open(&path);
            truncate.and_then(|file| file.set_len(5)).expect("ours");
            let sent = a.send_file_from(&file, &mut rest).await;
            assert_eq!(kind(sent), ErrorKind::UnexpectedEof);
            assert_eq!(rest, 5..200_000);
            a.send(b"!").await.expect("the stream goes on");
            a.send_eof().await.expect("ended");
        };
        let receive = async {
            let mut all = Vec::new();
            while let Some(data) = b.next().await.expect("an orderly end") {
                all.extend(data);
            }
            all
        };
        let ((), all) = join(send, receive).await;
        assert!(all == [numbered(150_000, 50_000), numbered(0, 5), b"!".to_vec()].concat());
    }

    pub(super) async fn what_is_no_file_is_told(a: impl ByteStream, b: impl ByteStream) {
        let dir = TempDir::new();
        let (path, _) = file_of(&dir, 100);
        let folder = File::open(dir.all()).expect("a folder");
        let unreadable = OpenOptions::new().write(true).open(&path).expect("ours");
        let (pipe, _end) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
        let socket = File::from(OwnedFd::from(pipe));
        for file in [&folder, &unreadable, &socket] {
            let mut rest = 0..10;
            let sent = a.send_file_from(file, &mut rest).await;
            assert!(matches!(sent, Err(Error::Io(_))), "{sent:?}");
            assert_eq!(rest, 0..10);
        }
        // Files of procfs, which may have no pages to send from.
        let version = fs::read("/proc/version").expect("procfs");
        let file = File::open("/proc/version").expect("procfs");
        let receive = async {
            let mut got = Vec::new();
            while got.len() < version.len() {
                got.extend(b.receive().await.expect("data"));
            }
            assert_eq!(got, version);
        };
        let sent = join(a.send_file(&file, 0, version.len() as u64), receive).await;
        sent.0.expect("the stream is still good");
        b.send(b"x").await.expect("sent");
        assert_eq!(a.receive().await.expect("data"), b"x");
    }

    pub(super) async fn it_is_a_send_like_others(a: impl ByteStream, b: impl ByteStream) {
        let dir = TempDir::new();
        let taken = clog(&a, 0).await;
        let file = dir.path("file");
        fs::write(&file, numbered(taken, 100)).expect("room for a file");
        let file = File::open(file).expect("it is there");
        {
            let mut first = std::pin::pin!(a.send_file(&file, 0, 100));
            let once = crate::support::poll_once(first.as_mut()).await;
            assert!(once.is_pending());
            refused!(a.send(b"x").await, Error::Busy);
            refused!(a.send_file(&file, 0, 1).await, Error::Busy);
            let receive = async {
                let mut at = 0;
                while at < taken + 100 {
                    let data = b.receive().await.expect("data");
                    check_numbered(at, &data);
                    at += data.len();
                }
                assert_eq!(at, taken + 100);
            };
            join(first, receive).await.0.expect("sent");
        }
        a.abort();
        refused!(a.send_file(&file, 0, 1).await, Error::Closed);
    }
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    // sendfile(2) and splice(2) have no MSG_NOSIGNAL.
    alone(
        "send_file::a_peer_that_is_gone_is_an_error_and_no_signal",
        || {
            kernel::default_action(libc::SIGPIPE);
            run(async {
                let dir = TempDir::new();
                let (_, file) = file_of(&dir, 1000);
                let (a, b) = unix_pair().await;
                drop(b);
                refused!(a.send_file(&file, 0, 1000).await, Error::Broken(_));
                let (a, b) = tcp_pair().await;
                drop(b);
                let mut sent = Ok(());
                for _ in 0..100 {
                    sent = a.send_file(&file, 0, 1000).await;
                    turns(1).await;
                }
                refused!(sent, Error::Broken(_));

                // The same for a relay, with and without splice.
                for splice in [true, false] {
                    let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
                    drop(server);
                    let flood = async { while client.send(&[7; 100_000]).await.is_ok() {} };
                    let mut relay = soloio::relay(a, b).splice(splice);
                    let relayed = async {
                        let ended = relay.run().await;
                        drop(relay);
                        ended
                    };
                    // The server's end comes first: the client gets it, and continues to send.
                    let (relayed, ()) = join(relayed, flood).await;
                    refused!(relayed, Error::Broken(_));
                }
            });
        },
    );
}

async fn cut_and_resumed<S: ByteStream>(cut: Cut, (a, b): (S, S), length: usize) -> bool {
    let taken = clog(&a, 0).await;
    let dir = TempDir::new();
    let path = dir.path("file");
    fs::write(&path, numbered(taken, length)).expect("room for a file");
    let file = File::open(path).expect("it is there");
    let send = async {
        let mut rest = 0..length as u64;
        let first = cut.apply(a.send_file_from(&file, &mut rest)).await;
        let done = first.is_some();
        assert_eq!(done, rest.is_empty() || first.is_some());
        if let Some(first) = first {
            first.expect("sent");
        }
        a.send_file_from(&file, &mut rest).await.expect("the rest");
        a.send_eof().await.expect("ended");
        done
    };
    let receive = async {
        turns(2).await;
        receive_all(&b, 0).await
    };
    let (done, got) = join(send, receive).await;
    assert_eq!(got, taken + length, "nothing lost, nothing doubled");
    done
}

/// Cuts the call that does not report how much was sent.
async fn cut_once<S: ByteStream>(cut: Cut, (a, b): (S, S), length: usize) -> bool {
    let dir = TempDir::new();
    fs::write(dir.path("file"), numbered(0, length)).expect("room for a file");
    let file = File::open(dir.path("file")).expect("it is there");
    let send = async {
        let sent = cut.apply(a.send_file(&file, 0, length as u64)).await;
        let done = sent.map(|sent| sent.expect("sent")).is_some();
        a.send_eof().await.expect("ended");
        done
    };
    let receive = async {
        turns(2).await;
        receive_all(&b, 0).await
    };
    let (done, got) = join(send, receive).await;
    assert!(got <= length && (!done || got == length), "a prefix went");
    done
}

/// Covers: ByteSendStream::send_file_from, ByteSendStream::send_file.
#[test]
fn cancelled() {
    everywhere("send_file::cancelled", async |cut| {
        let tcp = cut_and_resumed(cut, tcp_pair().await, 3_000_000).await;
        let unix = cut_and_resumed(cut, unix_pair().await, 500_000).await;
        let memory = cut_and_resumed(cut, create_memory_byte_stream(9), 100).await;
        let whole = cut_once(cut, create_memory_byte_stream(9), 100).await;
        whole && tcp && unix && memory
    });
}

#[test]
fn its_future_may_travel() {
    fn travels(_: impl Send) {}
    run(async {
        let (a, _b) = tcp_pair().await;
        let file = File::open("/dev/null").expect("a file");
        travels(a.send_file(&file, 0, 0));
    });
}
