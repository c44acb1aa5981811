//! A sleeping loop woken from another thread, which also sleeps between its wakes. Wall-clock
//! nanoseconds per round trip: the loop unparks the thread and sleeps, the thread wakes it.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use soloio::block_on;

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::affinity;

pub fn measure(side: Side, count: u64) -> io::Result<f64> {
    let bell = Bell::start();
    let elapsed = match side {
        Side::Soloio => block_on(round_trips(&bell, count)),
        Side::TokioCurrent => tokio::<CurrentThread>(&bell, count)?,
        Side::TokioLocal => tokio::<Local>(&bell, count)?,
    };
    bell.stop();
    Ok(nanos_each(elapsed, count))
}

fn tokio<F: Flavour>(bell: &Bell, count: u64) -> io::Result<Duration> {
    Ok(F::block_on(&F::runtime()?, round_trips(bell, count)))
}

async fn round_trips(bell: &Bell, count: u64) -> Duration {
    for _ in 0..20 {
        bell.ring().await;
    }
    assert_eq!(bell.shared.answered.load(Ordering::Acquire), 20);
    let started = Instant::now();
    for _ in 0..count {
        bell.ring().await;
    }
    started.elapsed()
}

/// A thread that wakes the task on request.
struct Bell {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    asked: AtomicU64,
    answered: AtomicU64,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || theirs.answer());
        Self { shared, thread }
    }

    /// Requests one wake, and ends when the thread has sent it.
    async fn ring(&self) {
        let mut number = None;
        poll_fn(|cx| {
            let Some(number) = number else {
                *self.shared.lock() = Some(cx.waker().clone());
                number = Some(self.shared.asked.fetch_add(1, Ordering::Release) + 1);
                self.thread.thread().unpark();
                return Poll::Pending;
            };
            if self.shared.answered.load(Ordering::Acquire) == number {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn stop(self) {
        self.shared.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().expect("the thread ends well");
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) {
        affinity::pin(affinity::helper_core()).expect("a core we were started with");
        while !self.ended.load(Ordering::Acquire) {
            let asked = self.asked.load(Ordering::Acquire);
            if self.answered.load(Ordering::Relaxed) == asked {
                thread::park();
                continue;
            }
            let waker = self.lock().take();
            self.answered.store(asked, Ordering::Release);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
