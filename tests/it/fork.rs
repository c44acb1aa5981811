//! Forks: the child leaves its parent's loop alone, gets an error where it would use it, and can
//! have a runtime of its own. Each child is a real process, and leaves by `_exit`.

#![allow(unsafe_code, reason = "to fork, to wait for the child, to leave it")]

use std::future::IntoFuture;
use std::io::{self, Read, Write};
use std::net::TcpStream as StdStream;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use soloio::{
    Error, Result, Runtime, TcpListener, TcpStream, block_on, connect_tcp, create_tcp_listener,
    create_unix_listener, fail_after, sleep, task_group, yield_now,
};

use crate::support::{alone, deadline};

/// Returns the child's process ID in the parent, `None` in the child.
fn fork() -> Option<i32> {
    // SAFETY: no other thread holds a lock: this process runs this test alone. The child leaves by
    // `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", io::Error::last_os_error()),
        0 => None,
        child => Some(child),
    }
}

/// Ends the child when dropped, also during a panic.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let code = i32::from(std::thread::panicking());
        // SAFETY: ends the process.
        unsafe { libc::_exit(code) }
    }
}

fn ended_well(child: i32) {
    let mut status = 0;
    // SAFETY: the child is this process's, and the place for its status is valid.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child has failed");
}

/// A server that has waited for a client and for a connection, and a client. The sockets are
/// dropped before their runtime.
struct Served {
    listener: TcpListener,
    stream: TcpStream,
    client: StdStream,
    runtime: Runtime,
}

impl Served {
    fn new() -> Self {
        let mut runtime = Runtime::new().expect("descriptors");
        let (listener, stream, client) = runtime
            .block_on(async {
                let listener = create_tcp_listener().local_host("127.0.0.1").await?;
                let client = StdStream::connect(listener.local_addr())?;
                let stream = listener.accept().await?;
                Ok::<_, Error>((listener, stream, client))
            })
            .expect("connected");
        // Lends the descriptor: it may have been duplicated, so the drop takes it out of the
        // poller.
        let _lent = stream.as_fd();
        let mut served = Self {
            runtime,
            listener,
            stream,
            client,
        };
        served.goes_on();
        served
    }

    /// Waits on both sockets, and expects to be woken, more than once.
    fn goes_on(&mut self) {
        let (listener, stream, client) = (&self.listener, &self.stream, &mut self.client);
        let round = async || {
            task_group(async |group| {
                let received = group.spawn(stream.receive());
                let accepted = group.spawn(listener.accept());
                yield_now().await?;
                yield_now().await?;
                client.write_all(b"here")?;
                let _second = StdStream::connect(listener.local_addr())?;
                assert_eq!(received.await?, b"here");
                drop(accepted.await?);
                Ok::<_, Error>(())
            })
            .await
        };
        let mut round = round;
        for _ in 0..3 {
            let limited = fail_after(Duration::from_secs(10), round());
            self.runtime.block_on(limited).expect("the server goes on");
        }
    }
}

fn says_fork<T: std::fmt::Debug>(ended: Result<T>) {
    let text = ended.expect_err("not the child's").to_string();
    assert!(text.contains("fork"), "{text}");
}

#[test]
fn a_child_that_drops_everything_takes_nothing_away() {
    let _deadline = deadline();
    alone(
        "fork::a_child_that_drops_everything_takes_nothing_away",
        || {
            let mut served = Served::new();
            match fork() {
                None => {
                    let _leave = Leave;
                    drop(served);
                }
                Some(child) => {
                    ended_well(child);
                    served.goes_on();
                }
            }
        },
    );
}

#[test]
fn a_child_waits_in_no_loop_of_its_parent() {
    let _deadline = deadline();
    alone("fork::a_child_waits_in_no_loop_of_its_parent", || {
        let mut served = Served::new();
        let Some(child) = fork() else {
            let _leave = Leave;
            for _ in 0..3 {
                says_fork(served.runtime.block_on(sleep(Duration::from_secs(30))));
                says_fork(served.runtime.block_on(served.stream.receive()));
                says_fork(served.runtime.block_on(served.listener.accept()).map(drop));
                let looked_up = connect_tcp("localhost", 9).into_future();
                says_fork(served.runtime.block_on(looked_up).map(drop));
                says_fork(served.runtime.turn(Some(Duration::ZERO)));
            }
            return;
        };
        ended_well(child);
        served.goes_on();
    });
}

/// Serves one client on a new listener and one on an inherited one, in a new runtime.
fn serve_anew(inherited: &TcpListener, stream: &TcpStream) {
    let served = block_on(fail_after(Duration::from_secs(10), async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await?;
        for listener in [&listener, inherited] {
            let client = connect_tcp("localhost", listener.local_addr().port()).await?;
            let accepted = listener.accept().await?;
            client.send(b"hello").await?;
            assert_eq!(accepted.receive().await?, b"hello");
        }
        // The child has the parent's stream too.
        stream.send(b"from the child").await?;
        sleep(Duration::from_millis(1)).await
    }));
    served.expect("a new runtime works");
}

#[test]
fn a_runtime_of_the_childs_own_works() {
    let _deadline = deadline();
    alone("fork::a_runtime_of_the_childs_own_works", || {
        let mut served = Served::new();
        let Some(child) = fork() else {
            let _leave = Leave;
            return serve_anew(&served.listener, &served.stream);
        };
        ended_well(child);
        let mut said = [0; 14];
        served.client.read_exact(&mut said).expect("the child's");
        assert_eq!(&said, b"from the child");
        served.goes_on();
        // The same for a child that is forked inside one of the parent's tasks.
        let (listener, stream) = (&served.listener, &served.stream);
        let child = served.runtime.block_on(async {
            sleep(Duration::from_millis(1))
                .await
                .expect("not cancelled");
            let child = fork();
            if child.is_none() {
                let _leave = Leave;
                serve_anew(listener, stream);
                says_fork(sleep(Duration::from_secs(30)).await);
                says_fork(stream.receive().await);
            }
            child
        });
        ended_well(child.expect("the child has left"));
        served.client.read_exact(&mut said).expect("the child's");
        served.goes_on();
    });
}

#[test]
fn a_child_that_unwinds_takes_nothing_away() {
    let _deadline = deadline();
    alone("fork::a_child_that_unwinds_takes_nothing_away", || {
        let mut served = Served::new();
        let Served {
            runtime,
            listener,
            stream,
            ..
        } = &mut served;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(task_group(async |group| {
                group.spawn(async { listener.accept().await.map(drop) });
                group.spawn(async { stream.receive().await.map(drop) });
                sleep(Duration::from_millis(1)).await?;
                let Some(child) = fork() else {
                    panic!("the child unwinds");
                };
                group.cancel();
                Ok(child)
            }))
        }));
        match ended {
            Err(_) => {
                let _leave = Leave;
                drop(served);
            }
            Ok(child) => {
                ended_well(child.expect("it was cancelled after that"));
                served.goes_on();
            }
        }
    });
}

#[test]
fn the_file_of_a_unix_socket_stays_the_parents() {
    let _deadline = deadline();
    alone("fork::the_file_of_a_unix_socket_stays_the_parents", || {
        let path = std::env::temp_dir().join(format!("soloio-fork-{}", std::process::id()));
        let listening = create_unix_listener(&path).unlink_on_close(true);
        let listener = block_on(listening.into_future()).expect("a free path");
        let Some(child) = fork() else {
            let _leave = Leave;
            return drop(listener);
        };
        ended_well(child);
        assert!(path.exists(), "the parent listens there");
        drop(listener);
        assert!(!path.exists());
    });
}
