//! The error of a time limit: how long the limit was, and what was under way. Long because there is
//! a row for each kind of operation.

use std::cell::Cell;
use std::future::{Future, IntoFuture, pending, poll_fn};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use soloio::net::{Resolver, Resolving, Watched};
use soloio::{
    CancelScope, CapacityLimiter, Condition, Error, Event, Host, Lock, RateLimiter, Result,
    Semaphore, Signal, ThreadEvent, block_on, connect_tcp, connect_unix,
    create_connected_udp_socket, create_memory_byte_stream, create_memory_object_stream,
    create_unix_listener, fail_after, fail_at, interval, join, move_on_after, open_signal_receiver,
    relay, run_in_thread, shield, sleep, task_group, unix_datagram_socket_pair, unix_socket_pair,
    wait_readable,
};

use crate::names::{Fixed, Hole};
use crate::net_support::{TempDir, clog, run, tcp_listener, tcp_pair, udp};
use crate::nobody;

const LIMIT: Duration = Duration::from_millis(10);

/// An operation that never ends by itself, and its description.
type Row<'a> = (Pin<Box<dyn Future<Output = Result<()>> + 'a>>, String);

fn row<'a, T: 'a>(
    operation: impl IntoFuture<Output = Result<T>> + 'a,
    doing: impl Into<String>,
) -> Row<'a> {
    let operation = Box::pin(async { operation.await.map(drop) });
    (operation, doing.into())
}

async fn check(rows: Vec<Row<'_>>) {
    for (operation, doing) in rows {
        assert_eq!(late(operation).await, doing);
    }
}

/// Limits `operation`; returns its description.
async fn late<T>(operation: impl IntoFuture<Output = Result<T>>) -> String {
    described(fail_after(LIMIT, operation).await)
}

/// Returns the description in an error, and checks the whole text.
#[track_caller]
fn described<T>(ended: Result<T>) -> String {
    let error = ended.err().expect("it never ends");
    let text = error.to_string();
    let Error::TimedOut(late) = error else {
        panic!("{text}");
    };
    assert_eq!(late.limit(), Some(LIMIT));
    let doing = late.doing().unwrap_or_default();
    let with_doing = format!("timed out after 10 ms, while {doing}");
    assert_eq!(text, with_doing.trim_end_matches(", while "));
    doing.to_owned()
}

/// Asks a server that does not answer.
struct Asks(SocketAddr);

impl Resolver for Asks {
    fn resolve<'a>(&'a self, _name: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move {
            let server = create_connected_udp_socket(self.0.ip(), self.0.port()).await?;
            server.receive().await?;
            Ok(vec![SocketAddr::new(self.0.ip(), port)])
        })
    }
}

#[test]
fn an_operation_on_a_socket_is_named_with_its_address() {
    run(async {
        let (client, server) = tcp_pair().await;
        let (ours, _theirs) = unix_socket_pair().expect("a pair");
        let (one, _other) = unix_datagram_socket_pair().expect("a pair");
        let (listener, socket) = (tcp_listener().await, udp().await);
        let to = socket.local_addr();
        let peered = create_connected_udp_socket(to.ip(), to.port()).await;
        let peered = peered.expect("a socket");
        let dir = TempDir::new();
        let path = dir.path("listener");
        let unix = create_unix_listener(&path).await.expect("listens");
        let (foreign, _kept) = unix_socket_pair().expect("a pair");
        let watched = Watched::new(foreign).expect("a socket");
        clog(&client, 0).await;
        let (peer, at, name) = (client.peer_addr(), listener.local_addr(), path.display());
        let number = ours.as_fd().as_raw_fd();
        let signals = open_signal_receiver(&[Signal::User2]).expect("a receiver");
        check(vec![
            row(client.receive(), format!("waiting to receive from {peer}")),
            row(client.send(&[7; 9]), format!("waiting to send to {peer}")),
            row(listener.accept(), format!("waiting to accept on {at}")),
            row(unix.accept(), format!("waiting to accept on {name}")),
            row(socket.receive(), format!("waiting to receive on {to}")),
            row(peered.receive(), format!("waiting to receive from {to}")),
            row(one.receive(), "waiting to receive on an unnamed socket"),
            row(
                wait_readable(&ours),
                format!("waiting to use descriptor {number}"),
            ),
            row(
                watched.readable(),
                format!(
                    "waiting to use descriptor {}",
                    watched.get_ref().as_fd().as_raw_fd()
                ),
            ),
            row(signals.receive(), "waiting to receive signals"),
        ])
        .await;
        let doing = format!("closing {peer}, waiting to receive from {peer}");
        assert_eq!(late(client.close()).await, doing);
        drop(server);
    });
}

