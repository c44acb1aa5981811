//! Name lookups while a name server is silent: names that wait for others, and the messages of
//! errors. In a network of the test's own.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use soloio::{
    Error, Result, block_on, connect_tcp, create_tcp_listener, fail_after, thread_statistics,
    yield_now,
};

use crate::namespace::in_namespace;
use crate::support::{deadline, poll_once};

/// The hosts file has `other`, `Filed.example` and `mute.filed`, and no `localhost`.
const HOSTS: &str = "hosts=$(mktemp)
echo '127.0.0.1 other Filed.example mute.filed # nobody.example' >$hosts
mount --bind $hosts /etc/hosts
rm $hosts
";

/// A name server that answers each question by the first label of its name; `mute` gets no answer
/// until the end.
struct NameServer {
    socket: UdpSocket,
    /// The questions without an answer.
    mute: Mutex<Vec<(Vec<u8>, SocketAddr)>>,
}

impl NameServer {
    fn start() -> Arc<Self> {
        let server = Arc::new(Self {
            socket: UdpSocket::bind("127.0.0.1:53").expect("a port of this namespace"),
            mute: Mutex::default(),
        });
        let own = Arc::clone(&server);
        std::thread::spawn(move || {
            let mut room = [0; 1500];
            loop {
                let (length, from) = own.socket.recv_from(&mut room).expect("a question");
                let question = &room[..length];
                let label = &question[13..13 + usize::from(question[12])];
                let (code, has_address) = match label {
                    label if label.starts_with(b"mute") => {
                        let question = (question.to_vec(), from);
                        own.mute.lock().expect("no panic").push(question);
                        continue;
                    }
                    b"nosuchname" => (3, false),
                    b"noaddress" => (0, false),
                    b"failing" => (2, false),
                    b"refusing" => (5, false),
                    _ => (0, true),
                };
                own.answer(question, from, code, has_address);
            }
        });
        server
    }

    /// RFC 1035, 4.1: a copy of the question, the response code, and at most one record.
    fn answer(&self, question: &[u8], to: SocketAddr, code: u8, has_address: bool) {
        let name = question[12..].iter().position(|byte| *byte == 0);
        let end = 12 + name.expect("a name") + 5;
        let mut answer = question[..end].to_vec();
        let has_address = has_address && answer[end - 4..end - 2] == [0, 1];
        answer[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
        if has_address {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        self.socket.send_to(&answer, to).expect("an answer is sent");
    }

    /// The number of resolvers that wait for an answer: each has a port of its own.
    fn hung(&self) -> usize {
        let mute = self.mute.lock().expect("no panic");
        let from: BTreeSet<SocketAddr> = mute.iter().map(|(_, from)| *from).collect();
        from.len()
    }

    /// Tells all that hang that there is no such name.
    fn answer_mute(&self) {
        for (question, from) in self.mute.lock().expect("no panic").drain(..) {
            self.answer(&question, from, 3, false);
        }
    }
}

fn mute_names(from: usize) -> Vec<String> {
    (from..from + 200)
        .map(|n| format!("mute{n}.example"))
        .collect()
}

/// The longest time that a lookup may take which waits for no other.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Connects to each name while many others get no answer. One that waits for those takes seconds
/// each time; otherwise one of a few is quick on any machine.
async fn connect_to(names: &[&str], port: u16) {
    for name in names {
        let mut quickest = Duration::MAX;
        for _ in 0..20 {
            let begun = Instant::now();
            let client = fail_after(Duration::from_secs(2), connect_tcp(*name, port)).await;
            let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(client.peer_addr().ip().is_loopback());
            quickest = quickest.min(begun.elapsed());
            if quickest < AT_ONCE {
                break;
            }
        }
        println!("{name}: {quickest:?}");
        assert!(quickest < AT_ONCE, "{name}: {quickest:?}");
    }
}

#[test]
fn names_that_were_given_up_stop_no_others() {
    let test = "lookups::names_that_were_given_up_stop_no_others";
    in_namespace(test, HOSTS, || {
        let _guard = deadline();
        let _server = NameServer::start();
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
                assert!(matches!(given_up.await, Err(Error::TimedOut(_))));
                connect_to(&["localhost", "filed.example", "live.example"], port).await;
            }
        });
    });
}

/// When 64 lookups that were given up still sleep in the resolver, the next name of a server waits
/// until one of them ends; what a file answers waits for none.
#[test]
fn names_wait_when_64_lookups_hang() {
    let test = "lookups::names_wait_when_64_lookups_hang";
    // The resolver gives none up as long as the test takes, also on a busy machine.
    let patient = format!("{HOSTS}echo options timeout:30 attempts:5 >>/etc/resolv.conf");
    in_namespace(test, &patient, || {
        let _guard = deadline();
        let server = NameServer::start();
        block_on(async {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let port = listener.as_ref().expect("listens").local_addr().port();
            // Eight are looked up at a time; each round gives up those that run.
            for round in 1..=8 {
                let names = mute_names(round * 200);
                let connects = names.iter().map(|name| connect_tcp(name, 1).into_future());
                let mut connects = std::pin::pin!(join_all(connects));
                while server.hung() < 8 * round {
                    assert!(poll_once(connects.as_mut()).await.is_pending());
                    yield_now().await.expect("inside a runtime");
                }
                // They are given up at the end of this round.
            }
            // A search of the hosts file that was given up as well ends by itself.
            while thread_statistics().abandoned > 64 {
                yield_now().await.expect("inside a runtime");
            }
            assert_eq!(thread_statistics().abandoned, 64);
            let mut live = std::pin::pin!(connect_tcp("live.example", port).into_future());
            assert!(poll_once(live.as_mut()).await.is_pending());
            for _ in 0..2 {
                connect_to(&["localhost", "filed.example"], port).await;
                // It is not in the hosts file, and waits for one of the 64.
                loop {
                    assert!(poll_once(live.as_mut()).await.is_pending());
                    let now = thread_statistics();
                    assert_eq!(now.abandoned, 64, "no lookup has ended yet");
                    if (now.running, now.waiting) == (64, 1) {
                        break;
                    }
                    yield_now().await.expect("inside a runtime");
                }
            }
            server.answer_mute();
            live.await.expect("when one of them has ended");
        });
    });
}

#[test]
fn what_a_file_answers_does_not_wait_for_strangers() {
    let test = "lookups::what_a_file_answers_does_not_wait_for_strangers";
    in_namespace(test, HOSTS, || {
        let _guard = deadline();
        let _server = NameServer::start();
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
                // The C library's search of the file does not find it with its dot.
                connect_to(&["mute.filed."], port).await;
            };
            let (all, ()) = join(all, others).await;
            assert!(
                matches!(all, Err(Error::TimedOut(_))),
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
        let _server = NameServer::start();
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
