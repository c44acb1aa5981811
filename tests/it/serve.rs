//! The server loop: errors that must not end it, and conditions in which it must not busy-loop. C1
//! to C3 of the list of failures seen elsewhere.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{
    Error, Result, Runtime, TcpListener, connect_tcp, connect_unix, create_tcp_listener,
    create_udp_socket, create_unix_listener, task_group,
};

use crate::kernel;
use crate::net_support::{TempDir, polled, refused, run, tcp_listener, turns};
use crate::support::{Counter, alone, deadline};

/// Sends hello to the server, and expects it back.
async fn echoes(listener: &TcpListener) -> Result<()> {
    let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    client.send(b"hello").await?;
    assert_eq!(client.receive().await?, b"hello");
    client.close().await
}

async fn echo(client: soloio::TcpStream) -> Result<()> {
    while let Some(data) = client.next().await? {
        client.send(&data).await?;
    }
    Ok(())
}

#[test]
fn an_error_or_a_panic_of_a_handler_ends_its_connection_only() {
    // E7: a panic in one task ended the loop, or surfaced elsewhere (async-executor#78).
    run(async {
        let listener = tcp_listener().await;
        let errors = RefCell::new(Vec::new());
        let serve = listener
            .serve(async |client| match client.receive().await?[0] {
                b'e' => Err(Error::other("went wrong")),
                b'p' => resume_unwind(Box::new("a panic of the handler")),
                other => client.send(&[other]).await,
            })
            .on_error(|error, _| errors.borrow_mut().push(error.to_string()));
        let talk = async {
            for kind in [b'e', b'p', b'!', b'p', b'e', b'?'] {
                let port = listener.local_addr().port();
                let client = connect_tcp("127.0.0.1", port).await.expect("connects");
                client.send(&[kind]).await.expect("sent");
                match client.next().await {
                    Ok(Some(answer)) => assert_eq!(answer, [kind]),
                    ended => assert!(matches!(kind, b'e' | b'p'), "{ended:?}"),
                }
            }
            listener.abort();
        };
        let (served, ()) = join(async { serve.await }, talk).await;
        refused!(served, Error::Closed);
        let errors = errors.into_inner();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert_eq!(errors[0], "went wrong");
        assert!(errors[1].contains("a panic of the handler"), "{errors:?}");
    });
}

#[test]
fn no_more_connections_are_served_than_asked_for() {
    run(async {
        let listener = tcp_listener().await;
        let (running, most) = (Counter::new(), Cell::new(0));
        let serve = listener.serve(async |client| {
            let _held = running.hold();
            most.set(most.get().max(running.get()));
            let data = client.receive().await?;
            while most.get() < 3 {
                turns(1).await;
            }
            turns(10).await;
            client.send(&data).await
        });
        let serve = async { serve.max_connections(3).await };
        let talk = async {
            let clients = (0..20).map(|_| echoes(&listener));
            for ended in futures_util::future::join_all(clients).await {
                ended.expect("all are served in the end");
            }
            listener.abort();
        };
        refused!(join(serve, talk).await.0, Error::Closed);
        assert_eq!(most.get(), 3);
    });
}

/// Returns the number of turns within 100 ms.
fn turns_in_100_ms(runtime: &mut Runtime) -> usize {
    let end = Instant::now() + Duration::from_millis(100);
    let mut turns = 0;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        runtime.turn(Some(left)).expect("a turn");
        turns += 1;
    }
    turns
}

#[test]
fn a_listener_at_its_connection_limit_costs_nothing() {
    // With level-triggered events and no accept there were 1,000 wake-ups in 1,000 turns.
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(tcp_listener());
    let address = listener.local_addr();
    let server = runtime.spawn(async move { listener.serve(echo).max_connections(1).await });
    let mut first = StdStream::connect(address).expect("connects");
    let mut second = StdStream::connect(address).expect("connects");
    let third = StdStream::connect(address).expect("connects");
    turns_in_100_ms(&mut runtime);
    let idle = turns_in_100_ms(&mut runtime);
    assert!(idle < 10, "{idle} turns while nothing happened");
    // It continues after the pause.
    for client in [&mut first, &mut second] {
        client.write_all(b"hello").expect("written");
        client.set_nonblocking(true).expect("set");
        let mut answer = [0; 5];
        while client.read_exact(&mut answer).is_err() {
            runtime
                .turn(Some(Duration::from_millis(10)))
                .expect("a turn");
        }
        assert_eq!(&answer, b"hello");
        client
            .shutdown(std::net::Shutdown::Both)
            .expect("shut down");
    }
    drop((third, server));
}

#[test]
fn a_listener_that_nobody_accepts_from_costs_nothing() {
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(async {
        let listener = tcp_listener().await;
        assert!(polled(2, listener.accept()).await.is_none());
        listener
    });
    let _waiting = [(); 3].map(|()| StdStream::connect(listener.local_addr()).expect("connects"));
    let idle = turns_in_100_ms(&mut runtime);
    assert!(idle < 10, "{idle} turns while nobody accepts");
    runtime.block_on(async {
        for _ in 0..3 {
            listener.accept().await.expect("they are all still there");
        }
    });
}