#[test]
fn a_connect_names_its_host_and_the_addresses_tried() {
    run(async {
        let (hole, port) = nobody::tcp("127.0.0.1");
        let _hole = Hole::over(hole);
        let host = Fixed::host(&["127.0.0.7", "127.0.0.1"]);
        let text = late(connect_tcp(host, port)).await;
        let begin = format!("connecting to fixed.example port {port}, tried 127.0.0.7:{port}: ");
        assert!(
            text.starts_with(&begin) && text.contains("refused"),
            "{text}"
        );
        assert!(
            text.contains(&format!("; 127.0.0.1:{port}: no answer (after ")),
            "{text}"
        );

        let server = udp().await.local_addr();
        let asks = Host::from("some.name").resolved_by(Arc::new(Asks(server)));
        let expected = format!(
            "connecting to some.name port 9, looking up \"some.name\", waiting to receive from \
             {server}"
        );
        assert_eq!(late(connect_tcp(asks, 9)).await, expected);
    });
}

#[test]
fn a_connect_to_a_full_unix_listener_names_its_path() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("full");
        let listener = create_unix_listener(&path).backlog(0).await;
        let _listener = listener.expect("listens");
        let text = loop {
            match fail_after(LIMIT, connect_unix(&path)).await {
                // Until the backlog is full.
                Ok(stream) => drop(stream),
                late => match described(late) {
                    // The time was over between two sleeps.
                    between if between.is_empty() => {}
                    during => break during,
                },
            }
        };
        assert_eq!(
            text,
            format!(
                "connecting to {}, waiting for the end of a sleep",
                path.display()
            )
        );
    });
}

#[test]
fn an_operation_of_the_loop_is_named() {
    run(async {
        let (lock, semaphore, event) = (Lock::new(()), Semaphore::new(0), Event::new());
        let (limiter, rate) = (
            CapacityLimiter::new(1),
            RateLimiter::new(1, Duration::from_secs(9)),
        );
        let (shared, condition) = (Lock::new(()), Condition::new());
        let (sender, receiver) = create_memory_object_stream(1);
        let (_ours, empty) = create_memory_byte_stream(9);
        let (far, _theirs) = create_memory_byte_stream(1);
        let of_thread = ThreadEvent::new();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let _held = lock.acquire().await.expect("free");
        let _token = limiter.acquire().await.expect("free");
        rate.acquire().await.expect("free");
        far.send(b"1").await.expect("room");
        let job = run_in_thread(move || goes_on.recv().is_err()).abandon_on_cancel();
        let (_never, stuck) = create_memory_object_stream::<()>(1);
        check(vec![
            row(
                sleep(Duration::from_secs(9)),
                "waiting for the end of a sleep",
            ),
            row(lock.acquire(), "waiting for a lock"),
            row(semaphore.acquire(), "waiting for a semaphore"),
            row(event.wait(), "waiting for an event"),
            row(of_thread.wait(), "waiting for an event of another thread"),
            row(
                limiter.acquire(),
                "waiting for a token of a capacity limiter",
            ),
            row(rate.acquire(), "waiting for the end of a sleep"),
            row(
                stuck.receive(),
                "waiting for an item in a memory object stream",
            ),
            row(
                empty.receive(),
                "waiting for the other end of a stream in memory",
            ),
            row(
                far.send(b"2"),
                "waiting for the other end of a stream in memory",
            ),
            row(job, "waiting for a job on a thread"),
            row(
                async { condition.wait(shared.acquire().await?).await },
                "waiting for a condition",
            ),
            row(
                async {
                    sender.send(1).await?;
                    sender.send(2).await
                },
                "waiting for room in a memory object stream",
            ),
            row(
                async {
                    let mut ticks = interval(Duration::from_secs(9));
                    ticks.tick().await?;
                    ticks.tick().await
                },
                "waiting for the end of a sleep",
            ),
        ])
        .await;
        drop((go_on, receiver));
    });
}

