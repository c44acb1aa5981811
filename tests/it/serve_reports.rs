//! A server's reports of its connections' errors: to a hook with the peer, or on standard error.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    Error, Listener, MemoryStream, Peer, Result, TaskHandle, connect_tcp, connect_unix,
    create_memory_byte_stream, create_unix_listener, sleep, task_group,
};

use crate::net_support::{TempDir, run, tcp_listener, turns};
use crate::support::{Counter, alone, deadline, forever, quiet_panic};

/// The reports to a hook: the peer and the error, as text.
#[derive(Default)]
pub(crate) struct Log(RefCell<Vec<(String, String)>>);

impl Log {
    pub(crate) fn hook(&self) -> impl Fn(&Error, &Peer) {
        |error, peer| {
            let entry = (peer.to_string(), error.to_string());
            self.0.borrow_mut().push(entry);
        }
    }

    pub(crate) fn take(&self) -> Vec<(String, String)> {
        self.0.take()
    }
}

#[test]
fn the_peer_is_told_of_every_kind_of_listener() {
    run(async {
        let (log, dir) = (Log::default(), TempDir::new());
        let fails = || Error::other("out of order");
        let unix = create_unix_listener(dir.path("socket")).await;
        let unix = unix.expect("a listener");
        task_group(async |group| {
            let serve = unix.serve(async |_| Err(fails())).on_error(log.hook());
            let server = group.spawn(serve);
            let client = connect_unix(dir.path("socket")).await?;
            assert_eq!(client.next().await?, None);
            server.cancel();
            assert_eq!(log.take()[0].0, "an unnamed socket");
            Ok(())
        })
        .await
        .expect("no error");

        let tcp = tcp_listener().await;
        let port = tcp.local_addr().port();
        #[cfg(feature = "extras")]
        let tcp = soloio::MultiListener::new().with(&unix).with(&tcp);
        task_group(async |group| {
            let serve = tcp.serve(async |_| Err(fails())).on_error(log.hook());
            let server = group.spawn(serve);
            let client = connect_tcp("127.0.0.1", port).await?;
            assert_eq!(client.next().await?, None);
            assert_eq!(log.take()[0].0, client.local_addr().to_string());
            server.cancel();
            Ok(())
        })
        .await
        .expect("no error");
    });
}

/// A custom listener, which fails, then has a connection, then waits.
struct Own(RefCell<Vec<io::Error>>, Counter);

impl Listener for Own {
    type Stream = MemoryStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<MemoryStream>>> {
        if let Some(error) = self.0.borrow_mut().pop() {
            return Err(error.into());
        }
        if self.1.get() == 1 {
            forever().await;
        }
        self.1.add();
        Ok(ready(Ok(create_memory_byte_stream(1).0)))
    }

    fn abort(&self) {}
}

#[test]
fn errors_of_accepting_have_no_peer_and_own_listeners_an_unknown_one() {
    run(async {
        let errors = vec![io::Error::from_raw_os_error(libc::ECONNABORTED)];
        let (log, own) = (Log::default(), Own(RefCell::new(errors), Counter::new()));
        let panics = async |_: MemoryStream| quiet_panic("its reason");
        let serve = Listener::serve(&own, panics).on_error(|error, peer| {
            let is_panic =
                matches!(error, Error::Panicked(panicked) if panicked.message().is_some());
            assert_eq!(is_panic, *peer == Peer::Unknown, "{peer}: {error}");
            log.hook()(error, peer);
        });
        let counters = serve.counters();
        task_group(async |group| {
            let server = group.spawn(serve);
            while counters.failed() == 0 {
                turns(1).await;
            }
            server.cancel();
            Ok(())
        })
        .await
        .expect("no error");
        let told = log.take();
        assert_eq!(told[0].0, "no connection");
        assert_eq!(
            told[1],
            ("an unknown peer".into(), "it panicked: its reason".into())
        );
    });
}

