//! Readiness: events that the kernel reports once, late, twice, or not at all. R1 to R16 of the
//! list of failures seen elsewhere. Long because it is that list.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::future::{join, join_all};
use socket2::SockRef;
use soloio::{
    Error, Runtime, connect_tcp, create_tcp_listener, create_unix_listener, task_group, yield_now,
};

use crate::kernel::{self, Thread};
use crate::net_support::{
    TempDir, check_numbered, clog, numbered, polled, receive_numbered, refused, run, tcp_listener,
    tcp_pair, turns, udp, unix_pair,
};
use crate::nobody;
use crate::support::{Counter, alone, counted, fds, poll_once, rounds};

/// Returns a peer that std drives, and our accepted end.
async fn std_pair() -> (StdStream, soloio::TcpStream) {
    let listener = tcp_listener().await;
    let peer = StdStream::connect(listener.local_addr()).expect("connects");
    (peer, listener.accept().await.expect("accepts"))
}

#[test]
fn r1_an_event_between_a_receive_and_its_next_wait_is_kept() {
    // A late clear removed readiness that was set meanwhile (tokio#6133, tokio#8331).
    run(async {
        let (mut peer, ours) = std_pair().await;
        for n in 0..rounds(20_000) {
            // A short receive, data while no task waits, then a wait.
            peer.write_all(b"ab").expect("written");
            let first = ours.receive_max(if n % 2 == 0 { 2 } else { 5 }).await;
            assert!(first.expect("data").len() <= 2);
            peer.write_all(b"c").expect("written");
            if n % 3 == 0 {
                turns(1).await;
            }
            while !ours.receive().await.expect("data").ends_with(b"c") {}
        }
    });
}

#[test]
fn r2_a_receive_that_is_cut_short_by_urgent_data_is_not_the_last() {
    // A short read at the urgent mark was taken for an empty queue (tokio#5866, asterinas#3146).
    run(async {
        let (peer, ours) = std_pair().await;
        let socket = SockRef::from(&peer);
        for n in 0..1000 {
            let (mut before, after) = (1 + n % 50, 1 + n % 7);
            socket.send(&vec![b'n'; before]).expect("sent");
            if n % 3 == 0 {
                // When the mark comes, the receiver waits, or there is other data.
                turns(1).await;
            }
            socket.send_out_of_band(b"!").expect("sent");
            socket.send(&vec![b'm'; after]).expect("sent");
            let mut all = Vec::new();
            // The buffer ends exactly at the mark, a little behind it, or holds everything.
            let mut room = [0; 128];
            while all.len() < before + after {
                let size = [before, before + 3, 128][n % 3];
                let got = ours.receive_into(&mut room[..size]).await.expect("data");
                all.extend_from_slice(got);
            }
            assert!(all[..before].iter().all(|byte| *byte == b'n'));
            before += after;
            assert_eq!(all.len(), before, "the urgent byte is not in the stream");
        }
    });
}

#[test]
fn r3_an_end_that_came_with_the_data_is_seen() {
    // The end's event came before the data was received (anyio#701, miri#5106).
    run(async {
        for (sent, room) in [
            (99, 100),
            (100, 100),
            (101, 100),
            (200, 100),
            (1, 1),
            (0, 1),
        ] {
            let (mut peer, ours) = std_pair().await;
            peer.write_all(&numbered(0, sent)).expect("written");
            drop(peer);
            turns(2).await;
            let (mut at, mut buf) = (0, vec![0; room]);
            let end = loop {
                match ours.receive_into(&mut buf).await {
                    Ok(bytes) => {
                        check_numbered(at, bytes);
                        at += bytes.len();
                    }
                    Err(end) => break end,
                }
            };
            assert_eq!(at, sent);
            assert!(matches!(end, Error::EndOfStream), "{end:?}");
        }
    });
}

