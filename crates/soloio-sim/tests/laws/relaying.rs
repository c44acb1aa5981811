//! A relay with and without pipes, which it moves much data through.

use std::time::Duration;

use soloio::{Error, Result, UnixStream, join, relay, sleep, unix_socket_pair};
use soloio_sim::{Faults, Sim, calls, elapsed, run};

/// Passes a megabyte through a relay.
async fn pass(stream: (UnixStream, UnixStream), relayed: (UnixStream, UnixStream)) -> Result<()> {
    let (sender, receiver) = stream;
    let data: Vec<u8> = (0..1 << 20_u32).map(|at| (at % 251) as u8).collect();
    let send = async {
        sender.send(&data).await?;
        sender.send_eof().await
    };
    let receive = async {
        let mut got = Vec::new();
        while let Some(bytes) = receiver.next().await.expect("an orderly end") {
            got.extend(bytes);
        }
        assert!(got == data, "every byte");
        receiver.send_eof().await
    };
    let ends = join((send, receive, relay(relayed.0, relayed.1))).await;
    ends.0.and(ends.1).and(ends.2).map(drop)
}

fn in_a_world_of_few_descriptors(program: impl AsyncFn() -> Result<()> + Copy + 'static) {
    let faults = Faults::none().with_descriptors(30).with_buffer(1 << 18);
    let mut sim = Sim::new(1, faults);
    sim.client("relay", move || async move { program().await });
    sim.run_until_done(Duration::from_secs(1)).expect("done");
}

#[test]
fn much_data_goes_through_pipes() {
    in_a_world_of_few_descriptors(async || {
        let ((a, near), (far, b)) = (unix_socket_pair()?, unix_socket_pair()?);
        pass((a, b), (near, far)).await?;
        assert!(calls().contains_key("splice"), "{:?}", calls());
        Ok(())
    });
}

#[test]
fn without_a_descriptor_for_a_pipe_everything_goes_through_buffers() {
    in_a_world_of_few_descriptors(async || {
        // The loop's own descriptors first.
        sleep(Duration::from_micros(10)).await?;
        let ((a, near), (far, b)) = (unix_socket_pair()?, unix_socket_pair()?);
        let mut taken = Vec::new();
        while let Ok(pair) = unix_socket_pair() {
            taken.push(pair);
        }
        pass((a, b), (near, far)).await?;
        assert!(!calls().contains_key("splice"), "{:?}", calls());
        Ok(())
    });
}

const SILENCE: Duration = Duration::from_secs(10);

/// A limit is noticed up to a fifth of it later.
fn ends_of_silence(from: Duration) -> std::ops::RangeInclusive<Duration> {
    from + SILENCE..=from + SILENCE + SILENCE / 5
}

#[test]
fn a_relay_ends_after_its_idle_limit_and_each_byte_puts_that_off() {
    run(async {
        let ((a, near), (far, b)) = (unix_socket_pair()?, unix_socket_pair()?);
        let send = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(4)).await?;
                a.send(b"!").await?;
                assert_eq!(b.receive().await?, b"!");
            }
            Ok::<_, Error>(())
        };
        let relayed = async { relay(near, far).idle_limit(SILENCE).await };
        let (sent, ended) = join((send, relayed)).await;
        sent?;
        assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
        let end = elapsed().expect("in a world");
        assert!(
            ends_of_silence(Duration::from_secs(80)).contains(&end),
            "{end:?}"
        );
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn a_relay_waits_for_the_other_end_no_longer_than_its_limit() {
    run(async {
        let ((a, near), (far, _b)) = (unix_socket_pair()?, unix_socket_pair()?);
        a.send_eof().await?;
        // Awaited it would close the streams, too, which waits for the peers.
        let mut relayed = relay(near, far).half_open_limit(SILENCE);
        let ended = relayed.run().await;
        assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
        let end = elapsed().expect("in a world");
        assert!(ends_of_silence(Duration::ZERO).contains(&end), "{end:?}");
        Ok::<_, Error>(())
    })
    .unwrap();
}
