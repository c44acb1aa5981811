//! Explores every interleaving of the code that threads use to reach a loop:
//! `src/executor/remote.rs`, and `src/runtime/calls.rs` on top of it; and the waiters of
//! `ThreadEvent`, `src/sync/thread_event/waiters.rs`.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --test loom --release`. The files under test are
//! included below as they are, and find loom's `Arc` and `Mutex` where the crate has std's. Besides
//! the assertions, loom itself fails a model in which all threads wait (a lost wake-up), in which
//! two threads access an `UnsafeCell` without an order between them (its content is irrelevant), or
//! after which an `Arc` is still alive.
//!
//! A model that fails while other threads wait may abort the process: loom unwinds those threads
//! when it is already gone. The first panic printed is the finding.
//!
//! The numbers in names and comments (E1, W1, ...) are those of the crate's list of failures seen
//! in other runtimes. No model bounds preemptions: all run to the end of their state space.
//!
//! Long because the models share the types below.
#![cfg(loom)]

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::sync::Condvar;
use loom::thread;

use calls::{CallQueue, Calls};
use remote::{Bell, Entries, Post, Remote, Table};
use sync::{Arc, Mutex};
use waiters::Waiters;

#[path = "../src/executor/remote.rs"]
#[allow(dead_code, reason = "the models don't post every kind of thing")]
mod remote;

#[path = "../src/runtime/calls.rs"]
mod calls;

#[path = "../src/room.rs"]
#[allow(dead_code, reason = "the models need only its slab")]
mod room;

#[path = "../src/sync/thread_event/waiters.rs"]
mod waiters;

/// Stands for the crate's module that the files under test import as `super::sync`.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8};
    pub(crate) use loom::sync::{Arc, Mutex};
}

/// The model of an eventfd in an edge-triggered poller: a ring ends one wait.
struct Eventfd {
    rung: Mutex<bool>,
    condvar: Condvar,
    tally: StdArc<Tally>,
}

/// The reason why a lock can't fail here.
const NO_POISON: &str = "loom ends the test at the first panic";

/// The events of an [`Eventfd`]. loom does not see it: it must not order anything, and is only read
/// when all threads were joined.
#[derive(Default)]
struct Tally {
    rings: AtomicUsize,
    drops: AtomicUsize,
}

impl Eventfd {
    fn new() -> Self {
        let tally = StdArc::default();
        Self {
            rung: Mutex::new(false),
            condvar: Condvar::new(),
            tally,
        }
    }

    /// Stands for the sleep in the kernel.
    fn wait(&self) {
        let mut rung = self.rung.lock().expect(NO_POISON);
        while !*rung {
            rung = self.condvar.wait(rung).expect(NO_POISON);
        }
        *rung = false;
    }
}

impl Bell for Eventfd {
    fn ring(&self) {
        self.tally.rings.fetch_add(1, Relaxed);
        *self.rung.lock().expect(NO_POISON) = true;
        self.condvar.notify_one();
    }
}

impl Drop for Eventfd {
    fn drop(&mut self) {
        self.tally.drops.fetch_add(1, Relaxed);
    }
}

/// A loop that only collects the wakes and posts of other threads.
struct Loop {
    remote: Arc<Remote<Eventfd>>,
    wakes: Vec<usize>,
    posts: Vec<Post>,
    sleeps: usize,
}

impl Loop {
    fn new(remote: &Arc<Remote<Eventfd>>) -> Self {
        let remote = Arc::clone(remote);
        Self {
            remote,
            wakes: Vec::new(),
            posts: Vec::new(),
            sleeps: 0,
        }
    }

    /// Makes one turn; `wait` is called if the turn sleeps.
    fn turn_with(&mut self, wait: impl FnOnce(&Eventfd)) {
        let (mut wakes, mut posts) = (Vec::new(), Vec::new());
        if self.remote.try_sleep(&mut wakes, &mut posts) {
            self.sleeps += 1;
            wait(self.remote.bell());
            self.remote.drain(&mut wakes, &mut posts);
        }
        self.wakes.append(&mut wakes);
        self.posts.append(&mut posts);
    }

    /// Makes one turn with work left, which doesn't sleep.
    fn turn_awake(&mut self) {
        let (mut wakes, mut posts) = (Vec::new(), Vec::new());
        self.remote.drain(&mut wakes, &mut posts);
        self.wakes.append(&mut wakes);
        self.posts.append(&mut posts);
    }

    /// Runs until `count` wakes and posts came. If one is lost, loom reports a sleep without end.
    fn run_until(&mut self, count: usize) {
        while self.wakes.len() + self.posts.len() < count {
            self.turn_with(Eventfd::wait);
        }
    }

