//! The threads that run blocking jobs: how many there are, who runs what, when they end.
//!
//! One pool serves the process. A job that may start is *ready*, and for each ready job there is a
//! thread *coming* to take it: one that was idle, one that is being made, or one that is about to
//! finish another. Jobs without a limiter of their own share a bound; what is above it is *waiting*
//! and becomes ready when one of those that run has ended.
//!
//! ```text
//!   submit ──bound reached──> waiting ──one ended──┐
//!      └────────────────────> ready <──────────────┘
//!                               │   a thread takes it: from here on it runs to its end
//!                               v
//!                            running ──> deliver ──> the thread takes the next, or is idle
//! ```
//!
//! Idle threads are used last in, first out, so that under little work the others reach the end of
//! their patience and end. The threads are detached: neither a loop nor the end of the program
//! waits for one.
//!
//! # When no thread can be made
//!
//! The job waits for the threads there are. If there are none, or all of them are held by jobs
//! that nobody waits for, which may never end, then every job that has not started is refused.
//!
//! # Invariants
//!
//! * No job is run, delivered or dropped under the lock, and no thread is made.
//! * `coming` is at least the number of ready jobs, unless a thread could not be made.
//! * `bounded` counts the ready and the running jobs that share the bound, those that nobody waits
//!   for any more included: the bound is one of threads.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many jobs without a limiter of their own run at a time, in the whole process; AnyIO's
/// number.
pub(super) const BOUND: usize = 40;
/// How long a thread waits for the next job before it ends; AnyIO's time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pool of this process.
pub(super) static POOL: Pool = Pool::new(BOUND, PATIENCE);

/// One job, as far as a thread knows of it.
pub(super) trait Work: Send {
    /// Does it. What it panics with, it keeps.
    fn run(&mut self);
    /// Hands over what came of it; false if nobody wants that any more, and it is still here.
    fn deliver(&mut self) -> bool;
    /// It will never run, for want of a thread; false if nobody wants to hear of that.
    fn refuse(self: Box<Self>, cause: io::Error) -> bool;
}

/// Work, and whether it shares the bound.
struct Job {
    work: Box<dyn Work>,
    bounded: bool,
}

/// Names a job that was given to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

pub(super) struct Pool {
    state: Mutex<State>,
    bound: usize,
    patience: Duration,
    /// Jobs that run although nobody waits for them. Changed while a job's own lock is held.
    abandoned: AtomicUsize,
}

struct State {
    /// The process that the threads belong to: a fork has none of them.
    process: u32,
    /// In order of their tickets: first come, first served.
    waiting: BTreeMap<u64, Job>,
    ready: BTreeMap<u64, Job>,
    tickets: u64,
    bounded: usize,
    running: usize,
    threads: usize,
    /// Threads on their way to take a job.
    coming: usize,
    /// Where each idle thread sleeps, the last one to be idle at the end.
    idle: Vec<Arc<Condvar>>,
}

/// Who is to come for a ready job.
enum Summoned {
    Nobody,
    Idle(Arc<Condvar>),
    NewThread,
}

impl Pool {
    pub(super) const fn new(bound: usize, patience: Duration) -> Self {
        Self {
            state: Mutex::new(State::new(0, 0)),
            bound,
            patience,
            abandoned: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock but for want of memory, which aborts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for who comes from outside, and so perhaps as the first in a process that was
    /// forked off: it begins anew.
    fn lock_here(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.process != process::id() {
            // Tickets go on, so that those of the parent name nothing here. What waits or runs is
            // the parent's: not dropped here.
            let new = State::new(process::id(), state.tickets);
            mem::forget(mem::replace(&mut *state, new));
            self.abandoned.store(0, SeqCst);
        }
        state
    }

    /// Takes a job in. If it cannot be run it is refused, perhaps before this returns.
    pub(super) fn submit(&'static self, work: Box<dyn Work>, bounded: bool) -> Ticket {
        let mut state = self.lock_here();
        let ticket = state.tickets;
        state.tickets += 1;
        let job = Job { work, bounded };
        if bounded && state.bounded >= self.bound {
            state.waiting.insert(ticket, job);
            return Ticket(ticket);
        }
        state.bounded += usize::from(bounded);
        state.ready.insert(ticket, job);
        let summoned = state.summon();
        drop(state);
        self.send_for(summoned);
        Ticket(ticket)
    }

    /// Takes a job back that has not started, and never will; `None` if it has.
    pub(super) fn withdraw(&self, ticket: Ticket) -> Option<Box<dyn Work>> {
        let mut state = self.lock();
        let waiting = state.waiting.remove(&ticket.0);
        let job = waiting.or_else(|| {
            let job = state.ready.remove(&ticket.0)?;
            // Whoever comes for it finds the one that takes its place, or none.
            state.ended(job.bounded);
            Some(job)
        });
        drop(state);
        job.map(|job| job.work)
    }

    /// Counts a job that runs on although nobody waits for it. Takes no lock.
    pub(super) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, SeqCst);
    }