#[test]
fn a_group_names_what_one_of_its_tasks_waits_for() {
    run(async {
        let (client, _server) = tcp_pair().await;
        let from = format!("waiting to receive from {}", client.peer_addr());
        let joined = task_group(async |group| {
            let task = group.spawn(async { client.receive().await });
            task.await
        });
        assert_eq!(late(joined).await, from);
        let left_alone = task_group(async |group| {
            group.spawn(async { client.receive().await });
            Ok(())
        });
        assert_eq!(late(left_alone).await, from);
    });
}

/// The limit that passes is named, with what was under way in it.
#[test]
fn each_of_nested_limits_has_its_own() {
    run(async {
        let (event, lock) = (Event::new(), Lock::new(()));
        let _held = lock.acquire().await.expect("free");
        // A machine that sleeps through both limits in one turn gets a longer one.
        for (outer, length) in [(50, "50 ms"), (500, "500 ms"), (5_000, "5 s")] {
            let inner = Cell::new(None);
            let ended = fail_after(Duration::from_millis(outer), async {
                let never = fail_after(Duration::from_secs(9), event.wait());
                let early: Result<()> = fail_after(LIMIT, never).await;
                inner.set(early.err());
                fail_after(Duration::from_secs(9), lock.acquire()).await
            });
            let ended = ended.await.expect_err("the lock is held").to_string();
            let early = inner.take().expect("nothing is set").to_string();
            if early == "timed out after 10 ms, while waiting for an event" {
                let late = format!("timed out after {length}, while waiting for a lock");
                return assert_eq!(ended, late);
            }
            assert_eq!(early, "the operation was cancelled");
        }
        panic!("ten milliseconds that last five seconds, three times");
    });
}

