//! An example: documents over TLS with loss, latency and resets, and a planted bug that seeds find.
//!
//! rustls and ring run as they are, and their entropy comes from the seed: keys, handshakes and
//! records are the same when a seed runs again. The planted bug is a client that takes a connection
//! which was cut off for the end of the document: what `close_notify` is there to prevent.

mod certificate;

use std::sync::Arc;
use std::time::Duration;

use soloio::tls::TlsListener;
use soloio::tls::rustls::{ClientConfig, ServerConfig};
use soloio::{Error, Result, TcpListener, connect_tcp, create_tcp_listener, fail_after, sleep};
use soloio_sim::{Fault, Faults, Sim, check, elapsed, sometimes};

use crate::certificate::configurations;

fn document(number: u8) -> Vec<u8> {
    (0..20_000_u32)
        .map(|at| (at % 251) as u8 ^ number)
        .collect()
}

/// Returns a listener, after any number of failures.
async fn listen(port: u16) -> Result<TcpListener> {
    loop {
        let listener = create_tcp_listener().local_host("0.0.0.0").local_port(port);
        match listener.await {
            Ok(listener) => return Ok(listener),
            Err(_) => sleep(Duration::from_millis(1)).await?,
        }
    }
}

/// Receives the number of a document, and sends the document.
async fn server(config: Arc<ServerConfig>) -> Result<()> {
    let listener = TlsListener::new(listen(443).await?, config)
        .on_handshake_error(|_, _| sometimes(true, "a handshake fails at the server"));
    let serve = listener.serve_with(async |stream| {
        let number = stream.receive_max(1).await?;
        stream.send(&document(number[0])).await?;
        stream.close().await
    });
    serve.on_error(|_, _| {}).await
}

/// Gets a document; whoever is not `strict` takes a break for its end.
async fn get(number: u8, config: Arc<ClientConfig>, strict: bool) -> Result<Vec<u8>> {
    let began = elapsed();
    let stream = connect_tcp("server", 443).tls_config(config).await?;
    let took = elapsed().unwrap_or_default() - began.unwrap_or_default();
    sometimes(took > Duration::from_secs(1), "a handshake takes long");
    stream.send(&[number]).await?;
    let mut got = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(bytes)) => got.extend(bytes),
            Ok(None) => return stream.close().await.map(|()| got),
            Err(error) if strict => return Err(error),
            Err(_) => return Ok(got),
        }
    }
}

/// Gets three documents, however often that fails.
async fn client(config: Arc<ClientConfig>, strict: bool) -> Result<()> {
    let (mut number, mut failed) = (0, 0);
    while number < 3 {
        let got = fail_after(
            Duration::from_secs(300),
            get(number, config.clone(), strict),
        )
        .await;
        sometimes(matches!(got, Err(Error::Broken(_))), "a connection breaks");
        match got {
            Ok(got) => {
                assert_eq!(got.len(), document(number).len(), "a part of a document");
                assert!(got == document(number), "another document");
                number += 1;
            }
            Err(error) => {
                failed += 1;
                // Faults of the network are none of TLS: no record may come to be another one.
                let spoilt = matches!(error, Error::Tls(_));
                assert!(!spoilt, "the network cannot spoil records: {error}");
                assert!(failed < 200, "nothing gets through: {error}");
                sleep(Duration::from_millis(100)).await?;
            }
        }
    }
    Ok(())
}

fn explore(strict: bool) {
    check(40, |seed| {
        let faults = Faults::swarm(seed)
            .with(Fault::Loss, [0.0, 0.001, 0.01][(seed % 3) as usize])
            .with_segment(1460)
            .with_buffer([700, 5000, 65_536][(seed / 3 % 3) as usize])
            .with_latency(
                Duration::from_millis(1),
                Duration::from_millis(1 + seed % 80),
            );
        let mut sim = Sim::new(seed, faults);
        let (trusting, config) = configurations();
        sim.host("server", move || server(config.clone()));
        for number in 0..2 {
            let trusting = trusting.clone();
            sim.client(format!("client{number}"), move || {
                client(trusting.clone(), strict)
            });
        }
        if seed % 4 == 0 {
            sim.at(Duration::from_millis(300), |net| {
                net.lose("server", "client0", 0.3)
            });
            sim.at(Duration::from_secs(20), |net| net.heal());
        }
        if seed % 5 == 0 {
            sim.at(Duration::from_millis(200 + 10 * seed), |net| {
                net.crash("server")
            });
            sim.at(Duration::from_secs(2), |net| net.restart("server"));
        }
        sim.run_until_done(Duration::from_secs(1_000_000))
    });
}

#[test]
fn documents_come_whole_or_not_at_all() {
    explore(true);
}

#[test]
#[should_panic(expected = "a part of a document")]
fn a_client_that_takes_a_break_for_the_end_is_found() {
    explore(false);
}
