//! Which names are being looked up, by how many threads, and who waits for which (pure).
//!
//! ```text
//!   ask ──> queued ──next──> running ──finish──> done ──> each asker takes the answer and leaves
//!              │                │
//!              │ last one left  │ last one left
//!              v                v
//!           removed          goes on; whoever asks for the name meanwhile joins it
//! ```
//!
//! A name that is queued or running is looked up once, however many ask. A thread lives while there
//! is something queued: starting one costs as much as waking one that sleeps (45 us each), so none
//! is kept.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::room::Slab;

/// How many threads look names up at a time.
pub(super) const THREADS: usize = 8;

/// How many names wait for a thread at most.
pub(super) const QUEUE: usize = 1024;

/// The lookups of one process: `W` wakes who asked, `A` is an answer.
#[derive(Debug)]
pub(super) struct Lookups<W, A> {
    /// The process they belong to: in a fork nobody works on them.
    epoch: u32,
    jobs: Slab<Job<W, A>>,
    /// Those that are queued, oldest first.
    queue: VecDeque<usize>,
    threads: usize,
}

#[derive(Debug)]
struct Job<W, A> {
    name: Arc<str>,
    state: State<A>,
    /// One for each who asked and has not left; the waker is taken when the answer is there.
    askers: Slab<Option<W>>,
}

#[derive(Debug)]
enum State<A> {
    Queued,
    Running,
    Done(A),
}

/// One who asked. Good until it [leaves](Lookups::leave).
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    epoch: u32,
    job: usize,
    asker: usize,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Asked<W> {
    /// It is looked up, or waits for a thread that is there.
    Waiting(Ticket),
    /// The caller starts a thread, which is counted already.
    NeedsThread(Ticket),
    /// Too many names wait.
    Full(W),
}

impl<W, A: Clone> Lookups<W, A> {
    pub(super) const fn new(epoch: u32) -> Self {
        Self {
            epoch,
            jobs: Slab::new(),
            queue: VecDeque::new(),
            threads: 0,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Asks for a name; `waker` is given back when the answer is there.
    pub(super) fn ask(&mut self, name: &str, waker: W) -> Asked<W> {
        let same = |(_, job): &(usize, &Job<W, A>)| {
            *job.name == *name && !matches!(job.state, State::Done(_))
        };
        // Few enough to look through: there are at most QUEUE and THREADS, and those just done.
        let known = self.jobs.iter().find(same).map(|(job, _)| job);
        let job = match known {
            Some(job) => job,
            None if self.queue.len() >= QUEUE => return Asked::Full(waker),
            None => {
                let job = self.jobs.insert(Job {
                    name: name.into(),
                    state: State::Queued,
                    askers: Slab::new(),
                });
                self.queue.push_back(job);
                let ticket = self.ticket(job, waker);
                if self.threads == THREADS {
                    return Asked::Waiting(ticket);
                }
                self.threads += 1;
                return Asked::NeedsThread(ticket);
            }
        };
        Asked::Waiting(self.ticket(job, waker))
    }

    fn ticket(&mut self, job: usize, waker: W) -> Ticket {
        Ticket {
            epoch: self.epoch,
            job,
            asker: self.jobs[job].askers.insert(Some(waker)),
        }
    }

    /// True unless the ticket is that of a process this one was forked from.
    pub(super) fn knows(&self, ticket: Ticket) -> bool {
        ticket.epoch == self.epoch
    }

    /// The answer, or `None` while there is none; then `waker` takes the place of the one before,
    /// which comes back in it.
    pub(super) fn answer(&mut self, ticket: Ticket, waker: &mut W) -> Option<A> {
        let job = &mut self.jobs[ticket.job];
        if let State::Done(answer) = &job.state {
            return Some(answer.clone());
        }
        if let Some(place) = &mut job.askers[ticket.asker] {
            std::mem::swap(place, waker);
        }
        None
    }

    /// Nobody waits with this ticket any more. A lookup that nobody else waits for is not begun;
    /// one that runs goes on.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Left<W, A> {
        if !self.knows(ticket) {
            return Left(None, None);
        }
        let job = &mut self.jobs[ticket.job];
        let waker = job.askers.remove(ticket.asker);
        let unwanted = job.askers.is_empty() && !matches!(job.state, State::Running);
        if !unwanted {
            return Left(waker, None);
        }
        let job = self.jobs.remove(ticket.job);
        if matches!(job.state, State::Queued) {
            self.queue.retain(|queued| *queued != ticket.job);
        }
        Left(waker, Some(job))
    }

    /// The next name for a thread; with `None` the thread ends, and is counted no more.
    pub(super) fn next(&mut self) -> Option<(usize, Arc<str>)> {
        let Some(number) = self.queue.pop_front() else {
            self.threads -= 1;
            return None;
        };
        let job = &mut self.jobs[number];
        job.state = State::Running;
        Some((number, Arc::clone(&job.name)))
    }

    /// A thread has an answer: who is to be woken.
    pub(super) fn finish(&mut self, number: usize, answer: A) -> Vec<W> {
        let job = &mut self.jobs[number];
        if job.askers.is_empty() {
            self.jobs.remove(number);
            return Vec::new();
        }
        job.state = State::Done(answer);
        let askers = job.askers.iter_mut();
        askers.filter_map(|(_, waker)| waker.take()).collect()
    }

    /// A thread that was counted could not be started. If there is none at all, everything that is
    /// queued ends with `answer`: who is to be woken.
    pub(super) fn no_thread(&mut self, answer: &A) -> Vec<W> {
        self.threads -= 1;
        let mut woken = Vec::new();
        while self.threads == 0 {
            let Some(number) = self.queue.pop_front() else {
                break;
            };
            woken.extend(self.finish(number, answer.clone()));
        }
        woken
    }
}

#[cfg(test)]
impl<W, A> Lookups<W, A> {
    /// How many threads and names there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.threads, self.jobs.len())
    }