#[test]
fn the_panic_of_a_handler_is_told_with_its_own_peer() {
    run(async {
        let (log, listener) = (Log::default(), tcp_listener().await);
        let serve = listener.serve(async |client| {
            client.receive().await?;
            quiet_panic("its reason");
            Ok(())
        });
        let serve = serve.on_error(log.hook());
        let port = listener.local_addr().port();
        task_group(async |group| {
            let server = group.spawn(serve);
            let other = connect_tcp("127.0.0.1", port).await?;
            let client = connect_tcp("127.0.0.1", port).await?;
            client.send(b".").await?;
            assert_eq!(client.next().await?, None);
            let told = (
                client.local_addr().to_string(),
                "it panicked: its reason".into(),
            );
            assert_eq!(log.take(), [told]);
            drop(other);
            server.cancel();
            Ok(())
        })
        .await
        .expect("no error");
    });
}

#[cfg(feature = "ring")]
#[test]
fn the_peer_is_told_of_a_handshake_that_fails_and_of_a_handler_over_tls() {
    use crate::clean_up::OwnError;
    use crate::tls_support::{NAME, client_config, server_config};
    use soloio::tls::TlsListener;

    run(async {
        let log = Log::default();
        let listener = TlsListener::new(tcp_listener().await, server_config());
        let port = listener.inner().local_addr().port();
        let handler = async |_| -> Result<(), OwnError> { Err(OwnError::DiskFull) };
        let serve = listener.serve_with(handler).on_error(log.hook());
        task_group(async |group| {
            let server = group.spawn(serve);
            let client = connect_tcp("127.0.0.1", port).await?;
            client.send(b"GET / HTTP/1.1\r\n\r\n").await?;
            while log.0.borrow().is_empty() {
                turns(1).await;
            }
            let told = log.take();
            assert_eq!(told[0].0, client.local_addr().to_string(), "{told:?}");
            let client = connect_tcp("127.0.0.1", port).tls_hostname(NAME);
            let client = client.tls_config(client_config()).await?;
            while let Ok(Some(_)) = client.next().await {}
            let told = log.take();
            let peer = client.inner().local_addr().to_string();
            assert_eq!(told, [(peer, "disk full".to_owned())]);
            server.cancel();
            Ok(())
        })
        .await
        .expect("no error");
    });
}

/// The panic of a hook is no error of a connection, and is not given to the hook; the server goes
/// on.
#[test]
fn a_hook_that_panics_is_called_once_for_each_error() {
    run(async {
        let errors = vec![io::Error::from_raw_os_error(libc::ECONNABORTED)];
        let own = Own(RefCell::new(errors), Counter::new());
        let listener = tcp_listener().await;
        let log = Log::default();
        let hook = |error: &Error, peer: &Peer| {
            log.hook()(error, peer);
            quiet_panic("the hook's reason");
        };
        let serve = listener.serve(async |client| {
            if client.receive().await? == b"panic" {
                quiet_panic("its reason");
            }
            Err(Error::other("out of order"))
        });
        let (serve, other) = (
            serve.on_error(hook),
            Listener::serve(&own, async |_| Err(Error::other("of another"))).on_error(hook),
        );
        let (counters, others) = (serve.counters(), other.counters());
        let port = listener.local_addr().port();
        task_group(async |group| {
            let servers = [group.spawn(serve), group.spawn(other)];
            while others.failed() == 0 {
                turns(1).await;
            }
            for message in ["error", "panic", "error"] {
                let client = connect_tcp("127.0.0.1", port).await?;
                client.send(message.as_bytes()).await?;
                assert_eq!(client.next().await?, None);
            }
            servers.iter().for_each(TaskHandle::cancel);
            Ok(())
        })
        .await
        .expect("the servers go on");
        assert_eq!((counters.failed(), counters.active()), (3, 0));
        assert_eq!((others.failed(), others.accept_errors()), (1, 1));
        let told: Vec<String> = log.take().into_iter().map(|(_, error)| error).collect();
        assert_eq!(
            told[1..],
            [
                "of another",
                "out of order",
                "it panicked: its reason",
                "out of order"
            ]
        );
        assert_eq!(told.len(), 5, "{told:?}");
    });
}

const ROLE: &str = "SOLOIO_TEST_REPORTS";
const FAILURES: usize = 300;
const FAILURES_AT_THE_END: usize = 30;
const ALL: usize = FAILURES + FAILURES_AT_THE_END;

