//! Wakes from other threads: the queue that each runtime shares with the process, and their table.
//!
//! This is the only code of the crate that several threads use at the same time. The queue of a
//! [`Remote`] is behind a mutex, and beside it is one atomic state: all threads see its changes
//! in one order; it orders nothing else. So a turn of the loop with nothing queued takes no lock.
//! `tests/loom.rs` includes this very file with loom's types instead of std's, and explores the
//! interleavings of the following.
//!
//! # Operation
//!
//! A waker is a number, so a thread that wakes looks the runtime up in the [`Table`] (locked only
//! to clone an `Arc`), locks that runtime's queue, pushes, unlocks, and rings the [`Bell`] if the
//! loop was asleep. The loop sleeps only if it was awake with nothing queued:
//!
//! ```text
//!        the loop, on its thread             |       any other thread
//!                                            |
//!   try_sleep  AWAKE: now ASLEEP             |   wake, post  lock
//!              QUEUED: lock                  |                 closed: unlock, done
//!                now AWAKE, take all         |                 push
//!              unlock, stay awake            |                 ring = was it ASLEEP?
//!                                            |                 now QUEUED
//!                                            |               unlock
//!   sleep in the kernel  <-------------------+---------------- ring the bell, if ring
//!                                            |
//!   drain      ASLEEP: now AWAKE             |
//!              QUEUED: as above              |
//! ```
//!
//! A push before the `try_sleep` is found by it. The first push after it finds `ASLEEP` and rings;
//! for later pushes `QUEUED` means that the loop will wake. There is no other case, and a sleep is
//! rung at most once, for any number of threads that wake. The bell is rung
//! after the lock is released, because the woken loop needs that lock. By then the loop may have
//! woken by itself and sleep again, or be closed: the ring is then spurious, which costs a turn at
//! most, and the `Arc` keeps the bell alive.
//!
//! A runtime that is driven by a foreign loop counts as asleep between its turns; its own thread
//! then wakes it in the same way as any other.
//!
//! # Callers
//!
//! - Any thread: `wake`, `post`, `while_open`, `unless_posted`, `serial`, `bell`; the table's
//!   `by_index`, `by_serial`. Never a signal handler: they lock and may allocate.
//! - The thread that owns the runtime: `try_sleep`, `drain`, `has_queued`; `open`, `close`.
//! - Inside the closures of `while_open`, `unless_posted` and `open`: nothing of this file, since
//!   the lock is held.
//!
//! # Invariants
//!
//! - No bell is rung or dropped, and no other code called, under a lock, except in those closures.
//! - No lock is taken while another one is held.
//! - The state is `QUEUED` exactly while something is queued, and changes to and from that only
//!   under the lock. Between the two others only the owner changes it.
//! - After `close` the queue stays empty and the state `AWAKE`. Through an `Arc` that still
//!   exists it can be woken without effect; the last `Arc` frees it, including the bell.
//! - A remote that the table no longer has is closed.

use std::collections::BinaryHeap;
use std::io;
use std::mem;
use std::ops::DerefMut;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::sync::{Arc, AtomicU8, Mutex};

/// Ends the sleep of a loop.
pub(crate) trait Bell {
    /// Makes the present wait of the loop, or else its next one, return at once.
    ///
    /// Called on any thread, without a lock of this file, also after the runtime closed.
    fn ring(&self);
}

/// An object that was dropped on another thread, for the owner to remove.
///
/// Each is a key of one of the owner's slabs: generation in the upper half, index in the lower. The
/// owner ignores a stale key, so a post may be read at any later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// A source with a socket that was dropped or aborted; its waiting operations have to be woken.
    Source(u64),
    /// A timer.
    Timer(u64),
    /// A scope with a future that was dropped.
    Scope(u64),
}

/// The part of a runtime that other threads may use.
pub(crate) struct Remote<B> {
    /// The runtime's number, unique and never 0; see [`Table::open`].
    serial: u64,
    bell: B,
    /// [`AWAKE`], [`ASLEEP`] or [`QUEUED`].
    state: AtomicU8,
    queue: Mutex<Queue>,
}

/// Nothing is queued, and the loop runs.
const AWAKE: u8 = 0;
/// Nothing is queued, and the loop may be in the kernel: only a ring ends its sleep.
const ASLEEP: u8 = 1;
/// Something is queued, and if the loop was asleep, it is rung.
const QUEUED: u8 = 2;

/// Wakes and posts from other threads that the owner has not taken yet.
struct Queue {
    /// Ids of wakers. In the order of the wakes until they are first compacted.
    wakes: Vec<usize>,
    /// Never compacted: the object of a post stays in the owner's slab until the post is read, and
    /// is posted once, so there are never more posts than slab entries.
    posts: Vec<Post>,
    /// The length of `wakes` at which duplicates are removed.
    compact_at: usize,
    /// Set once, by `close`, and never cleared.
    closed: bool,
}