    /// Checks the result of a thread that queues wake 1, then post 2.
    fn check_got_both(&self) {
        assert_eq!(
            (&self.wakes[..], &self.posts[..]),
            (&[1][..], &[Post::Timer(2)][..])
        );
    }

    /// W2: at most one system call per sleep wakes the loop. To be called after all threads ended.
    fn check_rings(&self) {
        let rings = self.remote.bell().tally.rings.load(Relaxed);
        assert!(
            rings <= self.sleeps,
            "{rings} rings in {} sleeps",
            self.sleeps
        );
    }
}

/// A descriptor that must not be used once closed, nor while it is being closed.
#[derive(Default)]
struct Poller {
    accesses: UnsafeCell<()>,
    closed: AtomicBool,
}

impl Poller {
    fn deregister(&self) {
        self.accesses.with(|_| assert!(!self.closed.load(Relaxed)));
    }

    fn close(&self) {
        self.accesses.with_mut(|_| self.closed.store(true, Relaxed));
    }
}

fn new_remote() -> Arc<Remote<Eventfd>> {
    Arc::new(Remote::new(1, Eventfd::new()))
}

fn new_table() -> Arc<Table<Eventfd>> {
    Arc::new(Table::over(Mutex::new(Entries::new(2))))
}

fn open(table: &Table<Eventfd>) -> (u16, Arc<Remote<Eventfd>>) {
    table.open(|_| Eventfd::new()).expect("a free index")
}

/// Starts a thread with an `Arc` of its own.
fn spawn<T: 'static>(
    shared: &Arc<T>,
    run: impl FnOnce(Arc<T>) + 'static,
) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || run(shared))
}

/// W1 (tokio#525): the wake comes between "nothing queued" and the sleep. E6 (tokio#7589): the loop
/// sees the stores that the waking thread made before.
#[test]
fn w1_e6_a_wake_is_never_lost_and_carries_what_came_before_it() {
    loom::model(|| {
        let remote = new_remote();
        let payload = Arc::new(UnsafeCell::new(()));
        let waker = spawn(&remote, {
            let payload = Arc::clone(&payload);
            move |remote| {
                payload.with_mut(|_| ());
                remote.wake(7);
            }
        });
        let mut owner = Loop::new(&remote);
        owner.run_until(1);
        assert_eq!(owner.wakes, [7]);
        payload.with(|_| ());
        waker.join().unwrap();
        owner.check_rings();
    });
}

/// W1, W2, E6: two threads wake a loop that goes to sleep before, between and after their wakes.
/// The wake that finds the bell already rung must be seen too, with the stores before it.
#[test]
fn w2_e6_two_threads_wake_a_sleeping_loop_with_one_ring_per_sleep() {
    loom::model(|| {
        let remote = new_remote();
        let payloads = Arc::new([UnsafeCell::new(()), UnsafeCell::new(())]);
        let wakers = [0, 1].map(|id| {
            let payloads = Arc::clone(&payloads);
            spawn(&remote, move |remote| {
                payloads[id].with_mut(|_| ());
                remote.wake(id);
            })
        });
        let mut owner = Loop::new(&remote);
        while owner.wakes.len() < 2 {
            owner.turn_with(Eventfd::wait);
            owner.wakes.iter().for_each(|&id| payloads[id].with(|_| ()));
        }
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        owner.wakes.sort_unstable();
        assert_eq!(owner.wakes, [0, 1]);
        assert!(!remote.has_queued());
        owner.check_rings();
    });
}

/// W1, W2: the post comes anywhere between the wake before it and the loop's next sleep.
#[test]
fn w2_a_thread_that_wakes_and_posts_loses_neither() {
    loom::model(|| {
        let remote = new_remote();
        let waker = spawn(&remote, |remote| {
            remote.wake(1);
            remote.post(Post::Timer(2));
        });
        let mut owner = Loop::new(&remote);
        owner.run_until(2);
        owner.check_got_both();
        waker.join().unwrap();
        owner.check_rings();
    });
}

/// W1: a timer or a socket ends the sleep, which takes the wake along or leaves it to the next
/// sleep, even if its ring comes late.
#[test]
fn w1_a_sleep_that_ends_by_itself_loses_nothing() {
    loom::model(|| {
        let remote = new_remote();
        let waker = spawn(&remote, |remote| {
            remote.wake(1);
            remote.post(Post::Timer(2));
        });
        let mut owner = Loop::new(&remote);
        owner.turn_with(|_| thread::yield_now());
        owner.run_until(2);
        owner.check_got_both();
        waker.join().unwrap();
        owner.check_rings();
    });
}

