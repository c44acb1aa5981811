//! An intermediary between a TLS client and a TLS server; the input is its script.

#![no_main]

use std::cell::Cell;
use std::future::IntoFuture;
use std::panic;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use soloio::tls::TlsStream;
use soloio::tls::rustls::crypto::ring::default_provider;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use soloio::{Error, MemoryStream, create_memory_byte_stream, dump, sleep, task_group, yield_now};

/// If no step comes within this many turns of the loop, both sides wait.
const TURNS: usize = 200;

/// The time without a step after which an undamaged connection counts as hung.
const QUIET: Duration = Duration::from_millis(300);

/// Far longer than any input takes.
const HUNG: Duration = Duration::from_secs(20);

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

fn configs_of(version: &'static SupportedProtocolVersion) -> Configs {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let certificate = made.cert.der().clone();
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a known version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("they match");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a known version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(client), Arc::new(server))
}

fn configs(old: bool) -> &'static Configs {
    static BOTH: OnceLock<[Configs; 2]> = OnceLock::new();
    &BOTH.get_or_init(|| [configs_of(&TLS13), configs_of(&TLS12)])[usize::from(old)]
}

/// Returns the data that a side sends.
fn message(seed: u8, length: u32) -> Vec<u8> {
    (0..length).map(|n| (n / 7) as u8 ^ seed).collect()
}

/// True if a script does more than cut the data into pieces.
fn is_spoilt(script: &[u8]) -> bool {
    // The split between the two directions does not matter: a step may begin at any byte.
    script.iter().any(|what| *what < 64)
}

/// Passes bytes on; each pair of bytes of the script is one step.
async fn pass(from: &MemoryStream, to: &MemoryStream, script: &[u8], passed: &Cell<usize>) {
    let mut steps = script.chunks_exact(2);
    let cut = loop {
        let Some(step) = steps.next() else {
            break false;
        };
        let size = usize::from(step[0]) + 1;
        let sent = match step[1] {
            // Inserts bytes at any place, often the head of a record.
            0..=15 => to.send(&[step[1] + 10, 3, 3, 0, step[0]]).await,
            16..=23 => {
                let made = vec![step[1]; size];
                to.send(&made).await
            }
            24 => break true,
            what => {
                let wanted = if what % 2 == 0 { size } else { size * 64 };
                let Ok(mut bytes) = from.receive_max(wanted).await else {
                    break false;
                };
                match what {
                    // Drops the bytes.
                    25..=31 => bytes.clear(),
                    32..=63 => {
                        let at = usize::from(step[0]) % bytes.len();
                        bytes[at] ^= what;
                    }
                    _ => {}
                }
                to.send(&bytes).await
            }
        };
        passed.set(passed.get() + 1);
        if sent.is_err() {
            break true;
        }
    };
    if cut {
        drop(to.send_eof().await);
    }
    // Receives even if the other side is gone, so that no sender waits for ever.
    while let Ok(bytes) = from.receive().await {
        passed.set(passed.get() + 1);
        drop(to.send(&bytes).await);
    }
    drop(to.send_eof().await);
}

/// Sends and receives at once, and compares the received data with what the peer sends.
async fn talk(stream: TlsStream<MemoryStream>, send: &[u8], expected: &[u8]) -> Result<(), Error> {
    let mut at = 0;
    task_group(async |group| {
        let sending = group.spawn(async {
            stream.send(send).await?;
            stream.send_eof().await
        });
        let ended = loop {
            match stream.receive().await {
                Ok(data) => {
                    assert!(expected[at..].starts_with(&data), "changed at {at}");
                    at += data.len();
                }
                Err(Error::EndOfStream) => {
                    assert_eq!(at, expected.len(), "an end too early");
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        // After an error in one direction the other one may wait for ever.
        if ended.is_err() {
            stream.abort();
        }
        drop(sending.await);
        ended
    })
    .await
}

async fn run(input: &[u8]) -> Result<(), Error> {
    let (head, script) = input.split_at(2);
    let (client_config, server_config) = configs(head[0] & 1 == 1).clone();
    let (to_server, to_client) = script.split_at(script.len() * usize::from(head[1]) / 255);
    let capacity = [1, 100, 5_000, 100_000_u32][usize::from(head[0] >> 1) % 4];
    let (client, at_client) = create_memory_byte_stream(capacity as usize);
    let (server, at_server) = create_memory_byte_stream(capacity as usize);
    // A little more than two records, if that does not take long.
    let length = (capacity * 100).min(40_000);
    let (hello, answer) = (message(1, length), message(2, length));
    let passed = Cell::new(0);
    task_group(async |group| {
        let watch = group.spawn(async {
            // An incomplete record may keep both sides waiting, just as silence does.
            let spoilt = is_spoilt(script);
            let mut before = usize::MAX;
            while passed.get() != before {
                before = passed.get();
                for _ in 0..TURNS {
                    yield_now().await?;
                }
                if !spoilt && passed.get() == before {
                    sleep(QUIET).await?;
                }
            }
            let seen = dump()?;
            assert!(spoilt, "it hangs: {seen}");
            at_client.abort();
            at_server.abort();
            sleep(HUNG).await?;
            let seen = dump()?;
            if cfg!(fuzzing) {
                panic!("it hangs without a peer: {seen}");
            }
            Ok(())
        });
        group.spawn(async {
            pass(&at_client, &at_server, to_server, &passed).await;
            Ok(())
        });
        group.spawn(async {
            pass(&at_server, &at_client, to_client, &passed).await;
            Ok(())
        });
        let serving = group.spawn(async {
            let shaken = TlsStream::server(server, server_config).into_future().await;
            // The handshake may fail in any way; only hangs and panics count.
            if let Ok(stream) = shaken {
                drop(talk(stream, &answer, &hello).await);
            }
            Ok(())
        });
        let shaken = TlsStream::client(client, "localhost", client_config).into_future();
        if let Ok(stream) = shaken.await {
            drop(talk(stream, &hello, &answer).await);
        }
        serving.await?;
        watch.cancel();
        Ok(())
    })
    .await
}

/// libFuzzer ends the process at any panic. An assertion of rustls fails when a peer breaks the
/// protocol after our end; that panic is caught where it happens, and is not a finding.
fn bear_the_known_assertion() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or("", |location| location.file());
            if !(place.contains("rustls") && place.ends_with("common_state.rs")) {
                report(info);
            }
        }));
    });
}

fuzz_target!(|input: &[u8]| {
    if input.len() < 2 {
        return;
    }
    bear_the_known_assertion();
    match soloio::block_on(run(input)) {
        Ok(()) => {}
        Err(error) => panic!("{error}"),
    }
});