impl<B: Bell> Remote<B> {
    /// Makes the shared part of a runtime that is awake.
    pub(crate) fn new(serial: u64, bell: B) -> Self {
        Self {
            serial,
            bell,
            state: AtomicU8::new(AWAKE),
            queue: Mutex::new(Queue::new()),
        }
    }

    /// The runtime's number.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The bell of the loop.
    pub(crate) fn bell(&self) -> &B {
        &self.bell
    }

    /// Queues a wake of the waker `id`; no-op once closed.
    ///
    /// The queue stays within twice the number of different ids in it (or 64), no matter how often
    /// and for how long a thread wakes a busy loop.
    pub(crate) fn wake(&self, id: usize) {
        self.push(|queue| queue.add_wake(id));
    }

    /// Queues a key for the owner to remove; no-op once closed, because then no entries are left.
    pub(crate) fn post(&self, post: Post) {
        self.push(|queue| queue.posts.push(post));
    }

    /// Calls `f` with the bell unless the runtime is closed; it cannot be closed before `f`
    /// returns.
    ///
    /// For changes that another thread makes to the owner's poller, which the owner closes after it
    /// called [`close`](Table::close). `f` runs under the lock: one short system call, no more.
    pub(crate) fn while_open<R>(&self, f: impl FnOnce(&B) -> R) -> Option<R> {
        let queue = lock(&self.queue);
        (!queue.closed).then(|| f(&self.bell))
    }

    /// Calls `f` unless `post` is queued; it cannot be queued before `f` returns.
    ///
    /// For one short system call on a descriptor that another thread posts before it closes it.
    #[cfg(feature = "dump")]
    pub(crate) fn unless_posted<R>(&self, post: Post, f: impl FnOnce() -> R) -> Option<R> {
        let queue = lock(&self.queue);
        (!queue.posts.contains(&post)).then(f)
    }

    /// Marks the loop as asleep and returns true, or takes the queue's contents and returns false.
    ///
    /// Both vectors have to be empty; as in [`drain`](Self::drain) they are swapped, not filled.
    #[inline]
    pub(crate) fn try_sleep(&self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) -> bool {
        !self.pass(AWAKE, ASLEEP, wakes, posts)
    }

    /// Marks the loop as awake and takes the queue's contents; returns false if nothing was there.
    ///
    /// The vectors, which have to be empty, are swapped with the queue's: nothing is copied under
    /// the lock, and in a steady state nothing is allocated.
    #[inline]
    pub(crate) fn drain(&self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) -> bool {
        self.pass(ASLEEP, AWAKE, wakes, posts)
    }

    /// Passes from one state to another, unless something is queued, which is then taken.
    #[inline]
    fn pass(&self, from: u8, to: u8, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) -> bool {
        let passed = self.state.compare_exchange(from, to, Relaxed, Relaxed);
        passed == Err(QUEUED) && self.take_queued(wakes, posts)
    }

    #[cold]
    fn take_queued(&self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) -> bool {
        let mut queue = lock(&self.queue);
        self.state.store(AWAKE, Relaxed);
        queue.take(wakes, posts);
        true
    }

    /// Returns whether the next `drain` will find something.
    #[cfg(any(test, feature = "guest"))]
    pub(crate) fn has_queued(&self) -> bool {
        self.state.load(Relaxed) == QUEUED
    }

    /// Drops the queue's contents and makes every later wake and post a no-op.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        self.state.store(AWAKE, Relaxed);
        *queue = Queue {
            closed: true,
            ..Queue::new()
        };
    }

    /// Adds to the queue of an open runtime and wakes its loop if it sleeps.
    fn push(&self, add: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return;
        }
        add(&mut queue);
        let was = self.state.swap(QUEUED, Relaxed);
        drop(queue);
        if was == ASLEEP {
            self.bell.ring();
        }
    }
}

impl Queue {
    const fn new() -> Self {
        Self {
            wakes: Vec::new(),
            posts: Vec::new(),
            compact_at: COMPACT_MIN,
            closed: false,
        }
    }

    fn take(&mut self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) {
        debug_assert!(wakes.is_empty() && posts.is_empty(), "not handled yet");
        mem::swap(&mut self.wakes, wakes);
        mem::swap(&mut self.posts, posts);
    }

    /// Adds an id, and removes duplicates when the vector has reached its limit.
    ///
    /// The new limit is twice the number of ids left: before the next sort at least half as many
    /// wakes come as it sorts, so the cost of a wake is at most logarithmic. The order is lost, but
    /// wakes from other threads have no guaranteed order.
    fn add_wake(&mut self, id: usize) {
        self.wakes.push(id);
        if self.wakes.len() >= self.compact_at {
            // A heap, which is less code than a sort: this path is rare.
            self.wakes = BinaryHeap::from(mem::take(&mut self.wakes)).into_sorted_vec();
            self.wakes.dedup();
            self.compact_at = COMPACT_MIN.max(2 * self.wakes.len());
        }
    }
}

