//! One side of a relay breaks: the other side gets the data that came before, and is then reset,
//! but never gets an end (envoy#44148, ztunnel#1483).

use std::time::Duration;

use futures_util::future::join;
use soloio::{
    AnyByteStream, Buffered, ByteStream, CloseLimits, Error, create_memory_byte_stream, relay,
    unix_socket_pair,
};

use crate::net_support::{
    check_numbered, clog, is_broken, numbered, receive_numbered, run, tcp_pair, turns,
};
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
use crate::tls_support::tls;

/// Owns its streams, or borrows them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    ByValue,
    ByReference,
}

/// Relays between streams one of which breaks off.
async fn relayed<A: ByteStream, B: ByteStream>(a: A, b: B, (form, splice): (Form, bool)) {
    let ended = match form {
        Form::ByValue => relay(a, b).splice(splice).await,
        // Both streams live until the peers have seen the end.
        Form::ByReference => {
            let ended = relay(&a, &b).splice(splice).run().await;
            turns(20).await;
            ended
        }
    };
    assert!(is_broken(&ended), "{ended:?}");
}

/// The `client`, the peer of `a`, sends `length` bytes and `breaks` off; `a` is the first stream of
/// the relay, or the second one. Returns the number of bytes that the peer of `b` received, and the
/// error at their end.
async fn broken<A: ByteStream, B: ByteStream>(
    (client, a): (A, A),
    (b, server): (B, B),
    (form, splice, is_first): (Form, bool, bool),
    breaks: impl AsyncFn(A),
) -> (usize, Error) {
    let length = LENGTH;
    let relayed = async {
        match is_first {
            true => relayed(a, b, (form, splice)).await,
            false => relayed(b, a, (form, splice)).await,
        }
    };
    let talk = async {
        client.send(&numbered(0, length)).await.expect("sent");
        let mut got = 0;
        let mut client = Some(client);
        loop {
            if got >= length.min(1) {
                if let Some(client) = client.take() {
                    breaks(client).await;
                }
            }
            match server.receive().await {
                Ok(data) => {
                    check_numbered(got, &data);
                    got += data.len();
                }
                Err(end) => return (got, end),
            }
        }
    };
    join(relayed, talk).await.1
}

async fn reset(client: soloio::TcpStream) {
    client.set_zero_linger(true).expect("set");
    drop(client);
}

const LENGTH: usize = 1000;

macro_rules! each_form {
    ($forms:ident => $body:block) => {
        for form in [Form::ByValue, Form::ByReference] {
            for (splice, is_first) in [(true, true), (true, false), (false, true), (false, false)] {
                let $forms = (form, splice, is_first);
                $body
            }
        }
    };
}

fn check((got, end): (usize, Error)) {
    assert_eq!(got, LENGTH);
    assert!(matches!(end, Error::Broken(_)), "{end:?}");
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    run(async {
        each_form!(form => {
            check(broken(tcp_pair().await, tcp_pair().await, form, reset).await);
            let (b, server) = tcp_pair().await;
            let b = Buffered::new(AnyByteStream::new(b));
            let server = Buffered::new(AnyByteStream::new(server));
            check(broken(tcp_pair().await, (b, server), form, reset).await);
        });
    });
}

#[test]
fn a_reset_breaks_a_memory_stream() {
    run(async {
        each_form!(form => {
            let memory = create_memory_byte_stream(5000);
            check(broken(tcp_pair().await, memory, form, reset).await);
        });
    });
}

