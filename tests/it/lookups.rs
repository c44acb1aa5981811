//! Name lookups while a name server is silent: names that wait for others, and the messages of
//! errors. In a network of the test's own.

use std::future::IntoFuture;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use soloio::{Error, Result, block_on, connect_tcp, create_tcp_listener, fail_after};

use crate::namespace::in_namespace;
use crate::support::deadline;

/// The hosts file has `other` and `Filed.example`, and no `localhost`.
const HOSTS: &str = "hosts=$(mktemp)
echo '127.0.0.1 other Filed.example # nobody.example' >$hosts
mount --bind $hosts /etc/hosts
rm $hosts
";

/// Answers each question by the first label of its name; `mute` gets no answer.
fn start_name_server() {
    let socket = UdpSocket::bind("127.0.0.1:53").expect("a port of this namespace");
    std::thread::spawn(move || {
        let mut room = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut room).expect("a question");
            if let Some(answer) = answer(&room[..length]) {
                socket.send_to(&answer, from).expect("an answer is sent");
            }
        }
    });
}

/// RFC 1035, 4.1: a copy of the question, the response code, and at most one record.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let label = &question[13..13 + usize::from(question[12])];
    let (code, has_address) = match label {
        label if label.starts_with(b"mute") => return None,
        b"nosuchname" => (3, false),
        b"noaddress" => (0, false),
        b"failing" => (2, false),
        b"refusing" => (5, false),
        _ => (0, true),
    };
    let name = question[12..].iter().position(|byte| *byte == 0);
    let end = 12 + name.expect("a name") + 5;
    let mut answer = question[..end].to_vec();
    let has_address = has_address && answer[end - 4..end - 2] == [0, 1];
    answer[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    if has_address {
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

fn mute_names(from: usize) -> Vec<String> {
    (from..from + 200)
        .map(|n| format!("mute{n}.example"))
        .collect()
}

/// Connects to each name while `200` others get no answer.
async fn connect_to(names: &[&str], port: u16) {
    for name in names {
        let begun = Instant::now();
        let connect = connect_tcp(*name, port);
        let client = fail_after(Duration::from_secs(2), connect).await;
        let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(client.peer_addr().ip().is_loopback());
        println!("{name}: {:?}", begun.elapsed());
    }
}

#[test]
fn names_that_were_given_up_stop_no_others() {
    let test = "lookups::names_that_were_given_up_stop_no_others";
    in_namespace(test, HOSTS, || {
        let _guard = deadline();
        start_name_server();
        block_on(async {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let port = listener.as_ref().expect("listens").local_addr().port();
            for round in 0..4 {
                let names = mute_names(round * 200);
                let connects = names.iter().map(|name| connect_tcp(name, 1).into_future());
                let given_up = fail_after(Duration::from_millis(20), async {
                    let all: Result<Vec<_>> = join_all(connects).await.into_iter().collect();
                    all.map(drop)
                });
                assert!(matches!(given_up.await, Err(Error::TimedOut)));
                connect_to(&["localhost", "filed.example", "live.example"], port).await;
            }
        });
    });
}

#[test]
fn what_a_file_answers_does_not_wait_for_strangers() {
    let test = "lookups::what_a_file_answers_does_not_wait_for_strangers";
    in_namespace(test, HOSTS, || {
        let _guard = deadline();
        start_name_server();
        block_on(async {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let port = listener.as_ref().expect("listens").local_addr().port();
            let names = mute_names(0);
            let connects = names.iter().map(|name| connect_tcp(name, 1).into_future());
            let all = fail_after(Duration::from_secs(3), async {
                let all: Result<Vec<_>> = join_all(connects).await.into_iter().collect();
                all.map(drop)
            });
            let others = async {
                let names = ["localhost", "LocalHost.", "api.localhost", "FILED.example"];
                connect_to(&names, port).await;
            };
            let (all, ()) = join(all, others).await;
            assert!(
                matches!(all, Err(Error::TimedOut)),
                "they waited all the time"
            );
        });
    });
}

#[test]
fn errors_tell_no_such_name_from_try_again() {
    let test = "lookups::errors_tell_no_such_name_from_try_again";
    in_namespace(test, HOSTS, || {
        let _guard = deadline();
        start_name_server();
        block_on(async {
            for (name, kind, said) in [
                ("nosuchname.example", ErrorKind::NotFound, "no such name"),
                ("noaddress.example", ErrorKind::NotFound, "no such name"),
                ("nobody.example.", ErrorKind::NotFound, "connect"),
                ("failing.example", ErrorKind::ResourceBusy, "try again"),
                ("refusing.example", ErrorKind::ResourceBusy, "try again"),
                ("mute.example", ErrorKind::ResourceBusy, "try again"),
            ] {
                match connect_tcp(name, 1).await {
                    Err(Error::Resolve(error)) => {
                        println!("{error}");
                        assert_eq!(error.cause.kind(), kind, "{error}");
                        assert!(error.to_string().contains(said), "{error}");
                    }
                    // `#` begins a comment in the hosts file: the name server has resolved it.
                    Err(Error::ConnectFailed(_)) if said == "connect" => {}
                    other => panic!("{name}: {other:?}"),
                }
            }
        });
    });
}
