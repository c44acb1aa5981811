//! Machines, faults and seeds: an echo server and its clients, as any program writes them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use soloio::{Error, Result, TcpListener, connect_tcp, create_tcp_listener, fail_after, sleep};
use soloio_sim::{Failure, Fault, Faults, Sim, check, sometimes};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns a listener, after any number of failures.
async fn listen(port: u16) -> Result<TcpListener> {
    loop {
        match create_tcp_listener()
            .local_host("0.0.0.0")
            .local_port(port)
            .await
        {
            Ok(listener) => return Ok(listener),
            Err(_) => sleep(millis(1)).await?,
        }
    }
}

async fn echo() -> Result<()> {
    let listener = listen(7).await?;
    listener
        .serve_with(async |stream| {
            while let Some(data) = stream.next().await? {
                stream.send(&data).await?;
            }
            Ok::<_, Error>(())
        })
        .on_error(|_, _| {})
        .await
}

/// Sends `data` and expects it back; returns the number of bytes that came, all of them correct.
async fn talk(host: &str, data: &[u8]) -> Result<usize> {
    let stream = connect_tcp(host, 7).await?;
    let send = async {
        let sent = async {
            stream.send(data).await?;
            stream.send_eof().await
        };
        let sent = sent.await;
        if sent.is_err() {
            stream.abort();
        }
        sent
    };
    let mut got = Vec::new();
    let receive = async {
        while let Ok(Some(bytes)) = stream.next().await {
            got.extend(bytes);
        }
    };
    let (sent, ()) = soloio::join((send, receive)).await;
    assert!(data.starts_with(&got), "another byte came back");
    sent?;
    Ok(got.len())
}

fn numbered(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn in_calm_weather_every_byte_comes_back() {
    check(30, |seed| {
        let mut sim = Sim::new(seed, Faults::none().with_latency(millis(1), millis(30)));
        sim.host("server", echo);
        for client in 0..3 {
            sim.client(format!("client{client}"), || async {
                let data = numbered(100_000);
                assert_eq!(talk("server", &data).await?, data.len());
                Ok::<_, Error>(())
            });
        }
        sim.run_until_done(secs(600))
    });
}

#[test]
fn in_a_storm_nothing_else_comes_back_and_nothing_hangs() {
    check(200, |seed| {
        let mut sim = Sim::new(seed, Faults::swarm(seed));
        sim.host("server", echo);
        for client in 0..3 {
            sim.client(format!("client{client}"), || async {
                let data = numbered(3000);
                for _ in 0..3 {
                    let talked = fail_after(secs(9000), talk("server", &data)).await;
                    sometimes(talked.is_err(), "a talk fails");
                    sometimes(matches!(talked, Ok(3000)), "a talk succeeds");
                    if let Err(Error::TimedOut(_)) = talked {
                        return Err(Failure::new("it hangs"));
                    }
                }
                Ok(())
            });
        }
        sim.run_until_done(secs(100_000))
    });
}

#[test]
fn a_server_is_cut_off_crashes_and_comes_back() {
    check(30, |seed| {
        let faults = Faults::none().with_latency(millis(1), millis(20));
        let mut sim = Sim::new(seed, faults.with(Fault::SpuriousEvent, 0.02));
        sim.host("server", echo);
        for client in 0..2 {
            sim.client(format!("client{client}"), || async {
                let mut done = 0;
                while done < 20 {
                    let talked = fail_after(millis(700), talk("server", b"ping")).await;
                    match talked {
                        Ok(4) => done += 1,
                        _ => sleep(millis(50)).await?,
                    }
                    sometimes(talked.is_err(), "a client met the fault");
                }
                Ok::<_, Error>(())
            });
        }
        sim.at(millis(200), |net| net.partition("server", "client1"));
        sim.at(secs(2), |net| {
            net.heal();
            net.crash("server");
        });
        sim.at(secs(3), |net| net.restart("server"));
        sim.at(secs(4), |net| net.pause("server"));
        sim.at(secs(5), |net| net.resume("server"));
        sim.run_until_done(secs(3600))
    });
}

#[test]
fn one_direction_may_be_lost_alone() {
    check(10, |seed| {
        let mut sim = Sim::new(seed, Faults::none().with_latency(millis(1), millis(5)));
        sim.host("server", echo);
        sim.client("client", || async {
            let first = fail_after(secs(20), talk("server", b"lost")).await;
            assert!(matches!(first, Err(Error::TimedOut(_))), "{first:?}");
            sleep(secs(30)).await?;
            assert_eq!(talk("server", b"found").await?, 5);
            Ok::<_, Error>(())
        });
        sim.net().cut("server", "client");
        sim.at(secs(25), |net| net.heal());
        sim.run_until_done(secs(300))
    });
}

#[test]
fn an_invariant_is_looked_at_after_every_event() {
    let mut sim = Sim::new(1, Faults::none());
    let (count, looked) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (counts, looks) = (count.clone(), looked.clone());
    sim.client("counter", move || {
        let count = counts.clone();
        async move {
            for _ in 0..10 {
                count.set(count.get() + 1);
                sleep(secs(1)).await?;
            }
            Ok::<_, Error>(())
        }
    });
    sim.always(move || {
        looks.set(looks.get() + 1);
        assert!(count.get() <= 10);
    });
    sim.run_until_done(secs(100)).unwrap();
    assert!(looked.get() >= 10);
}

#[test]
#[should_panic(expected = "shrunk: ")]
fn a_seed_that_fails_is_shown_and_shrunk() {
    check(100, |seed| {
        let mut sim = Sim::new(seed, Faults::swarm(seed).without(Fault::Reset));
        sim.host("server", echo);
        sim.client("client", || async {
            let talked = talk("server", &numbered(2000)).await;
            // The planted bug: every error is taken for the end.
            assert!(talked.is_ok(), "{talked:?}");
        });
        sim.run_until_done(secs(10_000))
    });
}

#[test]
fn a_sim_that_hangs_says_what_each_task_waits_for() {
    let mut sim = Sim::new(1, Faults::none());
    sim.client("lonely", || async {
        listen(9).await?.accept().await.map(drop)
    });
    let failure = sim.run_until_done(secs(10)).unwrap_err().to_string();
    assert!(failure.contains("nothing can ever happen"), "{failure}");
    assert!(failure.contains("accepts"), "{failure}");
}
