//! The bandwidth of links, exact to the nanosecond.

use std::time::{Duration, Instant};

use soloio::{
    Family, Result, connect_tcp, create_tcp_listener, create_udp_socket, sleep, try_join,
};
use soloio_sim::{Faults, Sim};

const MEGABYTE: usize = 1_000_000;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Takes in everything of each connection, and then answers with as many bytes.
async fn server() -> Result<()> {
    let listener = create_tcp_listener()
        .local_host("0.0.0.0")
        .local_port(1)
        .await?;
    let serve = listener.serve_with(async |stream| {
        let mut count = 0;
        while let Some(bytes) = stream.next().await? {
            count += bytes.len();
        }
        stream.send(&vec![0; count]).await?;
        stream.close().await
    });
    serve.await
}

/// Sends bytes and waits for as many; returns the time until then.
async fn exchange(count: usize) -> Result<Duration> {
    let stream = connect_tcp("server", 1).await?;
    let start = Instant::now();
    stream.send(&vec![0; count]).await?;
    stream.send_eof().await?;
    let mut got = 0;
    while let Some(bytes) = stream.next().await? {
        got += bytes.len();
    }
    assert_eq!(got, count);
    Ok(start.elapsed())
}

fn run(faults: Faults, client: impl AsyncFn() -> Result<()> + Copy + 'static) {
    let mut sim = Sim::new(1, faults);
    sim.host("server", server);
    sim.client("client", move || async move { client().await });
    // There in ten seconds, back in one.
    sim.net().bandwidth("client", "server", 100_000);
    sim.net().bandwidth("server", "client", 1_000_000);
    sim.run_until_done(Duration::from_secs(3600)).expect("done");
}

#[test]
fn each_direction_takes_its_time() {
    run(Faults::none(), async || {
        sleep(millis(1)).await?;
        assert_eq!(exchange(MEGABYTE).await?, millis(11_000));
        assert_eq!(exchange(1).await?, Duration::from_micros(11));
        Ok(())
    });
}

#[test]
fn it_is_shared_and_latency_comes_on_top() {
    run(Faults::none(), async || {
        sleep(millis(1)).await?;
        let (a, b) = try_join((exchange(MEGABYTE), exchange(MEGABYTE))).await?;
        // The last byte of one comes after all of both; the answers have 1 MB/s.
        let longest = a.max(b);
        assert!(
            millis(21_000) <= longest && longest <= millis(22_000),
            "{longest:?}"
        );
        Ok(())
    });
    let faults = Faults::none().with_latency(millis(30), millis(30));
    run(faults.with_buffer(1 << 20), async || {
        sleep(millis(100)).await?;
        assert_eq!(exchange(MEGABYTE).await?, millis(11_060));
        Ok(())
    });
}

#[test]
fn datagrams_wait_for_their_turn() {
    let mut sim = Sim::new(1, Faults::none());
    let to = sim.host("sink", || async {
        let socket = create_udp_socket()
            .local_host("0.0.0.0")
            .local_port(1)
            .await?;
        for count in 1..=10 {
            socket.receive().await?;
            let elapsed = soloio_sim::elapsed().expect("in a world");
            assert_eq!(elapsed, millis(1) + millis(300) * count);
        }
        sleep(Duration::MAX).await
    });
    let to = (to.ip(), 1).into();
    sim.client("source", move || async move {
        let socket = create_udp_socket().family(Family::V4).await?;
        sleep(millis(1)).await?;
        for _ in 0..10 {
            socket.send_to(&[0; 300], to).await?;
        }
        sleep(millis(4000)).await
    });
    sim.net().bandwidth("source", "sink", 1000);
    sim.run_until_done(Duration::from_secs(10)).expect("done");
}
