//! The memory of a TLS connection after its peer has begun a message of the handshake that has no
//! end.

use soloio::tls::TlsStream;
use soloio::tls::rustls::ContentType;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::{Error, MemoryStream};

use crate::allocations::held;
use crate::net_support::{polled, run};
use crate::tls_forger::{Forger, forged_client, forged_server, memory};
use crate::tls_support::certificate;

/// The bound of `tls_flood.rs`.
const MOST: usize = 65_536 + 2 * (16_384 + 256);

/// A session ticket, a key update: their numbers.
const FROM_SERVER: u8 = 4;
const FROM_CLIENT: u8 = 24;

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
