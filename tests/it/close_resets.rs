//! The one rule of `close`: it returns an error if accepted bytes are not known to have arrived,
//! and none otherwise, however the connection ended. Its time limit covers all of it.

use std::cell::RefCell;

use futures_util::future::join;
use soloio::{Event, TcpStream, connect_tcp};

use crate::close::lost_bytes;
use crate::net_support::{numbered, receive_numbered, run, tcp_listener, tcp_pair, turns};

/// Runs a server with a handler that sends `bytes` bytes, and drops the stream when the client has
/// sent something; `talk` is the client. Returns the errors that the hook got.
async fn served(bytes: usize, talk: impl AsyncFnOnce(TcpStream)) -> Vec<String> {
    let listener = tcp_listener().await;
    let port = listener.local_addr().port();
    let (errors, stop) = (RefCell::new(Vec::new()), Event::new());
    let serve = listener
        .serve(async |client: TcpStream| {
            client.send(&numbered(0, bytes)).await?;
            client.receive().await.map(drop)
        })
        .on_error(|error, _| errors.borrow_mut().push(error.to_string()))
        .shutdown(stop.wait());
    let client = async {
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        client.set_zero_linger(true).expect("set");
        talk(client).await;
        stop.set();
    };
    let (served, ()) = join(async { serve.await }, client).await;
    served.expect("as it was told");
    errors.into_inner()
}

#[test]
fn a_reset_is_told_to_the_server_if_bytes_are_lost() {
    run(async {
        let errors = served(200_000, async |client| {
            client.set_receive_buffer_size(4_096).expect("set");
            client.send(b"not now").await.expect("sent");
            turns(20).await;
            drop(client);
        })
        .await;
        assert!(lost_bytes(&errors[0]) > 0, "{errors:?}");
        let errors = served(100_000, async |client| {
            receive_numbered(&client, 0, 100_000).await;
            client.send(b"thanks").await.expect("sent");
            turns(20).await;
            drop(client);
        })
        .await;
        assert!(errors.is_empty(), "{errors:?}");
    });
}

#[test]
fn a_reset_after_everything_was_acknowledged_is_no_error() {
    run(async {
        let (client, server) = tcp_pair().await;
        server.send(b"all there is").await.expect("sent");
        assert_eq!(client.receive().await.expect("sent"), b"all there is");
        client.set_zero_linger(true).expect("set");
        // Its data acknowledges ours.
        client.send(b"thanks").await.expect("sent");
        assert_eq!(server.receive().await.expect("sent"), b"thanks");
        drop(client);
        server.close().await.expect("it arrived");
    });
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod over_tls {
    use std::time::{Duration, Instant};

    use soloio::tls::TlsStream;
    use soloio::{ByteStream, CloseLimits, Error};

    use super::*;
    use crate::close::lost;
    use crate::net_support::{clog, refused};
    use crate::tls_support::{old_tls, tls};

    type Pair = (TlsStream<TcpStream>, TlsStream<TcpStream>);

    async fn pairs() -> [Pair; 2] {
        let [one, other] = [tls(tcp_pair()).await, old_tls(tcp_pair()).await];
        for (client, _) in [&one, &other] {
            client.inner().set_receive_buffer_size(65_536).expect("set");
        }
        [one, other]
    }

    async fn ends(client: &TlsStream<TcpStream>, server: &TlsStream<TcpStream>) {
        client.send_eof().await.expect("said");
        refused!(server.receive().await, Error::EndOfStream);
    }

    /// The client ends in order, and resets the connection with many bytes on their way. `late`:
    /// the server closes after that.
    #[test]
    fn a_reset_behind_the_peers_close_notify_is_told_if_data_is_lost() {
        run(async {
            for late in [false, true] {
                for (client, server) in pairs().await {
                    ends(&client, &server).await;
                    let sent = clog(&server, 0).await;
                    client.inner().set_zero_linger(true).expect("set");
                    let closed = if late {
                        drop(client);
                        turns(20).await;
                        server.close().await
                    } else {
                        join(server.close(), async { drop(client) }).await.0
                    };
                    let lost = lost(closed);
                    assert!(lost > 0 && lost < sent + 65_536, "{lost} of {sent}");
                }
            }
        });
    }

    /// The bytes in the kernel may be acknowledged; the rest of the cut send is still in the
    /// stream.
    #[test]
    fn bytes_that_were_never_handed_over_are_told_too() {
        run(async {
            let (a, b) = soloio::create_memory_byte_stream(16);
            let (client, server) = tls(async { (a, b) }).await;
            ends_in_memory(&client, &server).await;
            assert!(clog(&server, 0).await > 0);
            client.abort();
            assert!(lost(server.close().await) > 16);
        });
    }

    async fn ends_in_memory<S: ByteStream>(client: &TlsStream<S>, server: &TlsStream<S>) {
        let receive = async { refused!(server.receive().await, Error::EndOfStream) };
        let (said, ()) = join(client.send_eof(), receive).await;
        said.expect("said");
    }

    /// Only our close_notify (and, with TLS 1.3, tickets) is unread.
    #[test]
    fn a_peer_that_leaves_after_its_close_notify_is_no_error() {
        run(async {
            for talks in [false, true] {
                for (client, server) in pairs().await {
                    if talks {
                        server.send(&numbered(0, 1_000)).await.expect("sent");
                        receive_numbered(&client, 0, 1_000).await;
                    }
                    // The client's end acknowledges our data.
                    ends(&client, &server).await;
                    client.inner().set_zero_linger(true).expect("set");
                    drop(client);
                    server.close().await.expect("nothing was lost");
                }
            }
        });
    }

    #[test]
    fn closing_takes_one_limit_in_all() {
        run(async {
            let limit = Duration::from_millis(1_500);
            let limits = [
                (limit, Duration::from_secs(20)),
                (Duration::from_secs(20), limit),
            ];
            for (total, silence) in limits {
                for resets in [false, true] {
                    let (client, server) = tls(tcp_pair()).await;
                    client.inner().set_receive_buffer_size(65_536).expect("set");
                    server
                        .inner()
                        .set_close_limits(CloseLimits { total, silence });
                    assert!(clog(&server, 0).await > 0);
                    let (begun, over) = (Instant::now(), Event::new());
                    let close = async {
                        let closed = match resets {
                            false => server.close().await,
                            true => server.reset().await,
                        };
                        over.set();
                        assert!(lost(closed) > 0);
                    };
                    // Sends until a send fails, and reads nothing.
                    let go_on = async {
                        while total == limit && !over.is_set() && client.send(b"more").await.is_ok()
                        {
                            turns(1).await;
                        }
                    };
                    join(close, go_on).await;
                    let took = begun.elapsed();
                    assert!(took >= limit && took < limit * 9 / 5, "{took:?}");
                }
            }
        });
    }
}
