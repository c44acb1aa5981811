//! Serves on several cores: one loop on each, one port, nothing shared but values that handlers
//! borrow.
//!
//! ```text
//! cargo run --release --example cores [THREADS [PORT]]
//! ```
//!
//! Prints its address, and echoes. SIGTERM or ctrl-c stops accepting immediately; open connections
//! have 5 seconds to finish; then it prints how many connections each loop has served.

use std::error::Error;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use soloio::{
    Result, Signal, TcpListener, block_on, create_tcp_listener, open_signal_receiver, per_core,
};

const DRAIN: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse());
    let threads = args.next().transpose()?;
    let threads = threads.map_or_else(
        || available_parallelism().map_or(1, NonZero::get),
        usize::from,
    );
    let port = args.next().transpose()?;
    let listeners = block_on(listen(threads, port.unwrap_or(0)))?;
    // Before the address is printed, so that an early signal is received, too. Each loop has a
    // receiver.
    let signals =
        (0..threads).map(|_| open_signal_receiver(&[Signal::Interrupt, Signal::Terminate]));
    let signals = signals.collect::<Result<Vec<_>>>()?;
    println!("tcp {}", listeners[0].local_addr());

    let greeting = String::from("served by core"); // borrowed by all loops
    let served = per_core(threads, async |core| -> Result<u64> {
        let serve = listeners[core.index()].serve(async |client| {
            client
                .send(format!("{greeting} {}\n", core.index()).as_bytes())
                .await?;
            while let Some(data) = client.next().await? {
                client.send(&data).await?;
            }
            Ok(())
        });
        let counters = serve.counters();
        let signal = signals[core.index()].receive();
        serve.shutdown(signal).drain(DRAIN).await?;
        Ok(counters.accepted())
    })?;
    for (core, served) in served.iter().enumerate() {
        println!("core {core}: {served}");
    }
    Ok(())
}

/// Opens one listener for each loop, all on one port. All are open before any accepts, because the
/// kernel gives each listener its share of the connections as soon as it listens.
async fn listen(threads: usize, port: u16) -> Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for _ in 0..threads {
        let port = listeners
            .first()
            .map_or(port, |first| first.local_addr().port());
        let make = create_tcp_listener()
            .local_host("127.0.0.1")
            .local_port(port);
        listeners.push(make.reuse_port(true).await?);
    }
    Ok(listeners)
}