#[test]
fn a_unix_stream_cannot_be_reset_and_gets_what_came() {
    run(async {
        each_form!(form => {
            let unix = unix_socket_pair().expect("two descriptors");
            let (got, _) = broken(tcp_pair().await, unix, form, reset).await;
            assert_eq!(got, LENGTH);
        });
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn tls_that_is_cut_off_is_passed_on_as_a_reset() {
    run(async {
        each_form!(form => {
            // A drop sends no close_notify.
            let cut = async |client| drop(client);
            check(broken(tls(tcp_pair()).await, tcp_pair().await, form, cut).await);
            let cut = async |client| drop(client);
            check(broken(tls(tcp_pair()).await, tls(tcp_pair()).await, form, cut).await);
            check(broken(tcp_pair().await, tls(tcp_pair()).await, form, reset).await);
        });
    });
}

/// The relay holds bytes, in its buffer or its pipe, that the other side has no room for when the
/// reset comes.
#[test]
fn bytes_that_the_relay_holds_come_before_the_reset() {
    const HELD: usize = 30_000;
    run(async {
        each_form!(forms => {
            let (form, splice, is_first) = forms;
            let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
            server.set_receive_buffer_size(65_536).expect("set");
            let before = clog(&b, 0).await;
            let relayed = async {
                match is_first {
                    true => relayed(a, b, (form, splice)).await,
                    false => relayed(b, a, (form, splice)).await,
                }
            };
            let talk = async {
                client.send(&numbered(before, HELD)).await.expect("sent");
                // The relay takes all of it.
                turns(20).await;
                reset(client).await;
                turns(20).await;
                receive_numbered(&server, 0, before + HELD).await;
                let end = server.receive().await;
                assert!(is_broken(&end), "{end:?}");
            };
            join(relayed, talk).await;
        });
    });
}

/// A peer that got the end still receives all data sent before it.
#[test]
fn what_came_before_an_end_arrives_although_a_peer_goes_on_sending() {
    run(async {
        for splice in [true, false] {
            let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
            client.set_receive_buffer_size(65_536).expect("set");
            let answer = 100_000;
            let talk = async {
                server.send(&numbered(0, answer)).await.expect("sent");
                server.send_eof().await.expect("ended");
                // The server is gone, and the client still sends: the relay discards that.
                drop(server);
                client.send(&vec![0; 8 << 20]).await.expect("discarded");
                client.send_eof().await.expect("ended");
                let mut got = 0;
                while let Ok(data) = client.receive().await {
                    check_numbered(got, &data);
                    got += data.len();
                }
                got
            };
            let relayed = async { relay(a, b).splice(splice).await };
            let (ended, got) = join(relayed, talk).await;
            assert!(is_broken(&ended), "{ended:?}");
            assert_eq!(got, answer);
        }
    });
}

/// Nothing came for the whole limit, neither an end nor a reset, so the other side gets no end.
#[test]
fn a_side_that_was_silent_too_long_is_no_end_for_the_other() {
    run(async {
        let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
        let talk = async {
            server.send(b"half of").await.expect("sent");
            client.send_eof().await.expect("ended");
            assert_eq!(client.receive().await.expect("sent"), b"half of");
            let end = client.receive().await;
            assert!(is_broken(&end), "{end:?}");
            server
        };
        b.set_close_limits(CloseLimits {
            silence: Duration::from_millis(20),
            ..CloseLimits::default()
        });
        let relay = relay(a, b).half_open_limit(Duration::from_millis(20));
        let (ended, _server) = join(async { relay.await }, talk).await;
        assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
    });
}

/// The client takes no more when the server breaks off: the data before that is lost with the
/// limit, and the client must not take the rest for all.
#[test]
fn a_break_beside_a_silent_way_is_a_reset_as_well() {
    run(async {
        let (client, a) = create_memory_byte_stream(4);
        let (b, server) = create_memory_byte_stream(64);
        let mut relay = relay(&a, &b).half_open_limit(Duration::from_millis(20));
        let talk = async {
            server.send(b"0123456789").await.expect("sent");
            turns(3).await;
            ByteStream::reset(&server).await.expect("at once");
            client.send(b"x").await.expect("sent");
        };
        let (ended, ()) = join(relay.run(), talk).await;
        assert!(is_broken(&ended), "{ended:?}");
        assert_eq!(client.receive().await.expect("sent"), b"0123");
        let end = client.receive().await;
        assert!(is_broken(&end), "{end:?}");
    });
}

/// `reset` waits until the peer has received the data.
#[test]
fn a_reset_comes_behind_what_was_sent() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.set_receive_buffer_size(65_536).expect("set");
        let length = 1 << 20;
        let send = async {
            server.send(&numbered(0, length)).await?;
            ByteStream::reset(&server).await
        };
        let receive = async {
            let mut got = 0;
            loop {
                match client.receive_max(10_000).await {
                    Ok(data) => {
                        check_numbered(got, &data);
                        got += data.len();
                    }
                    Err(end) => return (got, end),
                }
            }
        };
        let (sent, (got, end)) = join(send, receive).await;
        sent.expect("all of it arrived");
        assert_eq!(got, length);
        assert!(matches!(end, Error::Broken(_)), "{end:?}");
        assert!(matches!(server.send(b"x").await, Err(Error::Closed)));
    });
}
