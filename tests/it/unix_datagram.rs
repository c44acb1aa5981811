//! UNIX datagram sockets: whole datagrams, in order, none lost; full receivers; names; errors after
//! which the socket still works.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    ConnectedUnixDatagramSocket, Error, Result, UnixDatagramSocket,
    create_connected_unix_datagram_socket, create_unix_datagram_socket, sleep,
    unix_datagram_socket_pair,
};

use crate::cancel_everywhere::everywhere;
use crate::kernel::thread_time;
use crate::net_support::{TempDir, numbered, polled, refused, run, turns};
use crate::support::{poll_once, rounds};

async fn bound(dir: &TempDir, name: &str) -> UnixDatagramSocket {
    let socket = create_unix_datagram_socket().local_path(dir.path(name));
    socket.await.expect("a free path")
}

async fn connected(dir: &TempDir, name: &str, to: &str) -> ConnectedUnixDatagramSocket {
    let socket = create_connected_unix_datagram_socket(dir.path(to)).local_path(dir.path(name));
    socket.await.expect("somebody is there")
}

fn io_kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Err(Error::Io(error)) => error.kind(),
        other => panic!("{other:?} instead of an error of the system"),
    }
}

/// What came between the bind and the connect stayed in the queue, and was received as the peer's.
#[test]
fn a_stranger_does_not_get_in_before_the_connect() {
    let dir = TempDir::new();
    let (path, peer) = (dir.path("ours"), dir.path("peer"));
    let _peer = StdDatagram::bind(&peer).expect("a free path");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = StdDatagram::unbound().expect("a socket");
            stranger.set_nonblocking(true).expect("an option");
            while !over.load(Relaxed) {
                // It fails nearly always: no socket is there, or one with another peer.
                drop(stranger.send_to(b"stranger", &path));
            }
        });
        let _over = Over(&over);
        run(async {
            for _ in 0..rounds(5_000) {
                let ours = create_connected_unix_datagram_socket(&peer).local_path(&path);
                let ours = ours.unlink_on_close(true).await.expect("connected");
                assert!(polled(2, ours.receive()).await.is_none());
            }
        });
    });
}

/// Set when it is dropped, by a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn datagrams_are_whole_and_in_order_and_can_be_answered() {
    run(async {
        let dir = TempDir::new();
        let (server, client) = (bound(&dir, "server").await, bound(&dir, "client").await);
        let sizes = [5, 0, 1, 4096, 70_000, 150_000];
        for (n, size) in sizes.into_iter().enumerate() {
            let data = numbered(n, size);
            let to = server.local_name().as_os_str();
            client.send_to(&data, to).await.expect("sent");
        }
        for (n, size) in sizes.into_iter().enumerate() {
            let (data, from) = match n % 2 {
                0 => server.receive().await.expect("a datagram"),
                _ => server.next().await.expect("a datagram").expect("no end"),
            };
            assert!(data == numbered(n, size), "datagram {n}");
            assert_eq!(data.capacity(), data.len());
            assert_eq!(&from, client.local_name());
            server
                .send_to(b"answer", from.as_os_str())
                .await
                .expect("sent");
        }
        for _ in sizes {
            assert_eq!(client.receive().await.expect("a datagram").0, b"answer");
        }
    });
}

#[test]
fn truncation_is_told() {
    run(async {
        let dir = TempDir::new();
        let server = bound(&dir, "server").await;
        let anybody = create_unix_datagram_socket().await.expect("a socket");
        assert!(anybody.local_name().is_unnamed());
        for (data, cut) in [(&b"0123456789"[..], true), (b"0123", false), (b"", false)] {
            anybody
                .send_to(data, dir.path("server"))
                .await
                .expect("sent");
            let mut room = [0; 4];
            let got = server.receive_into(&mut room).await.expect("a datagram");
            assert_eq!(got.data, &data[..data.len().min(4)]);
            assert_eq!((got.truncated, got.from.is_unnamed()), (cut, true));
        }
    });
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    run(async {
        let dir = TempDir::new();
        let server = bound(&dir, "server").await;
        let client = connected(&dir, "client", "server").await;
        let stranger = bound(&dir, "stranger").await;
        let refused = stranger.send_to(b"no", dir.path("client")).await;
        assert_eq!(io_kind(refused), ErrorKind::PermissionDenied);
        client.send(b"question").await.expect("sent");
        let (data, from) = server.receive().await.expect("a datagram");
        assert_eq!((&data[..], &from), (&b"question"[..], client.local_name()));
        server.send_to(b"", from.as_os_str()).await.expect("sent");
        assert_eq!(client.receive().await.expect("a datagram"), b"");
        assert_eq!(client.peer_name(), server.local_name());
    });
}

