//! Cancels every TLS operation at each of its waits, and thousands of them in a row.

use futures_util::future::join;
use soloio::tls::{TlsListener, TlsStream};
use soloio::{
    ByteStream, Error, MemoryStream, SendBuffer, connect_tcp, create_memory_byte_stream, task_group,
};

use crate::cancel_everywhere::{Receive, Send, cancelled_receive, cancelled_send};
use crate::cut::{Cut, everywhere};
use crate::net_support::{
    check_numbered, clog, is_broken, numbered, polled, receive_numbered, run, tcp_listener,
    tcp_pair, turns, unix_pair,
};
use crate::support::{Random, rounds};
use crate::tls_support::{NAME, client_config, old_tls, server_config, tls, tls_over, trickle};

async fn memory() -> (MemoryStream, MemoryStream) {
    create_memory_byte_stream(10_000)
}

/// Covers: ByteReceiveStream::receive.
#[test]
fn receives() {
    everywhere("tls_cancel::receives", async |cut| {
        let mut done = true;
        for how in [Receive::All, Receive::Max, Receive::Into, Receive::Next] {
            done &= cancelled_receive(cut, how, tls(tcp_pair()).await).await;
            done &= cancelled_receive(cut, how, old_tls(memory()).await).await;
            done &= cancelled_receive(cut, how, tls(tls(memory())).await).await;
        }
        done
    });
}

/// Covers: ByteSendStream::send_from.
#[test]
fn sends() {
    everywhere("tls_cancel::sends", async |cut| {
        let mut done = true;
        for how in [Send::Plain, Send::From, Send::Vectored] {
            done &= cancelled_send(cut, how, 1000, tls(memory()).await).await;
            done &= cancelled_send(cut, how, 1000, tls(tls(memory())).await).await;
        }
        done & cancelled_send(cut, Send::From, 20_000, tls(unix_pair()).await).await
    });
}

/// After a cut a stream has ended its direction nevertheless, and can be asked again.
async fn cancelled_end<S: ByteStream>(cut: Cut, (a, b): (S, S)) -> bool {
    let taken = clog(&a, 0).await;
    let partner = async {
        turns(2).await;
        receive_numbered(&b, 0, taken).await;
        assert!(b.next().await.expect("an orderly end").is_none());
        b.send(b"!").await.expect("sent");
    };
    let end = async {
        let ended = cut.apply(a.send_eof()).await;
        let done = ended.map(|ended| ended.expect("ended")).is_some();
        if cut.polls > 0 {
            assert!(matches!(a.send(b"x").await, Err(Error::Closed)));
        }
        if !done {
            a.send_eof().await.expect("ended now");
        }
        assert_eq!(a.receive().await.expect("the other direction"), b"!");
        done
    };
    join(end, partner).await.0
}

/// Covers: ByteStream::send_eof.
#[test]
fn ends() {
    everywhere("tls_cancel::ends", async |cut| {
        cancelled_end(cut, tls(unix_pair()).await).await
            & cancelled_end(cut, tls(memory()).await).await
            & cancelled_end(cut, tls(tls(memory())).await).await
    });
}

/// A cut while it closes consumes the stream; its peer sees an end or a broken connection.
async fn cancelled_close<S: ByteStream>(cut: Cut, (a, b): (S, S)) -> bool {
    let taken = clog(&a, 0).await;
    let partner = async move {
        let mut all = Vec::new();
        let ended = loop {
            match b.receive().await {
                Ok(bytes) => all.extend(bytes),
                Err(ended) => break ended,
            }
        };
        check_numbered(0, &all);
        (all.len(), ended)
    };
    let close = async move {
        let closed = cut.apply(a.close()).await;
        closed.map(|closed| closed.expect("closed")).is_some()
    };
    let (done, (got, ended)) = join(close, partner).await;
    match ended {
        Error::EndOfStream => assert_eq!(got, taken),
        Error::Broken(_) => assert!(got <= taken && !done),
        other => panic!("{other}"),
    }
    done
}

/// Covers: ByteStream::close.
#[test]
fn closes() {
    everywhere("tls_cancel::closes", async |cut| {
        cancelled_close(cut, tls(unix_pair()).await).await
            & cancelled_close(cut, tls(memory()).await).await
            & cancelled_close(cut, tls(tls(memory())).await).await
    });
}

