//! The clock of a world: it stands while anything runs, and jumps when every task waits.

use std::time::{Duration, Instant, SystemTime};

use soloio::{Error, fail_after, race, sleep, sleep_until, task_group};
use soloio_sim::{run, wait_all_tasks_blocked};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_hour_takes_no_time_and_exactly_an_hour() {
    let real = Instant::now();
    run(async {
        let start = Instant::now();
        for _ in 0..60 {
            sleep(secs(60)).await.unwrap();
        }
        assert_eq!(start.elapsed(), secs(3600));
        sleep_until(start + secs(4000)).await.unwrap();
        assert_eq!(start.elapsed(), secs(4000));
    });
    assert!(real.elapsed() < secs(5));
}

#[test]
fn a_keep_alive_of_40_seconds_is_tested_at_once() {
    // A server drops a connection that is silent for 40 s.
    run(async {
        let listener = soloio::create_tcp_listener()
            .local_host("127.0.0.1")
            .await
            .unwrap();
        let port = listener.local_addr().port();
        let server = async {
            let stream = listener.accept().await?;
            loop {
                match fail_after(secs(40), stream.receive()).await {
                    Ok(_) => {}
                    Err(Error::TimedOut(_)) => return Ok::<_, Error>(Instant::now()),
                    Err(error) => return Err(error),
                }
            }
        };
        let client = async {
            let stream = soloio::connect_tcp("127.0.0.1", port).await?;
            for _ in 0..3 {
                sleep(secs(39)).await?;
                stream.send(b"still here").await?;
            }
            let last = Instant::now();
            assert!(matches!(stream.receive().await, Err(Error::EndOfStream)));
            Ok::<_, Error>(last)
        };
        let (dropped, last) = soloio::join((server, client)).await;
        assert_eq!(dropped.unwrap() - last.unwrap(), secs(40));
    });
}

#[test]
fn a_relay_is_idle_when_no_byte_moves_either_way() {
    run(async {
        let limit = secs(30);
        let (client, ours) = soloio::create_memory_byte_stream(64);
        let (theirs, server) = soloio::create_memory_byte_stream(64);
        let relayed = async {
            let ended = soloio::relay(ours, theirs).idle_limit(limit).await;
            assert!(matches!(ended, Err(Error::TimedOut(_))));
            Instant::now()
        };
        let talk = async {
            for turn in 0..10 {
                sleep(limit - secs(7)).await.unwrap();
                // One direction at a time is enough.
                match turn % 2 {
                    0 => client.send(b"x").await.unwrap(),
                    _ => server.send(b"x").await.unwrap(),
                }
            }
            Instant::now()
        };
        let (ended, last) = soloio::join((relayed, talk)).await;
        let idle = ended - last;
        assert!(limit <= idle && idle <= limit * 6 / 5, "{idle:?}");
    });
}

#[test]
fn a_lone_timer_is_exact() {
    run(async {
        for nanos in [
            1,
            999,
            400_000,
            999_999,
            1_000_000,
            1_000_001,
            1_500_000,
            10_900_000,
            59_999_999_999,
        ] {
            let (start, time) = (Instant::now(), Duration::from_nanos(nanos));
            sleep(time).await.unwrap();
            assert_eq!(start.elapsed(), time);
        }
    });
}

/// Whatever else wakes the loop: no timer is early, and none is later than others near it allow.
#[test]
fn no_timer_is_early_and_none_is_late() {
    run(task_group(async |group| {
        let mut rng = soloio_sim::Rng::new(1);
        for _ in 0..300 {
            let time = Duration::from_nanos(rng.below(50_000_000));
            group.spawn(async move {
                for _ in 0..10 {
                    let start = Instant::now();
                    sleep(time).await?;
                    let late = start.elapsed().checked_sub(time);
                    let late = late.unwrap_or_else(|| panic!("{time:?} is early"));
                    // A timer may be met together with others that are due within 0.4 ms.
                    assert!(
                        late <= Duration::from_micros(400),
                        "{late:?} after {time:?}"
                    );
                }
                Ok(())
            });
        }
        Ok(())
    }))
    .unwrap();
}

#[test]
fn wait_all_tasks_blocked_comes_before_the_next_moment() {
    run(task_group(async |group| {
        let start = Instant::now();
        group.spawn(sleep(Duration::from_nanos(1)));
        for _ in 0..3 {
            wait_all_tasks_blocked().await?;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        Ok(())
    }))
    .unwrap();
}

#[test]
fn what_spins_until_a_time_makes_progress() {
    run(async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1) {}
        let calendar = SystemTime::now();
        assert!(calendar.elapsed().unwrap() < secs(1));
    });
}

#[test]
#[should_panic(expected = "nothing can ever happen")]
fn a_hang_is_an_error_at_once() {
    run(async {
        let listener = soloio::create_tcp_listener()
            .local_host("127.0.0.1")
            .await?;
        listener.accept().await.map(drop)
    })
    .unwrap();
}

#[test]
fn a_hang_says_what_each_task_waits_for() {
    let hung = std::panic::catch_unwind(|| {
        run(async {
            let (never, event) = (soloio::Event::new(), soloio::Event::new());
            let (_peer, stream) = soloio::unix_socket_pair().unwrap();
            task_group(async |group| {
                drop(group.spawn(stream.receive()).named("reader"));
                group.spawn(async { never.wait().await });
                event.wait().await
            })
            .await
        })
        .unwrap();
    });
    let message = hung.unwrap_err().downcast::<String>().unwrap();
    for part in [
        "main, ",
        "body of a group, ",
        "\"reader\" (crates/soloio-sim/tests/time.rs:",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let waits = |what| message.lines().filter(|line| line.contains(what)).count();
    assert_eq!(waits("polls, waits 0.00 s: an event"), 2, "{message}");
    assert_eq!(waits("polls, waits 0.00 s: readable (fd "), 1, "{message}");
    assert_eq!(waits(", runs") + waits(", woken"), 0, "{message}");
}

#[test]
fn a_race_of_timers_is_won_by_the_shorter_one() {
    run(async {
        let start = Instant::now();
        let slow = async { sleep(secs(2)).await.map(|()| "slow") };
        let fast = async { sleep(secs(1)).await.map(|()| "fast") };
        let winner = race((slow, fast)).await;
        assert_eq!(start.elapsed(), secs(1));
        drop(winner);
    });
}
