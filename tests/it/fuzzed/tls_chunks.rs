//! The body of the fuzz target `tls_chunks`: an intermediary between a TLS client and a TLS server;
//! the input is its script.
//!
//! No real time passes: everything is in memory and in one loop. When no task is woken, nothing
//! will ever move again, except by a limit of time. Then the connection hangs, or the intermediary
//! keeps both sides waiting; if it may, it ends both, and then they must end without any limit.

use std::future::IntoFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use soloio::tls::TlsStream;
use soloio::tls::rustls::{ClientConfig, ServerConfig};
use soloio::{
    Error, MemoryStream, Result, Runtime, TaskHandle, create_memory_byte_stream, dump, task_group,
};

/// More turns than any input takes.
const MOST: usize = 1_000_000;

/// The bytes that wait in a stream at most. A smaller number makes more turns.
const CAPACITIES: [usize; 8] = [100, 500, 5_000, 100_000, 2_000, 20_000, 50, 1];

/// The configurations of a client and a server of `localhost`.
pub(crate) type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// Returns the data that a side sends.
fn message(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7) as u8 ^ seed).collect()
}

/// True if a script does more than cut the data into pieces.
fn is_spoilt(script: &[u8]) -> bool {
    script.chunks_exact(2).any(|step| step[1] < 64)
}

/// Passes bytes on; each pair of bytes of the script is one step.
async fn pass(from: &MemoryStream, to: &MemoryStream, script: &[u8]) {
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
        if sent.is_err() {
            break true;
        }
    };
    if cut {
        drop(to.send_eof().await);
    }
    // Receives even if the other side is gone, so that no sender waits for ever.
    while let Ok(bytes) = from.receive().await {
        drop(to.send(&bytes).await);
    }
    drop(to.send_eof().await);
}

/// Sends and receives at once, and compares the received data with what the peer sends.
async fn talk(stream: TlsStream<MemoryStream>, send: &[u8], expected: &[u8]) -> Result<()> {
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
        let sent = sending.await;
        ended.and(sent)
    })
    .await?;
    // Its limits of time are not reached: the loop notices that nothing moves.
    stream.close().await
}

/// The part of an input.
struct Part {
    old: bool,
    capacity: usize,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Part {
    fn of(input: &[u8]) -> Self {
        let (head, script) = input.split_at(2);
        let (to_server, to_client) = script.split_at(script.len() * usize::from(head[1]) / 255);
        Self {
            old: head[0] & 1 == 1,
            capacity: CAPACITIES[usize::from(head[0] >> 1) % CAPACITIES.len()],
            to_server: to_server.to_vec(),
            to_client: to_client.to_vec(),
        }
    }

    fn is_spoilt(&self) -> bool {
        is_spoilt(&self.to_server) || is_spoilt(&self.to_client)
    }
}

/// Runs both sides and both directions of the intermediary; returns how the sides fared.
async fn all(
    part: Part,
    configs: Configs,
    (client, at_client): (MemoryStream, Rc<MemoryStream>),
    (server, at_server): (MemoryStream, Rc<MemoryStream>),
) -> Result<[Result<()>; 2]> {
    // Two records, if that does not take long.
    let length = (part.capacity * 100).min(17_000);
    let (hello, answer) = (message(1, length), message(2, length));
    task_group(async |group| {
        group.spawn(pass(&at_client, &at_server, &part.to_server));
        group.spawn(pass(&at_server, &at_client, &part.to_client));
        let serving = group.spawn(async {
            let shaken = TlsStream::server(server, configs.1).into_future().await;
            let fared = match shaken {
                Ok(stream) => talk(stream, &answer, &hello).await,
                Err(error) => Err(error),
            };
            Ok(fared)
        });
        let shaken = TlsStream::client(client, "localhost", configs.0).into_future();
        let fared = match shaken.await {
            Ok(stream) => talk(stream, &hello, &answer).await,
            Err(error) => Err(error),
        };
        Ok([fared, serving.await?])
    })
    .await
}

/// `configs` returns those of TLS 1.2 if `true`, else those of TLS 1.3.
pub(crate) fn run(input: &[u8], configs: impl Fn(bool) -> Configs) {
    if input.len() < 2 {
        return;
    }
    let part = Part::of(input);
    let (configs, spoilt) = (configs(part.old), part.is_spoilt());
    let pair = || {
        let (side, between) = create_memory_byte_stream(part.capacity);
        (side, Rc::new(between))
    };
    let (client, server) = (pair(), pair());
    let between = [Rc::clone(&client.1), Rc::clone(&server.1)];
    let mut runtime = Runtime::new().expect("a runtime");
    let mut talking = runtime.spawn(all(part, configs, client, server));
    if !turn_until_quiet(&mut runtime, &talking) {
        // An incomplete record may keep both sides waiting, just as silence does.
        assert!(spoilt, "it hangs: {}", shown(&mut runtime));
        between.iter().for_each(|stream| stream.abort());
        let ended = turn_until_quiet(&mut runtime, &talking);
        assert!(ended, "it hangs without a peer: {}", shown(&mut runtime));
    }
    let talked = runtime.block_on(&mut talking).expect("no task fails");
    let fared = talked.expect("no task fails");
    // What was only cut into pieces arrives; otherwise only hangs and panics count.
    assert!(spoilt || fared.iter().all(Result::is_ok), "{fared:?}");
}

/// Makes turns until no task is woken; returns true if the task has ended.
fn turn_until_quiet<T>(runtime: &mut Runtime, task: &TaskHandle<'_, T>) -> bool {
    for _ in 0..MOST {
        if task.is_finished() {
            return true;
        }
        if runtime.next_timeout() != Some(Duration::ZERO) {
            return false;
        }
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
    }
    panic!("it never rests: {}", shown(runtime));
}

fn shown(runtime: &mut Runtime) -> String {
    let dumped = runtime.block_on(async { dump() });
    dumped.map_or_else(|error| error.to_string(), |dump| dump.to_string())
}
