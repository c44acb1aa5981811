//! The first example of the README, with its bug: a vote that is repeated after an error may count
//! twice.

use soloio::{Result, connect_tcp, create_tcp_listener, fail_after};
use soloio_sim::{Fault, Faults, Sim, check};
use std::{cell::Cell, rc::Rc, time::Duration};

type Votes = Rc<Cell<[u32; 3]>>;

async fn count(votes: Votes) -> Result<()> {
    let any = create_tcp_listener().local_host("0.0.0.0");
    let listener = any.local_port(1).await?;
    let serve = listener.serve(async |client| {
        let voter = usize::from(client.receive().await?[0]);
        let mut counted = votes.get();
        counted[voter] += 1;
        votes.set(counted);
        client.send(b"counted").await
    });
    serve.on_error(|_, _| {}).await
}

async fn vote(voter: u8) -> Result<()> {
    let once = async || {
        let server = connect_tcp("server", 1).await?;
        server.send(&[voter]).await?;
        server.receive().await
    };
    while fail_after(Duration::from_secs(5), once()).await.is_err() {} // votes again
    Ok(())
}

#[test]
#[should_panic(expected = "two votes")]
fn each_voter_has_one_vote() {
    check(1_000, |seed| {
        let (least, most) = (Duration::from_millis(1), Duration::from_millis(100));
        let faults = Faults::none().with_latency(least, most);
        let faults = faults.with(Fault::Loss, 0.05).with(Fault::Reset, 0.01);
        let mut sim = Sim::new(seed, faults);
        let votes = Votes::default();
        let counted = votes.clone();
        sim.host("server", move || count(counted.clone()));
        for voter in 0..3 {
            sim.client(format!("voter{voter}"), move || vote(voter));
        }
        sim.always(move || assert!(votes.get().iter().all(|count| *count <= 1), "two votes"));
        sim.run_until_done(Duration::from_secs(600)) // of virtual time
    });
}

/// A reader copies it from there.
#[test]
fn the_readme_has_this_program() {
    let (_, program) = include_str!("votes.rs").split_once("\n\n").unwrap();
    let (program, _) = program.split_once("\n/// A reader").unwrap();
    let program = program.replace("#[should_panic(expected = \"two votes\")]\n", "");
    assert!(include_str!("../README.md").contains(program.trim_end()));
}
