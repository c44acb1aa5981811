//! Cancels operations that wrap other futures, and those that resemble one in another round.

use std::future::ready;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use futures_util::future::{join, join3};
use soloio::net::{Resolver, SystemResolver};
use soloio::{
    AnyByteStream, CancelScope, Condition, DatagramBuffer, Error, Listener, Lock, MultiListener,
    Peer, Result, TcpListener, connect_tcp, connect_unix, create_connected_udp_socket,
    create_connected_unix_datagram_socket, create_memory_byte_stream, create_unix_datagram_socket,
    create_unix_listener, fail_at, move_on_at, relay, shield, sleep, task_group, task_group_with,
};

use super::{Cut, everywhere};
use crate::net_support::{TempDir, check_numbered, numbered, tcp_listener, turns, udp, unix_pair};
use crate::support::Counter;

async fn rounds_of_the_loop(count: usize) -> Result<usize> {
    for _ in 0..count {
        sleep(Duration::ZERO).await?;
    }
    Ok(count)
}

/// Covers: CancelScope::run, shield, fail_at, move_on_at.
#[test]
fn scopes() {
    everywhere("cancel_everywhere::rest::scopes", async |cut| {
        let later = Instant::now() + Duration::from_secs(60);
        let scope = CancelScope::with_deadline(later);
        let ran = cut
            .apply(async {
                let ended = scope.run(rounds_of_the_loop(3)).await;
                ended.expect("nobody drops it")
            })
            .await;
        assert!(
            !scope.cancel_called() && !scope.cancelled_caught(),
            "not its cancel"
        );
        let in_time = cut.apply(fail_at(later, rounds_of_the_loop(3))).await;
        let moved = cut.apply(move_on_at(later, rounds_of_the_loop(3))).await;
        let moved = moved.map(|moved| moved.map(|moved| moved.expect("in time")));
        // A cancel from outside does not reach into the shield; the shield's own end does.
        let shielded = cut.apply(shield(Duration::from_secs(60), rounds_of_the_loop(3)));
        let shielded = shielded.await;
        let all = [ran, in_time, moved, shielded];
        assert!(all.iter().flatten().all(|ended| matches!(ended, Ok(3))));
        all.iter().all(Option::is_some)
    });
}

/// Covers: TaskGroup::start, TaskHandle::wait, task_group_with.
#[test]
fn children() {
    everywhere("cancel_everywhere::rest::children", async |cut| {
        let alive = Counter::new();
        let ended = task_group_with::<Error, _, _>(async |group| {
            let start = group.start(async |ready| {
                let _held = alive.hold();
                sleep(Duration::ZERO).await?;
                ready.ready(7);
                turns(2).await;
                Ok(())
            });
            let started = cut.apply(start).await;
            let done = started.is_some();
            assert!(started.into_iter().all(|value| matches!(value, Ok(7))));
            let mut child = group.spawn(rounds_of_the_loop(2));
            let waited = cut.apply(child.wait()).await;
            assert_eq!(child.await?, 2, "a cut wait takes no value");
            Ok(done & waited.is_some())
        });
        let ended = ended.await.expect("a cut start is no error of the group");
        assert_eq!(alive.get(), 0);
        let whole = task_group_with::<Error, _, _>(async |group| {
            let child = group.spawn(async {
                let _held = alive.hold();
                rounds_of_the_loop(2).await
            });
            child.await
        });
        let whole = cut.apply(whole).await;
        assert_eq!(alive.get(), 0, "with the group its children have ended");
        ended & whole.is_some()
    });
}

/// Covers: Condition::wait_for.
#[test]
fn a_condition_that_has_to_hold() {
    let test = "cancel_everywhere::rest::a_condition_that_has_to_hold";
    everywhere(test, async |cut| {
        let (lock, condition) = (Lock::new(0), Condition::new());
        let wait = async {
            let guard = lock.acquire().await.expect("free");
            let waited = cut
                .apply(condition.wait_for(guard, |value| *value == 2))
                .await;
            waited
                .map(|guard| assert_eq!(*guard.expect("it holds"), 2))
                .is_some()
        };
        let change = async {
            for _ in 0..2 {
                turns(2).await;
                *lock.acquire().await.expect("free") += 1;
                condition.notify_all();
            }
        };
        let (done, ()) = join(wait, change).await;
        assert!(!lock.is_locked());
        done
    });
}

