//! Established TLS connections with a peer that breaks the protocol: floods, records after the end,
//! requests for another handshake. Each is tolerated or refused with a message; none blocks the
//! loop, grows memory or panics.

use std::cell::Cell;

use futures_util::future::join;
use soloio::tls::TlsStream;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{ClientConnection, ContentType, HandshakeType, SupportedProtocolVersion};
use soloio::{ByteStream, Error, MemoryStream, TcpStream, task_group};

use crate::net_support::{polled, refused, run, tcp_pair, turns};
use crate::support::{alone, resident, rounds, sanitized};
use crate::tls_forger::{Forger, Record, forged_client, forged_server, memory};
use crate::tls_support::{NAME, client_config};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The number of empty records in a row that rustls tolerates.
const EMPTY: usize = 32;

/// The number of warnings that rustls tolerates, with TLS 1.2 in all.
const WARNINGS: usize = 4;

const ALERT: ContentType = ContentType::Alert;
const HANDSHAKE: ContentType = ContentType::Handshake;
const DATA: ContentType = ContentType::ApplicationData;

/// Alerts: a level and a description (RFC 8446, section 6).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const UNEXPECTED_MESSAGE: [u8; 2] = [2, 10];
const DECODE_ERROR: [u8; 2] = [2, 50];
const INTERNAL_ERROR: [u8; 2] = [2, 80];
const USER_CANCELED: [u8; 2] = [1, 90];
const NO_RENEGOTIATION: [u8; 2] = [1, 100];

/// Returns a session ticket of TLS 1.3; each number gives another.
fn ticket(number: usize) -> Vec<u8> {
    let mut body = vec![0, 0, 28, 32, 1, 2, 3, 4, 1, number as u8];
    let ticket = [number as u8; 120];
    body.extend((ticket.len() as u16).to_be_bytes());
    body.extend(ticket);
    body.extend([0, 0]);
    let mut message = vec![4, 0, 0, body.len() as u8];
    message.extend(body);
    message
}

/// Runs a test with both versions, and with our side as client and as server.
async fn each(test: impl AsyncFn(TlsStream<MemoryStream>, Forger)) {
    for version in BOTH {
        let (ours, forger) = forged_server(memory(), version).await;
        test(ours, forger).await;
        let (ours, forger) = forged_client(memory(), version).await;
        test(ours, forger).await;
    }
}

/// Returns the message of a TLS error, which must be permanent.
async fn said(stream: &TlsStream<MemoryStream>) -> String {
    let Err(Error::Tls(error)) = stream.receive().await else {
        panic!("no error of TLS");
    };
    refused!(stream.receive().await, Error::Tls(_));
    refused!(stream.send(b"x").await, Error::Tls(_));
    error.to_string()
}

#[test]
fn empty_records_are_borne_up_to_a_number_in_a_row() {
    run(each(async |ours, mut forger| {
        for _ in 0..3 {
            for _ in 0..EMPTY {
                forger.data(b"").await;
            }
            // Empty records are no data.
            assert!(polled(3, ours.receive()).await.is_none());
            forger.data(b"x").await;
            assert_eq!(ours.receive().await.expect("data"), b"x");
        }
        for _ in 0..=EMPTY {
            forger.data(b"").await;
        }
        let said = said(&ours).await;
        assert!(said.contains("TooManyEmptyFragments"), "{said}");
    }));
}

#[test]
fn floods_hold_neither_the_loop_nor_memory() {
    alone(
        "tls_forged::floods_hold_neither_the_loop_nor_memory",
        || {
            run(floods());
        },
    );
}

/// Sends records without end that carry little or no data.
async fn floods() {
    let (ours, forger) = forged_server(memory(), &TLS13).await;
    flood(&ours, forger, |forger, round| {
        let tickets = (0..20).flat_map(|n| forger.record(HANDSHAKE, &ticket(round + n)));
        tickets.collect()
    })
    .await;
    for version in BOTH {
        let (ours, forger) = forged_server(memory(), version).await;
        flood(&ours, forger, nearly_nothing).await;
        let (ours, forger) = forged_client(tcp_pair().await, version).await;
        flood(&ours, forger, nearly_nothing).await;
    }
}

fn nearly_nothing<S: ByteStream>(forger: &mut Forger<S>, _round: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for _ in 0..EMPTY {
        records.extend(forger.record(DATA, b""));
    }
    records.extend(forger.record(DATA, b"x"));
    records
}