#[test]
fn abstract_names_work() {
    run(async {
        let name = |end: &str| {
            let text = format!("\0soloio-datagram-{}-{end}", std::process::id());
            OsString::from_vec(text.into_bytes())
        };
        let server = create_unix_datagram_socket().local_path(name("server"));
        let server = server.await.expect("a free name");
        let client = create_connected_unix_datagram_socket(name("server")).local_path(name("c"));
        let client = client.await.expect("somebody is there");
        client.send(b"x").await.expect("sent");
        let (_, from) = server.receive().await.expect("a datagram");
        assert_eq!(from.as_os_str(), name("c"));
        let taken = create_unix_datagram_socket()
            .local_path(name("server"))
            .await;
        assert_eq!(io_kind(taken), ErrorKind::AddrInUse);
    });
}

/// std, socket2 and this crate make no such name; the kernel takes 110 bytes, and reports 111.
#[cfg(target_os = "linux")]
#[test]
fn a_path_without_its_nul_is_read_and_refused() {
    run(async {
        let dir = TempDir::new();
        let server = bound(&dir, "server").await;
        let room = 108 - dir.path("").as_os_str().len();
        let path = dir.path(&"x".repeat(room));
        assert_eq!(path.as_os_str().len(), 108);
        let client = StdDatagram::unbound().expect("a socket");
        crate::kernel::bind_without_nul(&client, &path);
        let sent = client.send_to(b"question", dir.path("server"));
        sent.expect("sent");
        let (data, from) = server.receive().await.expect("it came");
        assert_eq!(
            (&data[..], from.as_path()),
            (&b"question"[..], Some(&*path))
        );
        let refused = io_kind(server.send_to(b"answer", from.as_os_str()).await);
        assert_eq!(refused, ErrorKind::InvalidInput);
        drop(client);
        std::fs::remove_file(path).expect("it is there");
    });
}

