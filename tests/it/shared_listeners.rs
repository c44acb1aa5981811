//! Listeners that several loops share as duplicates of one descriptor: a client wakes one loop, and
//! a woken loop that does not accept passes the client on.

use std::fs;
use std::future::Future;
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use soloio::{Listener, Result, Runtime, TcpListener, UnixListener, connect_tcp, per_core};

use crate::net_support::{TempDir, polled};
use crate::support::{Random, Wakes, deadline, poll_with};

const LOOPS: usize = 8;

const CLIENTS: usize = 1_000;

/// Connects one client after another, each when the one before was accepted and closed.
async fn clients(listener: &StdListener) -> Result<()> {
    let port = listener.local_addr()?.port();
    for _ in 0..CLIENTS {
        let client = connect_tcp("127.0.0.1", port).await?;
        assert!(client.next().await?.is_none(), "accepted and closed");
    }
    Ok(())
}

/// Returns how often this thread has slept in the kernel.
fn sleeps() -> usize {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.map_or(0, |count| count.trim().parse().expect("a number"))
}

/// Accepts on [`LOOPS`] loops; returns for each the number of its clients and of its wake-ups.
fn accepted(cancels: bool) -> Vec<(usize, usize)> {
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    let served = per_core(LOOPS + 1, async |core| -> Result<_> {
        if core.index() == LOOPS {
            clients(&listener).await?;
            core.stop();
            return Ok((0, 0));
        }
        let listener = TcpListener::try_from(listener.try_clone()?)?;
        let (before, mut accepted) = (sleeps(), 0);
        let mut random = Random::new(core.index() as u64 + 1);
        let mut stopped = pin!(core.stopped());
        // The first loop accepts to the end.
        let last = match cancels && core.index() > 0 {
            true => random.below(CLIENTS / LOOPS),
            false => usize::MAX,
        };
        while accepted < last {
            if cancels && random.below(2) == 0 {
                let soon = polled(1 + random.below(4), listener.accept()).await;
                accepted += usize::from(soon.transpose()?.is_some());
                continue;
            }
            match select(pin!(listener.accept()), stopped.as_mut()).await {
                Either::Left((stream, _)) => drop(stream?),
                Either::Right(_) => break,
            }
            accepted += 1;
        }
        core.stopped().await?;
        Ok((accepted, sleeps() - before))
    });
    served.expect("every client was served")
}

/// Without the fix each client woke all loops: 7,276 wake-ups for 1,000 clients.
#[test]
fn each_client_wakes_one_of_eight_loops() {
    let _guard = deadline();
    let served = accepted(false);
    let all: usize = served.iter().map(|(accepted, _)| accepted).sum();
    let woken: usize = served.iter().map(|(_, woken)| woken).sum();
    assert_eq!(all, CLIENTS);
    if cfg!(target_os = "linux") {
        // A loop that is about to sleep may poll beside the one that is woken.
        assert!(woken < 2 * CLIENTS, "{woken}: {served:?}");
        let most = served.iter().map(|(accepted, _)| *accepted).max();
        assert!(most < Some(CLIENTS / 2), "they take turns: {served:?}");
    }
}

#[test]
fn no_client_is_lost_to_accepts_that_are_cancelled() {
    let _guard = deadline();
    let all: usize = accepted(true).iter().map(|(accepted, _)| accepted).sum();
    assert_eq!(all, CLIENTS);
}

/// The ways in which a loop that was woken for a client leaves it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leave {
    InLoop,
    BesideLoop,
    OtherThread,
    AfterLoop,
    Aborts,
}

type Accept<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Waits until the thread of this path in procfs sleeps in the kernel.
fn until_asleep(thread: &Path) {
    let stat = Path::new("/proc").join(thread).join("stat");
    let asleep = || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") S "));
    while cfg!(target_os = "linux") && !asleep() {
        thread::yield_now();
    }
}

