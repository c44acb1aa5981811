//! Tests of the pool. Each has a pool of its own.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// Reports when it begins, ends on request, reports when it is dropped.
struct Held {
    name: usize,
    events: Sender<(usize, &'static str)>,
    end: Receiver<()>,
}

impl Held {
    /// A job may outlive the test, which then gets no more reports.
    fn report(&self, what: &'static str) {
        self.events.send((self.name, what)).ok();
    }
}

impl Work for Held {
    fn run(&mut self) {
        self.report("runs");
        assert!(self.end.recv().is_err(), "it ends by a drop");
    }

    fn deliver(&mut self, refused: Option<io::Error>) {
        if refused.is_some() {
            self.report("refused");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.report("gone");
    }
}

/// A pool, and the events that its jobs have reported.
struct Jobs {
    pool: &'static Pool,
    events: Sender<(usize, &'static str)>,
    reported: Receiver<(usize, &'static str)>,
}

impl Jobs {
    fn of(pool: &'static Pool) -> Self {
        let (events, reported) = channel();
        Self {
            pool,
            events,
            reported,
        }
    }

    /// A job that runs until the sender is dropped.
    fn submit(&self, name: usize, lane: Lane) -> (Ticket, Sender<()>) {
        let (hold, end) = channel();
        let events = self.events.clone();
        let held = Box::new(Held { name, events, end });
        (self.pool.submit(held, lane), hold)
    }

    /// The names of the next `count` events, each of which is `what`.
    fn reported(&self, count: usize, what: &str) -> Vec<usize> {
        let next = self.reported.iter().take(count);
        let mut names: Vec<_> = next
            .map(|(name, reported)| {
                assert_eq!(reported, what, "{name}");
                name
            })
            .collect();
        names.sort_unstable();
        names
    }

    /// The next two events are these, in any order.
    fn reported_both(&self, one: (usize, &'static str), other: (usize, &'static str)) {
        let mut reported: Vec<_> = self.reported.iter().take(2).collect();
        reported.sort_unstable();
        assert_eq!(reported, [one, other]);
    }
}

#[test]
fn idle_threads_end_and_the_next_job_makes_a_new_one() {
    static SHORT: Pool = Pool::new(Duration::from_millis(5));
    let jobs = Jobs::of(&SHORT);
    for round in 0..3 {
        for name in 0..3 {
            drop(jobs.submit(name, Lane::Job(0)).1);
        }
        assert_eq!(jobs.reported.iter().take(6).count(), 6, "round {round}");
        // Only time makes them end.
        while SHORT.statistics().threads > 0 {
            thread::yield_now();
        }
        let statistics = SHORT.statistics();
        assert_eq!((statistics.idle, statistics.running), (0, 0));
    }
}

#[test]
fn each_lane_has_its_bound() {
    static OWN: Pool = Pool::new(PATIENCE);
    let jobs = Jobs::of(&OWN);
    let mut holds: Vec<_> = (0..40)
        .map(|name| jobs.submit(name, Lane::Job(0)))
        .collect();
    assert_eq!(jobs.reported(40, "runs").len(), 40);
    let (third, _hold) = jobs.submit(40, Lane::Job(0));
    let fourth = jobs.submit(41, Lane::Job(0));
    for (name, lane) in [
        (42, Lane::Limited(0)),
        (43, Lane::Job(1)),
        (44, Lane::Names),
    ] {
        let (ticket, hold) = jobs.submit(name, lane);
        assert_eq!(jobs.reported(1, "runs"), [name], "behind no job");
        assert!(OWN.withdraw(ticket).is_none(), "it has started");
        drop(hold);
        assert_eq!(jobs.reported(1, "gone"), [name]);
    }
    assert_eq!(OWN.statistics().waiting, 2);
    drop(OWN.withdraw(third).expect("it waits"));
    assert_eq!(jobs.reported(1, "gone"), [40]);
    // A job that no task waits for still counts.
    OWN.leave(holds[0].0);
    assert_eq!(
        (OWN.statistics().waiting, OWN.statistics().abandoned),
        (1, 1)
    );
    drop(holds.swap_remove(0).1);
    jobs.reported_both((0, "gone"), (41, "runs"));
    drop((holds, fourth));
    assert_eq!(jobs.reported(40, "gone").len(), 40);
    assert!(OWN.statistics().threads <= 42);
}

#[test]
fn names_that_no_task_waits_for_make_room_for_others() {
    static OWN: Pool = Pool::new(PATIENCE);
    let jobs = Jobs::of(&OWN);
    let mut names: Vec<_> = (0..72).map(|name| jobs.submit(name, Lane::Names)).collect();
    for round in 0..8 {
        let running = 8 * round..8 * round + 8;
        assert_eq!(
            jobs.reported(8, "runs"),
            running.clone().collect::<Vec<_>>()
        );
        assert_eq!(OWN.statistics().running, 8 * round + 8);
        names[running]
            .iter()
            .for_each(|(ticket, _)| OWN.leave(*ticket));
    }
    let statistics = OWN.statistics();
    assert_eq!((statistics.running, statistics.waiting), (64, 8));
    // One hung lookup ends, and one that is waited for begins.
    drop(names.swap_remove(0));
    jobs.reported_both((0, "gone"), (64, "runs"));
    // The queue is limited as well.
    let more: Vec<_> = (72..72 + 1024)
        .map(|name| jobs.submit(name, Lane::Names))
        .collect();
    let reported: Vec<_> = jobs
        .reported
        .iter()
        .take(14)
        .map(|(_, reported)| reported)
        .collect();
    assert_eq!(reported, ["refused", "gone"].repeat(7));
    assert_eq!(OWN.statistics().waiting, 1024);
    for (ticket, _) in more.iter().chain(&names) {
        OWN.leave(*ticket);
    }
    assert_eq!(OWN.statistics().waiting, 0);
}

#[test]
fn jobs_within_jobs_end_somewhere() {
    static OWN: Pool = Pool::new(PATIENCE);
    let jobs = Jobs::of(&OWN);
    drop(jobs.submit(1, Lane::Job(63)));
    assert_eq!(jobs.reported(1, "runs"), [1]);
    assert_eq!(jobs.reported(1, "gone"), [1]);
    drop(jobs.submit(2, Lane::Job(64)));
    assert_eq!(jobs.reported(1, "refused"), [2]);
}
