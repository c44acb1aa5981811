//! Descriptors sent beside bytes, credentials, and pairs: U5 and U6 of the list of failures seen
//! elsewhere.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use futures_util::future::join;
use soloio::{Error, Result, UnixStream, unix_socket_pair};

use crate::cancel_everywhere::everywhere;
use crate::kernel;
use crate::net_support::{check_numbered, clog, numbered, polled, refused, run, turns};
use crate::support::{alone, fds, rounds};

fn pair() -> (UnixStream, UnixStream) {
    unix_socket_pair().expect("two descriptors")
}

fn null() -> File {
    File::open("/dev/null").expect("a descriptor")
}

/// Returns a pipe; its reading end shows when every writing end is closed.
fn pipe() -> (File, OwnedFd) {
    let (ours, theirs) = StdStream::pair().expect("two descriptors");
    (File::from(OwnedFd::from(ours)), theirs.into())
}

fn too_many(result: Result<(Vec<u8>, Vec<OwnedFd>)>) {
    match result {
        Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}"),
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[test]
fn what_arrives_is_what_was_sent() {
    run(async {
        let (a, b) = pair();
        let (mut reading, writing) = pipe();
        a.send_fds(b"take", &[writing.as_fd(), null().as_fd()])
            .await
            .expect("sent");
        drop(writing);
        let (data, mut fds) = b.receive_fds(100, 5).await.expect("received");
        assert_eq!((&data[..], fds.len()), (&b"take"[..], 2));
        let mut writing = File::from(fds.remove(0));
        writing.write_all(b"through").expect("it is the other end");
        drop(writing);
        let mut text = String::new();
        reading
            .read_to_string(&mut text)
            .expect("no other copy is left");
        assert_eq!(text, "through");
    });
}

#[test]
fn plain_bytes_come_without_descriptors_and_the_end_comes() {
    run(async {
        let (a, b) = pair();
        a.send(b"plain").await.expect("sent");
        let (data, fds) = b.receive_fds(3, 5).await.expect("received");
        assert_eq!((&data[..], fds.len()), (&b"pla"[..], 0));
        a.send_eof().await.expect("ended");
        let (data, _) = b.receive_fds(100, 5).await.expect("received");
        assert_eq!(data, b"in");
        for _ in 0..2 {
            refused!(b.receive_fds(100, 5).await, Error::EndOfStream);
        }
        refused!(a.send_fds(b"x", &[null().as_fd()]).await, Error::Closed);
    });
}

#[test]
fn refused_arguments() {
    run(async {
        let (a, b) = pair();
        let null = null();
        let many = vec![null.as_fd(); 254];
        let none: [BorrowedFd<'_>; 0] = [];
        let sent = [
            a.send_fds(b"", &many[..1]).await,
            a.send_fds(b"x", &none).await,
            a.send_fds(b"x", &many).await,
        ];
        let received = [b.receive_fds(0, 1).await, b.receive_fds(1, 0).await];
        let sent = sent.into_iter().filter_map(Result::err);
        let errors: Vec<_> = sent
            .chain(received.into_iter().filter_map(Result::err))
            .collect();
        assert_eq!(errors.len(), 5);
        for error in errors {
            assert_eq!(std::io::Error::from(error).kind(), ErrorKind::InvalidInput);
        }
        a.send_fds(b"x", &many[..253])
            .await
            .expect("as many as fit");
        assert_eq!(b.receive_fds(1, 999).await.expect("received").1.len(), 253);
    });
}

#[test]
fn one_at_a_time() {
    run(async {
        let (a, b) = pair();
        let null = null();
        let mut first = std::pin::pin!(b.receive_fds(9, 9));
        assert!(crate::support::poll_once(first.as_mut()).await.is_pending());
        refused!(b.receive_fds(9, 9).await, Error::Busy);
        refused!(b.receive().await, Error::Busy);
        a.send_fds(b"x", &[null.as_fd()]).await.expect("sent");
        assert_eq!(first.await.expect("received").1.len(), 1);
        b.abort();
        refused!(b.receive_fds(9, 9).await, Error::Closed);
        refused!(b.send_fds(b"x", &[null.as_fd()]).await, Error::Closed);
        assert!(b.peer_credentials().is_err());
    });
}

#[test]
fn u5_too_many_descriptors_are_told_and_none_leaks() {
    // 64 descriptors into room for 5, with plain receives in between (systemd#42043, bun#37427).
    alone(
        "unix_fds::u5_too_many_descriptors_are_told_and_none_leaks",
        || {
            run(async {
                let (a, b) = pair();
                let (mut reading, writing) = pipe();
                a.send(b"warm").await.expect("sent");
                assert_eq!(b.receive().await.expect("received"), b"warm");
                let (many, before) = (vec![writing.as_fd(); 64], fds());
                for round in 0..rounds(2_000) {
                    a.send_fds(b"lots", &many).await.expect("sent");
                    match round % 3 {
                        0 => too_many(b.receive_fds(100, 5).await),
                        1 => assert_eq!(b.receive().await.expect("received"), b"lots"),
                        _ => {
                            let (_, got) = b.receive_fds(100, 64).await.expect("room for all");
                            assert_eq!((got.len(), fds()), (64, before + 64));
                        }
                    }
                    a.send(b"plain").await.expect("the stream goes on");
                    assert_eq!(b.receive_fds(9, 5).await.expect("received").0, b"plain");
                    assert_eq!(fds(), before, "round {round}");
                }
                // No descriptor number is left for any of them.
                let filler = kernel::use_up_descriptors();
                for room in [5, 64] {
                    a.send_fds(b"lots", &many).await.expect("sent");
                    too_many(b.receive_fds(100, room).await);
                }
                a.send(b"plain").await.expect("the stream goes on");
                assert_eq!(b.receive_fds(9, 5).await.expect("received").0, b"plain");
                // Three numbers are left: all or nothing.
                let mut filler = filler;
                filler.truncate(filler.len() - 3);
                a.send_fds(b"lots", &many).await.expect("sent");
                too_many(b.receive_fds(100, 64).await);
                a.send_fds(b"few", &many[..3]).await.expect("sent");
                assert_eq!(b.receive_fds(9, 5).await.expect("room").1.len(), 3);
                drop(filler);
                assert_eq!(fds(), before);
                drop(many);
                drop(writing);
                let ended = reading.read(&mut [0]).expect("no error");
                assert_eq!(ended, 0, "a copy is left somewhere");
            });
        },
    );
}

#[test]
fn descriptors_that_nobody_receives_are_closed_with_the_stream() {
    run(async {
        let (a, b) = pair();
        let (mut reading, writing) = pipe();
        a.send_fds(b"x", &[writing.as_fd()]).await.expect("sent");
        drop(writing);
        drop(b);
        assert_eq!(reading.read(&mut [0]).expect("no error"), 0);
    });
}

#[test]
fn more_data_than_fits_goes_on_as_bytes() {
    run(async {
        let (a, b) = pair();
        let (null, data) = (null(), numbered(0, 1_000_000));
        let send = async {
            a.send_fds(&data, &[null.as_fd(), null.as_fd()])
                .await
                .expect("sent");
            a.send_eof().await.expect("ended");
        };
        let receive = async {
            let (mut at, mut count) = (0, 0);
            loop {
                match b.receive_fds(70_000, 9).await {
                    Ok((data, fds)) => {
                        assert!(!data.is_empty() && data.len() <= 65_536);
                        check_numbered(at, &data);
                        at += data.len();
                        count += fds.len();
                    }
                    Err(Error::EndOfStream) => break (at, count),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let ((), got) = join(send, receive).await;
        assert_eq!(got, (data.len(), 2));
    });
}

/// Covers: UnixStream::send_fds_from, UnixStream::receive_fds.
#[test]
fn cancelled() {
    everywhere("unix_fds::cancelled", async |cut| {
        let (a, b) = pair();
        let (null, taken) = (null(), clog(&a, 0).await);
        let data = numbered(taken, 300_000);
        let send = async {
            let mut rest = &data[..];
            let sent = cut.apply(a.send_fds_from(&mut rest, &[null.as_fd()])).await;
            let done = sent.is_some();
            if let Some(sent) = sent {
                sent.expect("sent");
            }
            let went = data.len() - rest.len();
            if rest.len() == data.len() {
                a.send_fds_from(&mut rest, &[null.as_fd()])
                    .await
                    .expect("none went, so they go now");
            }
            a.send(rest).await.expect("the stream goes on");
            a.send_eof().await.expect("ended");
            (done, went)
        };
        let receive = async {
            let (mut at, mut count, mut done) = (0, 0, true);
            loop {
                turns(1).await;
                let got = cut.apply(b.receive_fds(50_000, 9)).await;
                done &= got.is_some();
                let got = match got {
                    Some(got) => got,
                    None => b.receive_fds(50_000, 9).await,
                };
                match got {
                    Ok((data, fds)) => {
                        check_numbered(at, &data);
                        at += data.len();
                        count += fds.len();
                    }
                    Err(Error::EndOfStream) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!((at, count), (taken + data.len(), 1), "once and once only");
            done
        };
        let ((sent, _), received) = join(send, receive).await;
        sent && received
    });
}

#[test]
fn credentials_are_those_of_this_process() {
    run(async {
        let (client, server) = crate::net_support::unix_pair().await;
        for stream in [&client, &server] {
            let peer = stream.peer_credentials().expect("connected");
            assert_eq!(peer.pid, Some(std::process::id() as i32));
            let own = std::fs::metadata("/proc/self").expect("procfs");
            use std::os::unix::fs::MetadataExt;
            assert_eq!((peer.uid, peer.gid), (own.uid(), own.gid()));
        }
        assert!(client.peer_name().as_path().is_some());
    });
}

/// A short receive counts as the last of what has come, unless the kernel has stopped it at
/// descriptors: then bytes wait, and no further event reports them.
#[test]
fn no_byte_waits_behind_descriptors() {
    const KINDS: [(&[u8], usize); 4] = [(b"abc", 0), (b"de", 1), (b"f", 2), (&[7; 10], 0)];
    run(async {
        let null = null();
        let many = [null.as_fd(), null.as_fd()];
        for order in 0..4_usize.pow(4) {
            for (most, takes) in [(1, false), (3, false), (100, false), (3, true), (100, true)] {
                let (a, b) = pair();
                // From here on it is known when something has come.
                a.send(b"x").await.expect("sent");
                assert_eq!(b.receive().await.expect("received"), b"x");
                let (mut sent, mut got, mut came) = (Vec::new(), Vec::new(), 0);
                for place in 0..4 {
                    let (data, fds) = KINDS[order >> (2 * place) & 3];
                    match fds {
                        0 => a.send(data).await.expect("sent"),
                        _ => a.send_fds(data, &many[..fds]).await.expect("sent"),
                    }
                    sent.extend(data);
                    came += fds;
                }
                while got.len() < sent.len() {
                    if takes {
                        let (data, fds) = b.receive_fds(most, 9).await.expect("received");
                        got.extend(data);
                        came -= fds.len();
                    } else {
                        got.extend(b.receive_max(most).await.expect("received"));
                    }
                }
                assert_eq!(got, sent, "order {order}, at most {most} bytes");
                assert!(came == 0 || !takes, "order {order}: {came} descriptors");
                assert!(polled(2, b.receive()).await.is_none());
                a.send(b"y").await.expect("sent");
                assert_eq!(b.receive().await.expect("received"), b"y");
            }
        }
    });
}

/// With `SO_PASSCRED` a receive stops between the bytes of two processes.
#[test]
fn no_byte_waits_behind_those_of_another_process() {
    run(async {
        let (a, b) = pair();
        kernel::set_option(&b, libc::SOL_SOCKET, libc::SO_PASSCRED, 1).expect("set");
        a.send(b"x").await.expect("sent");
        assert_eq!(b.receive().await.expect("received"), b"x");
        for round in 0..3 {
            a.send(b"ours").await.expect("sent");
            let shared = a.as_fd().try_clone_to_owned().expect("a descriptor");
            let mut other = std::process::Command::new("printf");
            let status = other.arg("theirs").stdout(shared).status();
            assert!(status.expect("started").success());
            a.send(b"ours").await.expect("sent");
            let mut got = Vec::new();
            while got.len() < 14 {
                got.extend(b.receive().await.expect("received"));
            }
            assert_eq!(got, b"ourstheirsours", "round {round}");
        }
    });
}
