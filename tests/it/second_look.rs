//! Suspicions of a second review of the code: each became a test, and those that proved right stay
//! here as regressions.

#![allow(unsafe_code, reason = "asks the kernel for a socket option")]

use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    CancelScope, DatagramBuffer, Error, Result, Runtime, TcpListener, TcpStream, ThreadEvent,
    UdpSocket, block_on, dump, fail_after, move_on_after, shield, sleep, task_group,
};

use crate::net_support::{clog, polled, refused, run, tcp_listener, turns, udp, unix_pair};
use crate::serve_ends::{client_of, until};
use crate::support::{OnDrop, deadline, forever, poll_once, poll_with, quiet_panic};

/// A send that had waited under an ended runtime lost its direction when it yielded after sending a
/// part: another task's bytes came in between.
#[test]
fn a_send_keeps_its_direction_under_the_next_runtime() {
    let _guard = deadline();
    let data = vec![0; 4 << 20];
    for left in 1..=3 {
        let (near, far) = block_on(unix_pair());
        block_on(clog(&near, 0));
        let mut first = Runtime::new().expect("a runtime");
        let mut send = Box::pin(near.send(&data));
        assert!(first.block_on(poll_once(send.as_mut())).is_pending());
        drop(first);
        block_on(async {
            while polled(2, far.receive()).await.is_some() {}
            let mut budget = 0;
            turns(1).await;
            while poll_once(pin!(far.send(b""))).await.is_ready() {
                budget += 1;
            }
            turns(1).await;
            for _ in 0..budget - left {
                assert!(poll_once(pin!(far.send(b""))).await.is_ready());
            }
            assert!(poll_once(send.as_mut()).await.is_pending());
            turns(1).await;
            let other = polled(2, near.send(b"x")).await;
            refused!(other.unwrap_or(Ok(())), Error::Busy);
        });
    }
}

/// The ways in which a connection's handler panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Panics {
    AtOnce,
    InTime,
    InShield,
    InScope,
    InGroup,
    InDrop,
    BesideError,
    Not,
}

const ALL: [Panics; 8] = [
    Panics::AtOnce,
    Panics::InTime,
    Panics::InShield,
    Panics::InScope,
    Panics::InGroup,
    Panics::InDrop,
    Panics::BesideError,
    Panics::Not,
];

async fn panicking(client: TcpStream) -> Result<()> {
    let kind = ALL[usize::from(client.receive().await?[0])];
    let soon = async || {
        sleep(Duration::from_millis(1)).await?;
        quiet_panic("soon");
        Result::Ok(())
    };
    match kind {
        Panics::AtOnce => quiet_panic("at once"),
        Panics::InTime => drop(move_on_after(Duration::from_secs(9), soon()).await?),
        Panics::InShield => shield(Duration::from_secs(9), soon()).await?,
        Panics::InScope => drop(CancelScope::new().run(soon()).await),
        Panics::InGroup => {
            task_group(async |group| {
                group.spawn(forever_ok());
                group.spawn(move_on_after(Duration::from_secs(9), forever_ok()));
                group.spawn(soon());
                Ok(())
            })
            .await?;
        }
        Panics::InDrop => {
            let _dropped = OnDrop(|| quiet_panic("dropped"));
            soon_ok().await?;
        }
        Panics::BesideError => {
            let _dropped = OnDrop(|| quiet_panic("dropped"));
            soon_ok().await?;
            // The error holds nothing on the heap: the compiler leaks a returned value when a
            // local's drop panics (rust-lang/rust#47949).
            return Err(Error::Closed);
        }
        Panics::Not => client.send(b"fine").await?,
    }
    Ok(())
}

async fn forever_ok() -> Result<()> {
    forever().await;
    Ok(())
}

async fn soon_ok() -> Result<()> {
    sleep(Duration::from_millis(1)).await
}

async fn talk(listener: &TcpListener) {
    for _ in 0..3 {
        for (number, kind) in (0..).zip(ALL) {
            let client = client_of(listener).await;
            client.send(&[number]).await.expect("sent");
            let answer = client.next().await.unwrap_or(None);
            match kind {
                Panics::Not => assert_eq!(answer.as_deref(), Some(&b"fine"[..])),
                kind => assert_eq!(answer, None, "{kind:?}"),
            }
        }
    }
}