    /// After a job was abandoned: who waits for a thread that this job has must not wait for ever.
    pub(super) fn relieve(&'static self) {
        let mut state = self.lock();
        let is_stuck = state.threads <= self.abandoned.load(SeqCst);
        let summoned = match is_stuck {
            true => state.summon(),
            false => Summoned::Nobody,
        };
        drop(state);
        self.send_for(summoned);
    }

    fn send_for(&'static self, summoned: Summoned) {
        match summoned {
            Summoned::Nobody => {}
            Summoned::Idle(seat) => seat.notify_one(),
            Summoned::NewThread => {
                let thread = thread::Builder::new().name("soloio-job".into());
                // Detached.
                if let Err(cause) = thread.spawn(|| self.work()).map(drop) {
                    self.go_without(&cause);
                }
            }
        }
    }

    /// A thread could not be made.
    fn go_without(&self, cause: &io::Error) {
        let mut state = self.lock();
        state.coming -= 1;
        state.threads -= 1;
        if state.threads > self.abandoned.load(SeqCst) {
            return;
        }
        let ready = mem::take(&mut state.ready);
        let waiting = mem::take(&mut state.waiting);
        state.bounded -= ready.values().filter(|job| job.bounded).count();
        drop(state);
        for job in ready.into_values().chain(waiting.into_values()) {
            let cause = match cause.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(cause.kind(), cause.to_string()),
            };
            if quietly(|| job.work.refuse(cause)) == Some(false) {
                self.abandoned.fetch_sub(1, SeqCst);
            }
        }
    }

    /// The life of a thread.
    fn work(&'static self) {
        let seat = Arc::new(Condvar::new());
        let mut state = self.lock();
        state.coming -= 1;
        loop {
            while let Some((_, job)) = state.ready.pop_first() {
                state.running += 1;
                drop(state);
                self.run(job);
                state = self.lock();
                state.running -= 1;
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
            state.coming -= 1;
        }
    }

    fn run(&'static self, mut job: Job) {
        quietly(|| job.work.run());
        let mut state = self.lock();
        state.ended(job.bounded);
        // Before the result is told: who gives the next job at once need not make a thread for it.
        state.coming += 1;
        drop(state);
        let wanted = quietly(|| job.work.deliver()).unwrap_or(true);
        let mut state = self.lock();
        state.coming -= 1;
        if wanted {
            return;
        }
        // To drop what nobody wants may take as long as it likes; others don't wait for it.
        let summoned = state.summon();
        drop(state);
        self.send_for(summoned);
        quietly(|| drop(job));
        self.abandoned.fetch_sub(1, SeqCst);
    }

    pub(super) fn statistics(&self) -> ThreadStatistics {
        let state = self.lock_here();
        ThreadStatistics {
            threads: state.threads,
            idle: state.idle.len(),
            running: state.running,
            waiting: state.waiting.len() + state.ready.len(),
            abandoned: self.abandoned.load(SeqCst),
        }
    }
}

impl State {
    const fn new(process: u32, tickets: u64) -> Self {
        Self {
            process,
            waiting: BTreeMap::new(),
            ready: BTreeMap::new(),
            tickets,
            bounded: 0,
            running: 0,
            threads: 0,
            coming: 0,
            idle: Vec::new(),
        }
    }

    /// Says who is to come, if there are more ready jobs than threads on their way.
    fn summon(&mut self) -> Summoned {
        if self.coming >= self.ready.len() {
            return Summoned::Nobody;
        }
        self.coming += 1;
        match self.idle.pop() {
            Some(seat) => Summoned::Idle(seat),
            None => {
                self.threads += 1;
                Summoned::NewThread
            }
        }
    }