/// Covers: UdpSocket::send_segments, ConnectedUdpSocket::send_segments,
/// ConnectedUdpSocket::send_many, ConnectedUdpSocket::receive_many.
#[test]
fn batches() {
    everywhere("cancel_everywhere::rest::batches", async |cut| {
        let server = udp().await;
        let to = server.local_addr();
        let client = create_connected_udp_socket("127.0.0.1", to.port()).await;
        let client = client.expect("a socket");
        let data = numbered(0, 40);
        let mut rest = &data[..];
        let segments = cut.apply(client.send_segments(&mut rest, 10)).await;
        client.send_segments(&mut rest, 10).await.expect("sent");
        let mut parts = data.chunks(8);
        let many = cut.apply(client.send_many(&mut parts)).await;
        client.send_many(&mut parts).await.expect("sent");
        let mut done = segments.is_some() & many.is_some();
        for size in [10, 10, 10, 10, 8, 8, 8, 8, 8] {
            let (data, _) = server.receive().await.expect("a datagram");
            assert_eq!(data.len(), size, "once, and once only");
        }
        let answer = async {
            turns(2).await;
            let (mut rest, to) = (&data[..], client.local_addr());
            let sent = cut.apply(server.send_segments(&mut rest, 10, to)).await;
            server.send_segments(&mut rest, 10, to).await.expect("sent");
            sent.is_some()
        };
        let receive = async {
            let (mut buffer, mut got) = (DatagramBuffer::new(), Vec::new());
            let first = cut.apply(client.receive_many(&mut buffer)).await;
            let done = first.is_some();
            for data in first.into_iter().flat_map(|batch| batch.expect("a batch")) {
                got.extend(data.0.to_vec());
            }
            while got.len() < 40 {
                let batch = client.receive_many(&mut buffer).await;
                batch.expect("a batch").for_each(|data| got.extend(data.0));
            }
            check_numbered(0, &got);
            done
        };
        let (received, sent) = join(receive, answer).await;
        done &= received & sent;
        done
    });
}

/// Covers: UnixDatagramSocket::next, ConnectedUnixDatagramSocket::next,
/// ConnectedUnixDatagramSocket::receive, ConnectedUnixDatagramSocket::receive_into.
#[test]
fn unix_datagrams() {
    everywhere("cancel_everywhere::rest::unix_datagrams", async |cut| {
        let dir = TempDir::new();
        let bind = |name| create_unix_datagram_socket().local_path(dir.path(name));
        let server = bind("server").await.expect("bound");
        let path = dir.path("server");
        let client = create_connected_unix_datagram_socket(path).local_path(dir.path("client"));
        let client = client.await.expect("connected");
        let mut done = true;
        for how in 0..4 {
            let send = async {
                turns(2).await;
                if how == 3 {
                    client.send(b"x").await.expect("sent");
                } else {
                    server
                        .send_to(b"x", dir.path("client"))
                        .await
                        .expect("sent");
                }
            };
            let receive = async {
                let mut room = [0; 9];
                let got = match how {
                    0 => cut.apply(client.receive()).await.is_some(),
                    1 => cut.apply(client.receive_into(&mut room)).await.is_some(),
                    2 => cut.apply(client.next()).await.is_some(),
                    _ => cut.apply(server.next()).await.is_some(),
                };
                if !got && how == 3 {
                    assert_eq!(server.receive().await.expect("still there").0, b"x");
                } else if !got {
                    assert_eq!(client.receive().await.expect("still there"), b"x");
                }
                got
            };
            done &= join(receive, send).await.0;
        }
        done
    });
}

/// Covers: UnixStream::send_fds.
#[test]
fn descriptors() {
    everywhere("cancel_everywhere::rest::descriptors", async |cut| {
        let ((a, b), (given, _other)) = (unix_pair().await, unix_pair().await);
        let sent = cut.apply(a.send_fds(b"x", &[given.as_fd()])).await;
        if sent.is_none() {
            a.send_fds(b"x", &[given.as_fd()]).await.expect("sent");
        }
        let (data, fds) = b.receive_fds(9, 9).await.expect("they went");
        assert_eq!(
            (&data[..], fds.len()),
            (&b"x"[..], 1),
            "once, and once only"
        );
        sent.is_some()
    });
}

