//! The ways a server ends: by its shutdown signal, with its connections running on; cancelled;
//! dropped.

use std::cell::{Cell, RefCell};
use std::future::ready;
use std::io::Read;
use std::net::TcpStream as StdStream;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    CancelScope, Error, Result, TcpListener, TcpStream, connect_tcp, shield, sleep, task_group,
};

use crate::cut::{Cut, everywhere_alone};
use crate::net_support::{polled, refused, run, tcp_listener, turns};
use crate::support::{Counter, Gate, OnDrop, forever};

const LONG: Duration = Duration::from_secs(3600);

pub(crate) async fn client_of(listener: &TcpListener) -> TcpStream {
    let port = listener.local_addr().port();
    connect_tcp("127.0.0.1", port).await.expect("connects")
}

/// Turns the loop until the condition is true.
pub(crate) async fn until(done: impl Fn() -> bool) {
    while !done() {
        turns(1).await;
    }
}

#[test]
fn shutdown_closes_the_listener_first_and_lets_connections_end() {
    run(async {
        let listener = tcp_listener().await;
        let (stop, running) = (Gate::default(), Counter::new());
        let serve = listener.serve(async |client| {
            let _held = running.hold();
            let data = client.receive().await?;
            client.send(&data).await
        });
        let counters = serve.counters();
        let serve = async { serve.shutdown(stop.wait()).drain(LONG).await };
        let talk = async {
            let clients = [client_of(&listener).await, client_of(&listener).await];
            until(|| running.get() == 2).await;
            stop.open();
            turns(3).await;
            let refused = StdStream::connect(listener.local_addr());
            assert!(refused.is_err(), "nobody listens there any more");
            refused!(listener.accept().await, Error::Closed);
            // The connections are still served.
            for client in clients {
                client.send(b"late").await.expect("sent");
                assert_eq!(client.receive().await.expect("an answer"), b"late");
            }
        };
        let (ended, ()) = join(serve, talk).await;
        ended.expect("it ended as it was told");
        assert_eq!(counters.accepted(), 2);
        assert_eq!((counters.active(), counters.failed()), (0, 0));
    });
}

#[test]
fn connections_that_wait_at_shutdown_are_served() {
    run(async {
        const CLIENTS: u64 = 100;
        let listener = tcp_listener().await;
        let connect = |_| StdStream::connect(listener.local_addr()).expect("connects");
        let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
        let serve = listener.serve(async |client| client.send(b"served").await);
        let counters = serve.counters();
        serve.shutdown(ready(())).await.expect("it was told to end");
        assert_eq!(counters.accepted(), CLIENTS);
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("no reset");
            assert_eq!(answer, "served");
        }
    });
}

#[test]
fn the_drain_limit_ends_connections_that_go_on() {
    run(async {
        for limit in [Duration::ZERO, Duration::from_millis(20)] {
            let listener = tcp_listener().await;
            let (ended, running) = (Cell::new(0), Counter::new());
            let errors = RefCell::new(Vec::new());
            let serve = listener
                .serve(async |client| {
                    let _held = running.hold();
                    let _dropped = OnDrop(|| ended.set(ended.get() + 1));
                    while let Some(data) = client.next().await? {
                        client.send(&data).await?;
                    }
                    Ok(())
                })
                .on_error(|error, _| errors.borrow_mut().push(error.to_string()));
            let serve = serve.shutdown(until(|| running.get() == 3)).drain(limit);
            let talk = async {
                let mut clients = Vec::new();
                for _ in 0..3 {
                    clients.push(client_of(&listener).await);
                }
                for client in clients {
                    assert_eq!(client.next().await.expect("an orderly end"), None);
                }
            };
            join(async { serve.await.expect("as it was told") }, talk).await;
            assert_eq!(ended.get(), 3, "all have ended when it returns");
            assert!(errors.into_inner().is_empty());
        }
    });
}

#[test]
fn a_signal_is_heard_wherever_the_loop_waits() {
    run(async {
        // The server waits at its limit of connections.
        let listener = tcp_listener().await;
        let running = Counter::new();
        let serve = listener.serve(async |_client| {
            let _held = running.hold();
            forever().await;
            Ok::<_, Error>(())
        });
        let serve = serve
            .max_connections(1)
            .shutdown(until(|| running.get() == 1))
            .drain(Duration::ZERO);
        let clients = [client_of(&listener).await, client_of(&listener).await];
        serve.await.expect("as it was told");
        drop(clients);

        // The signal is ready before the first accept: the waiting client is accepted as the last
        // one.
        let listener = tcp_listener().await;
        let client = client_of(&listener).await;
        let serve = listener.serve(async |_| ());
        let counters = serve.counters();
        serve
            .shutdown(ready(Err::<(), _>("whatever")))
            .await
            .expect("as it was told");
        assert_eq!(counters.accepted(), 1);
        refused!(client.receive().await, Error::EndOfStream);
    });
}

#[test]
fn a_listener_that_is_aborted_elsewhere_is_an_error_still() {
    run(async {
        let listener = tcp_listener().await;
        let serve = listener.serve(async |_| ()).shutdown(forever());
        let abort = async {
            turns(2).await;
            listener.abort();
        };
        refused!(join(async { serve.await }, abort).await.0, Error::Closed);
    });
}