/// Waits on a loop of its own until there is a client, then leaves it as `leave` says.
fn leaves<'a, L: Listener>(
    leave: Leave,
    (listener, accept): (&'a L, fn(&'a L) -> Accept<'a>),
    armed: &Sender<PathBuf>,
    left: &Sender<()>,
    done: &Receiver<()>,
) {
    let (mut runtime, wakes) = (Runtime::new().expect("a runtime"), Wakes::new());
    let (mut waiting, waker) = (accept(listener), wakes.clone().into());
    runtime.block_on(async { assert!(poll_with(waiting.as_mut(), &waker).is_pending()) });
    let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
    armed.send(thread).expect("heard");
    while wakes.count() == 0 {
        runtime.turn(None).expect("a turn");
    }
    match leave {
        Leave::InLoop => runtime.block_on(async { drop(waiting) }),
        Leave::BesideLoop => drop(waiting),
        Leave::OtherThread => thread::scope(|scope| {
            scope.spawn(move || drop(waiting));
        }),
        Leave::AfterLoop => {
            drop(runtime);
            drop(waiting);
            return left.send(()).expect("heard");
        }
        Leave::Aborts => runtime.block_on(async { listener.abort() }),
    }
    left.send(()).expect("heard");
    // Until then its loop exists, and does not turn.
    done.recv().unwrap_or_default();
    if leave != Leave::Aborts {
        assert!(runtime.block_on(accept(listener)), "it accepts again");
    }
}

/// The first of two listeners on one socket is woken and leaves; the second has to be woken.
fn passes_on<L: Listener + Sync>(
    leave: Leave,
    [first, second]: [&L; 2],
    accept: fn(&L) -> Accept<'_>,
    mut connect: impl FnMut(),
) {
    let ((armed, is_armed), (left, has_left), (end, done)) = (channel(), channel(), channel());
    thread::scope(|scope| {
        scope.spawn(move || leaves(leave, (first, accept), &armed, &left, &done));
        let thread = is_armed.recv().expect("it waits");
        let (mut runtime, wakes) = (Runtime::new().expect("a runtime"), Wakes::new());
        let (mut waiting, waker) = (accept(second), wakes.clone().into());
        runtime.block_on(async { assert!(poll_with(waiting.as_mut(), &waker).is_pending()) });
        until_asleep(&thread);
        connect();
        has_left.recv().expect("it has left");
        (0..3).for_each(|_| runtime.turn(Some(Duration::ZERO)).expect("a turn"));
        assert!(wakes.count() > 0, "{leave:?}: it was not told");
        assert!(runtime.block_on(waiting), "{leave:?}");
        connect();
        drop(end);
    });
}

const LEAVES: [Leave; 5] = [
    Leave::InLoop,
    Leave::BesideLoop,
    Leave::OtherThread,
    Leave::AfterLoop,
    Leave::Aborts,
];

#[test]
fn a_tcp_client_is_passed_on_by_a_loop_that_leaves_it() {
    let _guard = deadline();
    for leave in LEAVES {
        for _ in 0..10 {
            let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            let both = [(); 2].map(|()| {
                let copy = listener.try_clone().expect("a duplicate");
                TcpListener::try_from(copy).expect("adopted")
            });
            let mut clients = Vec::new();
            passes_on(
                leave,
                both.each_ref(),
                |listener| Box::pin(async { listener.accept().await.is_ok() }),
                || clients.push(StdStream::connect(address).expect("connected")),
            );
        }
    }
}

#[test]
fn a_unix_client_is_passed_on_by_a_loop_that_leaves_it() {
    let _guard = deadline();
    let dir = TempDir::new();
    for leave in LEAVES {
        for n in 0..10 {
            let path = dir.path(&format!("{leave:?}{n}"));
            let listener = StdUnixListener::bind(&path).expect("a free path");
            let both = [(); 2].map(|()| {
                let copy = listener.try_clone().expect("a duplicate");
                UnixListener::try_from(copy).expect("adopted")
            });
            let mut clients = Vec::new();
            passes_on(
                leave,
                both.each_ref(),
                |listener| Box::pin(async { listener.accept().await.is_ok() }),
                || clients.push(StdUnixStream::connect(&path).expect("connected")),
            );
        }
    }
}