/// The runtimes that are alive in this process, by index.
pub(crate) struct Table<B> {
    entries: Mutex<Entries<B>>,
}

/// The state that a [`Table`] guards.
pub(crate) struct Entries<B> {
    /// `None` if the index is free.
    remotes: Vec<Option<Arc<Remote<B>>>>,
    /// The indices of the `None`s; the last one is used next.
    free: Vec<u16>,
    /// The number of runtimes ever opened: the upper 48 bits of a serial, enough for a runtime
    /// every microsecond for nine years.
    opened: u64,
    /// The largest number of live runtimes.
    limit: u16,
}

impl<B: Bell> Table<B> {
    /// Makes a table over new [`Entries`].
    ///
    /// The mutex comes from the caller because a `static` needs this to be const, and making
    /// loom's mutex is not.
    pub(crate) const fn over(entries: Mutex<Entries<B>>) -> Self {
        Self { entries }
    }

    /// Adds a runtime, with the bell that `make` returns for its serial.
    ///
    /// No live runtime has the same index. The serial, `count << 16 | index`, is unique and not 0.
    /// `make` runs under the lock.
    ///
    /// # Errors
    ///
    /// Returned if the table is full of live runtimes.
    pub(crate) fn open(&self, make: impl FnOnce(u64) -> B) -> io::Result<(u16, Arc<Remote<B>>)> {
        let mut entries = lock(&self.entries);
        let index = entries.vacancy()?;
        entries.opened += 1;
        let serial = entries.opened << INDEX_BITS | u64::from(index);
        let remote = Arc::new(Remote::new(serial, make(serial)));
        entries.insert(index, Arc::clone(&remote));
        Ok((index, remote))
    }

    /// Returns the live runtime at an index, which may not be the one that a stale waker refers to.
    pub(crate) fn by_index(&self, index: u16) -> Option<Arc<Remote<B>>> {
        lock(&self.entries).remotes.get(usize::from(index))?.clone()
    }

    /// Returns the runtime of a serial, if it is still alive.
    pub(crate) fn by_serial(&self, serial: u64) -> Option<Arc<Remote<B>>> {
        let remote = self.by_index(index_of(serial))?;
        (remote.serial == serial).then_some(remote)
    }

    /// Closes the runtime at an index, then frees the index. Its owner calls this, once.
    pub(crate) fn close(&self, index: u16) {
        if let Some(remote) = self.by_index(index) {
            remote.close();
        }
        let removed = lock(&self.entries).remove(index);
        debug_assert!(removed.is_some(), "closed by its owner alone, once");
    }
}

impl<B> Entries<B> {
    /// Makes a table without runtimes for up to `limit` at a time.
    pub(crate) const fn new(limit: u16) -> Self {
        Self {
            remotes: Vec::new(),
            free: Vec::new(),
            opened: 0,
            limit,
        }
    }

    /// Returns the index to use next. Nothing changes before [`insert`](Self::insert), so that a
    /// panic in between loses no index.
    fn vacancy(&self) -> io::Result<u16> {
        if let Some(&index) = self.free.last() {
            return Ok(index);
        }
        match u16::try_from(self.remotes.len()) {
            Ok(index) if index < self.limit => Ok(index),
            _ => Err(io::Error::other(format!(
                "no more than {} runtimes can be alive in a process",
                self.limit
            ))),
        }
    }

    /// Fills the [`vacancy`](Self::vacancy).
    fn insert(&mut self, index: u16, remote: Arc<Remote<B>>) {
        match self.free.pop() {
            Some(_) => self.remotes[usize::from(index)] = Some(remote),
            None => self.remotes.push(Some(remote)),
        }
    }

    fn remove(&mut self, index: u16) -> Option<Arc<Remote<B>>> {
        let removed = self.remotes.get_mut(usize::from(index))?.take()?;
        self.free.push(index);
        Some(removed)
    }
}

/// Returns the index within a serial.
fn index_of(serial: u64) -> u16 {
    (serial & u64::from(u16::MAX)) as u16
}

/// Locks, also after a panic under the lock.
///
/// Only the closures of `while_open` and `open` can panic there, and neither runs while the data is
/// partly changed: the guarded data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> impl DerefMut<Target = T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues shorter than this are never compacted.
const COMPACT_MIN: usize = 64;

/// The number of low bits of a serial that have the index.
pub(crate) const INDEX_BITS: u32 = u16::BITS;

// Loom's mutexes work only inside its models, so under loom only `tests/loom.rs` tests this file.
#[cfg(all(test, not(loom)))]
#[path = "remote/tests.rs"]
mod tests;
