//! Serves on several cores: one loop on each, one port, nothing shared but what handlers borrow.
//!
//! ```text
//! cargo run --release --example cores [THREADS [PORT]]
//! ```
//!
//! Prints where it listens, and echoes. SIGTERM or ctrl-c stops accepting at once; connections
//! under way have 5 seconds to finish; then it tells how many each loop has served.

use std::num::NonZero;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use soloio::{Error, Result, StopHandle, TcpListener, block_on, create_tcp_listener, per_core};

const DRAIN: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse());
    let threads = args.next().transpose().map_err(Error::other)?;
    let threads = threads.map_or_else(
        || available_parallelism().map_or(1, NonZero::get),
        usize::from,
    );
    let port = args.next().transpose().map_err(Error::other)?;
    let listeners = block_on(listen(threads, port.unwrap_or(0)))?;
    println!("tcp {}", listeners[0].local_addr());

    let greeting = String::from("served by core"); // borrowed by all loops
    let served = per_core(threads, async |core| -> Result<u64> {
        if core.index() == 0 {
            stop_on_signal(core.stop_handle())?;
        }
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
        serve.shutdown(core.stopped()).drain(DRAIN).await?;
        Ok(counters.accepted())
    })?;
    for (core, served) in served.iter().enumerate() {
        println!("core {core}: {served}");
    }
    Ok(())
}

/// One listener for each loop, all on one port. They are made before any of them accepts: the
/// kernel gives each its share of the connections from the moment it listens.
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

/// A thread that waits for signals; it ends with the process.
fn stop_on_signal(stop: StopHandle) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            stop.stop();
        }
    });
    Ok(())
}
