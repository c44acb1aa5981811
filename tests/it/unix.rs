//! UNIX sockets: full backlogs, stale files, permissions, names, descriptors beside bytes. U1 to U6
//! of the list of failures seen elsewhere.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::time::Duration;

use futures_util::future::{join, join_all};
use proptest::prelude::*;
use soloio::{Error, Result, connect_unix, create_unix_listener, fail_after};

use crate::kernel;
use crate::net_support::{TempDir, refused, run, turns};
use crate::support::{alone, fds, rounds};

#[test]
fn u1_a_full_backlog_is_waited_for() {
    // An unconnected socket was returned (mio#1560, cockpit#9861).
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path)
            .backlog(0)
            .await
            .expect("listens");
        let clients = join_all((0..40_u8).map(|n| {
            let path = &path;
            async move {
                let client = connect_unix(path).await?;
                client.send(&[n]).await?;
                assert_eq!(
                    client.receive().await?,
                    [n],
                    "it is connected, to the right one"
                );
                Ok::<_, Error>(())
            }
        }));
        let serve = async {
            for _ in 0..40 {
                let server = listener.accept().await.expect("accepts");
                let data = server.receive().await.expect("data");
                server.send(&data).await.expect("sent");
            }
        };
        let (ended, ()) = join(clients, serve).await;
        ended
            .into_iter()
            .collect::<Result<()>>()
            .expect("all were served");
    });
}

#[test]
fn u1_waiting_for_a_full_backlog_takes_no_time_of_the_processor() {
    // AnyIO's back ends busy-loop, or return a dead stream.
    run(async {
        let unique = format!("\0soloio-full-{}", std::process::id());
        let dir = TempDir::new();
        for name in [dir.path("socket").into_os_string(), unique.into()] {
            let listener = create_unix_listener(&name).backlog(0).await;
            let listener = listener.expect("listens");
            let filler = connect_unix(&name).await.expect("room for one");
            let start = kernel::thread_time();
            let limit = Duration::from_millis(300);
            let limited = fail_after(limit, connect_unix(&name)).await;
            refused!(limited, Error::TimedOut(_));
            let used = kernel::thread_time() - start;
            // The bound is for a debug build under load; a busy loop uses all of the time.
            assert!(used < limit / 4, "{used:?} of {limit:?}");
            drop(listener.accept().await.expect("the filler"));
            drop(filler);
            let client = connect_unix(&name).await.expect("room again");
            client.send(b"x").await.expect("sent");
            let server = listener.accept().await.expect("nobody stands before it");
            assert_eq!(server.receive().await.expect("data"), b"x");
        }
    });
}

#[test]
fn u2_a_stale_socket_file_is_replaced() {
    // matrix-authentication-service#2424, node#724.
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        for _ in 0..3 {
            drop(StdListener::bind(&path).ok());
            crate::net_support::until_stale(&path);
            assert!(path.exists(), "a server that was killed leaves it");
            let listener = create_unix_listener(&path)
                .await
                .expect("nobody listens there");
            let client = connect_unix(&path).await.expect("connects");
            client.send(b"x").await.expect("sent");
            let server = listener.accept().await.expect("accepts");
            assert_eq!(server.receive().await.expect("data"), b"x");
        }
    });
}

#[test]
fn u2_a_live_owner_is_left_alone_even_with_a_full_backlog() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let owner = create_unix_listener(&path)
            .backlog(0)
            .await
            .expect("listens");
        let _filler = StdStream::connect(&path).expect("room for one");
        match create_unix_listener(&path).await {
            Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            other => panic!("{other:?}"),
        }
        drop(owner.accept().await.expect("the filler"));
        let client = connect_unix(&path).await.expect("the owner still listens");
        client.send(b"x").await.expect("sent");
        // The probe of the second listener may be earlier in the queue.
        loop {
            let server = owner.accept().await.expect("accepts");
            if server
                .next()
                .await
                .expect("an orderly end or data")
                .is_some()
            {
                break;
            }
        }
    });
}

#[test]
fn u3_the_mode_is_the_one_asked_for() {
    // The mode was set after listen (websocketd#474), or was the umask's (gitlab-mcp#415).
    run(async {
        let dir = TempDir::new();
        for mode in [0o600, 0o660, 0o666, 0o700] {
            let path = dir.path(&format!("{mode:o}"));
            let _listener = create_unix_listener(&path)
                .mode(mode)
                .await
                .expect("listens");
            let file = fs::metadata(&path).expect("it is there");
            assert_eq!(file.permissions().mode() & 0o777, mode);
        }
    });
}

