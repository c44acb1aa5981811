//! Messages over UNIX connections: boundaries, order, the end, errors after which the connection
//! still works, descriptors, cancels.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::future::join;
use socket2::SockRef;
use soloio::net::{
    UnixSeqpacket, UnixSeqpacketListener, connect_unix_seqpacket, unix_seqpacket_pair,
};
use soloio::{Error, Result, connect_unix, create_unix_listener, sleep};

use crate::cancel_everywhere::{Cut, everywhere};
use crate::kernel::thread_time;
use crate::net_support::{TempDir, is_broken, numbered, polled, refused, run, turns};
use crate::support::poll_once;

fn pair() -> (UnixSeqpacket, UnixSeqpacket) {
    unix_seqpacket_pair().expect("two descriptors")
}

async fn listener(dir: &TempDir) -> UnixSeqpacketListener {
    let listener = create_unix_listener(dir.path("socket")).seqpacket();
    listener.await.expect("a free path")
}

fn io_kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Err(Error::Io(error)) => error.kind(),
        other => panic!("{other:?} instead of an error of the system"),
    }
}

/// Sends until a send waits; returns the number of messages sent.
async fn fill(from: &UnixSeqpacket) -> usize {
    let mut sent = 0;
    while let Some(done) = polled(4, from.send(b"full")).await {
        done.expect("sent");
        sent += 1;
    }
    sent
}

#[test]
fn messages_are_whole_and_in_order_until_the_end() {
    run(async {
        let dir = TempDir::new();
        let listener = listener(&dir).await;
        let client = connect_unix_seqpacket(dir.path("socket")).await;
        let client = client.expect("it listens");
        let server = listener.accept().await.expect("a connection");
        assert_eq!(client.peer_name(), listener.local_name());
        assert!(server.peer_name().is_unnamed());
        let pid = server.peer_credentials().expect("connected").pid;
        assert_eq!(pid, i32::try_from(std::process::id()).ok());

        let sizes = [5, 1, 4096, 70_000, 150_000];
        for (from, to) in [(&client, &server), (&server, &client)] {
            let send = async {
                for (n, size) in sizes.into_iter().enumerate() {
                    from.send(&numbered(n, size)).await.expect("sent");
                }
                from.send_eof().expect("ended");
                from.send_eof().expect("and again");
                refused!(from.send(b"x").await, Error::Closed);
            };
            let receive = async {
                for (n, size) in sizes.into_iter().enumerate() {
                    let got = to.receive().await.expect("a message");
                    assert!(got == numbered(n, size), "message {n}");
                }
                assert_eq!(to.next().await.expect("an orderly end"), None);
                refused!(to.receive().await, Error::EndOfStream);
            };
            join(send, receive).await;
        }
        client.close().await.expect("an orderly end");
    });
}

#[test]
fn an_empty_message_of_another_program_is_no_end() {
    run(async {
        let (a, b) = pair();
        assert_eq!(io_kind(a.send(b"").await), ErrorKind::InvalidInput);
        let foreign = |data: &[u8]| {
            let sent = SockRef::from(&a.as_fd()).send(data);
            assert_eq!(sent.expect("sent"), data.len());
        };
        for data in [&b""[..], b"", b"x"] {
            foreign(data);
        }
        for data in [&b""[..], b"", b"x"] {
            assert_eq!(b.receive().await.expect("a message"), data);
        }
        foreign(b"");
        foreign(b"last");
        drop(a);
        assert_eq!(b.receive().await.expect("a message"), b"");
        assert_eq!(b.receive().await.expect("a message"), b"last");
        refused!(b.receive().await, Error::EndOfStream);
        refused!(b.receive().await, Error::EndOfStream);
    });
}