/// Echoes until it is cancelled, and then sends `bye`.
async fn polite(client: TcpStream) -> Result<()> {
    client.send(b"hello").await?;
    let ended = client.receive().await;
    if let Err(Error::Cancelled) = ended {
        shield(LONG, async {
            turns(2).await;
            client.send(b"bye").await
        })
        .await?;
    }
    ended.map(drop)
}

async fn said(client: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = client.next().await.expect("an orderly end") {
        all.extend(data);
    }
    all
}

#[test]
fn the_drain_limit_lets_handlers_say_goodbye() {
    run(async {
        for apart in [false, true] {
            let listener = tcp_listener().await;
            let greeted = Cell::new(0);
            let told = Cell::new(0);
            let serve = listener
                .serve(async |client| {
                    greeted.set(greeted.get() + 1);
                    polite(client).await
                })
                .on_error(|_, _| told.set(told.get() + 1));
            let counters = serve.counters();
            let serve = serve
                .shutdown(until(|| greeted.get() == 2))
                .drain(Duration::from_millis(1));
            let clients = [client_of(&listener).await, client_of(&listener).await];
            let clients = futures_util::future::join_all(clients.map(said));
            let served = task_group(async |group| {
                let ended = if apart {
                    join(serve.in_group(group), clients).await
                } else {
                    join(async { serve.await }, clients).await
                };
                ended.0?;
                Ok(ended.1)
            });
            assert_eq!(
                served.await.expect("as it was told"),
                [b"hellobye", b"hellobye"]
            );
            // A cancel does not count as a failure.
            assert_eq!(
                (told.get(), counters.failed(), counters.active()),
                (0, 0, 0)
            );
        }
    });
}

#[test]
fn a_cancelled_scope_around_the_server_ends_it() {
    run(async {
        let listener = tcp_listener().await;
        let scope = CancelScope::new();
        // A signal that ends by the cancel does not count as a signal.
        let serve = listener.serve(polite).shutdown(sleep(LONG));
        let clients = async {
            let client = client_of(&listener).await;
            assert_eq!(client.receive().await.expect("served"), b"hello");
            scope.cancel("enough");
            client.next().await
        };
        let (ended, client) = join(scope.run(serve), clients).await;
        assert!(
            matches!(ended, None | Some(Err(Error::Cancelled))),
            "{ended:?}"
        );
        drop(client);
        drop(client_of(&listener).await);
        listener.accept().await.expect("the listener is as it was");
    });
}

#[test]
fn counters_are_read_on_other_threads() {
    run(async {
        let listener = tcp_listener().await;
        let serve = listener.serve(async |client| drop(client.next().await));
        let counters = serve.counters();
        let serve = serve.shutdown(sleep(Duration::ZERO));
        std::thread::scope(|scope| {
            let counters = counters.clone();
            scope.spawn(move || assert_eq!(counters.accepted(), 0));
        });
        serve.await.expect("as it was told");
        let text = format!("{counters:?}");
        assert!(
            text.contains("accepted: 0") && text.contains("shed: 0"),
            "{text}"
        );
    });
}

async fn cut_server(cut: Cut, apart: bool) -> bool {
    let listener = tcp_listener().await;
    let (running, stop) = (Counter::new(), Cell::new(false));
    let ended = task_group(async |group| {
        let serve = listener
            .serve(async |client| {
                let _held = running.hold();
                client.send(b"hi").await?;
                forever().await;
                Ok(())
            })
            .max_connections(2)
            .shutdown(async { while !stop.get() && sleep(Duration::ZERO).await.is_ok() {} })
            .drain(Duration::from_millis(1));
        let partner = async {
            let mut clients = Vec::new();
            for _ in 0..3 {
                turns(2).await;
                clients.push(client_of(&listener).await);
            }
            turns(10).await;
            stop.set(true);
            clients
        };
        let (ended, clients) = if apart {
            join(cut.apply(serve.in_group(group)), partner).await
        } else {
            join(cut.apply(serve), partner).await
        };
        if ended.is_none() && apart {
            // The connections belong to the group: an error ends them along with it.
            return Err(Error::other("cut"));
        }
        assert_eq!(running.get(), 0, "its connections end with the server");
        // After a cut some clients are still in the backlog.
        for client in clients.into_iter().filter(|_| ended.is_some()) {
            while client.receive().await.is_ok() {}
        }
        Ok(ended)
    });
    match ended.await {
        Ok(Some(ended)) => {
            ended.expect("as it was told");
            true
        }
        Ok(None) | Err(Error::Other(_)) => {
            assert_eq!(running.get(), 0, "nothing outlives the group");
            match polled(1, listener.accept()).await {
                // The cut came after the signal.
                Some(Err(Error::Closed)) => assert!(stop.get()),
                other => {
                    drop((other, client_of(&listener).await));
                    listener.accept().await.expect("the listener is as it was");
                }
            }
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Covers: Serve::in_group, TcpListener::serve.
#[test]
fn cancelled_everywhere() {
    everywhere_alone("serve_ends::cancelled_everywhere", async |cut| {
        cut_server(cut, false).await & cut_server(cut, true).await
    });
}
