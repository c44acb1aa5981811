//! Servers with handlers that return any type of error, and clean-up that fails during the drain.

use std::io;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    AnyByteStream, CancelScope, Error, Listener, MultiListener, Result, TaskGroup, TcpListener,
    TcpStream, connect_tcp, create_unix_listener, sleep, task_group, task_group_with,
};

use crate::clean_up::{AnyError, Kind, LONG, OwnError, fails_in_clean_up};
use crate::cut::everywhere_alone;
use crate::net_support::{TempDir, run, tcp_listener, turns};
use crate::serve_reports::Log;
use crate::support::Counter;

macro_rules! each_kind {
    ($($test:ident => $body:ident,)+) => {$(
        #[test]
        fn $test() {
            $body::<Error>();
            $body::<AnyError>();
            $body::<OwnError>();
            $body::<io::Error>();
        }
    )+};
}

each_kind! {
    a_handler_ends_with_any_error => any_error,
    clean_up_that_fails_in_a_drain_is_told => clean_up_in_a_drain,
    clean_up_that_fails_in_a_cancelled_server_is_told => clean_up_in_a_cancel,
    clean_up_that_fails_in_a_cancelled_group_is_told => clean_up_in_a_cancelled_group,
    clean_up_that_fails_in_a_drain_of_a_group_is_told => clean_up_in_a_drain_of_a_group,
}

fn any_error<E>()
where
    E: Kind + Into<AnyError>,
{
    run(async {
        let (log, listener) = (Log::default(), tcp_listener().await);
        let handler = async |client: TcpStream| -> Result<(), E> {
            match &client.receive().await?[..] {
                b"closed" => Err(Error::Closed.into()),
                b"cancelled" => Err(Error::Cancelled.into()),
                _ => Err(E::disk_full()),
            }
        };
        let serve = listener.serve_with(handler).on_error(log.hook());
        let counters = serve.counters();
        task_group(async |group| {
            let server = group.spawn(serve);
            for (said, heard) in [
                ("closed", Some(Error::Closed.to_string())),
                ("cancelled", None),
                ("anything", Some("disk full".to_owned())),
            ] {
                let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
                client.send(said.as_bytes()).await?;
                assert_eq!(client.next().await?, None);
                let peer = client.local_addr().to_string();
                let expected: Vec<_> = heard.map(|heard| (peer, heard)).into_iter().collect();
                assert_eq!(log.take(), expected, "after {said}");
            }
            server.cancel();
            Ok(())
        })
        .await
        .expect("no error");
        assert_eq!((counters.accepted(), counters.failed()), (3, 2));
    });
}

/// The first connection's clean-up fails, the others pass the cancel on.
fn handler<E: Kind>(running: &Counter) -> impl AsyncFn(TcpStream) -> Result<(), E> {
    async |_client| {
        running.add();
        if running.get() == 1 {
            return fails_in_clean_up().await;
        }
        sleep(LONG).await?;
        Ok(())
    }
}

fn clean_up_in_a_drain<E>()
where
    E: Kind + Into<AnyError>,
{
    run(async {
        let (log, listener, running) = (Log::default(), tcp_listener().await, Counter::new());
        let serve = listener.serve_with(handler::<E>(&running));
        let both = async {
            while running.get() < 2 {
                turns(1).await
            }
        };
        let serve = serve
            .on_error(log.hook())
            .shutdown(both)
            .drain(Duration::ZERO);
        let port = listener.local_addr().port();
        let first = connect_tcp("127.0.0.1", port).await.expect("connects");
        let second = async {
            let second = connect_tcp("127.0.0.1", port).await.expect("connects");
            second.next().await.expect("an orderly end")
        };
        let (ended, _) = join(async { serve.await }, second).await;
        ended.expect("it ended as it was told");
        let told = (first.local_addr().to_string(), "disk full".to_owned());
        assert_eq!(log.take(), [told]);
    });
}

/// A server without a shutdown or a drain, which is cancelled from outside.
fn clean_up_in_a_cancel<E>()
where
    E: Kind + Into<AnyError>,
{
    run(async {
        let (log, listener, running) = (Log::default(), tcp_listener().await, Counter::new());
        let scope = CancelScope::new();
        let serve = listener.serve_with(handler::<E>(&running));
        let serve = serve.on_error(log.hook());
        let talk = two_clients(&listener, &running, || scope.cancel("by the test"));
        let (ended, first) = join(scope.run(serve), talk).await;
        assert!(
            matches!(ended, None | Some(Err(Error::Cancelled))),
            "{ended:?}"
        );
        assert_eq!(log.take(), [(first, "disk full".to_owned())]);
    });
}

