//! The accept loop under errors: every errno of accept(2), and clients that are gone before they
//! are accepted. C1 and C5 of the list of failures seen elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, ready};
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{
    Error, Listener, Result, ServeCounters, TcpListener, TcpStream, connect_tcp,
    create_memory_byte_stream, task_group, yield_now,
};

use crate::net_support::{refused, run, tcp_listener, turns};
use crate::support::{alone, asked_rounds, deadline, fds, rounds};

async fn echo(client: TcpStream) -> Result<()> {
    while let Some(data) = client.next().await? {
        client.send(&data).await?;
    }
    Ok(())
}

/// A listener that fails its first accepts with the given errors.
struct Fails {
    listener: TcpListener,
    with: RefCell<VecDeque<i32>>,
    accepts: Cell<usize>,
}

impl Listener for Fails {
    type Stream = TcpStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<TcpStream>>> {
        self.accepts.set(self.accepts.get() + 1);
        let errno = self.with.borrow_mut().pop_front();
        match errno {
            Some(errno) => Err(io::Error::from_raw_os_error(errno).into()),
            None => Ok(ready(Ok(self.listener.accept().await?))),
        }
    }

    fn abort(&self) {
        self.listener.abort();
    }
}

/// The result of a server after its first accepts failed.
struct Outcome {
    ended: Result<()>,
    accepts: usize,
    told: usize,
    counters: ServeCounters,
}

fn served_after(errors: &[i32]) -> Outcome {
    run(async {
        let listener = Fails {
            listener: tcp_listener().await,
            with: RefCell::new(errors.iter().copied().collect()),
            accepts: Cell::new(0),
        };
        let told = Cell::new(0);
        let serve = Listener::serve(&listener, echo).on_error(|_, _| told.set(told.get() + 1));
        let counters = serve.counters();
        let talk = async {
            let port = listener.listener.local_addr().port();
            // A server that has ended gives the client an error or the end.
            let client = connect_tcp("127.0.0.1", port).await?;
            client.send(b"hello").await?;
            let answer = client.next().await;
            listener.abort();
            answer
        };
        let serving = async {
            let ended = serve.await;
            listener.abort();
            ended
        };
        let (ended, answer) = join(serving, talk).await;
        if matches!(ended, Err(Error::Closed)) {
            assert_eq!(answer.expect("an answer"), Some(b"hello".to_vec()));
        }
        Outcome {
            ended,
            accepts: listener.accepts.get(),
            told: told.get(),
            counters,
        }
    })
}

#[test]
fn c1_errors_about_one_connection_are_passed_over_at_once() {
    for errno in [
        libc::ECONNABORTED,
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::ETIMEDOUT,
        libc::ECONNRESET,
    ] {
        let outcome = served_after(&[errno; 50]);
        refused!(outcome.ended, Error::Closed);
        assert_eq!(outcome.counters.accept_errors(), 50, "errno {errno}");
        assert_eq!(outcome.counters.accepted(), 1);
        assert!(
            (1..=60).contains(&outcome.told),
            "told {} times",
            outcome.told
        );
    }
}

#[test]
fn c1_errors_that_never_end_do_not_keep_the_processor() {
    let start = Instant::now();
    let outcome = served_after(&[libc::ECONNABORTED; 250]);
    refused!(outcome.ended, Error::Closed);
    assert_eq!(outcome.counters.accept_errors(), 250);
    // Two pauses of 100 ms: a timer is never early.
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn c1_exhaustion_is_waited_for() {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        let start = Instant::now();
        let outcome = served_after(&[errno; 3]);
        refused!(outcome.ended, Error::Closed);
        let descriptors = errno == libc::EMFILE || errno == libc::ENFILE;
        // After the first pause one more accept is for shedding a client: it gets the third error.
        let (errors, accepts) = if descriptors { (2, 5) } else { (3, 5) };
        assert_eq!(outcome.counters.accept_errors(), errors, "errno {errno}");
        assert_eq!(outcome.accepts, accepts, "errno {errno}");
        assert_eq!(outcome.counters.shed(), 0);
        assert!(start.elapsed() >= Duration::from_millis(100 * errors));
        assert!(
            (1..=60).contains(&outcome.told),
            "told {} times",
            outcome.told
        );
    }
}