    /// How many wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.iter().map(|(_, job)| job.askers.len()).sum()
    }
}

/// What is to be dropped when the lock is given back: wakers may be the user's code.
#[derive(Debug)]
#[must_use = "dropped when the lock is given back"]
pub(super) struct Left<W, A>(Option<W>, Option<Job<W, A>>);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    type Machine = Lookups<u32, u32>;

    fn asked(machine: &mut Machine, name: &str, waker: u32) -> (Ticket, bool) {
        match machine.ask(name, waker) {
            Asked::Waiting(ticket) => (ticket, false),
            Asked::NeedsThread(ticket) => (ticket, true),
            Asked::Full(_) => panic!("full"),
        }
    }

    #[test]
    fn one_name_is_looked_up_once() {
        let mut machine = Machine::new(1);
        let (first, thread) = asked(&mut machine, "a", 1);
        assert!(thread);
        let others: Vec<_> = (2..100).map(|n| asked(&mut machine, "a", n)).collect();
        assert!(others.iter().all(|(_, thread)| !thread));
        let (job, name) = machine.next().expect("queued");
        assert_eq!(&*name, "a");
        let (late, thread) = asked(&mut machine, "a", 100);
        assert!(!thread, "it runs");
        assert_eq!(machine.finish(job, 7).len(), 100);
        for ticket in others.into_iter().map(|(ticket, _)| ticket) {
            assert_eq!(machine.answer(ticket, &mut 0), Some(7));
            drop(machine.leave(ticket));
        }
        drop((machine.leave(first), machine.leave(late)));
        assert!(machine.next().is_none());
        assert!(machine.jobs.is_empty() && machine.threads == 0);
    }

    #[test]
    fn the_queue_is_bounded_and_forgets_who_leaves() {
        let mut machine = Machine::new(1);
        let name = |n: usize| format!("name{n}");
        let threads = (0..THREADS).map(|n| asked(&mut machine, &name(n), 0));
        assert!(
            threads
                .collect::<Vec<_>>()
                .iter()
                .all(|(_, thread)| *thread)
        );
        let running: Vec<_> = (0..THREADS).map(|_| machine.next()).collect();
        assert!(running.iter().all(Option::is_some));
        let queued: Vec<_> = (0..QUEUE)
            .map(|n| asked(&mut machine, &name(100_000 + n), 0))
            .collect();
        assert!(queued.iter().all(|(_, thread)| !thread));
        assert!(matches!(machine.ask("one more", 0), Asked::Full(0)));
        assert!(matches!(machine.ask(&name(0), 0), Asked::Waiting(_)));
        for (ticket, _) in queued {
            drop(machine.leave(ticket));
        }
        assert!(machine.queue.is_empty());
        assert_eq!(machine.jobs.len(), THREADS);
        assert!(machine.next().is_none(), "nothing that nobody wants");
    }

    #[test]
    fn without_any_thread_all_that_waits_ends() {
        let mut machine = Machine::new(1);
        let (a, thread) = asked(&mut machine, "a", 1);
        assert!(thread);
        let (b, thread) = asked(&mut machine, "b", 2);
        assert!(thread);
        assert!(machine.no_thread(&9).is_empty(), "the other one may start");
        assert_eq!(machine.no_thread(&9), [1, 2]);
        for ticket in [a, b] {
            assert_eq!(machine.answer(ticket, &mut 0), Some(9));
            drop(machine.leave(ticket));
        }
        assert!(machine.jobs.is_empty() && machine.threads == 0);
    }

    #[test]
    fn a_ticket_of_another_process_does_nothing() {
        let mut machine = Machine::new(1);
        let (old, _) = asked(&mut machine, "a", 1);
        let mut machine = Machine::new(2);
        let (new, _) = asked(&mut machine, "b", 2);
        assert!(!machine.knows(old) && machine.knows(new));
        drop(machine.leave(old));
        assert_eq!(machine.answer(new, &mut 0), None);
        assert_eq!(machine.jobs.len(), 1);
    }

    /// What the machine does, by name and without sharing structure: who waits for what.
    #[derive(Default)]
    struct Twin {
        /// Name to those who wait for its lookup; in the queue, or running as number `n`.
        queued: Vec<(String, Vec<u32>)>,
        running: BTreeMap<usize, (String, Vec<u32>)>,
        answered: BTreeMap<u32, u32>,
        threads: usize,
    }

    impl Twin {
        fn ask(&mut self, name: &str, who: u32) -> bool {
            let running = self.running.values_mut();
            let known = self.queued.iter_mut().chain(running);
            if let Some((_, waiting)) = known.into_iter().find(|(known, _)| known == name) {
                waiting.push(who);
                return false;
            }
            self.queued.push((name.to_owned(), vec![who]));
            let starts = self.threads < THREADS;
            self.threads += usize::from(starts);
            starts
        }

        fn leave(&mut self, who: u32) {
            let running = self.running.values_mut();
            for (_, waiting) in self.queued.iter_mut().chain(running) {
                waiting.retain(|asker| *asker != who);
            }
            self.queued.retain(|(_, waiting)| !waiting.is_empty());
            self.answered.remove(&who);
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_its_twin(steps in prop::collection::vec((0..5u8, 0..12usize), 1..400)) {
            let (mut machine, mut twin) = (Machine::new(1), Twin::default());
            let mut tickets: BTreeMap<u32, Ticket> = BTreeMap::new();
            let mut who = 0;
            for (step, pick) in steps {
                match step {
                    0 | 1 => {
                        who += 1;
                        let name = format!("n{pick}");
                        let (ticket, thread) = asked(&mut machine, &name, who);
                        prop_assert_eq!(thread, twin.ask(&name, who));
                        tickets.insert(who, ticket);
                    }
                    2 if twin.threads > twin.running.len() => match machine.next() {
                        Some((number, name)) => {
                            let (expected, waiting) = twin.queued.remove(0);
                            prop_assert_eq!(&*name, &expected);
                            twin.running.insert(number, (expected, waiting));
                        }
                        None => {
                            prop_assert!(twin.queued.is_empty());
                            twin.threads -= 1;
                        }
                    },
                    3 => {
                        let number = twin.running.keys().nth(pick % THREADS).copied();
                        if let Some(number) = number {
                            let (_, mut waiting) = twin.running.remove(&number).expect("a key");
                            let mut woken = machine.finish(number, pick as u32);
                            woken.sort_unstable();
                            waiting.sort_unstable();
                            prop_assert_eq!(&woken, &waiting);
                            twin.answered.extend(waiting.into_iter().map(|who| (who, pick as u32)));
                        }
                    }
                    _ => {
                        if let Some(who) = tickets.keys().nth(pick).copied() {
                            let ticket = tickets.remove(&who).expect("a key");
                            drop(machine.leave(ticket));
                            twin.leave(who);
                        }
                    }
                }
                prop_assert_eq!(machine.queue.len(), twin.queued.len());
                prop_assert_eq!(machine.threads, twin.threads);
                for (who, ticket) in &tickets {
                    let answer = machine.answer(*ticket, &mut who.clone());
                    prop_assert_eq!(answer, twin.answered.get(who).copied());
                }
            }
        }
    }
}