    /// A ready or a running job is one no more: the next one that waits takes its place.
    fn ended(&mut self, bounded: bool) {
        if !bounded {
            return;
        }
        match self.waiting.pop_first() {
            Some((ticket, job)) => {
                self.ready.insert(ticket, job);
            }
            None => self.bounded -= 1,
        }
    }

    fn seat_of(&self, seat: &Arc<Condvar>) -> Option<usize> {
        self.idle.iter().position(|other| Arc::ptr_eq(other, seat))
    }
}

/// Calls the user's code where nobody is left to hear of its panic, but for the panic's own
/// message.
fn quietly<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // To drop it may panic in its turn.
            mem::forget(payload);
            None
        }
    }
}

/// How the threads of this process that run blocking jobs are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStatistics {
    /// The threads there are.
    pub threads: usize,
    /// Of these, those that wait for a job, which they do for 10 seconds.
    pub idle: usize,
    /// Jobs that have started and not yet ended.
    pub running: usize,
    /// Jobs that have not started.
    pub waiting: usize,
    /// Of those that run, those that nobody waits for any more.
    pub abandoned: usize,
}

/// Says how the threads of [`run_in_thread`](crate::run_in_thread) are doing.
///
/// # Examples
///
/// ```
/// use soloio::{block_on, run_in_thread, thread_statistics};
///
/// block_on(run_in_thread(|| assert!(thread_statistics().running >= 1)))?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[must_use]
pub fn thread_statistics() -> ThreadStatistics {
    POOL.statistics()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells when it begins, ends when it is told, tells whether it is gone.
    struct Held {
        name: u32,
        events: Sender<(u32, &'static str)>,
        end: Receiver<()>,
        wanted: bool,
    }

    impl Held {
        fn tell(&self, what: &'static str) {
            self.events.send((self.name, what)).expect("the test waits");
        }
    }

    impl Work for Held {
        fn run(&mut self) {
            self.tell("runs");
            assert!(self.end.recv().is_err(), "it is told by a drop");
        }

        fn deliver(&mut self) -> bool {
            self.wanted
        }

        fn refuse(self: Box<Self>, _: io::Error) -> bool {
            true
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.tell("gone");
        }
    }

    #[test]
    fn idle_threads_end_and_the_next_job_makes_a_new_one() {
        static SHORT: Pool = Pool::new(2, Duration::from_millis(5));
        let (events, told) = channel();
        for round in 0..3 {
            for name in 0..3 {
                let (_, end) = channel();
                let events = events.clone();
                let wanted = true;
                let held = Held {
                    name,
                    events,
                    end,
                    wanted,
                };
                SHORT.submit(Box::new(held), true);
            }
            assert_eq!(told.iter().take(6).count(), 6, "round {round}");
            // Only time makes them end.
            while SHORT.statistics().threads > 0 {
                thread::yield_now();
            }
            let statistics = SHORT.statistics();
            assert_eq!((statistics.idle, statistics.running), (0, 0));
        }
    }

    #[test]
    fn the_bound_holds_for_those_without_a_limiter_only() {
        static TWO: Pool = Pool::new(2, PATIENCE);
        let (events, told) = channel();
        let submit = |name, bounded, wanted| {
            let (hold, end) = channel::<()>();
            let events = events.clone();
            let held = Held {
                name,
                events,
                end,
                wanted,
            };
            (TWO.submit(Box::new(held), bounded), hold)
        };
        let next = || told.recv().expect("the job tells");
        let (_, first) = submit(1, true, true);
        assert_eq!(next(), (1, "runs"));
        let (_, second) = submit(2, true, true);
        assert_eq!(next(), (2, "runs"));
        let (third, _hold) = submit(3, true, true);
        let (_, fourth) = submit(4, true, true);
        let (fifth, _limited) = submit(5, false, true);
        assert_eq!(next(), (5, "runs"));
        assert_eq!(TWO.statistics().waiting, 2);
        assert!(TWO.withdraw(fifth).is_none(), "it has started");
        drop(TWO.withdraw(third).expect("it waits"));
        assert_eq!(next(), (3, "gone"));
        drop(first);
        assert_eq!(next(), (1, "gone"));
        assert_eq!(next(), (4, "runs"));
        drop((second, fourth));
        let mut gone = [next().0, next().0];
        gone.sort_unstable();
        assert_eq!(gone, [2, 4]);
        assert_eq!(TWO.statistics().threads, 3);
    }
}
