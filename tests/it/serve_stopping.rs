//! `stopping`: handlers learn that their server stops, and nothing else does.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    Error, create_tcp_listener, fail_after, move_on_after, stopping, task_group, yield_now,
};

use crate::cut::everywhere;
use crate::net_support::{refused, run, tcp_listener, turns};
use crate::serve_ends::{client_of, until};
use crate::support::{Counter, Gate, poll_once};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn idle_connections_say_goodbye_when_the_server_stops() {
    run(async {
        let listener = tcp_listener().await;
        let (stop, running) = (Gate::default(), Counter::new());
        let serve = listener.serve(async |client| {
            let _held = running.hold();
            // In a task of its own, and in a scope: it is the handler's all the same.
            task_group(async |group| group.spawn(fail_after(SOON, stopping())).await).await?;
            client.send(b"goodbye").await
        });
        let counters = serve.counters();
        let talk = async {
            let mut clients = Vec::new();
            for _ in 0..100 {
                clients.push(client_of(&listener).await);
            }
            until(|| running.get() == 100).await;
            turns(2).await;
            stop.open();
            for client in clients {
                assert_eq!(client.receive().await.expect("data"), b"goodbye");
                refused!(client.receive().await, Error::EndOfStream);
            }
        };
        let (ended, ()) = join(async { serve.shutdown(stop.wait()).await }, talk).await;
        ended.expect("it was told to end, and needed no limit");
        assert_eq!((counters.accepted(), counters.failed()), (100, 0));
    });
}

/// What was accepted from the backlog at the end knows from its start.
#[test]
fn one_that_begins_after_the_stop_knows() {
    run(async {
        let listener = tcp_listener().await;
        let client = client_of(&listener).await;
        let serve = listener.serve(async |client| {
            assert!(poll_once(pin!(stopping())).await.is_ready());
            client.send(b"the last").await
        });
        serve.shutdown(ready(())).await.expect("it was told to end");
        assert_eq!(client.receive().await.expect("data"), b"the last");
    });
}

#[test]
fn a_server_in_another_ones_group_or_handler_is_its_own() {
    run(async {
        let (outer, inner) = (tcp_listener().await, tcp_listener().await);
        let (stop, last, ready) = (Gate::default(), Gate::default(), Counter::new());
        let serve = outer.serve(async |client| {
            task_group(async |group| {
                let inside = inner.serve(async |client| {
                    let _held = ready.hold();
                    stopping().await?;
                    client.send(b"inner").await
                });
                inside.shutdown(stop.wait()).in_group(group).await
            })
            .await?;
            // The inner one has stopped, this one has not.
            assert!(poll_once(pin!(stopping())).await.is_pending());
            client.send(b"outer").await
        });
        let talk = async {
            let first = client_of(&outer).await;
            let second = client_of(&inner).await;
            until(|| ready.get() == 1).await;
            stop.open();
            assert_eq!(second.receive().await.expect("data"), b"inner");
            assert_eq!(first.receive().await.expect("data"), b"outer");
            last.open();
        };
        let serving = async { move_on_after(SOON, serve.shutdown(last.wait())).await };
        let (ended, ()) = join(serving, talk).await;
        assert!(ended.expect("no error").is_some());
    });
}

#[test]
fn outside_of_a_handler_it_never_happens_and_a_cancel_is_told() {
    run(async {
        let mut told = None;
        let ended = move_on_after(Duration::from_millis(1), async {
            told = Some(stopping().await);
            Ok::<_, Error>(())
        });
        ended.await.expect("moves on");
        refused!(told.expect("told, not dropped"), Error::Cancelled);
        let listener = create_tcp_listener().local_host("127.0.0.1").await;
        drop(listener.expect("a listener"));
    });
}

/// Covers: stopping.
#[test]
fn cut() {
    everywhere("serve_stopping::cut", async |cut| {
        let listener = tcp_listener().await;
        let (done, stop) = (std::cell::Cell::new(true), Gate::default());
        let serve = listener.serve(async |client| {
            let told = cut.apply(stopping()).await;
            done.set(told.is_some());
            if told.is_none() {
                stopping().await?;
            }
            client.send(b"told").await
        });
        let talk = async {
            let client = client_of(&listener).await;
            turns(4).await;
            stop.open();
            assert_eq!(client.receive().await.expect("data"), b"told");
            yield_now().await.expect("no cancel");
        };
        let (ended, ()) = join(async { serve.shutdown(stop.wait()).await }, talk).await;
        ended.expect("it was told to end");
        done.get()
    });
}
