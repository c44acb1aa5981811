//! Cancels the operations on UDP sockets.

use futures_util::future::join;
use soloio::create_connected_udp_socket;

use super::{Receive, everywhere};
use crate::net_support::{turns, udp};

/// Covers: UdpSocket::receive, UdpSocket::receive_into, UdpSocket::next, UdpSocket::send_to.
#[test]
fn datagrams() {
    everywhere("cancel_everywhere::datagrams::datagrams", async |cut| {
        let mut done = true;
        for how in [Receive::All, Receive::Into, Receive::Next] {
            let (receiver, sender) = (udp().await, udp().await);
            let send = async {
                for data in [b"one", b"two"] {
                    turns(2).await;
                    let to = receiver.local_addr();
                    let cut = cut.apply(sender.send_to(data, to)).await;
                    if cut.is_none() {
                        sender.send_to(data, to).await.expect("sent");
                    }
                }
            };
            let receive = async {
                let mut room = [0; 9];
                let got = match how {
                    Receive::Into => {
                        let got = cut.apply(receiver.receive_into(&mut room)).await;
                        got.map(|got| got.expect("a datagram").data.to_vec())
                    }
                    Receive::Next => {
                        let got = cut.apply(receiver.next()).await;
                        got.map(|got| got.expect("a datagram").expect("has no end").0)
                    }
                    _ => {
                        let got = cut.apply(receiver.receive()).await;
                        got.map(|got| got.expect("a datagram").0)
                    }
                };
                let done = got.is_some();
                let mut all: Vec<_> = got.into_iter().collect();
                while all.len() < 2 {
                    all.push(receiver.receive().await.expect("a datagram").0);
                }
                assert_eq!(all, [b"one", b"two"]);
                done
            };
            done &= join(receive, send).await.0;
        }
        done
    });
}

/// Covers: ConnectedUdpSocket::receive, ConnectedUdpSocket::receive_into,
/// ConnectedUdpSocket::next, ConnectedUdpSocket::send.
#[test]
fn connected() {
    everywhere("cancel_everywhere::datagrams::connected", async |cut| {
        let mut done = true;
        for how in [Receive::All, Receive::Into, Receive::Next] {
            let server = udp().await;
            let port = server.local_addr().port();
            let client = create_connected_udp_socket("127.0.0.1", port)
                .await
                .expect("a socket");
            if cut.apply(client.send(b"hello")).await.is_none() {
                client.send(b"hello").await.expect("sent");
            }
            let answer = async {
                let (data, from) = server.receive().await.expect("a datagram");
                assert_eq!(data, b"hello", "and once only");
                turns(2).await;
                server.send_to(b"answer", from).await.expect("sent");
            };
            let receive = async {
                let mut room = [0; 9];
                let got = match how {
                    Receive::Into => {
                        let got = cut.apply(client.receive_into(&mut room)).await;
                        got.map(|got| got.expect("a datagram").data.to_vec())
                    }
                    Receive::Next => {
                        let got = cut.apply(client.next()).await;
                        got.map(|got| got.expect("a datagram").expect("has no end"))
                    }
                    _ => cut
                        .apply(client.receive())
                        .await
                        .map(|got| got.expect("a datagram")),
                };
                let done = got.is_some();
                let got = match got {
                    Some(got) => got,
                    None => client.receive().await.expect("a datagram"),
                };
                assert_eq!(got, b"answer");
                done
            };
            done &= join(receive, answer).await.0;
        }
        done
    });
}