/// Covers: TlsStream::unwrap.
#[test]
fn unwraps() {
    everywhere("tls_cancel::unwraps", async |cut| {
        let (a, b) = tls(memory()).await;
        let partner = async {
            turns(2).await;
            assert!(b.next().await.is_ok_and(|end| end.is_none()) || cut.polls < 1000);
            let unwrapped = b.unwrap().await;
            unwrapped.is_ok()
        };
        let unwrap = async {
            let unwrapped = cut.apply(a.unwrap()).await;
            unwrapped
                .map(|unwrapped| unwrapped.expect("unwrapped"))
                .is_some()
        };
        let (done, partner_done) = join(unwrap, partner).await;
        assert!(partner_done || !done);
        done
    });
}

/// Covers: TlsStream::client, TlsStream::server.
#[test]
fn handshakes() {
    everywhere("tls_cancel::handshakes", async |cut| {
        let mut done = true;
        for client_is_cut in [false, true] {
            let (a, b) = tcp_pair().await;
            let client = TlsStream::client(a, NAME, client_config()).into_future();
            let server = TlsStream::server(b, server_config()).into_future();
            let (cut_done, other) = if client_is_cut {
                let (client, server) = join(cut.apply(client), server).await;
                (
                    client.map(|client| client.expect("a handshake")).is_some(),
                    server,
                )
            } else {
                let (server, client) = join(cut.apply(server), client).await;
                (
                    server.map(|server| server.expect("a handshake")).is_some(),
                    client,
                )
            };
            // A client may have ended its handshake before the server's is cut.
            match other {
                Ok(other) => assert!(cut_done || other.receive().await.is_err()),
                Err(error) => assert!(matches!(error, Error::Broken(_)), "{error}"),
            }
            done &= cut_done;
        }
        done
    });
}

/// Covers: TlsListener::accept.
#[test]
fn accepts() {
    everywhere("tls_cancel::accepts", async |cut| {
        let listener = TlsListener::new(tcp_listener().await, server_config());
        let port = listener.inner().local_addr().port();
        let connect = async {
            turns(2).await;
            let stream = connect_tcp("127.0.0.1", port).await.expect("connects");
            TlsStream::client(stream, NAME, client_config()).await
        };
        let (accepted, client) = join(cut.apply(listener.accept()), async {
            // The client may find its connection ended by the cut, or still in the backlog.
            polled(50, connect).await
        })
        .await;
        drop(client);
        accepted
            .map(|accepted| accepted.expect("a handshake"))
            .is_some()
    });
}

