//! An example: a lock with a lease, a server and two workers, and a planted bug that seeds find.
//!
//! A worker that gets the lock may work for a second. The server grants it to another worker only
//! after that. It keeps the lease in memory, so a server that has just started must wait for the
//! time of a lease before it grants anything: it may have granted one before a crash. The planted
//! bug is that it does not wait.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use soloio::{Error, Result, connect_tcp, create_tcp_listener, fail_after, sleep};
use soloio_sim::{Failure, Faults, Sim, check, sometimes};

const LEASE: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Grants the lock to the connection that asks for it first.
async fn server(waits: bool) -> Result<()> {
    let listener = create_tcp_listener()
        .local_host("0.0.0.0")
        .local_port(1)
        .await?;
    let free_from = Cell::new(Instant::now() + if waits { LEASE } else { Duration::ZERO });
    let serve = listener.serve_with(async |stream| {
        stream.receive().await?;
        let granted = Instant::now() >= free_from.get();
        if granted {
            free_from.set(Instant::now() + LEASE);
        }
        stream.send(if granted { b"yes" } else { b"no!" }).await
    });
    serve.on_error(|_, _| {}).await
}

/// Works three times while it has the lock; stops well before the end of the lease.
async fn worker(holders: Rc<Cell<u32>>) -> Result<()> {
    let mut done = 0;
    while done < 3 {
        let asked = Instant::now();
        let ask = fail_after(millis(300), async {
            let stream = connect_tcp("lock", 1).await?;
            stream.send(b"?").await?;
            Ok::<_, Error>(stream.receive().await? == b"yes")
        });
        if matches!(ask.await, Ok(true)) {
            holders.set(holders.get() + 1);
            // Counted from before the request: the server counts from later.
            let left = LEASE.saturating_sub(asked.elapsed());
            sleep(left.saturating_sub(millis(100))).await?;
            holders.set(holders.get() - 1);
            done += 1;
        }
        sleep(millis(50)).await?;
    }
    Ok(())
}

fn explore(waits: bool) {
    check(50, |seed| {
        let faults = Faults::none().with_latency(millis(1), millis(1 + seed % 30));
        let mut sim = Sim::new(seed, faults);
        sim.host("lock", move || server(waits));
        let holders = Rc::new(Cell::new(0));
        for number in 0..2 {
            let holders = holders.clone();
            sim.client(format!("worker{number}"), move || worker(holders.clone()));
        }
        let crash = millis(1100 + 97 * (seed % 20));
        sim.at(crash, |net| net.crash("lock"));
        sim.at(crash + millis(150), |net| net.restart("lock"));
        sim.at(crash + millis(400), |net| net.partition("lock", "worker0"));
        sim.at(crash + millis(900), |net| net.heal());
        sim.always(move || {
            sometimes(holders.get() == 1, "the lock is held");
            assert!(holders.get() <= 1, "two hold the lock");
        });
        sim.run_until_done(Duration::from_secs(600))?;
        Ok::<_, Failure>(())
    });
}

#[test]
fn the_lock_has_one_holder_whatever_crashes() {
    explore(true);
}

#[test]
#[should_panic(expected = "two hold the lock")]
fn a_server_that_forgets_its_lease_is_found() {
    explore(false);
}
