//! A graceful stop, by a signal, in the world.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use soloio::{
    Error, Result, Signal, connect_tcp, create_tcp_listener, ctrl_c, open_signal_receiver, sleep,
};
use soloio_sim::{Fault, Faults, Sim, check};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Serves until `stop`, and lets requests end that have begun.
async fn server<F: Future<Output = Result<()>>>(stop: F) -> Result<()> {
    let listener = create_tcp_listener()
        .local_host("0.0.0.0")
        .local_port(80)
        .await?;
    let serve = listener.serve_with(async |stream| {
        let request = stream.receive().await?;
        sleep(millis(300)).await?;
        stream.send(&request).await?;
        stream.close().await
    });
    serve.shutdown(stop).await
}

async fn terminate() -> Result<()> {
    open_signal_receiver(&[Signal::Terminate])?
        .receive()
        .await
        .map(drop)
}

async fn request() -> Result<()> {
    let stream = connect_tcp("server", 80).await?;
    stream.send(b"request").await?;
    assert_eq!(stream.receive().await?, b"request");
    assert!(stream.next().await?.is_none(), "an orderly end");
    Ok(())
}

/// Every request that was accepted is answered, and then the server ends.
fn explore(signal: Signal) {
    check(20, |seed| {
        let faults = Faults::none()
            .with(Fault::SpuriousEvent, 0.05)
            .with(Fault::EarlyWake, 0.05)
            .with_latency(millis(1), millis(1 + seed % 10));
        let mut sim = Sim::new(seed, faults);
        sim.client("server", move || async move {
            match signal {
                Signal::Terminate => server(terminate()).await,
                _ => server(ctrl_c()).await,
            }
        });
        let refused = Rc::new(Cell::new(0));
        for client in 0..10 {
            let refused = Rc::clone(&refused);
            sim.client(format!("client{client}"), move || {
                let refused = Rc::clone(&refused);
                async move {
                    sleep(millis(100 * client)).await?;
                    match request().await {
                        Err(Error::ConnectFailed(_)) => refused.set(refused.get() + 1),
                        other => return other,
                    }
                    Ok(())
                }
            });
        }
        sim.at(millis(590), move |net| net.signal(signal.number()));
        sim.run_until_done(Duration::from_secs(10))?;
        assert!(sim.elapsed() < Duration::from_secs(2));
        assert_eq!(refused.get(), 4, "those that come after the stop");
        Ok::<_, soloio_sim::Failure>(())
    });
}

#[test]
fn a_server_ends_by_a_signal_after_the_requests_that_it_has() {
    explore(Signal::Terminate);
    explore(Signal::Interrupt);
}

#[test]
#[should_panic(expected = "no program receives signal")]
fn a_signal_that_nobody_receives_fails_the_test() {
    Sim::new(1, Faults::none())
        .net()
        .signal(Signal::Quit.number());
}

/// Fails on purpose: its trace names the machine of each program that gets the signal, and no
/// other.
#[test]
#[should_panic(expected = "      5.000000          signal 15
      5.000000 server   gets signal 15
      5.000000 server   write(")]
fn the_trace_names_who_gets_a_signal() {
    check(1, |seed| {
        let mut sim = Sim::new(seed, Faults::none());
        sim.host("idle", || sleep(Duration::MAX));
        sim.client("server", terminate);
        sim.host("other", || sleep(Duration::MAX));
        sim.at(Duration::from_secs(5), |net| {
            net.signal(Signal::Terminate.number())
        });
        sim.run_until_done(Duration::from_secs(5))?;
        Err::<(), _>(soloio_sim::Failure::new("to show the trace"))
    });
}