/// Cancels as soon as two connections run; returns the address of the first.
async fn two_clients(listener: &TcpListener, running: &Counter, cancel: impl Fn()) -> String {
    let port = listener.local_addr().port();
    let first = connect_tcp("127.0.0.1", port).await.expect("connects");
    let second = connect_tcp("127.0.0.1", port).await.expect("connects");
    while running.get() < 2 {
        turns(1).await;
    }
    cancel();
    second.next().await.expect("an orderly end");
    first.next().await.expect("an orderly end");
    first.local_addr().to_string()
}

/// The connections are in a group with another type of errors, which is cancelled.
fn clean_up_in_a_cancelled_group<E>()
where
    E: Kind + Into<AnyError>,
{
    run(async {
        let (log, listener, running) = (Log::default(), tcp_listener().await, Counter::new());
        let scope = CancelScope::new();
        let serving = task_group_with(async |group: &TaskGroup<'_, '_, OwnError>| {
            let serve = listener.serve_with(handler::<E>(&running));
            serve.on_error(log.hook()).in_group(group).await?;
            Ok::<(), OwnError>(())
        });
        let talk = two_clients(&listener, &running, || scope.cancel("by the test"));
        let (ended, first) = join(scope.run(serving), talk).await;
        assert!(
            ended.is_none_or(|ended| matches!(ended, Err(OwnError::Net(Error::Cancelled)))),
            "a connection's error is its own"
        );
        assert_eq!(log.take(), [(first, "disk full".to_owned())]);
    });
}

fn clean_up_in_a_drain_of_a_group<E>()
where
    E: Kind + Into<AnyError>,
{
    run(async {
        let (log, listener, running) = (Log::default(), tcp_listener().await, Counter::new());
        let port = listener.local_addr().port();
        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| -> Result<(), E> {
            let serve = listener.serve_with(handler::<E>(&running));
            let both = async {
                while running.get() < 2 {
                    turns(1).await
                }
            };
            let serve = serve
                .on_error(log.hook())
                .shutdown(both)
                .drain(Duration::ZERO);
            let first = connect_tcp("127.0.0.1", port).await?;
            let second = async {
                let second = connect_tcp("127.0.0.1", port).await.expect("connects");
                second.next().await.expect("an orderly end")
            };
            let (ended, _) = join(serve.in_group(group), second).await;
            ended?;
            let told = (first.local_addr().to_string(), "disk full".to_owned());
            assert_eq!(log.take(), [told]);
            Ok(())
        });
        assert!(ended.await.is_ok(), "a connection's error is its own");
    });
}

/// Covers: TcpListener::serve_with, UnixListener::serve_with, MultiListener::serve_with,
/// Listener::serve_with.
#[test]
fn cancelled_everywhere() {
    everywhere_alone("serve_with::cancelled_everywhere", async |cut| {
        let (dir, mut done) = (TempDir::new(), true);
        let handler = async || -> Result<(), AnyError> { Ok(sleep(Duration::ZERO).await?) };
        for how in 0..4 {
            let unix = create_unix_listener(dir.path(&how.to_string())).await;
            let (tcp, unix) = (tcp_listener().await, unix.expect("listens"));
            let multi = MultiListener::new().with(&tcp);
            let client = connect_tcp("127.0.0.1", tcp.local_addr().port()).await;
            let serve = async {
                match how {
                    0 => cut.apply(tcp.serve_with(async |_| handler().await)).await,
                    1 => cut.apply(unix.serve_with(async |_| handler().await)).await,
                    2 => {
                        let handler = async |_: AnyByteStream<'_>| handler().await;
                        cut.apply(multi.serve_with(handler)).await
                    }
                    _ => {
                        let handler = async |_| handler().await;
                        cut.apply(Listener::serve_with(&tcp, handler)).await
                    }
                }
            };
            let end = async {
                turns(4).await;
                (tcp.abort(), unix.abort())
            };
            let (served, _) = join(serve, end).await;
            if let Some(served) = &served {
                assert!(matches!(served, Err(Error::Closed)), "{served:?}");
            }
            drop(client);
            done &= served.is_some();
        }
        done
    });
}
