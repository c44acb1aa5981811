//! Work on a file in a thread, which outlives the operation that began it: [`Worker`].
//!
//! A read that has begun cannot be stopped, and what it reads must not be lost. So its result goes
//! into data that the loop and the thread share, and not to the operation, which may be cut: the
//! next operation finds it there, or waits for the work that still runs.

use std::cell::RefCell;
use std::fs::File;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use soloio::{Result, ThreadEvent, run_in_thread};

type Waiting = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(super) struct Worker<T> {
    shared: Arc<Shared<T>>,
    /// The wait for work; it stays here when the operation is cut.
    waiting: RefCell<Option<Waiting>>,
}

struct Shared<T> {
    /// Locked while a thread works.
    file: Mutex<File>,
    data: Mutex<T>,
    /// Set at the end of the work that runs; `None` if none does.
    running: Mutex<Option<ThreadEvent>>,
    work: fn(&File, &Mutex<T>),
}

/// A panic of another thread left nothing half done: the data is bytes and errors.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send + 'static> Worker<T> {
    pub(super) fn new(file: File, data: T, work: fn(&File, &Mutex<T>)) -> Self {
        let shared = Arc::new(Shared {
            file: Mutex::new(file),
            data: Mutex::new(data),
            running: Mutex::new(None),
            work,
        });
        Self {
            shared,
            waiting: RefCell::new(None),
        }
    }

    /// What the loop and the thread share. It is locked for moments only.
    pub(super) fn data(&self) -> MutexGuard<'_, T> {
        lock(&self.shared.data)
    }

    /// Waits for the end of the work that runs, or else begins some; ready when it may have
    /// changed the data.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        let waiting = self.waiting.take();
        let mut waiting = waiting.unwrap_or_else(|| self.wait());
        let polled = waiting.as_mut().poll(&mut Context::from_waker(cx.waker()));
        if polled.is_pending() {
            self.waiting.replace(Some(waiting));
        }
        polled
    }

    fn wait(&self) -> Waiting {
        let running = lock(&self.shared.running).clone();
        if let Some(end) = running {
            return Box::pin(async move { end.wait().await });
        }
        let shared = Arc::clone(&self.shared);
        // A cancelled scope does not wait for it: a terminal may have no input for ever.
        let run = run_in_thread(move || shared.run()).abandon_on_cancel();
        run.into_future()
    }
}

impl<T> Shared<T> {
    /// On a thread.
    fn run(&self) {
        let file = lock(&self.file);
        let end = ThreadEvent::new();
        *lock(&self.running) = Some(end.clone());
        (self.work)(&file, &self.data);
        *lock(&self.running) = None;
        end.set();
    }
}
