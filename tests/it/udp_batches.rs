//! UDP with many datagrams at a time: the system calls for several lose, double, join and reorder
//! nothing, with any mixture of calls, with cancels, and on systems without those calls.

#![allow(unsafe_code, reason = "asks the kernel for a socket option")]

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::task::Poll;

use soloio::{
    ConnectedUdpSocket, DatagramBuffer, Error, Runtime, UdpSocket, block_on,
    create_connected_udp_socket, create_udp_socket,
};

use crate::allocations;
use crate::net_support::{numbered, polled, refused, run, udp};
use crate::support::{Random, poll_once, rounds};

pub(crate) async fn socket(batching: bool) -> UdpSocket {
    let made = create_udp_socket().local_host("127.0.0.1");
    made.batching(batching).await.expect("a socket on loopback")
}

pub(crate) async fn connected(peer: &UdpSocket, batching: bool) -> ConnectedUdpSocket {
    let made = create_connected_udp_socket("127.0.0.1", peer.local_addr().port());
    made.batching(batching).await.expect("a socket")
}

type Sent = VecDeque<(Vec<u8>, SocketAddr)>;

/// Sends some datagrams by a random method, and notes them.
async fn send_some(random: &mut Random, from: &UdpSocket, to: SocketAddr, sent: &mut Sent) {
    let start = random.below(60_000);
    let known = numbered(start, 6_000);
    let piece = |random: &mut Random| {
        let length = [0, 1, 64, random.below(1_500)][random.below(4)];
        &known[..length]
    };
    match random.below(3) {
        0 => {
            let data = piece(random);
            from.send_to(data, to).await.expect("sent");
            sent.push_back((data.to_vec(), from.local_addr()));
        }
        1 => {
            let all: Vec<_> = (0..random.below(9)).map(|_| (piece(random), to)).collect();
            let mut rest = all.iter().copied();
            from.send_many(&mut rest).await.expect("sent");
            assert_eq!(rest.len(), 0);
            sent.extend(
                all.iter()
                    .map(|(data, _)| (data.to_vec(), from.local_addr())),
            );
        }
        _ => {
            let size = 1 + random.below(900);
            let mut rest = &known[..random.below(8) * size.min(700)];
            let pieces: Vec<_> = rest.chunks(size).map(<[u8]>::to_vec).collect();
            from.send_segments(&mut rest, size, to).await.expect("sent");
            assert!(rest.is_empty());
            sent.extend(pieces.into_iter().map(|data| (data, from.local_addr())));
        }
    }
}

/// Receives by a random method; some receives are cancelled first.
async fn receive_some(
    random: &mut Random,
    at: &UdpSocket,
    buffer: &mut DatagramBuffer,
    sent: &mut Sent,
) {
    if random.below(4) == 0 {
        // Polled once: it either has a datagram, or has taken none.
        let got = poll_once(std::pin::pin!(at.receive())).await;
        if let Poll::Ready(got) = got {
            assert_eq!(Some(got.expect("received")), sent.pop_front());
        }
    } else if random.below(3) == 0 {
        let got = at.receive_many(buffer).await.expect("received");
        assert_eq!(got.len(), got.clone().count());
        for (data, from) in got {
            assert_eq!(Some((data.to_vec(), from)), sent.pop_front());
        }
    } else if random.below(2) == 0 {
        let mut room = vec![0; random.below(1_600)];
        let got = at.receive_into(&mut room).await.expect("received");
        let (data, from) = sent.pop_front().expect("no more than were sent");
        assert_eq!(
            (got.from, got.truncated),
            (from, data.len() > got.data.len())
        );
        assert_eq!(got.data, &data[..got.data.len()]);
    } else {
        let got = at.receive().await.expect("received");
        assert_eq!(Some(got), sent.pop_front());
    }
}

#[test]
fn any_mixture_of_calls_delivers_every_datagram_once_and_in_order() {
    for (seed, [ours, theirs]) in [[true, true], [true, false], [false, true], [false, false]]
        .into_iter()
        .enumerate()
    {
        run(async {
            let mut random = Random::new(seed as u64 + 77);
            let at = socket(ours).await;
            let others = [socket(theirs).await, socket(theirs).await];
            let (mut sent, mut buffer) = (Sent::new(), DatagramBuffer::new());
            for _ in 0..rounds(4_000) {
                // Never more than the kernel's queue has room for.
                if sent.len() < 60 && (sent.is_empty() || random.below(2) == 0) {
                    let from = &others[random.below(2)];
                    send_some(&mut random, from, at.local_addr(), &mut sent).await;
                }
                if !sent.is_empty() {
                    receive_some(&mut random, &at, &mut buffer, &mut sent).await;
                }
            }
            while !sent.is_empty() {
                receive_some(&mut random, &at, &mut buffer, &mut sent).await;
            }
            assert!(
                polled(5, at.receive()).await.is_none(),
                "nothing came twice"
            );
        });
    }
}