async fn flood<S: ByteStream>(
    ours: &TlsStream<S>,
    mut forger: Forger<S>,
    records: impl Fn(&mut Forger<S>, usize) -> Vec<u8>,
) {
    let total = rounds(30_000);
    let sent = Cell::new(0);
    let most = Cell::new(0);
    let grown = Cell::new(0);
    let result = task_group(async |group| {
        group.spawn(async {
            let mut before = 0;
            for round in 0..total {
                let records = records(&mut forger, round);
                forger.stream.send(&records).await?;
                sent.set(sent.get() + records.len());
                if round == total / 4 {
                    before = resident();
                }
            }
            grown.set(resident().saturating_sub(before));
            forger.data(b"the end").await;
            Ok(())
        });
        let over = Cell::new(false);
        let looks_on = async {
            while !over.get() {
                let before = sent.get();
                turns(1).await;
                most.set(most.get().max(sent.get() - before));
            }
        };
        let receives = async {
            while !ours.receive().await?.ends_with(b"the end") {}
            over.set(true);
            Ok::<_, Error>(())
        };
        join(receives, looks_on).await.0
    });
    result.await.expect("the flood is borne");
    let (most, grown) = (most.get(), grown.get());
    let sent = sent.get();
    assert!(sent > 4 * most, "others waited for {most} bytes of {sent}");
    // A sanitizer keeps freed memory for a while.
    assert!(grown < 2_000_000 || sanitized(), "{grown} bytes of memory");
}