#[test]
fn r4_an_event_of_a_closed_source_wakes_no_other() {
    // The slot is reused in the same batch (mio#172, RUSTSEC-2024-0019, async#571).
    run(async {
        for _ in 0..rounds(2_000) {
            let (mut first_peer, first) = std_pair().await;
            let (mut second_peer, second) = std_pair().await;
            task_group(async |group| {
                group.spawn(async {
                    // This task is woken first: it ends the second stream, which has an event in
                    // the same batch, and opens a third in its place.
                    let got = first.receive().await?;
                    assert_eq!(got, b"1");
                    second.abort();
                    let (third_peer, third) = std_pair().await;
                    let early = polled(4, third.receive()).await;
                    assert!(early.is_none(), "{early:?}");
                    drop(third_peer);
                    Ok(())
                });
                group.spawn(async {
                    let got = second.receive().await;
                    assert!(matches!(&got, Ok(_) | Err(Error::Closed)), "{got:?}");
                });
                turns(3).await;
                first_peer.write_all(b"1").expect("written");
                second_peer.write_all(b"2").expect("written");
            })
            .await
            .expect("no error");
        }
    });
}

#[test]
fn r5_a_duplicate_of_a_closed_socket_reports_no_more() {
    // The duplicate keeps the epoll entry alive: events for ever (libuv#1099,
    // manticoresearch#4057).
    alone(
        "readiness::r5_a_duplicate_of_a_closed_socket_reports_no_more",
        || {
            let mut runtime = Runtime::new().expect("a runtime");
            let (duplicates, mut peers) = runtime.block_on(async {
                let (mut duplicates, mut peers) = (Vec::new(), Vec::new());
                for aborted in [false, true] {
                    let (peer, ours) = std_pair().await;
                    assert!(polled(2, ours.receive()).await.is_none());
                    duplicates.push(ours.as_fd().try_clone_to_owned().expect("a duplicate"));
                    peers.push(peer);
                    if aborted {
                        ours.abort();
                    }
                }
                // The listeners of other tests, one of which may get the port, are not there.
                let listener = create_tcp_listener().local_host("127.0.0.169").await;
                let listener = listener.expect("a listener");
                assert!(polled(2, listener.accept()).await.is_none());
                let port = listener.local_addr().port();
                drop(listener);
                assert!(connect_tcp("127.0.0.169", port).await.is_err());
                (duplicates, peers)
            });
            for peer in &mut peers {
                peer.write_all(b"who reads this?").expect("written");
            }
            // A stale event would end this wait at once.
            let start = kernel::thread_time();
            for _ in 0..3 {
                runtime
                    .turn(Some(Duration::from_millis(20)))
                    .expect("a turn");
            }
            assert!(
                kernel::thread_time() - start < Duration::from_millis(20),
                "it spins"
            );
            drop(duplicates);
        },
    );
}

#[test]
fn r5_and_r10_every_descriptor_is_close_on_exec_and_non_blocking() {
    // A descriptor that a child process keeps reports for ever (h2o#1100); a blocking one hangs the
    // loop (tokio#7172, anyio 3.3.3).
    const TEST: &str = "r5_and_r10_every_descriptor_is_close_on_exec_and_non_blocking";
    alone(&format!("readiness::{TEST}"), || {
        let before = descriptors();
        let mut runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let (client, _server) = tcp_pair().await;
            let _unix = unix_pair().await;
            let (_listener, _udp) = (tcp_listener().await, udp().await);
            let dir = TempDir::new();
            let _unix = create_unix_listener(dir.path("socket"))
                .await
                .expect("listens");
            // Makes the timer's descriptor; the abort below makes the dead socket. Several sleeps:
            // one that is over before the loop waits needs no timer.
            for _ in 0..20 {
                let slept = soloio::sleep(Duration::from_micros(900)).await;
                slept.expect("slept");
            }
            client.abort();
            let made: Vec<_> = descriptors()
                .into_iter()
                .filter(|fd| !before.contains(fd))
                .collect();
            assert!(made.len() >= 10);
            for (fd, flags, what) in made {
                assert_ne!(flags & libc::O_CLOEXEC, 0, "{fd}: {what}");
                let waits = flags & libc::O_NONBLOCK == 0 && !what.contains("eventpoll");
                assert!(!waits, "{fd}: {what}");
            }
        });
    });
}

/// Returns number, flags and kind of all descriptors of this process.
fn descriptors() -> Vec<(i32, i32, String)> {
    let all = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let all = all.filter_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let what = std::fs::read_link(entry.path()).ok()?;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
        Some((number, flags, what.to_string_lossy().into_owned()))
    });
    all.filter(|(_, _, what)| !what.contains("/proc/"))
        .collect()
}

