//! UDP sends of many datagrams: the number of those sent is known after every kind of stop.

#![allow(
    unsafe_code,
    reason = "a socket option that makes the kernel refuse segments"
)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use futures_util::future::join;
use soloio::{DatagramBuffer, Error, UdpSocket, create_connected_udp_socket, create_udp_socket};

use crate::cancel_everywhere::everywhere;
use crate::net_support::{TempDir, numbered, polled, refused, run, turns, udp};
use crate::nobody;
use crate::udp_batches::{connected, socket};

/// Makes the kernel refuse segments, as for a device that cannot compute checksums.
fn without_checksums(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length are those of one integer.
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
}

#[test]
fn what_cannot_go_stops_the_others_there_and_no_earlier() {
    for batching in [true, false] {
        run(async {
            let (at, from) = (socket(batching).await, socket(batching).await);
            let long = vec![0; 70_000];
            let v6: SocketAddr = "[::1]:9".parse().expect("a literal");
            let to = at.local_addr();
            let all = [
                (&b"1"[..], to),
                (b"2", to),
                (&long, to),
                (b"3", v6),
                (b"4", to),
            ];
            let mut rest = all.iter().copied();
            match from.send_many(&mut rest).await {
                Err(Error::Io(error)) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
                    assert!(error.to_string().contains(&to.to_string()));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(rest.len(), 3, "the long one is the next");
            rest.next();
            match from.send_many(&mut rest).await {
                Err(Error::Io(error)) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidInput);
                    assert!(error.to_string().contains("[::1]:9"), "{error}");
                }
                other => panic!("{other:?}"),
            }
            rest.next();
            from.send_many(&mut rest).await.expect("sent");
            from.send_many(&mut rest).await.expect("nothing is sent");
            for expected in [b"1", b"2", b"4"] {
                assert_eq!(at.receive().await.expect("received").0, expected);
            }
            assert!(polled(3, at.receive()).await.is_none());
        });
    }
}

#[test]
fn segments_of_no_size_or_too_large_a_size_are_refused() {
    run(async {
        let v4 = udp().await;
        let v6 = create_udp_socket()
            .local_host("::1")
            .await
            .expect("a socket");
        for (at, most) in [(&v4, 65_507), (&v6, 65_527)] {
            let data = vec![1; 70_000];
            for size in [0, most + 1, usize::MAX] {
                let mut rest = &data[..];
                match at.send_segments(&mut rest, size, at.local_addr()).await {
                    Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
                    other => panic!("{other:?}"),
                }
                assert_eq!(rest.len(), data.len());
            }
            let mut rest = &data[..];
            at.send_segments(&mut rest, most, at.local_addr())
                .await
                .expect("sent");
            assert_eq!(at.receive().await.expect("received").0.len(), most);
            assert_eq!(at.receive().await.expect("received").0.len(), 70_000 - most);
            at.send_segments(&mut &[][..], 1, at.local_addr())
                .await
                .expect("nothing is sent");
            assert!(polled(3, at.receive()).await.is_none());
        }
        let connected = connected(&v4, true).await;
        refused!(
            connected.send_segments(&mut &b"x"[..], 0).await,
            Error::Io(_)
        );
    });
}

#[test]
fn a_kernel_that_refuses_segments_gets_single_datagrams() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        without_checksums(&from);
        let data = numbered(0, 10_000);
        for size in [1_200, 1_000, 300, 200] {
            for _ in 0..2 {
                let mut rest = &data[..];
                from.send_segments(&mut rest, size, at.local_addr())
                    .await
                    .expect("sent");
                assert!(rest.is_empty());
                for piece in data.chunks(size) {
                    assert!(at.receive().await.expect("received").0 == piece);
                }
            }
        }
    });
}