/// Serves while each accept fails with `errno`; another task must still run. Returns the number of
/// reports.
fn served_with(errno: i32) -> Option<(usize, Result<()>)> {
    let told = Cell::new(0);
    let mut ended = None;
    let filtered = Cell::new(true);
    run(async {
        let listener = tcp_listener().await;
        let serve = listener
            .serve(echo)
            .on_error(|_, _| told.set(told.get() + 1));
        let other = async {
            if !kernel::fail_call(libc::SYS_accept4, 0, 0, errno) {
                filtered.set(false);
            }
            let _more = StdStream::connect(listener.local_addr()).expect("connects");
            turns(200).await;
            listener.abort();
        };
        ended = Some(join(async { serve.await }, other).await.0);
    });
    if !filtered.get() {
        eprintln!("no seccomp here: not tested");
        return None;
    }
    Some((told.get(), ended.expect("it ended")))
}

#[test]
fn c1_accepts_that_fail_for_good_leave_room_for_others() {
    // The error loop starved the tasks that would end it (tokio#4782).
    alone(
        "serve::c1_accepts_that_fail_for_good_leave_room_for_others",
        || {
            if let Some((told, ended)) = served_with(libc::ECONNABORTED) {
                // At most one report a second, however often it fails.
                assert!((1..=60).contains(&told), "told {told} times");
                refused!(ended, Error::Closed);
            }
        },
    );
}

#[test]
fn c1_a_listener_that_is_broken_ends_the_server() {
    alone(
        "serve::c1_a_listener_that_is_broken_ends_the_server",
        || {
            if let Some((_, ended)) = served_with(libc::EINVAL) {
                refused!(ended, Error::Io(_));
            }
        },
    );
}

#[test]
fn c3_a_listener_accepts_on_after_an_error_of_accept() {
    // Exhaustion consumes the edge, and no further one comes (libuv d428f2c).
    alone(
        "serve::c3_a_listener_accepts_on_after_an_error_of_accept",
        || {
            run(async {
                let listener = tcp_listener().await;
                let client = StdStream::connect(listener.local_addr()).expect("connects");
                turns(2).await;
                let fillers = kernel::use_up_descriptors();
                refused!(listener.accept().await, Error::Io(_));
                refused!(listener.accept().await, Error::Io(_));
                drop(fillers);
                let accepted = listener.accept().await.expect("the same connection");
                assert_eq!(
                    accepted.peer_addr(),
                    client.local_addr().expect("connected")
                );
            });
        },
    );
}

#[test]
fn a_server_that_is_dropped_leaves_the_listener_as_it_was() {
    run(async {
        let listener = tcp_listener().await;
        for _ in 0..3 {
            let serve = async { listener.serve(echo).await };
            let mut serve = Box::pin(serve);
            assert!(polled(3, serve.as_mut()).await.is_none());
            refused!(listener.accept().await, Error::Busy);
            drop(serve);
        }
        let serve = async { listener.serve(echo).await };
        let talk = async {
            echoes(&listener).await.expect("served");
            listener.abort();
        };
        refused!(join(serve, talk).await.0, Error::Closed);
    });
}

#[test]
fn handlers_borrow_and_unix_is_served_alike() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path).await.expect("listens");
        let greeting = String::from("Hello, ");
        let served = task_group(async |group| {
            let server = group.spawn(listener.serve(async |client| {
                let name = client.receive_max(1024).await?;
                client.send(&[greeting.as_bytes(), &name].concat()).await
            }));
            let client = connect_unix(&path).await?;
            client.send(b"world").await?;
            assert_eq!(client.receive().await?, b"Hello, world");
            server.cancel();
            Ok(())
        });
        served.await.expect("no error");
    });
}

#[test]
fn several_addresses_are_served_by_one_listener() {
    run(async {
        let listener = create_tcp_listener().await.expect("listens");
        let port = listener.local_addr().port();
        let serve = async { listener.serve(echo).await };
        let talk = async {
            for host in ["127.0.0.1", "localhost"] {
                let client = connect_tcp(host, port).await.expect("connects");
                client.send(b"x").await.expect("sent");
                assert_eq!(client.receive().await.expect("echoed"), b"x");
            }
            listener.abort();
        };
        refused!(join(serve, talk).await.0, Error::Closed);
    });
}

#[test]
fn verbs_that_never_wait_leave_room_for_others() {
    // E8: a task that is always ready starved I/O and timers (tokio#2160, monoio#3).
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path).await.expect("listens");
        let (ticks, over) = (Cell::new(0), Cell::new(false));
        let tick = async {
            while !over.get() {
                ticks.set(ticks.get() + 1);
                turns(1).await;
            }
        };
        let busy = async {
            for _ in 0..1000 {
                drop(connect_unix(&path).await.expect("connects"));
                drop(create_udp_socket().local_host("127.0.0.1").await);
                drop(tcp_listener().await);
                drop(create_unix_listener(dir.path("other")).await);
            }
            over.set(true);
        };
        task_group(async |group| {
            group.spawn(tick);
            group.spawn(busy);
        })
        .await
        .expect("no error");
        drop(listener);
        assert!(ticks.get() >= 4, "{} turns meanwhile", ticks.get());
    });
}