#[test]
fn errors_leave_the_connection_good_or_are_permanent() {
    run(async {
        let (a, b) = pair();
        let huge = vec![0; 8 << 20];
        assert!(matches!(a.send(&huge).await, Err(Error::Io(_))));
        a.send(b"x").await.expect("still good");
        assert_eq!(b.receive().await.expect("a message"), b"x");
        a.send(b"unread").await.expect("sent");
        drop(b);
        for _ in 0..3 {
            assert!(is_broken(&a.receive().await), "a reset stays one");
            assert!(is_broken(&a.send(b"x").await));
        }

        let dir = TempDir::new();
        let path = dir.path("socket");
        let missing = connect_unix_seqpacket(&path).await;
        assert_eq!(io_kind(missing), ErrorKind::NotFound);
        for name in ["", "a\0b", &"x".repeat(108)] {
            let kind = io_kind(connect_unix_seqpacket(name).await);
            assert_eq!(kind, ErrorKind::InvalidInput, "{name:?}");
            let kind = io_kind(create_unix_listener(name).seqpacket().await);
            assert_eq!(kind, ErrorKind::InvalidInput, "{name:?}");
        }
        let listener = listener(&dir).await;
        let taken = create_unix_listener(&path).seqpacket().await;
        assert_eq!(io_kind(taken), ErrorKind::AddrInUse);
        // Neither kind takes the path, or the connections, of the other.
        assert_eq!(
            io_kind(create_unix_listener(&path).await),
            ErrorKind::AddrInUse
        );
        assert!(connect_unix(&path).await.is_err());
        drop(listener);
        let stream = create_unix_listener(&path).await.expect("it was stale");
        let wrong = connect_unix_seqpacket(&path).await.expect_err("bytes");
        assert!(
            wrong.to_string().contains(&*path.to_string_lossy()),
            "{wrong}"
        );
        drop(stream);
    });
}

#[test]
fn one_at_a_time_and_abort_ends_who_waits() {
    run(async {
        let dir = TempDir::new();
        let listener = listener(&dir).await;
        let (a, b) = pair();
        {
            let mut first = std::pin::pin!(a.receive());
            assert!(poll_once(first.as_mut()).await.is_pending());
            refused!(a.receive().await, Error::Busy);
            let abort = async {
                turns(3).await;
                a.abort();
                listener.abort();
            };
            let ended = join(join(first, listener.accept()), abort).await.0;
            refused!(ended.0, Error::Closed);
            refused!(ended.1, Error::Closed);
        }
        refused!(a.send(b"x").await, Error::Closed);
        refused!(a.receive().await, Error::Closed);
        refused!(b.receive().await, Error::EndOfStream);
    });
}

#[test]
fn a_full_peer_makes_the_sender_wait_without_spinning() {
    run(async {
        let (a, b) = pair();
        let before = fill(&a).await;
        assert!(before > 0);
        let wait = async {
            let start = thread_time();
            sleep(Duration::from_millis(200)).await.expect("a runtime");
            let used = thread_time() - start;
            for _ in 0..before {
                assert_eq!(b.receive().await.expect("a message"), b"full");
            }
            assert_eq!(b.receive().await.expect("a message"), b"late");
            used
        };
        let (sent, used) = join(a.send(b"late"), wait).await;
        sent.expect("there is room again");
        // The bound is for a debug build under load; a busy loop uses all of the time.
        assert!(used < Duration::from_millis(60), "{used:?} of 200 ms");
    });
}

#[test]
fn descriptors_travel_with_their_message() {
    run(async {
        let (a, b) = pair();
        let file = File::open("/dev/null").expect("a descriptor");
        let given = [file.as_fd(), file.as_fd()];
        a.send_fds(b"two", &given).await.expect("sent");
        a.send(b"none").await.expect("sent");
        let (data, came) = b.receive_fds(2).await.expect("a message");
        assert_eq!((&data[..], came.len()), (&b"two"[..], 2));
        let (data, none) = b.receive_fds(2).await.expect("a message");
        assert_eq!((&data[..], none.len()), (&b"none"[..], 0));
        for (data, fds) in [(&b""[..], &given[..]), (b"x", &[])] {
            let refused = io_kind(a.send_fds(data, fds).await);
            assert_eq!(refused, ErrorKind::InvalidInput);
        }
        drop(came);

        let (mut end, other) = UnixStream::pair().expect("two descriptors");
        let given = [other.as_fd(), other.as_fd()];
        a.send_fds(b"a", &given).await.expect("sent");
        a.send_fds(b"b", &given).await.expect("sent");
        a.send(b"c").await.expect("sent");
        assert_eq!(b.receive().await.expect("a message"), b"a");
        assert_eq!(io_kind(b.receive_fds(1).await), ErrorKind::InvalidData);
        assert_eq!(b.receive().await.expect("a message"), b"c");
        drop(other);
        // Ends when all that came are closed.
        assert_eq!(end.read(&mut [0]).expect("the end"), 0);
    });
}

