//! A port that is used again at once: late segments of the connection before it are not its own.

use std::time::Duration;

use soloio::{Result, connect_tcp, create_tcp_listener, fail_after, sleep};
use soloio_sim::{Faults, Sim, check};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn echo() -> Result<()> {
    let listener = create_tcp_listener().local_host("0.0.0.0").local_port(7);
    let listener = listener.await?;
    let serve = listener.serve(async |stream| {
        while let Some(data) = stream.next().await? {
            stream.send(&data).await?;
        }
        Ok(())
    });
    serve.on_error(|_, _| {}).await
}

/// Connects from one port again and again, and breaks each connection in the middle of its data.
async fn client() -> Result<()> {
    for round in 0..20 {
        let stream = fail_after(
            Duration::from_secs(9),
            connect_tcp("server", 7).local_port(4_000),
        );
        let stream = stream.await?;
        stream.send(&[round; 3_000]).await?;
        let mut first = [0];
        stream.receive_into(&mut first).await?;
        assert_eq!(first, [round], "of this connection");
        if round % 2 == 0 {
            sleep(millis(3)).await?;
        }
        stream.abort();
    }
    Ok(())
}

#[test]
fn late_segments_are_not_those_of_the_next_connection() {
    check(100, |seed| {
        let faults = Faults::none().with_latency(millis(1), millis(9));
        let mut sim = Sim::new(seed, faults.with_segment(500));
        sim.host("server", echo);
        sim.client("client", client);
        sim.run_until_done(Duration::from_secs(3600))
    });
}