/// The requirement is 100,000 sends: over small buffers, each cut at another place.
#[test]
fn cancelled_sends_lose_and_double_nothing() {
    run(async {
        let (a, b) = tls(async { create_memory_byte_stream(997) }).await;
        let total = rounds(100_000);
        let (a, b) = (&a, &b);
        let send = async move {
            let mut random = Random::new(1);
            let mut at = 0;
            for _ in 0..total {
                let chunk = numbered(at, 1 + random.below(3000));
                let mut rest = &chunk[..];
                let sent = polled(random.below(3), a.send_from(&mut rest)).await;
                sent.map_or(Ok(()), |sent| sent).expect("sent");
                at += chunk.len() - rest.len();
            }
            a.send_eof().await.expect("ended");
            at
        };
        let receive = async move {
            let mut random = Random::new(2);
            let mut at = 0;
            loop {
                match b.receive_max(1 + random.below(2000)).await {
                    Ok(bytes) => {
                        check_numbered(at, &bytes);
                        at += bytes.len();
                    }
                    Err(Error::EndOfStream) => return at,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let (sent, received) = join(send, receive).await;
        assert_eq!(sent, received);
        assert!(sent > total, "{sent} bytes");
    });
}

/// The requirement is 1,000,000 receives.
#[test]
fn cancelled_receives_lose_nothing() {
    run(async {
        let (a, b) = tls(async { create_memory_byte_stream(997) }).await;
        let total = rounds(1_000_000);
        let done = std::cell::Cell::new(false);
        let (a, b, done) = (&a, &b, &done);
        let send = async move {
            let mut random = Random::new(3);
            let mut at = 0;
            while !done.get() {
                let chunk = numbered(at, 1 + random.below(3000));
                a.send(&chunk).await.expect("sent");
                at += chunk.len();
            }
            a.send_eof().await.expect("ended");
            at
        };
        let receive = async move {
            let mut random = Random::new(4);
            let mut at = 0;
            let mut cut = 0;
            while cut < total {
                // Dropped immediately, or after a wake without a further poll.
                let receive = b.receive_max(1 + random.below(50));
                match Cut::after(1, random.below(64) == 0).apply(receive).await {
                    Some(bytes) => {
                        let bytes = bytes.expect("bytes");
                        check_numbered(at, &bytes);
                        at += bytes.len();
                        cut += usize::from(random.below(2) == 0);
                    }
                    None => {
                        cut += 1;
                        soloio::yield_now().await.expect("inside a runtime");
                    }
                }
            }
            done.set(true);
            while let Some(bytes) = b.next().await.expect("an orderly end") {
                check_numbered(at, &bytes);
                at += bytes.len();
            }
            at
        };
        let (sent, received) = join(send, receive).await;
        assert_eq!(sent, received);
    });
}

/// A cancelled send leaves a part of a record behind. A task that only receives afterwards has to
/// send it, since the peer answers the complete record.
#[test]
fn a_receive_writes_what_a_cancelled_send_left() {
    run(async {
        let (a, b) = tls(async { create_memory_byte_stream(100) }).await;
        let mut rest = &[7; 5000][..];
        assert!(polled(2, a.send_from(&mut rest)).await.is_none());
        assert!(rest.is_empty(), "it was given to the session");
        let answer = async {
            receive_all(&b, 5000).await;
            b.send(b"thanks").await.expect("sent");
        };
        let (answer_got, ()) = join(a.receive(), answer).await;
        assert_eq!(answer_got.expect("the answer"), b"thanks");
    });
}

async fn receive_all<S: ByteStream>(stream: &S, len: usize) {
    let mut got = 0;
    while got < len {
        got += stream.receive().await.expect("bytes").len();
    }
}

/// A receive that is not polled any more holds up no sender, nor the data it would have sent.
#[test]
fn a_receive_that_nobody_polls_holds_up_no_sender() {
    run(async {
        let (a, b) = tls(async { create_memory_byte_stream(100) }).await;
        let mut rest = &[7; 5000][..];
        assert!(polled(2, a.send_from(&mut rest)).await.is_none());
        let mut asleep = std::pin::pin!(a.receive());
        assert!(
            crate::support::poll_once(asleep.as_mut())
                .await
                .is_pending()
        );
        let (sent, ()) = join(a.send(b"more"), receive_all(&b, 5004)).await;
        sent.expect("sent");
    });
}

/// Many tasks at once over few small pipes: all of them make progress.
#[test]
fn both_directions_of_many_streams_flow() {
    run(async {
        let result = task_group(async |group| {
            for _ in 0..20 {
                group.spawn(async {
                    let (a, b) = tls_over(trickle(64).await, true).await;
                    let (a, b) = (&a, &b);
                    let data = numbered(0, 2000);
                    let one = join(a.send(&data), receive_numbered(a, 0, 2000));
                    let two = join(b.send(&data), receive_numbered(b, 0, 2000));
                    let ((one, ()), (two, ())) = join(one, two).await;
                    one.and(two)
                });
            }
            Ok(())
        });
        result.await.expect("all sent");
    });
}

/// The session holds records that the socket has no room for.
#[test]
fn a_reset_that_is_dropped_resets_the_stream_below() {
    run(async {
        for by_buffer in [false, true] {
            let (near, far) = tls(tcp_pair()).await;
            clog(&near, 0).await;
            if by_buffer {
                let mut buffer = SendBuffer::new(&near);
                buffer.write(b"rest");
                drop(buffer);
            } else {
                assert!(polled(1, ByteStream::reset(&near)).await.is_none());
            }
            for _ in 0..2 {
                let sent = polled(1, near.send(b"x")).await;
                assert!(matches!(sent, Some(Err(Error::Closed))), "{sent:?}");
            }
            while far.receive().await.is_ok() {}
            let end = far.receive().await;
            assert!(is_broken(&end), "{end:?}");
        }
    });
}