/// Connects two ends; returns whether no operation was cut.
async fn connected(cut: Cut, dir: &TempDir) -> (bool, UnixSeqpacket, UnixSeqpacket) {
    let path = dir.path("socket");
    let made = cut.apply(create_unix_listener(&path).seqpacket()).await;
    let mut done = made.is_some();
    let listener = match made {
        Some(made) => made.expect("listens"),
        None => listener(dir).await,
    };
    let made = cut.apply(connect_unix_seqpacket(&path)).await;
    done &= made.is_some();
    let a = match made {
        Some(made) => made.expect("connected"),
        None => connect_unix_seqpacket(&path).await.expect("connected"),
    };
    a.send(b"a").await.expect("sent");
    loop {
        let accepted = cut.apply(listener.accept()).await;
        done &= accepted.is_some();
        let b = match accepted {
            Some(b) => b,
            None => listener.accept().await,
        };
        let b = b.expect("a connection");
        // That of a connect that was cut has ended.
        if b.next().await.expect("a message or the end").is_some() {
            return (done, a, b);
        }
    }
}

/// Covers: CreateUnixListener::seqpacket, connect_unix_seqpacket, UnixSeqpacketListener::accept,
/// UnixSeqpacket::send, UnixSeqpacket::send_fds, UnixSeqpacket::receive, UnixSeqpacket::next,
/// UnixSeqpacket::receive_fds, UnixSeqpacket::close.
#[test]
fn cancelled() {
    everywhere("unix_seqpacket::cancelled", async |cut| {
        let dir = TempDir::new();
        let (done, a, b) = connected(cut, &dir).await;
        let full = fill(&a).await;
        let file = File::open("/dev/null").expect("a descriptor");
        let send = async {
            let first = cut.apply(a.send(b"one")).await;
            if first.is_none() {
                a.send(b"one").await.expect("sent");
            }
            turns(3).await;
            let second = cut.apply(a.send_fds(b"two", &[file.as_fd()])).await;
            if second.is_none() {
                a.send_fds(b"two", &[file.as_fd()]).await.expect("sent");
            }
            turns(3).await;
            a.send(b"three").await.expect("sent");
            first.is_some() && second.is_some()
        };
        let receive = async {
            turns(2).await;
            for _ in 0..full {
                turns(1).await;
                assert_eq!(b.receive().await.expect("a message"), b"full");
            }
            let mut all = true;
            for (n, expected) in [&b"one"[..], b"two", b"three"].into_iter().enumerate() {
                let got = match n {
                    0 => cut.apply(b.receive()).await,
                    1 => cut.apply(b.receive_fds(1)).await.map(|got| {
                        got.map(|(data, fds)| {
                            assert_eq!(fds.len(), 1);
                            data
                        })
                    }),
                    _ => {
                        let next = cut.apply(b.next()).await;
                        next.map(|next| next.map(|data| data.expect("no end yet")))
                    }
                };
                all &= got.is_some();
                let got = match got {
                    Some(got) => got,
                    None => b.receive().await,
                };
                assert_eq!(got.expect("a message"), expected, "once, and once only");
            }
            all
        };
        let (sent, received) = join(send, receive).await;
        let end = async {
            turns(2).await;
            drop(b);
        };
        let (closed, ()) = join(cut.apply(a.close()), end).await;
        done && sent && received && closed.is_some()
    });
}