#[test]
fn errors_leave_the_socket_good() {
    run(async {
        let dir = TempDir::new();
        let (server, path) = (bound(&dir, "server").await, dir.path("server"));
        let socket = bound(&dir, "socket").await;
        assert_eq!(
            io_kind(socket.send_to(b"x", dir.path("nobody")).await),
            ErrorKind::NotFound
        );
        drop(StdDatagram::bind(dir.path("stale")).expect("binds"));
        assert_eq!(
            io_kind(socket.send_to(b"x", dir.path("stale")).await),
            ErrorKind::ConnectionRefused
        );
        for name in ["", "a\0b", &"x".repeat(108)] {
            let kind = io_kind(socket.send_to(b"x", name).await);
            assert_eq!(kind, ErrorKind::InvalidInput);
            let kind = io_kind(create_connected_unix_datagram_socket(name).await);
            assert_eq!(kind, ErrorKind::InvalidInput);
            let kind = io_kind(create_unix_datagram_socket().local_path(name).await);
            assert_eq!(kind, ErrorKind::InvalidInput);
        }
        let huge = vec![0; 8 << 20];
        let too_large = socket.send_to(&huge, &path).await;
        assert!(matches!(too_large, Err(Error::Io(_))), "{too_large:?}");
        socket.send_to(b"x", &path).await.expect("still good");
        assert_eq!(server.receive().await.expect("a datagram").0, b"x");

        let client = create_connected_unix_datagram_socket(&path).await;
        let client = client.expect("somebody is there");
        drop(server);
        assert_eq!(
            io_kind(client.send(b"x").await),
            ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn one_at_a_time_and_abort_ends_who_waits() {
    run(async {
        let dir = TempDir::new();
        let (server, client) = (
            bound(&dir, "server").await,
            connected(&dir, "c", "server").await,
        );
        {
            let mut first = std::pin::pin!(server.receive());
            assert!(poll_once(first.as_mut()).await.is_pending());
            refused!(server.receive().await, Error::Busy);
            refused!(server.receive_into(&mut [0; 9]).await, Error::Busy);
            let abort = async {
                turns(3).await;
                server.abort();
            };
            let (ended, ()) = join(first, abort).await;
            refused!(ended, Error::Closed);
        }
        refused!(server.send_to(b"x", "x").await, Error::Closed);
        client.abort();
        refused!(client.send(b"x").await, Error::Closed);
        refused!(client.receive().await, Error::Closed);
        let (a, b) = unix_datagram_socket_pair().expect("two descriptors");
        fill(async || polled(4, a.send(b"full")).await).await;
        let abort = async {
            turns(3).await;
            a.abort();
        };
        refused!(join(a.send(b"waits"), abort).await.0, Error::Closed);
        drop(b);
    });
}

/// Sends until a send waits; returns the number of datagrams sent.
async fn fill(send: impl AsyncFn() -> Option<Result<()>>) -> usize {
    let mut sent = 0;
    while let Some(done) = send().await {
        done.expect("sent");
        sent += 1;
    }
    sent
}

#[test]
fn a_full_receiver_makes_each_kind_of_sender_wait_without_spinning() {
    // U7: the sender's socket is writable all the time.
    run(async {
        let dir = TempDir::new();
        let (server, path) = (bound(&dir, "server").await, dir.path("server"));
        let anybody = create_unix_datagram_socket().await.expect("a socket");
        let client = create_connected_unix_datagram_socket(&path).await;
        let client = client.expect("somebody is there");
        let (a, b) = unix_datagram_socket_pair().expect("two descriptors");

        let before = fill(async || polled(4, anybody.send_to(b"x", &path)).await).await;
        assert!(before > 0);
        let wait = async {
            let start = thread_time();
            sleep(Duration::from_millis(200)).await.expect("a runtime");
            let used = thread_time() - start;
            for _ in 0..before + 2 {
                server.receive().await.expect("a datagram");
            }
            used
        };
        let senders = join(anybody.send_to(b"late", &path), client.send(b"late"));
        let ((first, second), used) = join(senders, wait).await;
        first.expect("there is room again");
        second.expect("there is room again");
        // The bound is for a debug build under load; a busy loop uses all of the time.
        assert!(used < Duration::from_millis(60), "{used:?} of 200 ms");

        let before = fill(async || polled(4, a.send(&[7; 1000])).await).await;
        let wait = async {
            turns(5).await;
            for _ in 0..=before {
                assert_eq!(b.receive().await.expect("a datagram"), [7; 1000]);
            }
        };
        let (sent, ()) = join(a.send(&[7; 1000]), wait).await;
        sent.expect("there is room again");
    });
}

/// Covers: create_unix_datagram_socket, create_connected_unix_datagram_socket,
/// UnixDatagramSocket::receive, UnixDatagramSocket::receive_into, UnixDatagramSocket::send_to,
/// ConnectedUnixDatagramSocket::send.
#[test]
fn cancelled() {
    everywhere("unix_datagram::cancelled", async |cut| {
        let dir = TempDir::new();
        let server = cut
            .apply(create_unix_datagram_socket().local_path(dir.path("server")))
            .await;
        let mut done = server.is_some();
        let server = match server {
            Some(server) => server.expect("bound"),
            None => bound(&dir, "server").await,
        };
        let client = cut
            .apply(create_connected_unix_datagram_socket(dir.path("server")))
            .await;
        done &= client.is_some();
        let client = match client {
            Some(client) => client.expect("connected"),
            None => create_connected_unix_datagram_socket(dir.path("server"))
                .await
                .expect("connected"),
        };
        let anybody = create_unix_datagram_socket().await.expect("a socket");
        let path = dir.path("server");
        let full = fill(async || polled(4, client.send(b"full")).await).await;
        let send = async {
            let first = cut.apply(client.send(b"one")).await;
            let all = first.is_some();
            if first.is_none() {
                client.send(b"one").await.expect("sent");
            }
            let second = cut.apply(anybody.send_to(b"two", &path)).await;
            if second.is_none() {
                anybody.send_to(b"two", &path).await.expect("sent");
            }
            all && second.is_some()
        };
        let receive = async {
            turns(2).await;
            for _ in 0..full {
                turns(1).await;
                assert_eq!(server.receive().await.expect("a datagram").0, b"full");
            }
            let mut all = true;
            for (n, expected) in [b"one", b"two"].into_iter().enumerate() {
                let mut room = [0; 9];
                let got = match n {
                    0 => {
                        let got = cut.apply(server.receive_into(&mut room)).await;
                        got.map(|got| got.expect("a datagram").data.to_vec())
                    }
                    _ => cut
                        .apply(server.receive())
                        .await
                        .map(|got| got.expect("a datagram").0),
                };
                all &= got.is_some();
                let got = match got {
                    Some(got) => got,
                    None => server.receive().await.expect("a datagram").0,
                };
                assert_eq!(got, expected, "once, and once only");
            }
            all
        };
        let (sent, received) = join(send, receive).await;
        done && sent && received
    });
}
