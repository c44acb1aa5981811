//! Shared helpers: a deadline; counters of wakes, polls, drops, descriptors and threads.

use std::cell::Cell;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::panic::resume_unwind;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// No test takes longer; a test that hangs fails with a message after this time.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the number of rounds that the long form of a test is asked for (`SOLOIO_TEST_ROUNDS`).
pub(crate) fn asked_rounds() -> Option<usize> {
    let asked = std::env::var("SOLOIO_TEST_ROUNDS").ok()?;
    Some(asked.parse().expect("a number"))
}

/// Aborts the process if it is not dropped within a minute; the long form has twenty.
pub(crate) struct Deadline(#[expect(dead_code, reason = "its drop ends the guard")] Sender<()>);

/// Guards the calling test against hanging. The time in which its thread was ready and other
/// programs had the processors does not count.
#[must_use = "the guard ends when it is dropped"]
pub(crate) fn deadline() -> Deadline {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let task = fs::read_link("/proc/thread-self").unwrap_or_default();
    let waited = Path::new("/proc").join(task).join("schedstat");
    let (alive, watch) = channel();
    let limit = LIMIT * if asked_rounds().is_some() { 20 } else { 1 };
    let (begun, waited_before) = (Instant::now(), time_in_line(&waited));
    thread::spawn(move || {
        // It opens a file only after the limit: tests count descriptors.
        let mut left = limit;
        while watch.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            let in_line = time_in_line(&waited).saturating_sub(waited_before);
            left = limit.saturating_sub(begun.elapsed().saturating_sub(in_line));
            if left.is_zero() {
                // Not by `eprintln!`, which the test's harness keeps and would lose.
                let text = format!("{name} hangs: it did not end within {limit:?}\n");
                let told = std::io::stderr().write_all(text.as_bytes());
                told.unwrap_or(());
                std::process::abort();
            }
        }
    });
    Deadline(alive)
}

/// The time for which a thread has waited for a processor (proc(5)); zero where nothing tells.
fn time_in_line(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let nanoseconds = text
        .split(' ')
        .nth(1)
        .and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Runs `body` in a process of its own, where no other test opens descriptors or starts threads.
/// `test` is the full name of the calling test.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    const MARK: &str = "SOLOIO_TEST_ALONE";
    if std::env::var_os(MARK).is_some_and(|name| name == test) {
        return body();
    }
    let own = std::env::current_exe().expect("the path of the test binary");
    let mut command = Command::new(own);
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test);
    let output = command.output().expect("the test binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{test} alone: {}\n{text}\n{errors}",
        output.status
    );
    assert!(
        text.contains("1 passed"),
        "no test is called {test}:\n{text}"
    );
}

/// Returns the number of open descriptors of this process.
pub(crate) fn fds() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Returns the number of threads of this process.
pub(crate) fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("procfs").count()
}

/// Returns the size of this process in memory, in bytes.
pub(crate) fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = text.split(' ').nth(1).expect("a second number");
    pages.parse::<usize>().expect("a number") * 4096
}

/// True under a sanitizer: its shadow memory takes terabytes of addresses. Stack frames are larger
/// there, and freed memory is kept.
pub(crate) fn sanitized() -> bool {
    let text = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = text.split(' ').next().expect("a first number");
    pages.parse::<usize>().expect("a number") > 1 << 28
}

/// Returns `full` in release builds, a tenth of it in debug builds, which are ten times slower.
pub(crate) fn rounds(full: usize) -> usize {
    if cfg!(debug_assertions) {
        full / 10
    } else {
        full
    }
}

/// Panics without printing a message. The return type is not `!`: the future of a task has to end
/// with `()`.
pub(crate) fn quiet_panic(message: &'static str) {
    resume_unwind(Box::new(message))
}

/// Returns the message of a [`quiet_panic`] or a plain `panic!`.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("?")
}

/// Reproducible random numbers: xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A foreign waker that counts its wakes, and may pass them on.
#[derive(Default)]
pub(crate) struct Wakes {
    count: AtomicUsize,
    then: Option<Waker>,
}

impl Wakes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Wraps a waker, as a combinator does.
    pub(crate) fn around(waker: &Waker) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            then: Some(waker.clone()),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if let Some(waker) = &self.then {
            waker.wake_by_ref();
        }
    }
}

/// Counts something on one thread.
#[derive(Clone, Default, Debug)]
pub(crate) struct Counter(Rc<Cell<usize>>);

impl Counter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn get(&self) -> usize {
        self.0.get()
    }

    pub(crate) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// Counts up now, and down when the guard is dropped.
    pub(crate) fn hold(&self) -> Held {
        self.add();
        Held(self.clone())
    }
}

/// One of what a [`Counter`] counts.
pub(crate) struct Held(Counter);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.set(self.0.get() - 1);
    }
}

/// Runs a closure when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Counts its drop, on whatever thread that happens.
pub(crate) struct CountedDrop(pub(crate) Arc<AtomicUsize>);

impl Drop for CountedDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts the polls of a future.
pub(crate) async fn counted<F: Future>(polls: Counter, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        polls.add();
        future.as_mut().poll(cx)
    })
    .await
}

/// Polls once, and returns the result.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Polls outside any task, with this waker.
pub(crate) fn poll_with<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Wakes itself, and is done at the second poll; unlike `yield_now` it needs no runtime.
pub(crate) async fn give_way() {
    let mut again = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut again, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Is done at the second poll, and does not wake itself.
pub(crate) async fn until_woken() {
    let mut again = false;
    poll_fn(|_| match std::mem::replace(&mut again, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Returns the waker of the calling task.
pub(crate) async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// Is never done, and never wakes itself.
pub(crate) async fn forever() {
    std::future::pending().await
}

/// A place where tasks of one thread wait until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    open: Cell<bool>,
    waiting: Cell<Vec<Waker>>,
}

impl Gate {
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if self.open.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.take();
            waiting.push(cx.waker().clone());
            self.waiting.set(waiting);
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn open(&self) {
        self.open.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