#[test]
fn r6_signals_interrupt_nothing() {
    // EINTR of the wait was taken for a fatal error (mio#494, signal-hook#98).
    alone("readiness::r6_signals_interrupt_nothing", || {
        kernel::interrupt_by(libc::SIGUSR1);
        let (target, over) = (Thread::current(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    target.signal(libc::SIGUSR1);
                    thread::yield_now();
                }
            });
            run(async {
                let (a, b) = tcp_pair().await;
                for n in 0..500 {
                    a.send(&numbered(n, 1)).await.expect("sent");
                    receive_numbered(&b, n, 1).await;
                }
                for _ in 0..20 {
                    let start = std::time::Instant::now();
                    soloio::sleep(Duration::from_millis(2))
                        .await
                        .expect("slept");
                    assert!(start.elapsed() >= Duration::from_millis(2));
                }
                let (more, back) = tcp_pair().await;
                let taken = clog(&more, 0).await;
                receive_numbered(&back, 0, taken).await;
            });
            over.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn r7_a_registration_that_fails_leaves_nothing() {
    // epoll_ctl fails with ENOSPC: the slot or the descriptor leaked (tokio#6329, mio#1636).
    alone(
        "readiness::r7_a_registration_that_fails_leaves_nothing",
        || {
            let mut runtime = Runtime::new().expect("a runtime");
            let (low, low_peer, listener) = runtime.block_on(async {
                let (low, low_peer) = tcp_pair().await;
                assert!(polled(2, low.receive()).await.is_none());
                (low, low_peer, tcp_listener().await)
            });
            let fillers: Vec<_> = (0..100)
                .map(|_| std::fs::File::open("/dev/null").expect("a descriptor"))
                .collect();
            // From here on descriptors from 100 on can't be registered.
            if !kernel::fail_call(libc::SYS_epoll_ctl, 2, 100, libc::ENOSPC) {
                eprintln!("no seccomp here: not tested");
                return;
            }
            let before = fds();
            for _ in 0..100 {
                runtime.block_on(async {
                    let port = listener.local_addr().port();
                    let failed = connect_tcp("127.0.0.1", port).await;
                    match failed {
                        // A connect that completes immediately needs no wait; its receive does.
                        Ok(client) => match client.receive().await {
                            Err(Error::Io(error)) => {
                                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
                            }
                            other => panic!("{other:?}"),
                        },
                        Err(Error::Io(error)) => {
                            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                });
                assert_eq!(fds(), before);
            }
            assert!(format!("{runtime:?}").contains("sources: 1"), "{runtime:?}");
            drop(fillers);
            runtime.block_on(async {
                low_peer.send(b"alive").await.expect("sent");
                assert_eq!(low.receive().await.expect("received"), b"alive");
                let (a, b) = tcp_pair().await;
                assert!(polled(2, b.receive()).await.is_none());
                a.send(b"too").await.expect("sent");
                assert_eq!(b.receive().await.expect("received"), b"too");
            });
        },
    );
}

#[test]
fn r8_a_descriptor_that_was_closed_behind_our_back_leaves_no_slot() {
    // The list of registrations grew for ever (tokio#7773).
    alone(
        "readiness::r8_a_descriptor_that_was_closed_behind_our_back_leaves_no_slot",
        || {
            let mut runtime = Runtime::new().expect("a runtime");
            let null = std::fs::File::open("/dev/null").expect("a descriptor");
            let mut before = None;
            for n in 0..rounds(2_000) {
                runtime.block_on(async {
                    let (a, b) = unix_pair().await;
                    assert!(polled(2, a.receive()).await.is_none());
                    kernel::replace(&a, &null);
                    if n % 2 == 0 {
                        a.abort();
                    }
                    drop(b);
                });
                assert!(format!("{runtime:?}").contains("sources: 0"), "{runtime:?}");
                // The first round makes the loop's own descriptors.
                assert_eq!(fds(), *before.get_or_insert_with(fds));
            }
        },
    );
}

#[test]
fn r9_a_spurious_wake_is_no_data() {
    // Readiness was trusted: an error, or a blocking read (tokio#7494).
    run(async {
        let (a, b) = tcp_pair().await;
        let mut receive = pin!(a.receive());
        for _ in 0..100 {
            assert!(poll_once(receive.as_mut()).await.is_pending());
            yield_now().await.expect("inside a runtime");
        }
        // The byte is taken through the socket before the receive is polled.
        b.send(b"x").await.expect("sent");
        SockRef::from(&a)
            .recv(&mut [std::mem::MaybeUninit::uninit()])
            .expect("the byte");
        assert!(polled(5, receive.as_mut()).await.is_none());
        b.send(b"y").await.expect("sent");
        assert_eq!(receive.await.expect("data"), b"y");
    });
}

#[test]
fn r11_a_hang_up_wakes_both_directions() {
    // EPOLLERR or EPOLLHUP alone woke no task (tokio#2174, tokio#3898, cats-effect#4421).
    run(async {
        let (a, b) = tcp_pair().await;
        clog(&a, 0).await;
        let reset = async {
            turns(5).await;
            SockRef::from(&b)
                .set_linger(Some(Duration::ZERO))
                .expect("set");
            drop(b);
        };
        let ((received, sent), ()) = join(join(a.receive(), a.send(b"x")), reset).await;
        refused!(received, Error::Broken(_));
        refused!(sent, Error::Broken(_));
    });
    run(async {
        let (a, b) = unix_pair().await;
        clog(&a, 0).await;
        let leave = async {
            turns(5).await;
            drop(b);
        };
        let ((received, sent), ()) = join(join(a.receive(), a.send(b"x")), leave).await;
        assert!(received.is_err(), "{received:?}");
        refused!(sent, Error::Broken(_));
    });
}

#[test]
fn r12_a_refused_connect_is_not_taken_for_a_connected_one() {
    // A hang-up of a socket that was never connected (tokio's test `poll_hup`, mio#776).
    run(async {
        let (_nobody, port) = nobody::tcp("127.0.0.1");
        for _ in 0..rounds(1_000) {
            match connect_tcp("127.0.0.1", port).await {
                Err(Error::ConnectFailed(failed)) => {
                    assert_eq!(failed.attempts.len(), 1);
                    assert_eq!(
                        failed.attempts[0].cause.kind(),
                        ErrorKind::ConnectionRefused
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn r13_more_ready_sockets_than_one_batch_holds_are_all_served() {
    run(async {
        let mut pairs = Vec::new();
        for _ in 0..1500 {
            pairs.push(StdUnixStream::pair().expect("a pair"));
        }
        drop(pairs);
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path).await.expect("listens");
        let (mut peers, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..1500 {
            peers.push(StdUnixStream::connect(&path).expect("connects"));
            streams.push(listener.accept().await.expect("accepts"));
        }
        let receive = join_all(streams.iter().map(|stream| stream.receive()));
        let write = async {
            turns(3).await;
            for peer in &mut peers {
                peer.write_all(b"x").expect("written");
            }
        };
        let (received, ()) = join(receive, write).await;
        assert!(received.into_iter().all(|got| got.expect("data") == b"x"));
    });
}

#[test]
fn r14_a_shut_down_peer_leaves_queued_data_and_the_other_direction() {
    // An end that was reported while data was queued was taken for an error (tokio#449, bun#32257).
    run(async {
        let (mut peer, ours) = std_pair().await;
        peer.write_all(&numbered(0, 3000)).expect("written");
        peer.shutdown(Shutdown::Write).expect("shut down");
        turns(3).await;
        ours.send(b"still possible").await.expect("sent");
        receive_numbered(&ours, 0, 3000).await;
        refused!(ours.receive().await, Error::EndOfStream);
        ours.send(b"still possible").await.expect("sent");
    });
}

#[test]
fn r16_urgent_data_alone_wakes_nobody_for_ever() {
    // A flood of urgent data (mio#1524): each byte is an event, none is data in the stream.
    run(async {
        let (peer, ours) = std_pair().await;
        let socket = SockRef::from(&peer);
        let polls = Counter::new();
        let receive = counted(polls.clone(), async {
            // The kernel leaves an urgent byte in the stream when a later one replaces it.
            while !ours.receive().await.expect("data").ends_with(b"data") {}
        });
        let send = async {
            for _ in 0..1000 {
                socket.send_out_of_band(b"!").expect("sent");
                turns(2).await;
            }
            socket.send(b"data").expect("sent");
        };
        join(receive, send).await;
        assert!(
            polls.get() < 2100,
            "{} polls for 1,000 urgent bytes",
            polls.get()
        );
    });
}
