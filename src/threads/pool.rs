//! The threads for blocking jobs: their number, the choice of a job, their end.
//!
//! One pool serves the process: jobs of `run_in_thread` and lookups of names. A job waits in its
//! [lane](super::lane), which has bounds of its own: jobs of one kind never wait for another kind.
//! A job that its lane lets start is *ready*, and for each ready job there is a thread *coming* to
//! take it: one that was idle, one that is being made, or one that is about to finish another.
//!
//! ```text
//!   submit ──> waiting ──room in the lane──> ready ──a thread──> running ──> delivered
//!                 └─left─> never runs          └─left─> never runs  └─left─> abandoned
//! ```
//!
//! Idle threads are used last in, first out, so that under little load the others reach the end of
//! their patience and end. The threads are detached: neither a loop nor the end of the program
//! waits for one.
//!
//! # If no thread can be started
//!
//! The job waits for the existing threads. It is refused instead if another job may wait for it on
//! one of them. All jobs that have not started are refused if there are no threads, or if all of
//! them run abandoned jobs, which may never end.
//!
//! # Invariants
//!
//! * No job is run, delivered or dropped under the lock, and no thread is started.
//! * `coming` is at least the number of ready jobs, unless a thread could not be started.
//! * Whether a job has started, and whether it is abandoned, is decided only under the lock.

#[cfg(feature = "threads")]
mod statistics;

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::lane::Lane;
use crate::room::Few;
use crate::sys::again;

#[cfg(feature = "threads")]
pub use statistics::{ThreadStatistics, thread_statistics};

/// The time that a thread waits for the next job before it ends; the same as AnyIO's.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pool of this process.
pub(super) static POOL: Pool = Pool::new(PATIENCE);

/// One job, in the form for a thread.
pub(super) trait Work: Send {
    /// Runs it, and stores its value or panic.
    fn run(&mut self);
    /// Delivers its result, or the reason why it was not run.
    fn deliver(&mut self, refused: Option<io::Error>);
}

/// Identifies a job in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    lane: Lane,
}

pub(super) struct Pool {
    state: Mutex<State>,
    patience: Duration,
}

struct State {
    /// The process that the threads belong to: a forked process has none of them.
    process: u32,
    tickets: u64,
    lines: Few<Lane, Line>,
    /// In order of their tickets: first come, first served.
    ready: Few<u64, (Lane, Box<dyn Work>)>,
    /// The running jobs that a task waits for.
    wanted: Few<u64, Lane>,
    /// The number of running jobs that no task waits for.
    abandoned: usize,
    threads: usize,
    /// Threads on their way to take a job.
    coming: usize,
    /// The places where idle threads sleep, in the order in which they became idle.
    idle: Vec<Arc<Condvar>>,
}

/// The jobs of one lane.
#[derive(Default)]
struct Line {
    waiting: Few<u64, Box<dyn Work>>,
    /// The ready and running jobs that a task waits for; `started` includes the abandoned ones.
    wanted: usize,
    started: usize,
}

impl Pool {
    const fn new(patience: Duration) -> Self {
        Self {
            state: Mutex::new(State::new(0, 0)),
            patience,
        }
    }

