//! A relay with and without pipes, which it moves much data through.

use std::time::Duration;

use soloio::{Result, UnixStream, join, relay, unix_socket_pair};
use soloio_sim::{Faults, Sim, calls};

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
        soloio::sleep(Duration::from_micros(10)).await?;
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