#[test]
fn connected_sockets_send_and_receive_many() {
    for batching in [true, false] {
        run(async {
            let server = socket(batching).await;
            let client = connected(&server, batching).await;
            let data = numbered(0, 50 * 100 + 7);
            let mut buffer = DatagramBuffer::new();
            let mut whole = data.chunks(100);
            client.send_many(&mut whole).await.expect("sent");
            let mut got = Vec::new();
            while got.len() < data.len() {
                let mut batch = server.receive_many(&mut buffer).await.expect("received");
                for (piece, from) in batch.clone() {
                    assert_eq!(from, client.local_addr());
                    got.extend_from_slice(piece);
                }
                server.send_many(&mut batch).await.expect("sent");
            }
            assert!(got == data);
            let mut back = Vec::new();
            while back.len() < data.len() {
                for (piece, from) in client.receive_many(&mut buffer).await.expect("received") {
                    assert_eq!(from, server.local_addr());
                    back.extend_from_slice(piece);
                }
            }
            assert!(back == data);
            client
                .send_segments(&mut &data[..], 1_000)
                .await
                .expect("sent");
            for piece in data.chunks(1_000) {
                assert!(server.receive().await.expect("received").0 == piece);
            }
        });
    }
}

/// Has the kernel join a sender's datagrams, and leaves some of them in the socket.
async fn with_some_ahead(at: &UdpSocket, from: &UdpSocket) -> Vec<Vec<u8>> {
    from.send_to(b"first", at.local_addr()).await.expect("sent");
    let mut buffer = DatagramBuffer::new();
    at.receive_many(&mut buffer).await.expect("one");
    let all: Vec<u8> = (0..20).flat_map(|number| [7, number]).collect();
    let sent = from.send_segments(&mut &all[..], 2, at.local_addr()).await;
    sent.expect("sent");
    let mut left: VecDeque<_> = all.chunks(2).map(<[u8]>::to_vec).collect();
    for _ in 0..10 {
        let got = at.receive().await.expect("received").0;
        assert_eq!(Some(got), left.pop_front());
    }
    left.into()
}

#[test]
fn what_was_taken_ahead_outlives_the_loop_that_took_it() {
    let (mut first, mut second) = (
        Runtime::new().expect("a runtime"),
        Runtime::new().expect("a runtime"),
    );
    let (at, from) = block_on(async { (udp().await, udp().await) });
    let left = first.block_on(with_some_ahead(&at, &from));
    // The kernel's queue is empty: the rest is in the socket.
    let mut kernel = [0; 9];
    let std = StdSocket::from(at.as_fd().try_clone_to_owned().expect("a duplicate"));
    let empty = std.recv(&mut kernel).expect_err("taken ahead");
    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
    refused!(second.block_on(at.receive()), Error::OtherLoop);
    drop(first);
    second.block_on(async {
        for data in left {
            assert_eq!(at.receive().await.expect("received").0, data);
        }
        assert!(polled(5, at.receive()).await.is_none());
    });
}

#[test]
fn what_was_taken_ahead_is_cut_off_and_told_like_the_rest() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        for data in with_some_ahead(&at, &from).await {
            let mut room = [0; 1];
            let got = at.receive_into(&mut room).await.expect("received");
            assert_eq!((&*got.data, got.truncated), (&data[..1], true));
        }
    });
}

#[test]
fn an_aborted_socket_gives_nothing_more() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        assert!(!with_some_ahead(&at, &from).await.is_empty());
        at.abort();
        refused!(at.receive().await, Error::Closed);
        refused!(
            at.receive_many(&mut DatagramBuffer::new()).await,
            Error::Closed
        );
        let mut one = [(&b"x"[..], from.local_addr())].into_iter();
        refused!(at.send_many(&mut one).await, Error::Closed);
        refused!(at.set_ttl(1), Error::Closed);
        assert_eq!(one.len(), 1, "nothing went");
    });
}

#[test]
fn a_second_user_of_a_direction_is_busy() {
    run(async {
        let at = udp().await;
        let (mut one, mut two) = (DatagramBuffer::new(), DatagramBuffer::new());
        let mut receive = Box::pin(at.receive_many(&mut one));
        assert!(poll_once(receive.as_mut()).await.is_pending());
        refused!(at.receive_many(&mut two).await, Error::Busy);
        refused!(at.receive().await, Error::Busy);
        drop(receive);
        assert!(polled(3, at.receive_many(&mut two)).await.is_none());
    });
}