/// E1 (async-executor#163), W3: a thread wakes a runtime through the table while it closes and is
/// dropped. The wake does nothing or is dropped with the queue; all memory is freed, once.
#[test]
fn e1_a_wake_while_the_runtime_goes_away_touches_nothing_freed() {
    loom::model(|| {
        let table = new_table();
        let (index, remote) = open(&table);
        let tally = StdArc::clone(&remote.bell().tally);
        let mut owner = Loop::new(&remote);
        drop(remote);
        let waker = spawn(&table, move |table| {
            if let Some(remote) = table.by_index(index) {
                remote.wake(1);
                remote.post(Post::Timer(2));
            }
        });
        owner.turn_with(|_| thread::yield_now());
        let sleeps = owner.sleeps;
        table.close(index);
        assert!(!owner.remote.has_queued());
        drop(owner);
        waker.join().unwrap();
        assert!(table.by_index(index).is_none());
        assert_eq!(tally.drops.load(Relaxed), 1);
        assert!(tally.rings.load(Relaxed) <= sleeps);
    });
}

/// E1, W3: the loop ends on the first wake while another thread is anywhere inside its own.
#[test]
fn e1_a_runtime_closes_on_one_wake_while_the_other_is_under_way() {
    loom::model(|| {
        let remote = new_remote();
        let tally = StdArc::clone(&remote.bell().tally);
        let wakers = [1, 2].map(|id| spawn(&remote, move |remote| remote.wake(id)));
        let mut owner = Loop::new(&remote);
        owner.run_until(1);
        remote.close();
        let sleeps = owner.sleeps;
        drop((owner, remote));
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        assert_eq!(tally.drops.load(Relaxed), 1);
        assert!(tally.rings.load(Relaxed) <= sleeps);
    });
}

/// A stale waker is used while its runtime closes and another thread opens one, which may get the
/// same index: the wake reaches the old one, the new one or none.
#[test]
fn an_index_may_name_the_next_runtime() {
    loom::model(|| {
        let table = new_table();
        let (index, old) = open(&table);
        let stale = spawn(&table, move |table| {
            if let Some(remote) = table.by_index(index) {
                remote.wake(1);
            }
        });
        let closer = spawn(&table, move |table| table.close(index));
        let (next_index, next) = open(&table);
        stale.join().unwrap();
        closer.join().unwrap();
        assert!(!old.has_queued());
        assert!(!next.has_queued() || next_index == index);
        table.close(next_index);
        assert!(table.by_index(0).is_none() && table.by_index(1).is_none());
    });
}

/// The same race for a socket, which holds a key of the old runtime's slab and has its serial:
/// the key never reaches the new one.
#[test]
fn a_serial_never_names_the_next_runtime() {
    loom::model(|| {
        let table = new_table();
        let (index, old) = open(&table);
        let serial = old.serial();
        let stale = spawn(&table, move |table| {
            if let Some(remote) = table.by_serial(serial) {
                assert_eq!(remote.serial(), serial);
                remote.post(Post::Source(2));
            }
        });
        let closer = spawn(&table, move |table| table.close(index));
        let (_, next) = open(&table);
        assert_ne!(next.serial(), serial);
        stale.join().unwrap();
        closer.join().unwrap();
        assert!(!old.has_queued() && !next.has_queued());
        assert!(table.by_serial(serial).is_none());
    });
}

/// A socket is dropped on another thread while its runtime goes away: what that thread does to
/// the poller happens before the owner closes it, or not at all.
#[test]
fn the_poller_stays_open_while_another_thread_uses_it() {
    loom::model(|| {
        let table = new_table();
        let (index, remote) = open(&table);
        let serial = remote.serial();
        let poller = Arc::new(Poller::default());
        let dropper = spawn(&table, {
            let poller = Arc::clone(&poller);
            move |table| {
                if let Some(remote) = table.by_serial(serial) {
                    remote.while_open(|_| poller.deregister());
                    remote.post(Post::Source(1));
                }
            }
        });
        table.close(index);
        poller.close();
        assert!(!remote.has_queued());
        dropper.join().unwrap();
        assert!(!remote.has_queued());
    });
}

