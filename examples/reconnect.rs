//! A client that stays connected: it prints each line that it receives, and connects again, after
//! ever longer pauses, when the connection ends or fails.
//!
//! ```text
//! cargo run --example reconnect [HOST [PORT]]     (localhost 1234)
//! ```
//!
//! Which errors are worth another try is in a table of `docs/guide.md`. In a program of your own,
//! `Retry` of the crate soloio-streams does the connecting part.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use soloio::{Buffered, Error, Result, Signal, Winner, block_on, connect_tcp, fail_after};
use soloio::{open_signal_receiver, race, sleep};

/// The first and the longest pause.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The time to connect, and the time for which a server may be silent.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "localhost".into());
    let port = args.next().unwrap_or_else(|| "1234".into());
    let Ok(port) = port.parse() else {
        eprintln!("`{port}` is no port");
        return ExitCode::FAILURE;
    };
    let ended = block_on(async {
        let stop = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
        let stopped = async { stop.receive().await.map(drop) };
        match race((stopped, stay_connected(&host, port))).await {
            Winner::First(ended) | Winner::Second(ended) => ended,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends only with an error that another try would meet again.
async fn stay_connected(host: &str, port: u16) -> Result<()> {
    let mut pause = PAUSE.0;
    loop {
        let mut lines = 0;
        let Err(error) = print_lines(host, port, &mut lines).await;
        if !is_worth_another_try(&error) {
            return Err(error);
        }
        if lines > 0 {
            pause = PAUSE.0; // it has worked
        }
        let wait = shortened(pause);
        println!("{error}; again in {} ms", wait.as_millis());
        sleep(wait).await?;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Connects once, and prints and counts lines until the connection ends.
async fn print_lines(host: &str, port: u16, lines: &mut usize) -> Result<Infallible> {
    let stream = fail_after(CONNECT, connect_tcp(host, port)).await?;
    println!("connected to {}", stream.peer_addr());
    let stream = Buffered::new(stream);
    loop {
        let line = fail_after(SILENCE, stream.receive_until(b"\n", 64 * 1024)).await?;
        println!("{}", String::from_utf8_lossy(&line));
        *lines += 1;
    }
}

/// Returns whether a new connection may go better.
fn is_worth_another_try(error: &Error) -> bool {
    match error {
        // No server there, or not now: its host may start, its name may come.
        Error::ConnectFailed(_) | Error::Resolve(_) | Error::TimedOut(_) => true,
        // This connection is over.
        Error::EndOfStream | Error::IncompleteRead(_) | Error::Broken(_) => true,
        // The system refuses something: a lack of descriptors passes, a wrong argument stays.
        Error::Io(cause) => cause.kind() != ErrorKind::InvalidInput,
        // A peer that does not keep to the protocol; a cancel; a fault of this program.
        _ => false,
    }
}

/// Shortens a pause by up to a half, so that many clients do not all come back at once. The keys of
/// a hash map are random, and need no crate.
fn shortened(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) as u32;
    pause - (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}
