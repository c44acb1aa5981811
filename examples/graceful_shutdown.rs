//! A server with a graceful shutdown: on SIGTERM or ctrl-c it accepts no more connections, gives
//! the open ones 5 seconds to finish, and prints how many requests it has answered.
//!
//! ```text
//! cargo run --example graceful_shutdown [PORT]
//! ```
//!
//! A request is a line with a number n, the answer the n-th prime, which a job on another thread
//! computes: the loop serves the other connections meanwhile. A second signal ends it immediately.

use std::cell::Cell;
use std::time::Duration;

use soloio::{
    Error, Result, Signal, SignalReceiver, TcpListener, TcpStream, block_on, create_tcp_listener,
    move_on_after, open_signal_receiver, run_in_thread, task_group,
};

const DRAIN: Duration = Duration::from_secs(5);
const LINE_LIMIT: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(1234), |arg| arg.parse());
    // Before everything else, so that an early signal is received, too.
    let signals = open_signal_receiver(&[Signal::Terminate, Signal::Interrupt])?;
    Ok(block_on(run(port?, signals))?)
}

async fn run(port: u16, signals: SignalReceiver) -> Result<()> {
    let listener = create_tcp_listener()
        .local_host("127.0.0.1")
        .local_port(port)
        .await?;
    println!("tcp {}", listener.local_addr());
    let answered = Cell::new(0_u32); // borrowed by all connections
    task_group(async |group| {
        let mut serving = group.spawn(serve(&listener, &answered));
        let signal = signals.receive().await?;
        println!("{signal}: no more connections");
        drop(signals); // restores the signals' former action
        listener.abort();
        if move_on_after(DRAIN, &mut serving).await?.is_none() {
            println!("cut off after {} s", DRAIN.as_secs());
            serving.cancel();
        }
        Ok(())
    })
    .await?;
    println!("{} answers", answered.get());
    Ok(())
}

/// Ends when the listener is aborted and the last connection has ended.
async fn serve(listener: &TcpListener, answered: &Cell<u32>) -> Result<()> {
    task_group(async |connections| {
        let served = listener.serve(async |client| {
            connections.spawn(async {
                if let Err(error) = answer(client, answered).await {
                    eprintln!("{error}");
                }
            });
        });
        match served.await {
            Err(Error::Closed) => {}
            other => eprintln!("{other:?}"),
        }
    })
    .await
}

async fn answer(client: TcpStream, answered: &Cell<u32>) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some(data) = client.next().await? {
        buffer.extend(data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let wanted = String::from_utf8_lossy(&line).trim().parse::<u32>();
            let reply = match wanted {
                Ok(n @ 1..=10_000) => format!("{}\n", run_in_thread(move || prime(n)).await?),
                _ => "a number from 1 to 10000, please\n".to_owned(),
            };
            client.send(reply.as_bytes()).await?;
            answered.set(answered.get() + 1);
        }
        if buffer.len() > LINE_LIMIT {
            return Err(Error::other("a line without an end"));
        }
    }
    client.close().await
}

/// Returns the n-th prime; the first one is 2.
fn prime(n: u32) -> u32 {
    let is_prime = |n: &u32| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    (2..)
        .filter(is_prime)
        .nth(n as usize - 1)
        .expect("there is no last one")
}