/// A closure that counts that it ran, and that it is gone.
fn counting_call(ran: &StdArc<AtomicUsize>, gone: &StdArc<AtomicUsize>) -> calls::Call {
    struct Gone(StdArc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (ran, gone) = (StdArc::clone(ran), Gone(StdArc::clone(gone)));
    Box::new(move || {
        ran.fetch_add(1, Relaxed);
        drop(gone);
    })
}

/// Pushes a call as a handle does.
fn push(calls: &Calls, remote: &Remote<Eventfd>, call: calls::Call) -> bool {
    let pushed = calls.push(call);
    if let Ok(true) = pushed {
        remote.wake(0);
    }
    pushed.is_ok()
}

/// Threads post `counts` closures each; the loop runs them all, without an endless sleep.
fn all_are_run<const THREADS: usize>(counts: [usize; THREADS]) {
    let (remote, queue) = (new_remote(), CallQueue::default());
    let (ran, gone) = (StdArc::default(), StdArc::default());
    let threads = counts.map(|count| {
        let calls = queue.shared();
        let (ran, gone) = (StdArc::clone(&ran), StdArc::clone(&gone));
        spawn(&remote, move |remote| {
            for _ in 0..count {
                assert!(push(&calls, &remote, counting_call(&ran, &gone)));
            }
        })
    });
    let mut owner = Loop::new(&remote);
    let all = counts.iter().sum();
    while ran.load(Relaxed) < all {
        // Does as the loop does: a rest in the queue must not keep it from taking in the wakes.
        if queue.has_left() {
            owner.turn_awake();
        } else {
            owner.turn_with(Eventfd::wait);
        }
        assert!(queue.run().is_none());
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(gone.load(Relaxed), all);
    owner.check_rings();
}

/// W1 for closures: none waits while the loop sleeps, whether it comes into an empty queue, behind
/// another, or while the loop runs a part of what it took (one per turn here).
#[test]
fn w1_a_closure_is_never_left_behind_another() {
    loom::model(|| all_are_run([3]));
}

/// The same with two threads, of which one finds the other's closure queued and does not wake.
#[test]
fn w1_a_closure_of_another_thread_is_enough_of_a_wake() {
    loom::model(|| all_are_run([1, 1]));
}

/// A closure that comes while the loop ends is run, dropped or given back, exactly once, so that
/// its caller is always released.
#[test]
fn a_closure_outlives_no_loop() {
    loom::model(|| {
        let (remote, queue) = (new_remote(), CallQueue::default());
        let (ran, gone) = (StdArc::default(), StdArc::default());
        let calls = queue.shared();
        let thread = spawn(&remote, {
            let (ran, gone) = (StdArc::clone(&ran), StdArc::clone(&gone));
            move |remote| {
                push(&calls, &remote, counting_call(&ran, &gone));
                push(&calls, &remote, counting_call(&ran, &gone));
            }
        });
        assert!(queue.run().is_none());
        assert!(queue.close().is_none());
        remote.close();
        thread.join().unwrap();
        assert_eq!(gone.load(Relaxed), 2);
        assert!(ran.load(Relaxed) <= 1);
        assert!(queue.shared().is_closed());
    });
}

/// A waker that counts its wakes, which loom does not see.
struct Counting(AtomicUsize);

impl std::task::Wake for Counting {
    fn wake(self: StdArc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// P12: the event happens before, between and after the two looks of a wait, and while the wait is
/// polled with another waker. The wait ends or is woken, and no waker is left behind.
#[test]
fn p12_an_event_between_two_looks_leaves_no_waker_behind() {
    loom::model(|| {
        let waiters = Arc::new(Waiters::default());
        let payload = Arc::new(UnsafeCell::new(()));
        let setter = spawn(&waiters, {
            let payload = Arc::clone(&payload);
            move |waiters| {
                payload.with_mut(|_| ());
                waiters.set().into_values().for_each(|waker| waker.wake());
            }
        });
        let counted = [0, 1].map(|_| StdArc::new(Counting(AtomicUsize::new(0))));
        let mut key = None;
        let [first, second] = [0, 1].map(|number| {
            let waker = StdArc::clone(&counted[number]).into();
            waiters.is_set_or_take(&mut key, &waker)
        });
        if second {
            payload.with(|_| ());
        }
        setter.join().unwrap();
        let woken = counted.each_ref().map(|counted| counted.0.load(Relaxed));
        match (first, second) {
            (true, true) => assert_eq!(woken, [0, 0]),
            (false, true) => assert_eq!(woken, [1, 0]),
            (false, false) => assert_eq!(woken, [0, 1]),
            (true, false) => panic!("it happens once"),
        }
        for counted in &counted {
            assert_eq!(StdArc::strong_count(counted), 1, "a waker is left behind");
        }
        payload.with(|_| ());
    });
}

/// The same while the wait is dropped.
#[test]
fn p12_a_wait_that_leaves_leaves_no_waker_behind() {
    loom::model(|| {
        let waiters = Arc::new(Waiters::default());
        let setter = spawn(&waiters, |waiters| {
            waiters.set().into_values().for_each(|waker| waker.wake());
        });
        let counted = StdArc::new(Counting(AtomicUsize::new(0)));
        let (mut key, waker) = (None, StdArc::clone(&counted).into());
        waiters.is_set_or_take(&mut key, &waker);
        drop(waker);
        waiters.leave(key);
        setter.join().unwrap();
        assert_eq!(StdArc::strong_count(&counted), 1, "a waker is left behind");
        assert!(waiters.is_set());
    });
}
