//! The memory of a TLS connection after its peer has begun a message of the handshake that has no
//! end.

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::join;
use soloio::tls::TlsStream;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{ClientConnection, ContentType, ServerConfig};
use soloio::{Error, MemoryStream};

use crate::allocations::held;
use crate::net_support::{polled, refused, run};
use crate::tls_forger::{Forger, forged_client, forged_server, memory};
use crate::tls_support::{NAME, both_with_chain, certificate, server_of};

/// The bound of `tls_flood.rs`.
const MOST: usize = 65_536 + 2 * (16_384 + 256);

/// The bound before the end of a handshake: the longest message and two records with what comes
/// along, and the state of a handshake.
const MOST_BEFORE: usize = 3 * (2 * (16_384 + 256) + 1024) + 12_000;

/// The bound for a connection that is idle or has ended.
const LITTLE: usize = 16_384;

/// A session ticket, a key update: their numbers.
const FROM_SERVER: u8 = 4;
const FROM_CLIENT: u8 = 24;

/// A first message, a certificate.
const HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;

/// It was half a megabyte: each byte of the message takes a record, and stays with it.
#[test]
fn a_message_in_endless_pieces_holds_no_more_than_a_flood() {
    certificate();
    run(async {
        for version in [&TLS12, &TLS13] {
            let (ours, forger) = forged_server(memory(), version).await;
            in_pieces(ours, forger, FROM_SERVER).await;
            let (ours, forger) = forged_client(memory(), version).await;
            in_pieces(ours, forger, FROM_CLIENT).await;
        }
    });
}

async fn in_pieces(ours: TlsStream<MemoryStream>, mut forger: Forger, number: u8) {
    let idle = held();
    let header = [number, 0, 0xff, 0xff];
    forger.send(ContentType::Handshake, &header).await;
    for _ in 4..=0xffff {
        let received = polled(2, ours.receive()).await;
        let most = held().wrapping_sub(idle);
        assert!(most <= MOST, "{most} bytes for a message that never ends");
        match received {
            None => forger.send(ContentType::Handshake, &[0]).await,
            Some(Err(Error::Tls(_))) => return,
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// It was half a megabyte, too, for a client that has proved nothing.
#[test]
fn a_handshake_that_never_ends_holds_little_more_than_a_flood() {
    run(async {
        let (client, server) = both_with_chain(&[&TLS12], &certificate());
        let name = NAME.try_into().expect("a name");
        let client = ClientConnection::new(Arc::new(client), name);
        let mut hello = Vec::new();
        let said = client.expect("a client").write_tls(&mut hello);
        said.expect("into memory");
        // The thread and its runtime keep some memory from now on.
        endless(server.clone(), &hello, CERTIFICATE, 16_384).await;
        for size in [16_384, 500, 20, 1] {
            let most = endless(server_of(&[&TLS13]), &[], HELLO, size).await;
            assert!(most <= MOST_BEFORE, "{most} bytes in pieces of {size}");
        }
        for size in [16_384, 500, 20, 1] {
            let most = endless(server.clone(), &hello, CERTIFICATE, size).await;
            assert!(most <= MOST_BEFORE, "{most} bytes in pieces of {size}");
        }
    });
}

/// It held 128 KiB as long as one byte of the next record was there.
#[test]
fn a_long_handshake_leaves_no_long_buffer() {
    run(async {
        let chain = vec![0; 60_000].into();
        let (config, _) = both_with_chain(&[&TLS13], &chain);
        let (_, server_config) = both_with_chain(&[&TLS13], &certificate());
        let server_config = Arc::new(server_config);
        let (a, b) = memory();
        let client = async {
            let client = TlsStream::client(a, NAME, Arc::new(config)).await;
            let client = client.expect("a handshake");
            client.inner().send(&[23]).await.expect("sent below");
            client
        };
        let server = TlsStream::server(b, Arc::clone(&server_config)).into_future();
        let (_client, server) = join(client, server).await;
        let server = server.expect("a handshake");
        assert!(polled(2, server.receive()).await.is_none());
        // rustls keeps the chain.
        hold_at_most(60_000 + LITTLE, vec![server]);
    });
}

/// A connection that has ended held a buffer of 34 KiB as long as it was not dropped.
#[test]
fn what_comes_behind_an_end_takes_little() {
    run(async {
        let close_notify = (ContentType::Alert, [1, 0]);
        let bad = (ContentType::Alert, [2, 80]);
        for (kind, last) in [close_notify, bad] {
            let mut ended = Vec::new();
            // The thread keeps two buffers.
            for _ in 0..8 {
                let (ours, mut forger) = forged_client(memory(), &TLS13).await;
                let record = [forger.record(kind, &last), vec![99; 100]].concat();
                forger.stream.send(&record).await.expect("sent");
                refused!(ours.receive().await, Error::EndOfStream | Error::Tls(_));
                ended.push(ours);
            }
            hold_at_most(LITTLE, ended);
        }
    });
}

fn hold_at_most(bound: usize, streams: Vec<TlsStream<MemoryStream>>) {
    let (count, with) = (streams.len(), held());
    drop(streams);
    let most = (with - held()) / count;
    assert!(most < bound, "{most} bytes for an idle connection");
}

/// Sends `before`, all of the longest message but its last byte in records of `size` bytes, and the
/// largest record but its last byte. Returns the most that the server has held.
async fn endless(config: ServerConfig, before: &[u8], number: u8, size: usize) -> usize {
    let mut message = [number, 0, 0xff, 0xff].to_vec();
    message.resize(4 + 0xffff - 1, 0);
    let mut records: Vec<Vec<u8>> = message.chunks(size).map(record).collect();
    records.insert(0, before.to_vec());
    let mut last = record(&[0; 16_384]);
    last.pop();
    records.push(last);
    let (ours, theirs) = memory();
    let idle = held();
    let mut server = pin!(TlsStream::server(ours, Arc::new(config)).into_future());
    let mut most = 0;
    for record in records.iter().filter(|record| !record.is_empty()) {
        theirs.send(record).await.expect("sent");
        let shaken = polled(2, server.as_mut()).await;
        drop(polled(1, theirs.receive()).await);
        match shaken {
            None => most = most.max(held().wrapping_sub(idle)),
            Some(Err(Error::Tls(error))) => {
                assert!(size < 500, "{error} for records of {size} bytes");
                assert!(error.to_string().contains("64 KiB"), "{error}");
                break;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    most
}

fn record(payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    [&[22, 3, 3][..], &len, payload].concat()
}
