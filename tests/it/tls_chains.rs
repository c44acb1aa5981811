//! Chains of certificates up to the longest that rustls accepts, and beyond it.

use std::sync::Arc;

use futures_util::future::join;
use soloio::tls::TlsStream;
use soloio::tls::rustls::pki_types::CertificateDer;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use soloio::{Error, Result};

use crate::net_support::{refused, run};
use crate::tls_forger::memory;
use crate::tls_support::{NAME, both_with_chain, certificate};

/// The longest message of a handshake that rustls accepts, without its header.
const LONGEST: usize = 0xffff;

/// Returns a certificate that makes the message with the chain `len` bytes long.
fn long(version: &SupportedProtocolVersion, len: usize) -> CertificateDer<'static> {
    // The lengths of the list and of each certificate; in TLS 1.3 also of a context and extensions.
    let around = if version.version == TLS13.version {
        1 + 3 + 2 * (3 + 2)
    } else {
        3 + 2 * 3
    };
    vec![0; len - around - certificate().len()].into()
}

/// Both sides shake hands, and exchange a word: with TLS 1.3 a client learns from that whether its
/// certificate was accepted.
async fn meet(client: ClientConfig, server: ServerConfig) -> (Result<()>, Result<()>) {
    let (a, b) = memory();
    let client = async {
        let client = TlsStream::client(a, NAME, Arc::new(client)).await?;
        client.send(b"word").await?;
        assert_eq!(client.receive().await?, b"word");
        Ok(())
    };
    let server = async {
        let server = TlsStream::server(b, Arc::new(server)).await?;
        server.send(&server.receive().await?).await
    };
    join(client, server).await
}

/// Both sides show the longest chain, in records of the usual size and in small ones.
#[test]
fn the_longest_chain_is_accepted_from_both_sides() {
    run(async {
        for version in [&TLS12, &TLS13] {
            for size in [None, Some(16_384 + 5), Some(512 + 5), Some(128 + 5)] {
                let chain = long(version, LONGEST);
                let (mut client, mut server) = both_with_chain(&[version], &chain);
                client.max_fragment_size = size;
                server.max_fragment_size = size;
                let met = meet(client, server).await;
                assert!(matches!(met, (Ok(()), Ok(()))), "{met:?} in {size:?}");
            }
        }
    });
}

#[test]
fn a_longer_chain_is_refused_with_the_reason() {
    run(async {
        for version in [&TLS12, &TLS13] {
            let short = certificate();
            let more = long(version, LONGEST + 1);
            let (proud, proud_server) = both_with_chain(&[version], &more);
            let (modest, modest_server) = both_with_chain(&[version], &short);
            let (refuses, fails) = meet(modest, proud_server).await;
            told_why(refuses);
            refused!(fails, Error::Broken(_) | Error::Tls(_));
            let (fails, refuses) = meet(proud, modest_server).await;
            told_why(refuses);
            refused!(fails, Error::Broken(_) | Error::Tls(_));
        }
    });
}

/// Such records hold twice the bytes of the message.
#[test]
fn a_long_chain_in_tiny_records_is_refused_with_the_reason() {
    run(async {
        let (mut client, server) = both_with_chain(&[&TLS13], &long(&TLS13, LONGEST));
        client.max_fragment_size = Some(32);
        let (fails, refuses) = meet(client, server).await;
        told_why(refuses);
        refused!(fails, Error::Broken(_) | Error::Tls(_));
    });
}

fn told_why(result: Result<()>) {
    let error = result.expect_err("too long");
    let text = error.to_string();
    assert!(matches!(error, Error::Tls(_)), "{text}");
    assert!(text.contains("64 KiB"), "{text}");
}
