//! A server with its connections in a group of the caller's: the ends that end them, and the
//! others.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join;
use soloio::{Error, Result, task_group};

use crate::net_support::{polled, run, tcp_listener};
use crate::serve_ends::{client_of, until};
use crate::support::{Counter, forever};

#[test]
fn connections_in_the_callers_group_outlive_the_accept_loop() {
    run(async {
        let listener = tcp_listener().await;
        let served = Cell::new(0);
        let answered = task_group(async |group| {
            let serve = listener.serve(async |client| {
                let data = client.receive().await?;
                served.set(served.get() + 1);
                client.send(&data).await
            });
            let counters = serve.counters();
            let client = client_of(&listener).await;
            {
                let mut accepting = Box::pin(serve.in_group(group));
                while counters.accepted() == 0 {
                    assert!(polled(1, accepting.as_mut()).await.is_none());
                }
            }
            // The accept loop is gone; the listener still accepts.
            let second = client_of(&listener).await;
            drop(listener.accept().await?);
            drop(second);
            client.send(b"hello").await?;
            assert_eq!(client.receive().await?, b"hello");
            assert_eq!(counters.accepted(), 1);
            Ok(())
        });
        answered.await.expect("no error");
        assert_eq!(served.get(), 1);
    });
}

#[test]
fn the_drain_limit_ends_connections_in_the_callers_group_and_no_others() {
    run(async {
        let listener = tcp_listener().await;
        let (running, other) = (Counter::new(), Counter::new());
        task_group(async |group| {
            let bystander = group.spawn(async {
                let _held = other.hold();
                forever().await;
            });
            let serve = listener.serve(async |_client| {
                let _held = running.hold();
                forever().await;
                Ok::<_, Error>(())
            });
            let clients = [client_of(&listener).await, client_of(&listener).await];
            let serve = serve
                .shutdown(until(|| running.get() == 2))
                .drain(Duration::from_millis(5));
            serve.in_group(group).await?;
            assert_eq!((running.get(), other.get()), (0, 1));
            for client in clients {
                assert_eq!(client.next().await?, None);
            }
            bystander.cancel();
            Ok(())
        })
        .await
        .expect("no error");
    });
}

#[test]
fn a_handlers_error_does_not_end_the_callers_group() {
    run(async {
        let listener = tcp_listener().await;
        let told = Cell::new(0);
        task_group(async |group| {
            let serve = listener
                .serve(async |client| {
                    client.receive().await?;
                    Err::<(), _>(Error::other("no"))
                })
                .on_error(|_, _| told.set(told.get() + 1));
            let counters = serve.counters();
            let serve = serve.shutdown(until(|| told.get() == 2));
            let clients = async {
                for _ in 0..2 {
                    let client = client_of(&listener).await;
                    client.send(b"x").await?;
                    drop(client.next().await);
                }
                Result::Ok(())
            };
            let (served, clients) = join(serve.in_group(group), clients).await;
            assert_eq!(counters.failed(), 2);
            served.and(clients)
        })
        .await
        .expect("no error of the group");
    });
}