#[test]
fn every_panic_of_a_handler_is_told_once_and_ends_nothing_else() {
    for apart in [false, true] {
        run(async {
            let listener = tcp_listener().await;
            let (errors, done) = (RefCell::new(Vec::new()), Cell::new(false));
            let serve = listener
                .serve(panicking)
                .on_error(|error, _| errors.borrow_mut().push(error.to_string()));
            let counters = serve.counters();
            let serve = serve.shutdown(until(|| done.get()));
            let talk = async {
                talk(&listener).await;
                done.set(true);
            };
            let served = async {
                match apart {
                    false => serve.await,
                    true => task_group(async |group| serve.in_group(group).await).await,
                }
            };
            let (served, ()) = join(served, talk).await;
            served.expect("it goes on");
            assert_eq!((counters.active(), counters.accepted()), (0, 24));
            assert_eq!(counters.failed(), 21);
            let errors = errors.into_inner();
            assert_eq!(errors.len(), 21, "{errors:?}");
            assert!(
                errors.iter().all(|error| error.contains("panicked")),
                "{errors:?}"
            );
            // No task is left.
            let shown = dump().expect("inside a runtime").to_string();
            assert!(!shown.contains("second_look"), "{shown}");
        });
    }
}

/// At the limit a handler without a soloio operation is dropped; a panic of that drop counts as the
/// connection's.
#[test]
fn a_panic_of_a_drop_at_the_limit_is_the_connections() {
    for apart in [false, true] {
        run(async {
            let listener = tcp_listener().await;
            let (errors, running) = (RefCell::new(Vec::new()), Cell::new(0));
            let serve = listener
                .serve(async |_client| {
                    let _dropped = OnDrop(|| quiet_panic("dropped"));
                    running.set(running.get() + 1);
                    forever_ok().await
                })
                .on_error(|error, _| errors.borrow_mut().push(error.to_string()));
            let counters = serve.counters();
            let serve = serve
                .shutdown(until(|| running.get() == 3))
                .drain(Duration::ZERO);
            let talk = async {
                for _ in 0..3 {
                    drop(client_of(&listener).await);
                }
            };
            let served = async {
                match apart {
                    false => serve.await,
                    true => task_group(async |group| serve.in_group(group).await).await,
                }
            };
            let (served, ()) = join(served, talk).await;
            served.expect("as it was told");
            assert_eq!((counters.active(), counters.failed()), (0, 3));
            assert_eq!(errors.borrow().len(), 3, "{errors:?}");
        });
    }
}

/// The name went to the task with the same number in the running runtime.
#[test]
fn a_name_goes_to_nobody_elses_task() {
    let here = Runtime::new().expect("a runtime");
    let mut there = Runtime::new().expect("a runtime");
    let ours = here.spawn(forever());
    drop(there.spawn(forever()));
    there.block_on(async {
        let ours = ours.named("ours");
        assert_eq!(ours.name(), Some("ours"));
        let shown = dump().expect("inside a runtime").to_string();
        assert!(!shown.contains("ours"), "{shown}");
    });
}

/// Other control data left no room for the sizes of the datagrams in a message: they were joined.
#[cfg(target_os = "linux")]
#[test]
fn datagrams_stay_apart_beside_what_else_is_told() {
    run(async {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for (level, option) in [
            (libc::SOL_SOCKET, libc::SO_TIMESTAMP),
            (libc::IPPROTO_IP, libc::IP_PKTINFO),
            (libc::IPPROTO_IP, libc::IP_RECVTOS),
            (libc::IPPROTO_IP, libc::IP_RECVTTL),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
        ] {
            let on: libc::c_int = 1;
            // SAFETY: pointer and length are those of one integer.
            let set = unsafe {
                libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), 4)
            };
            assert_eq!(set, 0);
        }
        let socket = UdpSocket::try_from(socket).expect("adopted");
        let (sender, to) = (udp().await, socket.local_addr());
        let mut buffer = DatagramBuffer::new();
        for _ in 0..3 {
            let mut rest = &[7; 1000][..];
            sender
                .send_segments(&mut rest, 100, to)
                .await
                .expect("sent");
            let mut count = 0;
            while count < 10 {
                for (data, _) in socket.receive_many(&mut buffer).await.expect("received") {
                    assert_eq!(data.len(), 100);
                    count += 1;
                }
            }
        }
        assert!(matches!(
            poll_once(pin!(socket.receive())).await,
            Poll::Pending
        ));
    });
}

struct Vicious;

impl Wake for Vicious {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Vicious {
    fn drop(&mut self) {
        quiet_panic("dropped");
    }
}

/// The panic came with the wake of another task, or never.
#[test]
fn a_panic_of_a_waker_that_was_left_elsewhere_is_told_at_once() {
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let event = ThreadEvent::new();
    let mut wait = Box::pin(fail_after(Duration::MAX, event.wait()));
    runtime.block_on(async {
        let waker = Waker::from(Arc::new(Vicious));
        assert!(poll_with(wait.as_mut(), &waker).is_pending());
    });
    // The last copy of the waker is with the scope, which learns of the drop through a post.
    thread::scope(|scope| {
        scope.spawn(move || drop(wait));
    });
    let turned = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    assert!(turned.is_err());
}