    /// Locks the state. The first call in a forked process starts with an empty one.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; if memory runs out the process aborts.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.process != process::id() {
            // Tickets continue, so that tickets of the parent match no job here. Jobs that wait or
            // run are the parent's: not dropped here.
            let new = State::new(process::id(), state.tickets);
            mem::forget(mem::replace(&mut *state, new));
        }
        state
    }

    /// Adds a job. If it cannot be run it is refused, perhaps before this returns.
    #[inline]
    pub(super) fn submit(&'static self, mut work: Box<dyn Work>, lane: Lane) -> Ticket {
        let mut state = self.lock();
        let number = state.tickets;
        state.tickets += 1;
        let refused = match state.lines.get(&lane) {
            _ if lane.is_too_deep() => Some("jobs run within jobs already, 64 deep"),
            Some(line) if line.waiting.len() >= lane.bounds().waiting => {
                Some("too many others wait already: try again")
            }
            _ => None,
        };
        if let Some(message) = refused {
            drop(state);
            work.deliver(Some(io::Error::new(io::ErrorKind::ResourceBusy, message)));
        } else {
            let line = state.lines.get_or_default(lane);
            line.waiting.insert(number, work);
            state.advance(lane);
            self.send_threads(state);
        }
        Ticket { number, lane }
    }

    /// Returns a job that has not started, and then never will; `None` if it has.
    #[inline]
    pub(super) fn withdraw(&'static self, ticket: Ticket) -> Option<Box<dyn Work>> {
        let Ticket { number, lane } = ticket;
        let mut state = self.lock();
        if let Some((_, work)) = state.ready.remove(&number) {
            // A thread on its way to it finds the job that replaces it, or none.
            state.ended(lane, true);
            return Some(work);
        }
        state.line(lane).waiting.remove(&number)
    }

    /// Withdraws or abandons a job that no task waits for any more.
    #[inline]
    pub(super) fn leave(&'static self, ticket: Ticket) {
        let withdrawn = self.withdraw(ticket);
        let mut state = self.lock();
        if let Some(lane) = state.wanted.remove(&ticket.number) {
            state.abandoned += 1;
            state.line(lane).wanted -= 1;
            state.advance(lane);
        }
        // A job that waits for the thread of the abandoned one must not wait forever.
        self.send_threads(state);
        drop(withdrawn);
    }

    /// Makes a thread come for each ready job.
    #[inline]
    fn send_threads(&'static self, mut state: MutexGuard<'_, State>) {
        while state.coming < state.ready.len() {
            state.coming += 1;
            let seat = state.idle.pop();
            state.threads += usize::from(seat.is_none());
            drop(state);
            let made = match seat {
                Some(seat) => {
                    seat.notify_one();
                    Ok(())
                }
                None => {
                    let thread = thread::Builder::new().name("soloio-job".into());
                    // Detached.
                    thread.spawn(|| self.work()).map(drop)
                }
            };
            state = self.lock();
            if let Err(cause) = made {
                return go_without(state, &cause);
            }
        }
    }

    /// The main loop of a thread.
    #[inline]
    fn work(&'static self) {
        let seat = Arc::new(Condvar::new());
        let mut state = self.lock();
        loop {
            state.coming -= 1;
            while let Some((number, (lane, work))) = state.ready.pop_first() {
                state.wanted.insert(number, lane);
                drop(state);
                state = self.run(number, lane, work);
            }
            state.idle.push(Arc::clone(&seat));
            let sleep = seat
                .wait_timeout_while(state, self.patience, |state| state.seat_of(&seat).is_some());
            (state, _) = sleep.unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = state.seat_of(&seat) {
                state.idle.remove(place);
                state.threads -= 1;
                return;
            }
        }
    }

    #[inline]
    fn run(
        &'static self,
        number: u64,
        lane: Lane,
        mut work: Box<dyn Work>,
    ) -> MutexGuard<'static, State> {
        lane.enter();
        quietly(|| work.run());
        let mut state = self.lock();
        let wanted = state.wanted.remove(&number).is_some();
        state.ended(lane, wanted);
        if wanted {
            // Before the delivery: a task that submits the next job immediately has a thread.
            state.coming += 1;
            drop(state);
            quietly(move || work.deliver(None));
            let mut state = self.lock();
            state.coming -= 1;
            return state;
        }
        // Dropping an unwanted result may take long; other jobs don't wait for it.
        self.send_threads(state);
        quietly(|| drop(work));
        let mut state = self.lock();
        state.abandoned -= 1;
        state
    }
}

impl State {
    const fn new(process: u32, tickets: u64) -> Self {
        Self {
            process,
            tickets,
            lines: Few::new(),
            ready: Few::new(),
            wanted: Few::new(),
            abandoned: 0,
            threads: 0,
            coming: 0,
            idle: Vec::new(),
        }
    }

    fn line(&mut self, lane: Lane) -> &mut Line {
        self.lines.get_or_default(lane)
    }

    /// Makes jobs of the lane ready as far as its bounds allow.
    #[inline]
    fn advance(&mut self, lane: Lane) {
        let (bounds, line) = (lane.bounds(), self.lines.get_or_default(lane));
        while line.wanted < bounds.wanted && line.started < bounds.running {
            let Some((number, work)) = line.waiting.pop_first() else {
                return;
            };
            line.wanted += 1;
            line.started += 1;
            self.ready.insert(number, (lane, work));
        }
    }

    /// A ready or a running job has ended or left: the next waiting one takes its place.
    #[inline]
    fn ended(&mut self, lane: Lane, wanted: bool) {
        let line = self.line(lane);
        line.started -= 1;
        line.wanted -= usize::from(wanted);
        self.advance(lane);
    }

    fn seat_of(&self, seat: &Arc<Condvar>) -> Option<usize> {
        self.idle.iter().position(|other| Arc::ptr_eq(other, seat))
    }
}

/// Refuses the jobs that must not wait, because a thread could not be started.
#[inline]
fn go_without(mut state: MutexGuard<'_, State>, cause: &io::Error) {
    state.coming -= 1;
    state.threads -= 1;
    let is_stuck = state.threads <= state.abandoned;
    let is_refused = |lane: &Lane| is_stuck || lane.is_within_a_job();
    let mut refused = Vec::new();
    for (_, line) in state.lines.iter_mut().filter(|(lane, _)| is_refused(lane)) {
        let waiting = mem::take(&mut line.waiting);
        refused.extend(waiting.into_iter().map(|(_, work)| work));
    }
    for (number, (lane, work)) in mem::take(&mut state.ready).into_iter() {
        if is_refused(&lane) {
            state.ended(lane, true);
            refused.push(work);
        } else {
            state.ready.insert(number, (lane, work));
        }
    }
    drop(state);
    for mut work in refused {
        quietly(move || work.deliver(Some(again(cause))));
    }
}

/// Calls the user's code where no task is left to get its panic; only the panic's own message is
/// printed.
fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Dropping it may panic, too.
        mem::forget(payload);
    }
}

#[cfg(all(test, feature = "threads"))]
mod tests;
