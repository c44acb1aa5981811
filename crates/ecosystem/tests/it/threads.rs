//! Crates with threads of their own, and blocking ones on threads of soloio's.

use std::thread;
use std::time::Duration;

use soloio::{create_tcp_listener, move_on_after, run_in_thread, task_group};

use crate::support::{Outcome, run};

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn blocking() {
    run(async {
        let here = thread::current().id();
        let there = blocking::unblock(|| thread::current().id()).await;
        assert_ne!(here, there);
        Ok(())
    });
}

/// Its timers work; and soloio's limits end a wait for one.
#[test]
fn futures_timer() {
    run(async {
        futures_timer::Delay::new(SHORT).await;
        let long = async {
            futures_timer::Delay::new(LONG).await;
            Outcome::Ok(())
        };
        assert!(move_on_after(SHORT, long).await?.is_none());
        Ok(())
    });
}

/// The client blocks a thread, not the loop, which is its server.
#[test]
fn ureq() {
    run(async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await?;
        let url = format!("http://{}/", listener.local_addr());
        let body = task_group(async |group| {
            let server = group.spawn(listener.serve(async |stream| {
                stream.receive().await?;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                stream.send(answer).await
            }));
            let fetch = move || ureq::get(url).call()?.body_mut().read_to_string();
            let body = run_in_thread(fetch).await?;
            server.cancel();
            Ok::<_, soloio::Error>(body)
        });
        assert_eq!(body.await??, "hello");
        Ok(())
    });
}

/// What needs tokio's runtime has one on a thread of its own; a channel leads to it and back.
#[test]
fn tokio_in_a_thread() {
    run(async {
        let (ask, mut asked) = tokio::sync::mpsc::channel::<(u32, flume::Sender<u32>)>(8);
        let beside = thread::spawn(move || {
            let mut tokio = tokio::runtime::Builder::new_current_thread();
            let tokio = tokio.enable_all().build().expect("a runtime");
            tokio.block_on(async move {
                while let Some((number, answer)) = asked.recv().await {
                    tokio::time::sleep(SHORT).await;
                    answer.send(number * 2).expect("it is waited for");
                }
            });
        });
        for number in 0..3 {
            let (answer, answered) = flume::bounded(1);
            ask.send((number, answer)).await?;
            assert_eq!(answered.recv_async().await?, number * 2);
        }
        drop(ask);
        let joined = run_in_thread(move || beside.join()).await?;
        assert!(joined.is_ok());
        Ok(())
    });
}