/// Connects, exchanges a byte, and compares the names.
async fn talks_at(name: OsString, is_path: bool) {
    let listener = create_unix_listener(&name).await.expect("listens");
    let client = connect_unix(&name).await.expect("connects");
    let server = listener.accept().await.expect("accepts");
    assert!(server.peer_name().is_unnamed() && client.local_name().is_unnamed());
    for there in [
        listener.local_name(),
        client.peer_name(),
        server.local_name(),
    ] {
        let bytes = name.clone().into_vec();
        if is_path {
            assert_eq!(there.as_path().map(|path| path.as_os_str()), Some(&*name));
        } else {
            assert_eq!(there.as_abstract(), Some(&bytes[1..]));
        }
    }
    client.send(b"x").await.expect("sent");
    assert_eq!(server.receive().await.expect("data"), b"x");
    server.abort();
    assert_eq!(
        server.local_name(),
        listener.local_name(),
        "known after an abort"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    // U4: names were cut off or padded (tokio#6838, anyio#781, libuv's pipe_overlong_path).
    #[test]
    fn u4_any_name_survives_the_round_trip(bytes in prop::collection::vec(1_u8.., 1..60)) {
        run(async {
            let dir = TempDir::new();
            let file = bytes.iter().map(|byte| if *byte == b'/' { b'_' } else { *byte });
            let file = OsString::from_vec(file.collect());
            if file != "." && file != ".." {
                talks_at(dir.all().join(file).into_os_string(), true).await;
            }
            let unique = std::process::id().to_ne_bytes();
            let name = [&b"\0soloio"[..], &unique, &bytes, b"\0\0"].concat();
            talks_at(OsString::from_vec(name), false).await;
        });
    }
}

#[test]
fn u4_the_longest_names_fit() {
    run(async {
        let dir = TempDir::new();
        let room = 107 - dir.all().as_os_str().len() - 1;
        let path = dir.path(&"x".repeat(room));
        assert_eq!(path.as_os_str().len(), 107);
        talks_at(path.into_os_string(), true).await;
        let unique = std::process::id().to_ne_bytes();
        let name = [&b"\0"[..], &unique, &[b'x'; 103]].concat();
        talks_at(OsString::from_vec(name), false).await;
    });
}

#[test]
fn u6_descriptors_that_come_with_plain_bytes_neither_leak_nor_stall() {
    // A plain receive stopped at a message with descriptors, and no further edge came.
    alone(
        "unix::u6_descriptors_that_come_with_plain_bytes_neither_leak_nor_stall",
        || {
            let null = fs::File::open("/dev/null").expect("a descriptor");
            run(async {
                let dir = TempDir::new();
                let path = dir.path("socket");
                let listener = create_unix_listener(&path).await.expect("listens");
                let mut peer = StdStream::connect(&path).expect("connects");
                let ours = listener.accept().await.expect("accepts");
                // The loop opens its own descriptors before the count.
                turns(2).await;
                assert!(
                    crate::net_support::polled(2, ours.receive())
                        .await
                        .is_none()
                );
                let before = fds();
                for n in 0..rounds(10_000) {
                    let write = |peer: &mut StdStream| {
                        use std::io::Write;
                        peer.write_all(b"plain").expect("written");
                        kernel::send_descriptors(&*peer, b"with", &[null.as_fd(), null.as_fd()]);
                        kernel::send_descriptors(&*peer, b"and with", &[null.as_fd()]);
                        peer.write_all(b"plain").expect("written");
                    };
                    let receive = async {
                        let (mut got, mut room) = (Vec::new(), [0; 64]);
                        while got.len() < 22 {
                            match n % 3 {
                                0 => got.extend_from_slice(
                                    ours.receive_into(&mut room).await.expect("data"),
                                ),
                                1 => got.extend(ours.receive().await.expect("data")),
                                _ => got.extend(ours.receive_max(22).await.expect("data")),
                            }
                        }
                        assert_eq!(got, b"plainwithand withplain");
                    };
                    if n % 2 == 0 {
                        // Everything is in the queue when the one edge comes.
                        write(&mut peer);
                        receive.await;
                    } else {
                        let later = async {
                            turns(2).await;
                            write(&mut peer);
                        };
                        join(receive, later).await;
                    }
                    assert_eq!(fds(), before, "a descriptor leaked");
                }
            });
        },
    );
}

#[test]
fn u6_descriptors_in_the_queue_of_a_dropped_stream_are_closed() {
    alone(
        "unix::u6_descriptors_in_the_queue_of_a_dropped_stream_are_closed",
        || {
            let null = fs::File::open("/dev/null").expect("a descriptor");
            let before = fds();
            run(async {
                let dir = TempDir::new();
                let path = dir.path("socket");
                let listener = create_unix_listener(&path).await.expect("listens");
                let peer = StdStream::connect(&path).expect("connects");
                let ours = listener.accept().await.expect("accepts");
                kernel::send_descriptors(&peer, b"x", &[null.as_fd()]);
                drop(ours);
            });
            assert_eq!(fds(), before);
        },
    );
}

#[test]
fn abort_of_a_listener_refuses_clients_and_leaves_the_file() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path).await.expect("listens");
        let waiting = connect_unix(&path).await.expect("connects");
        listener.abort();
        refused!(connect_unix(&path).await, Error::Io(_));
        assert!(
            waiting.receive().await.is_err(),
            "it will not be accepted any more"
        );
        assert!(path.exists());
        create_unix_listener(&path).await.expect("stale now");
    });
}