#[test]
fn c1_a_broken_listener_ends_the_server() {
    for errno in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT] {
        let outcome = served_after(&[errno]);
        match outcome.ended {
            Err(Error::Io(cause)) => assert_eq!(cause.raw_os_error(), Some(errno)),
            other => panic!("{other:?} after errno {errno}"),
        }
        assert_eq!(outcome.accepts, 1);
    }
}

/// The same numbers, injected into the system call itself, where `strace` is available and
/// permitted.
#[test]
fn c1_the_kernels_own_errors_are_survived() {
    const MARK: &str = "SOLOIO_TEST_UNDER_STRACE";
    const NAME: &str = "serve_errors::c1_the_kernels_own_errors_are_survived";
    if std::env::var_os(MARK).is_some() {
        let outcome = served_after(&[]);
        refused!(outcome.ended, Error::Closed);
        assert!(outcome.counters.accept_errors() > 0, "nothing was injected");
        assert_eq!(outcome.counters.accepted(), 1);
        return;
    }
    let own = std::env::current_exe().expect("the path of the test binary");
    let errors =
        "ECONNABORTED EPROTO EPERM ENETDOWN EHOSTUNREACH ENONET EMFILE ENFILE ENOMEM ENOBUFS";
    for errno in errors.split(' ') {
        // A shortage of descriptors that outlasts the first pause costs a client its connection.
        let when = if matches!(errno, "EMFILE" | "ENFILE") {
            "1"
        } else {
            "1..2"
        };
        let inject = format!("inject=accept4:error={errno}:when={when}");
        let traced = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=accept4",
                "-e",
                &inject,
            ])
            .arg(&own)
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(MARK, "1")
            .output();
        let Ok(output) = traced else {
            eprintln!("no strace here: not tested");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("ptrace") {
            eprintln!("strace may not trace here: not tested");
            return;
        }
        assert!(output.status.success(), "{errno}:\n{text}\n{errors}");
    }
}

/// Connects, and resets the connection, possibly before it is accepted.
fn connect_and_reset(listener: &TcpListener) {
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let client = client.expect("a socket");
    client
        .connect(&listener.local_addr().into())
        .expect("connects");
    client.set_linger(Some(Duration::ZERO)).expect("set");
}

/// 100,000 rounds on request (`SOLOIO_TEST_ROUNDS`), else fewer.
#[test]
fn c5_clients_that_are_gone_before_they_are_accepted_end_nothing() {
    let test = "serve_errors::c5_clients_that_are_gone_before_they_are_accepted_end_nothing";
    alone(test, || {
        let count = asked_rounds().unwrap_or_else(|| rounds(5_000));
        let before = fds();
        let (mut guard, mut done) = (deadline(), 0);
        while done < count {
            done += 1_000.min(count - done);
            soloio::block_on(reset_storm(1_000.min(count)));
            assert_eq!(fds(), before);
            guard = deadline();
        }
        drop(guard);
    });
}

async fn reset_storm(count: usize) {
    let listener = tcp_listener().await;
    let serve = listener.serve(echo);
    let counters = serve.counters();
    let talk = async {
        for n in 0..count {
            connect_and_reset(&listener);
            if n % 16 == 0 {
                yield_now().await.expect("inside a runtime");
            }
        }
        let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await;
        let client = client.expect("connects");
        client.send(b"hello").await.expect("sent");
        assert_eq!(client.receive().await.expect("an answer"), b"hello");
        listener.abort();
    };
    refused!(join(async { serve.await }, talk).await.0, Error::Closed);
    let all = counters.accepted() + counters.accept_errors();
    assert_eq!(all, count as u64 + 1, "{counters:?}");
}

/// A listener that always has a connection, and never waits.
struct Endless;

impl Listener for Endless {
    type Stream = soloio::MemoryStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>> {
        Ok(ready(Ok(create_memory_byte_stream(1).0)))
    }

    fn abort(&self) {}
}

#[test]
fn a_listener_that_never_waits_leaves_room_for_others() {
    run(async {
        let served = Cell::new(0_u64);
        let serve = Listener::serve(&Endless, async |_| served.set(served.get() + 1));
        let counters = serve.counters();
        task_group(async |group| {
            let server = group.spawn(serve);
            while served.get() < 1_000 {
                turns(1).await;
            }
            server.cancel();
        })
        .await
        .expect("no error");
        assert!(counters.accepted() >= 1_000);
        assert!(counters.accepted() < 1_000_000, "{counters:?}");
    });
}