/// A server without a hook, or with one that does nothing or panics; its clients are failed, and
/// printed on standard output.
async fn server_in_a_child(role: &str) {
    let listener = tcp_listener().await;
    let (listener, count) = (&listener, Counter::new());
    let serve = listener.serve(async |_client| -> Result<()> {
        count.add();
        match count.get() {
            1 => panic!("it panics first"),
            _ => Err(Error::other("disk\nfull")),
        }
    });
    let serve = match role {
        "silent" => serve.on_error(|_, _| {}),
        "hook panics" => serve.on_error(|_, _| quiet_panic("by the hook")),
        _ => serve,
    };
    // Ends the line that the test harness has begun.
    println!();
    let clients = async {
        for _ in 0..FAILURES {
            client(listener).await;
        }
        // A new window: its line contains the number of lines left out before.
        sleep(Duration::from_millis(1_100)).await?;
        // The server's end has the number of those left out in it.
        for _ in 0..FAILURES_AT_THE_END {
            client(listener).await;
        }
        listener.abort();
        Ok::<_, Error>(())
    };
    let (served, clients) = join(async { serve.await }, clients).await;
    assert!(matches!(served, Err(Error::Closed)), "{served:?}");
    clients.expect("no error");
}

async fn client(listener: &soloio::TcpListener) {
    let port = listener.local_addr().port();
    let client = connect_tcp("127.0.0.1", port).await.expect("connects");
    assert!(!matches!(client.next().await, Ok(Some(_))));
    println!("client {}", client.local_addr());
}

/// Runs this test in a process of its own; returns its lines on standard error and output.
fn child(test: &str, role: &str) -> (Vec<String>, Vec<String>) {
    let own = std::env::current_exe().expect("the path of the test binary");
    let mut child = Command::new(own)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    if role == "closed" {
        // From now on each write to standard error fails.
        drop(child.stderr.take());
    }
    let output = child.wait_with_output().expect("its output");
    let lines = |bytes: &[u8], start: &str| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter_map(|line| line.strip_prefix(start));
        lines.map(str::to_owned).collect()
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    (
        lines(&output.stderr, "soloio: "),
        lines(&output.stdout, "client "),
    )
}

#[test]
fn without_a_hook_errors_are_lines_on_standard_error() {
    let test = "serve_reports::without_a_hook_errors_are_lines_on_standard_error";
    if let Ok(role) = std::env::var(ROLE) {
        return run(server_in_a_child(&role));
    }
    alone(test, || {
        let _guard = deadline();
        let (lines, clients) = child(test, "open");
        assert_eq!(clients.len(), ALL);
        assert_eq!(
            lines[0],
            format!("{}: it panicked: it panics first", clients[0])
        );
        assert_eq!(lines[1], format!("{}: disk full", clients[1]), "one line");
        let (last, lines) = lines.split_last().expect("lines");
        // The last one is of the server, at its end.
        let count = last.strip_suffix(" more reports were left out");
        let mut left_out: usize = count
            .and_then(|count| count.parse().ok())
            .expect("a number");
        assert!((1..FAILURES_AT_THE_END).contains(&left_out), "{last}");
        let mut told = 0;
        for line in lines {
            told += 1;
            if let Some((_, note)) = line.split_once(" (") {
                let count = note
                    .split(' ')
                    .next()
                    .and_then(|count| count.parse::<usize>().ok());
                left_out += count.expect("a number");
            }
        }
        assert_eq!(told + left_out, ALL, "each is told or counted");
        let first = lines
            .iter()
            .find(|line| line.starts_with(&clients[FAILURES]));
        assert!(
            first.is_some_and(|line| line.contains("disk full (")),
            "{lines:?}"
        );
        assert!(told < FAILURES / 2, "{told} lines");
        assert!(
            child(test, "silent").0.is_empty(),
            "a hook that says nothing"
        );
        // Its reports are lines, too, with what became of the hook.
        let (lines, clients) = child(test, "hook panics");
        assert_eq!(clients.len(), ALL);
        let expected = format!(
            "{}: disk full (`on_error`: it panicked: by the hook)",
            clients[1]
        );
        assert_eq!(lines[1], expected);
        assert!(lines.len() < FAILURES / 2, "{}", lines.len());
        // Nothing panics if standard error is a closed pipe.
        assert_eq!(child(test, "closed").1.len(), ALL);
    });
}