#[test]
fn a_refusal_between_many_is_told_and_the_socket_lives_on() {
    for batching in [true, false] {
        run(async {
            let (nobody, port) = nobody::udp();
            let made = create_connected_udp_socket("127.0.0.1", port).batching(batching);
            let client = made.await.expect("a socket");
            let mut told = 0;
            let mut rest = [&b"a"[..], b"bb", b"c", b"dd"].into_iter();
            for _ in 0..5 {
                match client.send_many(&mut rest).await {
                    Ok(()) => break,
                    Err(Error::Io(error)) => {
                        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                        told += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(rest.len(), 0, "all of them went");
            refused!(client.receive().await, Error::Io(_));
            assert!(batching || told > 0);
            // The peer comes.
            nobody.connect(client.local_addr()).expect("connected");
            client.send(b"hello").await.expect("sent");
            assert_eq!(nobody.recv(&mut [0; 9]).expect("received"), 5);
        });
    }
}

/// Covers: UdpSocket::send_many, UdpSocket::receive_many, UdpSocket::send_to_host.
#[test]
fn many_datagrams() {
    everywhere("udp_sends::many_datagrams", async |cut| {
        let (receiver, sender) = (udp().await, udp().await);
        let all: Vec<Vec<u8>> = (0..100)
            .map(|number| numbered(number, number % 7))
            .collect();
        let to = receiver.local_addr();
        let mut rest = all.iter().map(|data| (&data[..], to));
        let (mut done, mut got) = (true, Vec::new());
        let send = async {
            turns(2).await;
            let cut = cut.apply(sender.send_many(&mut rest)).await;
            // After any cut the rest is exactly what was not sent.
            sender.send_many(&mut rest).await.expect("sent");
            cut.is_some()
        };
        let receive = async {
            let mut buffer = DatagramBuffer::new();
            let batch = cut.apply(receiver.receive_many(&mut buffer)).await;
            let done = batch.is_some();
            got.extend(
                batch
                    .into_iter()
                    .flat_map(|batch| batch.expect("a batch"))
                    .map(owned),
            );
            while got.len() < all.len() {
                let batch = receiver.receive_many(&mut buffer).await;
                got.extend(batch.expect("a batch").map(owned));
            }
            done
        };
        let (received, sent) = join(receive, send).await;
        assert!(got == all);
        done &= received && sent;
        let name = cut
            .apply(sender.send_to_host(b"x", "localhost", to.port()))
            .await;
        done && name.is_some_and(|sent| sent.is_ok())
    });
}

fn owned((data, _): (&[u8], SocketAddr)) -> Vec<u8> {
    data.to_vec()
}

#[test]
fn many_go_and_come_by_whatever_calls_there_are() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        let data = numbered(0, 30_000);
        let mut buffer = DatagramBuffer::new();
        for size in [1_000, 900] {
            let mut rest = &data[..];
            let sent = from.send_segments(&mut rest, size, at.local_addr()).await;
            sent.expect("sent");
            let mut pieces = data.chunks(size);
            while pieces.len() > 0 {
                for (got, _) in at.receive_many(&mut buffer).await.expect("received") {
                    assert!(Some(got) == pieces.next(), "{} bytes", got.len());
                }
            }
        }
        assert!(polled(3, at.receive()).await.is_none());
    });
}

/// A device without segmentation, a kernel without support, systems without the calls.
#[cfg(target_os = "linux")]
#[test]
fn the_kernels_own_refusals_change_nothing() {
    let faults = [
        "sendmmsg:error=EIO:when=1",
        "sendmmsg:error=EINVAL:when=1",
        "sendmmsg:error=ENOSYS",
        "recvmmsg:error=ENOSYS",
        "getsockopt:error=ENOPROTOOPT",
        "setsockopt:error=ENOPROTOOPT",
    ];
    let own = std::env::current_exe().expect("the path of the test binary");
    let dir = TempDir::new();
    let seen = dir.path("trace");
    for fault in faults {
        let call = fault.split(':').next().expect("a name");
        let traced = Command::new("strace")
            .args(["-f", "-qq", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={fault}"), "-o"])
            .arg(&seen)
            .arg(&own)
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("udp_sends::many_go_and_come_by_whatever_calls_there_are")
            // A leak checker does not work in a traced process.
            .env("LSAN_OPTIONS", "detect_leaks=0")
            .output();
        let Ok(output) = traced else {
            eprintln!("no strace here: not tested");
            return;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("ptrace") {
            eprintln!("strace may not trace here: not tested");
            return;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{fault}:\n{text}\n{errors}");
        let seen = std::fs::read_to_string(&seen).expect("a trace");
        assert!(seen.contains("(INJECTED)"), "{fault}: {seen}");
    }
}