/// Covers: Listener::accept, Listener::accept_begin, Listener::accept_from.
#[test]
fn accepts_of_the_trait() {
    async fn accept<L: Listener>(cut: Cut, listener: &L) -> (bool, L::Stream) {
        let begun = cut.apply(listener.accept_begin()).await;
        let done = begun.is_some();
        let first = match begun {
            Some(begun) => begun.expect("a connection").await,
            None => Listener::accept(listener).await,
        };
        (done, first.expect("it is still there"))
    }
    let test = "cancel_everywhere::rest::accepts_of_the_trait";
    everywhere(test, async |cut| {
        let listener: TcpListener = tcp_listener().await;
        let port = listener.local_addr().port();
        let connect = async {
            turns(2).await;
            connect_tcp("127.0.0.1", port).await.expect("connects")
        };
        let ((begun, server), client) = join(accept(cut, &listener), connect).await;
        assert_eq!(server.peer_addr(), client.local_addr());
        let connect = async {
            turns(2).await;
            connect_tcp("127.0.0.1", port).await.expect("connects")
        };
        let accept = cut.apply(Listener::accept(&listener));
        let (accepted, client) = join(accept, connect).await;
        let done = accepted.is_some();
        let server = match accepted {
            Some(server) => server,
            None => Listener::accept(&listener).await,
        };
        let server = server.expect("it is still there");
        assert_eq!(server.peer_addr(), client.local_addr());
        let connect = connect_tcp("127.0.0.1", port);
        let (from, client) = join(cut.apply(listener.accept_from()), async { connect.await }).await;
        let client = client.expect("connects").local_addr();
        match &from {
            Some(Ok((_, peer))) => assert_eq!(*peer, Peer::Inet(client)),
            Some(Err(error)) => panic!("{error}"),
            None => {
                let server = Listener::accept(&listener).await;
                assert_eq!(server.expect("it is still there").peer_addr(), client);
            }
        }
        begun & done & from.is_some()
    });
}

/// Covers: UnixListener::serve, MultiListener::serve, Listener::serve.
#[test]
fn servers() {
    async fn serve<L: Listener>(cut: Cut, listener: &L, served: &Counter) -> Option<Result<()>> {
        let serve = Listener::serve(listener, async |_| {
            let _held = served.hold();
            rounds_of_the_loop(20).await.map(drop)
        });
        cut.apply(serve).await
    }
    everywhere("cancel_everywhere::rest::servers", async |cut| {
        let (dir, alive) = (TempDir::new(), Counter::new());
        let mut done = true;
        for how in 0..3 {
            let path = dir.path(&how.to_string());
            let unix = create_unix_listener(&path).await.expect("listens");
            let multi = MultiListener::new().with(tcp_listener().await);
            let handler = async || {
                let _held = alive.hold();
                rounds_of_the_loop(20).await.map(drop)
            };
            let port = tcp_listener().await;
            let partner = async {
                turns(2).await;
                let client = connect_unix(&path).await.expect("connects");
                turns(4).await;
                unix.abort();
                multi.abort();
                client
            };
            let serve = async {
                match how {
                    0 => cut.apply(unix.serve(async |_| handler().await)).await,
                    1 => {
                        cut.apply(multi.serve(async |_: AnyByteStream<'_>| handler().await))
                            .await
                    }
                    _ => serve(cut, &unix, &alive).await,
                }
            };
            let (ended, client) = join(serve, partner).await;
            assert_eq!(alive.get(), 0, "its connections end with the server");
            drop((client, port));
            done &= ended.is_some();
        }
        done
    });
}

/// Covers: Resolver::resolve.
#[test]
fn lookups() {
    everywhere("cancel_everywhere::rest::lookups", async |cut| {
        let found = cut.apply(SystemResolver.resolve("localhost", 9)).await;
        found
            .map(|found| assert!(!found.expect("it is there").is_empty()))
            .is_some()
    });
}

/// Covers: relay.
#[test]
fn relays() {
    everywhere("cancel_everywhere::rest::relays", async |cut| {
        let ((client, a), (b, server)) =
            (create_memory_byte_stream(9), create_memory_byte_stream(9));
        let from_client = async {
            turns(2).await;
            // After a cut both streams are closed.
            let sent = client.send(b"question").await;
            drop((sent, client.send_eof().await, client.receive().await));
        };
        let from_server = async {
            let asked = server.receive().await;
            drop((server.send(b"answer").await, server.send_eof().await));
            asked.map(drop)
        };
        let relayed = cut.apply(relay(a, b));
        let (relayed, (), asked) = join3(relayed, from_client, from_server).await;
        assert!(relayed.is_none() || asked.is_ok());
        relayed
            .map(|relayed| relayed.expect("both have ended"))
            .is_some()
    });
}

/// Covers: task_group.
#[test]
fn an_empty_group() {
    everywhere("cancel_everywhere::rest::an_empty_group", async |cut| {
        let ended = cut.apply(task_group(async |_| {
            ready(rounds_of_the_loop(3).await).await
        }));
        ended.await.is_some()
    });
}