#[test]
fn another_handshake_is_refused_once_and_then_an_error() {
    run(async {
        // TLS 1.2 only: a server requests it, a client begins it.
        let (ours, mut forger) = forged_server(memory(), &TLS12).await;
        refuse(&ours, &mut forger, &[0, 0, 0, 0]).await;
        let (ours, mut forger) = forged_client(memory(), &TLS12).await;
        let name = NAME.try_into().expect("a name");
        let mut client = ClientConnection::new(client_config(), name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("into memory");
        // Without the header of its record.
        refuse(&ours, &mut forger, &hello[5..]).await;
    });
}

async fn refuse(ours: &TlsStream<MemoryStream>, forger: &mut Forger, request: &[u8]) {
    assert!(request[0] == 0 || HandshakeType::from(request[0]) == HandshakeType::ClientHello);
    forger.send(HANDSHAKE, request).await;
    // A side that only receives sends the refusal, and the connection continues.
    assert!(polled(3, ours.receive()).await.is_none());
    assert_eq!(forger.receive().await, (ALERT, NO_RENEGOTIATION.to_vec()));
    ours.send(b"word").await.expect("sent");
    assert_eq!(forger.receive().await, (DATA, b"word".to_vec()));
    forger.data(b"word").await;
    assert_eq!(ours.receive().await.expect("data"), b"word");

    forger.send(HANDSHAKE, request).await;
    let said = said(ours).await;
    assert!(said.contains("TooManyRenegotiationRequests"), "{said}");
}

#[test]
fn another_handshake_with_tls_13_is_an_error() {
    run(async {
        let (ours, mut forger) = forged_server(memory(), &TLS13).await;
        forger.send(HANDSHAKE, &[0, 0, 0, 0]).await;
        refused!(ours.receive().await, Error::Tls(_));
        assert_eq!(told(&mut forger).await.0, ALERT);
        let (ours, mut forger) = forged_client(memory(), &TLS13).await;
        // A key update with more data behind it in its record.
        forger.send(HANDSHAKE, &[24, 0, 0, 1, 0, 0, 0, 0, 0]).await;
        refused!(ours.receive().await, Error::Tls(_));
        assert_eq!(
            told(&mut forger).await,
            (ALERT, UNEXPECTED_MESSAGE.to_vec())
        );
    });
}

#[test]
fn warnings_are_borne_up_to_a_number() {
    run(each(async |ours, mut forger| {
        let old = ours.version() == "TLSv1.2";
        for _ in 0..WARNINGS {
            forger.send(ALERT, &USER_CANCELED).await;
        }
        forger.data(b"word").await;
        assert_eq!(ours.receive().await.expect("data"), b"word");
        if old {
            forger.send(ALERT, &NO_RENEGOTIATION).await;
            let said = said(&ours).await;
            assert!(said.contains("TooManyWarningAlerts"), "{said}");
        } else {
            forger.send(ALERT, &USER_CANCELED).await;
            let said = said(&ours).await;
            assert!(said.contains("TooManyWarningAlerts"), "{said}");
        }
    }));
}

#[test]
fn a_warning_of_tls_12_is_an_error_with_tls_13() {
    run(async {
        for (ours, mut forger) in [
            forged_server(memory(), &TLS13).await,
            forged_client(memory(), &TLS13).await,
        ] {
            forger.send(ALERT, &NO_RENEGOTIATION).await;
            refused!(ours.receive().await, Error::Tls(_));
            assert_eq!(told(&mut forger).await, (ALERT, DECODE_ERROR.to_vec()));
        }
    });
}

#[test]
fn nothing_that_comes_behind_the_end_counts() {
    run(each(async |ours, mut forger| {
        forger.data(b"last words").await;
        forger.send(ALERT, &CLOSE_NOTIFY).await;
        forger.data(b"more").await;
        forger.send(ALERT, &INTERNAL_ERROR).await;
        forger.stream.send(&[99; 1000]).await.expect("sent");
        assert_eq!(ours.receive().await.expect("data"), b"last words");
        for _ in 0..3 {
            refused!(ours.receive().await, Error::EndOfStream);
        }
        // The other direction still works.
        ours.send(b"an answer").await.expect("sent");
        assert_eq!(told(&mut forger).await, (DATA, b"an answer".to_vec()));
        ours.close().await.expect("closed");
        assert_eq!(forger.receive().await, (ALERT, CLOSE_NOTIFY.to_vec()));
    }));
}

/// Returns the next record after any session tickets.
async fn told(forger: &mut Forger) -> Record {
    loop {
        let record = forger.receive().await;
        if record.0 != HANDSHAKE {
            return record;
        }
    }
}

#[test]
fn whoever_has_finished_still_receives_what_comes() {
    run(async {
        let (ours, mut forger) = forged_server(memory(), &TLS13).await;
        ours.send_eof().await.expect("ended");
        assert_eq!(forger.receive().await, (ALERT, CLOSE_NOTIFY.to_vec()));
        for round in 0..100 {
            forger.send(HANDSHAKE, &ticket(round)).await;
            assert!(polled(1, ours.receive()).await.is_none());
        }
        forger.data(b"after all").await;
        assert_eq!(ours.receive().await.expect("data"), b"after all");
        forger.send(ALERT, &CLOSE_NOTIFY).await;
        refused!(ours.receive().await, Error::EndOfStream);
        ours.close().await.expect("closed");
        refused!(forger.stream.receive().await, Error::EndOfStream);
    });
}

/// After our close_notify no alert may be sent: a peer's fault is an error, and no panic.
#[test]
fn what_is_bad_behind_our_own_end_is_an_error_and_no_panic() {
    run(async {
        each(async |ours, mut forger| {
            ours.send_eof().await.expect("ended");
            forger.data(b"good").await;
            assert_eq!(ours.receive().await.expect("data"), b"good");
            forger.stream.send(&[99; 50]).await.expect("sent");
            refused!(ours.receive().await, Error::Tls(_));
            refused!(ours.receive().await, Error::Tls(_));
            drop(ours);
            said_no_more(&mut forger).await;
        })
        .await;
        each(async |ours, mut forger| {
            forger.data(b"not expected").await;
            forger.stream.send(&[99; 50]).await.expect("sent");
            refused!(ours.unwrap().await, Error::Tls(_));
            said_no_more(&mut forger).await;
        })
        .await;
        each(async |ours, mut forger| {
            ours.send_eof().await.expect("ended");
            forger.send(ALERT, &INTERNAL_ERROR).await;
            refused!(ours.receive().await, Error::Tls(_));
        })
        .await;
    });
}

/// Expects our close_notify, and nothing after it.
async fn said_no_more(forger: &mut Forger) {
    assert_eq!(told(forger).await, (ALERT, CLOSE_NOTIFY.to_vec()));
    refused!(forger.stream.receive().await, Error::EndOfStream);
}

/// Over a socket, where unread bytes make the kernel reset the connection.
#[test]
fn a_close_bears_what_comes_late() {
    run(async {
        for version in BOTH {
            let (ours, mut forger): (TlsStream<TcpStream>, _) =
                forged_server(tcp_pair().await, version).await;
            ours.send(b"last words").await.expect("sent");
            if version.version == TLS13.version {
                for round in 0..50 {
                    forger.send(HANDSHAKE, &ticket(round)).await;
                }
            }
            forger.data(b"unread").await;
            ours.close().await.expect("closed");
            assert_eq!(forger.receive().await, (DATA, b"last words".to_vec()));
            assert_eq!(forger.receive().await, (ALERT, CLOSE_NOTIFY.to_vec()));
        }
    });
}
