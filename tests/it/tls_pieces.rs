//! TLS through an intermediary that cuts it into pieces, ends it or changes it.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future::{join, join3};
use proptest::prelude::*;
use soloio::tls::TlsStream;
use soloio::{Error, MemoryStream, create_memory_byte_stream, fail_after, move_on_after, sleep};

use crate::net_support::{check_numbered, numbered, receive_numbered, run, turns};
use crate::support::{poll_with, rounds};
use crate::tls_support::{NAME, client_config, server_config, tls};

/// Passes bytes from one stream to another, in pieces of the given sizes in rotation, until the end
/// or the limit; then ends. Returns the number of bytes passed. `spoil` changes the byte there.
pub(crate) async fn pass_on(
    from: &MemoryStream,
    to: &MemoryStream,
    sizes: &[usize],
    limit: usize,
    spoil: Option<usize>,
) -> usize {
    let mut passed = 0;
    for size in sizes.iter().cycle() {
        let max = (*size).max(1).min(limit - passed);
        if max == 0 {
            break;
        }
        let Ok(mut bytes) = from.receive_max(max).await else {
            break;
        };
        if let Some(at) = spoil.and_then(|at| at.checked_sub(passed)) {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x10;
            }
        }
        passed += bytes.len();
        if to.send(&bytes).await.is_err() {
            break;
        }
        turns(usize::from(*size % 3 == 0)).await;
    }
    // The receiver may be gone.
    drop(to.send_eof().await);
    passed
}

/// A client and a server that exchange their bytes through an intermediary.
pub(crate) struct Between {
    pub(crate) client: MemoryStream,
    pub(crate) server: MemoryStream,
    pub(crate) at_client: MemoryStream,
    pub(crate) at_server: MemoryStream,
}

pub(crate) fn between() -> Between {
    let (client, at_client) = create_memory_byte_stream(50_000);
    let (server, at_server) = create_memory_byte_stream(50_000);
    Between {
        client,
        server,
        at_client,
        at_server,
    }
}

/// Sends messages in one direction through an intermediary that cuts them into pieces, and spoils a
/// byte.
async fn through(
    sizes: &[usize],
    messages: &[usize],
    spoil: Option<usize>,
) -> (usize, soloio::Result<Option<Vec<u8>>>) {
    let pair = between();
    let to_server = pass_on(&pair.at_client, &pair.at_server, sizes, usize::MAX, spoil);
    let to_client = pass_on(&pair.at_server, &pair.at_client, sizes, usize::MAX, None);
    let client = async {
        let client = TlsStream::client(pair.client, NAME, client_config()).await?;
        let mut at = 0;
        for len in messages {
            client.send(&numbered(at, *len)).await?;
            at += len;
        }
        client.close().await
    };
    let server = async {
        let server = match TlsStream::server(pair.server, server_config()).await {
            Ok(server) => server,
            Err(error) => return (0, Err(error)),
        };
        let mut at = 0;
        loop {
            match server.next().await {
                Ok(Some(bytes)) => {
                    check_numbered(at, &bytes);
                    at += bytes.len();
                }
                end => return (at, end),
            }
        }
    };
    let all = async { Ok::<_, Error>(join3(server, client, join(to_server, to_client)).await) };
    if spoil.is_none() {
        let (fared, sent, _) = all.await.expect("no limit");
        sent.expect("sent");
        return fared;
    }
    // If a length in the handshake is spoilt, both sides wait for more.
    let limit = Duration::from_millis(500);
    match fail_after(limit, all).await {
        // The limit was noticed by the receive, which hands its error on as a value.
        Ok(((got, Err(Error::Cancelled)), ..)) => {
            (got, Err(Error::timed_out(limit, "shaking hands")))
        }
        Ok((fared, ..)) => fared,
        Err(error) => (0, Err(error)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(1000) as u32, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_carry_the_same_bytes(
        sizes in prop::collection::vec(1..2000_usize, 1..10),
        messages in prop::collection::vec(0..40_000_usize, 0..6),
    ) {
        let (got, end) = run(through(&sizes, &messages, None));
        prop_assert_eq!(got, messages.iter().sum::<usize>());
        prop_assert!(matches!(end, Ok(None)));
    }

    #[test]
    fn a_spoilt_byte_is_an_error_after_what_was_good(
        sizes in prop::collection::vec(1..2000_usize, 1..10),
        messages in prop::collection::vec(1..40_000_usize, 1..4),
        spoil in 0..60_000_usize,
    ) {
        let total = messages.iter().sum::<usize>();
        let (got, end) = run(through(&sizes, &messages, Some(spoil)));
        prop_assert!(got <= total);
        match end {
            // The byte may lie behind the last one, or have no effect.
            Ok(None) => prop_assert_eq!(got, total),
            Ok(Some(_)) => prop_assert!(false, "no end"),
            Err(error) => prop_assert!(
                matches!(error, Error::Tls(_) | Error::Broken(_) | Error::TimedOut(_)),
                "{}", error
            ),
        }
    }
}

/// A receive that finds the rest of a record yields, ends with its scope and with an abort, and
/// needs the runtime like any other.
#[test]
fn the_rest_of_a_record_is_received_by_the_rules() {
    let mut buffer = [0; 7];
    let stream = run(async {
        let (a, b) = tls(async { create_memory_byte_stream(100_000) }).await;
        a.send(&numbered(0, 16_384)).await.expect("sent");
        let done = Cell::new(false);
        let receive = async {
            for at in (0..7 * 2_000).step_by(7) {
                let got = b.receive_into(&mut buffer).await.expect("received");
                assert_eq!(got.len(), 7);
                check_numbered(at, got);
            }
            done.set(true);
        };
        let others = async {
            let mut turned = 0;
            while !done.get() {
                turns(1).await;
                turned += 1;
            }
            turned
        };
        let ((), turned) = join(receive, others).await;
        assert!((5..2_000).contains(&turned), "{turned} turns");
        let cancelled = move_on_after(Duration::ZERO, async {
            sleep(Duration::MAX).await.expect_err("cancelled");
            b.receive_into(&mut buffer).await.map(|got| got.len())
        });
        let cancelled = cancelled.await;
        assert!(matches!(cancelled, Ok(None)), "{cancelled:?}");
        receive_numbered(&b, 14_000, 7).await;
        b
    });
    let outside = poll_with(pin!(stream.receive_into(&mut buffer)), Waker::noop());
    assert!(matches!(outside, Poll::Ready(Err(Error::NoRuntime))));
    run(async {
        receive_numbered(&stream, 14_007, 7).await;
        stream.abort();
        let after = stream.receive_into(&mut buffer).await;
        assert!(matches!(after, Err(Error::Closed)), "{after:?}");
    });
}