#[test]
fn nothing_is_named_where_nothing_waited() {
    run(async {
        // What would be next does not begin.
        let between = async {
            let mut is_over = false;
            poll_fn(|_| match std::mem::replace(&mut is_over, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            Event::new().wait().await
        };
        assert_eq!(late(between).await, "");
        // A foreign future is dropped, since it does not hear of the cancel.
        assert_eq!(late(pending::<Result<()>>()).await, "");
        // What begins after the end of the time was not under way then.
        let goes_on = async {
            let waited = Event::new().wait().await;
            connect_tcp("127.0.0.1", 9).await.map(drop)?;
            waited
        };
        assert_eq!(late(goes_on).await, "waiting for an event");
        let cleans_up = async {
            let waited = Event::new().wait().await;
            shield(LIMIT, sleep(Duration::from_secs(9))).await?;
            waited
        };
        assert_eq!(late(cleans_up).await, "waiting for an event");
    });
}

#[test]
fn a_point_in_time_has_no_length() {
    run(async {
        let late = fail_at(Instant::now(), Event::new().wait()).await;
        let late = late.expect_err("no event is set");
        assert_eq!(late.to_string(), "timed out, while waiting for an event");
        assert!(matches!(late, Error::TimedOut(late) if late.limit().is_none()));
    });
}

#[test]
fn a_length_is_exact() {
    for (limit, text) in [
        (Duration::ZERO, "0 s"),
        (Duration::from_secs(90), "90 s"),
        (Duration::from_millis(1_500), "1500 ms"),
        (Duration::from_micros(1_001), "1001 µs"),
        (Duration::from_nanos(7), "7 ns"),
        (Duration::MAX, "18446744073709551615 ns"),
    ] {
        let late = Error::timed_out(limit, "");
        assert_eq!(late.to_string(), format!("timed out after {text}"));
        assert_eq!(format!("{late:?}"), format!("TimedOut({late})"));
        assert_eq!(
            std::io::Error::from(late).kind(),
            std::io::ErrorKind::TimedOut
        );
    }
}

/// What is cancelled in another way stays as it was, also within a limit.
#[test]
fn other_cancels_have_no_text() {
    run(async {
        let (client, _server) = tcp_pair().await;
        let scope = CancelScope::new();
        let ended = fail_after(Duration::from_secs(9), async {
            let receiving = scope.run(client.receive());
            join((receiving, async { scope.cancel("enough") }))
                .await
                .0
                .expect("its own error")
        });
        assert!(matches!(ended.await, Err(Error::Cancelled)));
        let moved_on = move_on_after(LIMIT, client.receive()).await;
        assert!(matches!(moved_on, Ok(None)));
        // The error of the operation itself is the same as ever.
        let heard = Rc::new(Cell::new(None));
        let hears = heard.clone();
        let late = fail_after(LIMIT, async {
            let ended = client.receive().await;
            hears.set(ended.err());
            Ok::<_, Error>(())
        });
        late.await.expect("a value is returned");
        assert!(matches!(heard.take(), Some(Error::Cancelled)));
    });
}

#[test]
fn a_relay_names_the_limit_that_passed() {
    run(async {
        let (client, ours) = create_memory_byte_stream(64);
        let (theirs, _server) = create_memory_byte_stream(64);
        let silent = relay(ours, theirs).idle_limit(LIMIT).await;
        assert_eq!(described(silent), "relaying between two silent streams");
        drop(client);
        let (client, ours) = create_memory_byte_stream(64);
        let (theirs, _server) = create_memory_byte_stream(64);
        client.send_eof().await.expect("sends the end");
        let half_open = relay(ours, theirs).half_open_limit(LIMIT).await;
        let expected = "relaying from a silent stream after the end of the other";
        assert_eq!(described(half_open), expected);
    });
}

#[test]
fn a_limit_moves_between_runtimes_with_its_length() {
    let mut limited = std::pin::pin!(fail_after(LIMIT, sleep(Duration::from_secs(9))));
    let polled = block_on(async { futures_util::poll!(&mut limited).is_pending() });
    assert!(polled);
    assert_eq!(
        described(block_on(limited)),
        "waiting for the end of a sleep"
    );
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[test]
fn a_handshake_is_named_with_its_peer_and_nothing_of_its_keys() {
    use crate::tls_support::{client_config, server_config};
    use rustls::pki_types::ServerName;
    use soloio::tls::{TlsListener, TlsStream};

    run(async {
        let (client, server) = tcp_pair().await;
        let peer = client.peer_addr();
        let name = ServerName::try_from("localhost").expect("a name");
        let shaking = TlsStream::client(client, name, client_config());
        let expected = format!("in a TLS handshake, waiting to receive from {peer}");
        assert_eq!(late(shaking).await, expected);
        drop(server);

        let listener = tcp_listener().await;
        let at = listener.local_addr();
        let connecting = connect_tcp("127.0.0.1", at.port()).tls_config(client_config());
        let expected = format!(
            "connecting to 127.0.0.1 port {}, in a TLS handshake, waiting to receive from {at}",
            at.port()
        );
        assert_eq!(late(connecting).await, expected);

        let listener = TlsListener::new(tcp_listener().await, server_config());
        let listener = listener.handshake_timeout(LIMIT);
        let at = listener.inner().local_addr();
        let silent = connect_tcp("127.0.0.1", at.port()).await.expect("connects");
        let from = silent.local_addr();
        let expected = format!("in a TLS handshake, waiting to receive from {from}");
        assert_eq!(described(listener.accept().await), expected);
    });
}