#[test]
fn steady_traffic_allocates_nothing() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        let (to, back) = (at.local_addr(), from.local_addr());
        let mut buffer = DatagramBuffer::new();
        let mut room = [0; 100];
        let mut before = 0;
        for round in 0..40 {
            if round == 20 {
                before = allocations::made();
            }
            let mut all = (0..40).map(|_| (&b"some bytes"[..], to));
            from.send_many(&mut all).await.expect("sent");
            for _ in 0..40 {
                let got = at.receive_into(&mut room).await.expect("received");
                at.send_to(got.data, got.from).await.expect("sent");
            }
            let mut left = 40;
            while left > 0 {
                let mut batch = from.receive_many(&mut buffer).await.expect("received");
                left -= batch.len();
                from.send_many(&mut batch).await.expect("sent");
            }
            for _ in 0..40 {
                assert_eq!(
                    at.receive_into(&mut room).await.expect("received").from,
                    back
                );
            }
        }
        assert_eq!(allocations::made() - before, 0);
    });
}

#[test]
fn a_flood_of_batches_starves_nobody() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        let mut buffer = DatagramBuffer::new();
        let all = [(&b"x"[..], at.local_addr()); 64];
        let mut turns = 0;
        let mut flood = std::pin::pin!(async {
            for _ in 0..rounds(5_000) {
                from.send_many(&mut all.iter().copied())
                    .await
                    .expect("sent");
                let mut left = all.len();
                while left > 0 {
                    left -= at.receive_many(&mut buffer).await.expect("received").len();
                }
            }
        });
        poll_fn(|cx| {
            turns += 1;
            flood.as_mut().poll(cx)
        })
        .await;
        // 8 sent datagrams count as one operation, and a turn has a budget of 256.
        assert!(turns > rounds(5_000) * 8 / 256, "{turns} turns");
    });
}

/// True if the kernel was asked to return several datagrams as one.
fn is_coalesced(socket: &UdpSocket) -> bool {
    let (mut on, mut length) = (0_i32, 4);
    // SAFETY: pointer and length are those of one integer.
    let got = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw mut on).cast(),
            &raw mut length,
        )
    };
    assert_eq!(got, 0);
    on != 0
}

/// However long the bursts are: what is not received is in the kernel's queue, one by one, for
/// whatever else reads from the descriptor.
#[test]
fn ordinary_receives_take_one_datagram_and_leave_the_others_apart() {
    run(async {
        let [usual, plain] = [udp().await, socket(false).await];
        let from = udp().await;
        let data = numbered(0, 60 * 100 + 50);
        for at in [&usual, &plain] {
            for _ in 0..20 {
                let mut rest = &data[..];
                let sent = from.send_segments(&mut rest, 100, at.local_addr()).await;
                sent.expect("sent");
                let mut pieces = data.chunks(100);
                for piece in pieces.by_ref().take(30) {
                    let mut room = [0; 101];
                    let got = at.receive_into(&mut room).await.expect("received");
                    assert_eq!((&*got.data, got.truncated), (piece, false));
                }
                let std = StdSocket::from(at.as_fd().try_clone_to_owned().expect("a duplicate"));
                for piece in pieces {
                    let mut room = [0; 101];
                    assert_eq!(std.recv(&mut room).expect("in the queue"), piece.len());
                    assert_eq!(&room[..piece.len()], piece);
                }
            }
            assert!(!is_coalesced(at));
        }
    });
}

/// Other owners of the descriptor get datagrams as they were sent.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_changes_hands_keeps_datagrams_apart() {
    run(async {
        let (socket, sender) = (udp().await, udp().await);
        let to = socket.local_addr();
        let send = async || {
            let mut rest = &[7; 1000][..];
            sender.send_segments(&mut rest, 100, to).await
        };
        sender.send_to(b"first", to).await.expect("sent");
        let mut buffer = DatagramBuffer::new();
        socket.receive_many(&mut buffer).await.expect("one");
        assert!(is_coalesced(&socket), "so the kernel puts them together");

        // A duplicate, in which this state is not known.
        let duplicate = socket.as_fd().try_clone_to_owned().expect("a descriptor");
        let duplicate = UdpSocket::try_from(duplicate).expect("a UDP socket");
        send().await.expect("sent");
        for _ in 0..10 {
            assert_eq!(duplicate.receive().await.expect("sent").0, [7; 100]);
        }
        drop(duplicate);

        // std cannot ask for the sizes.
        let std: std::net::UdpSocket = socket.try_into().expect("a socket");
        send().await.expect("sent");
        for _ in 0..10 {
            assert_eq!(std.recv(&mut [0; 2000]).expect("sent"), 100);
        }
    });
}
