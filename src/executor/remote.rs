//! Wakes from other threads: the queue each runtime shares with the process, and their table.
//!
//! This is the only code of the crate through which threads meet. Everything a [`Remote`] shares
//! sits behind one mutex, so its transitions happen one after the other, and there is no memory
//! ordering to get wrong. `tests/loom.rs` includes this very file with loom's mutex in the place
//! of std's, and explores the interleavings of what follows.
//!
//! # How it works
//!
//! A waker is a number, so a thread that wakes looks the runtime up in the [`Table`] (locked for
//! as long as it takes to clone an `Arc`), locks that runtime's queue, pushes, unlocks, and rings
//! the [`Bell`] if the loop was asleep. The loop looks before it sleeps, under the same lock:
//!
//! ```text
//!        the loop, on its thread             |       any other thread
//!                                            |
//!   try_sleep  lock                          |   wake, post  lock
//!                something queued:           |                 closed: unlock, done
//!                  take it, stay awake       |                 push
//!                else asleep = true          |                 ring = asleep
//!              unlock                        |                 asleep = false
//!                                            |               unlock
//!   sleep in the kernel  <-------------------+---------------- ring the bell, if ring
//!                                            |
//!   drain      lock                          |
//!                asleep = false, take all    |
//!              unlock                        |
//! ```
//!
//! A push that comes before the `try_sleep` is found by it; the first that comes after finds
//! `asleep` set, clears it and rings; the others know from the cleared flag that the loop is on
//! its way. There is no other case, and a sleep is rung at most once, however many threads wake.
//! The bell is rung after the lock is released: the loop it wakes needs that lock. By then the
//! loop may have woken by itself and sleep again, or be closed: the ring is then spurious, which
//! costs a turn at most, and the `Arc` keeps the bell alive.
//!
//! A runtime that is driven by a foreign loop counts as asleep between its turns; its own thread
//! then wakes it the same way as every other.
//!
//! # Who may call what
//!
//! - Any thread: `wake`, `post`, `while_open`, `unless_posted`, `serial`, `bell`; the table's
//!   `by_index`, `by_serial`. Never a signal handler: they lock and may allocate.
//! - The thread that owns the runtime: `try_sleep`, `drain`, `has_queued`; `open`, `close`.
//! - Inside the closures of `while_open`, `unless_posted` and `open`: nothing of this file, since
//!   the lock is held.
//!
//! # Invariants
//!
//! - No bell is rung or dropped, and no other code called, under a lock, but for those closures.
//! - No lock is taken while another one is held.
//! - `asleep` is set only while the queue is empty.
//! - After `close` nothing is queued and nothing is asleep, for good. Whoever still holds the
//!   `Arc` can wake it without effect; the last one to let go frees it, bell included.
//! - A remote that the table no longer has is closed.

use std::collections::BinaryHeap;
use std::io;
use std::mem;
use std::ops::DerefMut;
use std::sync::PoisonError;

use super::sync::{Arc, Mutex};

/// Ends the sleep of a loop.
pub(crate) trait Bell {
    /// Makes the loop's present wait, or else its next one, return at once.
    ///
    /// Called on any thread, under no lock of this file, also after the runtime closed.
    fn ring(&self);
}

/// What was let go of on another thread and is left for the owner to clear away.
///
/// Each holds a key of one of the owner's slabs: generation in the upper half, index in the lower.
/// The owner takes a stale key for nothing, so it doesn't matter how late a post is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// A source whose socket was dropped or aborted; whoever waits there is to be woken.
    Source(u64),
    /// A timer.
    Timer(u64),
    /// A scope whose future was dropped.
    Scope(u64),
}

/// The half of a runtime that other threads may touch.
pub(crate) struct Remote<B> {
    /// The runtime's number, never used for another one and never 0; see [`Table::open`].
    serial: u64,
    bell: B,
    queue: Mutex<Queue>,
}

/// What came from other threads since the owner last looked.
struct Queue {
    /// Ids of wakers. In the order of the wakes until they are first compacted.
    wakes: Vec<usize>,
    /// Never compacted: what a post names stays in the owner's slab until the post is read, and is
    /// posted once, so there are no more posts than slab entries.
    posts: Vec<Post>,
    /// The length of `wakes` at which duplicates are looked for.
    compact_at: usize,
    /// Set by `try_sleep` when nothing is queued; cleared by `drain`, by `close` and by the push
    /// that is to ring. While it is set the loop may be in the kernel with nobody to wake it.
    asleep: bool,
    /// Set once, by `close`, and never cleared.
    closed: bool,
}

impl<B: Bell> Remote<B> {
    /// Makes the shared half of a runtime that is awake.
    pub(crate) fn new(serial: u64, bell: B) -> Self {
        Self {
            serial,
            bell,
            queue: Mutex::new(Queue::new()),
        }
    }

    /// The runtime's number.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// What wakes the loop.
    pub(crate) fn bell(&self) -> &B {
        &self.bell
    }

    /// Queues a wake of the waker `id`; no-op once closed.
    ///
    /// The queue stays within twice the number of different ids in it (or 64), however often and
    /// for however long a thread wakes a loop that is busy.
    pub(crate) fn wake(&self, id: usize) {
        self.push(|queue| queue.add_wake(id));
    }

    /// Queues a key for the owner to clear away; no-op once closed, when the owner has none left.
    pub(crate) fn post(&self, post: Post) {
        self.push(|queue| queue.posts.push(post));
    }

    /// Calls `f` with the bell unless the runtime is closed; it can't be closed before `f` returns.
    ///
    /// For what another thread has to do to the owner's poller, which the owner closes after it
    /// called [`close`](Table::close). `f` runs under the lock: one short system call, no more.
    pub(crate) fn while_open<R>(&self, f: impl FnOnce(&B) -> R) -> Option<R> {
        let queue = lock(&self.queue);
        (!queue.closed).then(|| f(&self.bell))
    }

    /// Calls `f` unless `post` is queued; it cannot be queued before `f` returns.
    ///
    /// For one short system call on what another thread posts before it closes it.
    #[cfg(feature = "dump")]
    pub(crate) fn unless_posted<R>(&self, post: Post, f: impl FnOnce() -> R) -> Option<R> {
        let queue = lock(&self.queue);
        (!queue.posts.contains(&post)).then(f)
    }

    /// Marks the loop as asleep and returns true, or returns false with what was queued.
    ///
    /// Both vectors have to be empty; as in [`drain`](Self::drain) they are swapped, not filled.
    pub(crate) fn try_sleep(&self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) -> bool {
        let mut queue = lock(&self.queue);
        debug_assert!(!queue.closed, "a closed runtime would sleep for ever");
        queue.asleep = queue.is_empty();
        queue.take(wakes, posts);
        queue.asleep
    }

    /// Marks the loop as awake and takes what is queued.
    ///
    /// The vectors, which have to be empty, change places with the queue's: nothing is copied
    /// under the lock, and in the long run nothing is allocated.
    pub(crate) fn drain(&self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) {
        let mut queue = lock(&self.queue);
        queue.asleep = false;
        queue.take(wakes, posts);
    }

    /// Whether the next `drain` will find something.
    pub(crate) fn has_queued(&self) -> bool {
        !lock(&self.queue).is_empty()
    }

    /// Drops what is queued and makes every later wake and post a no-op.
    pub(crate) fn close(&self) {
        *lock(&self.queue) = Queue {
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
        let was_asleep = mem::replace(&mut queue.asleep, false);
        drop(queue);
        if was_asleep {
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
            asleep: false,
            closed: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.wakes.is_empty() && self.posts.is_empty()
    }

    fn take(&mut self, wakes: &mut Vec<usize>, posts: &mut Vec<Post>) {
        debug_assert!(wakes.is_empty() && posts.is_empty(), "not handled yet");
        mem::swap(&mut self.wakes, wakes);
        mem::swap(&mut self.posts, posts);
    }

    /// Adds an id, and removes duplicates when the vector reached its mark.
    ///
    /// The new mark is twice what is left: before the next sort at least half as many wakes come
    /// as it sorts, so a wake costs no more than a logarithm. The order is lost, which no wake
    /// from another thread promises.
    fn add_wake(&mut self, id: usize) {
        self.wakes.push(id);
        if self.wakes.len() >= self.compact_at {
            // A heap, a tenth of the code of a sort: this path is rarely taken.
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

/// What a [`Table`] guards.
pub(crate) struct Entries<B> {
    /// `None` where the index is free.
    remotes: Vec<Option<Arc<Remote<B>>>>,
    /// The indices of the `None`s, the one to use next at the end.
    free: Vec<u16>,
    /// How many runtimes there ever were: the upper 48 bits of a serial, which a process that
    /// makes a runtime every microsecond uses up in nine years.
    opened: u64,
    /// How many may be alive at a time.
    limit: u16,
}

impl<B: Bell> Table<B> {
    /// Makes a table over fresh [`Entries`].
    ///
    /// The mutex comes from the caller because a `static` needs this to be const, and making
    /// loom's mutex is not.
    pub(crate) const fn over(entries: Mutex<Entries<B>>) -> Self {
        Self { entries }
    }

    /// Enters a runtime, with the bell that `make` returns for its serial.
    ///
    /// The index is one that no live runtime has. The serial, `count << 16 | index`, is one that
    /// no runtime ever had, and not 0. `make` runs under the lock.
    ///
    /// # Errors
    ///
    /// As many runtimes are alive as the table may hold.
    pub(crate) fn open(&self, make: impl FnOnce(u64) -> B) -> io::Result<(u16, Arc<Remote<B>>)> {
        let mut entries = lock(&self.entries);
        let index = entries.vacancy()?;
        entries.opened += 1;
        let serial = entries.opened << INDEX_BITS | u64::from(index);
        let remote = Arc::new(Remote::new(serial, make(serial)));
        entries.insert(index, Arc::clone(&remote));
        Ok((index, remote))
    }

    /// The live runtime at an index, which need not be the one that a stale waker meant.
    pub(crate) fn by_index(&self, index: u16) -> Option<Arc<Remote<B>>> {
        lock(&self.entries).remotes.get(usize::from(index))?.clone()
    }

    /// The runtime of a serial, if it is still alive.
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
    /// Makes a table without runtimes that will hold up to `limit` at a time.
    pub(crate) const fn new(limit: u16) -> Self {
        Self {
            remotes: Vec::new(),
            free: Vec::new(),
            opened: 0,
            limit,
        }
    }

    /// The index to use next. Nothing changes before [`insert`](Self::insert), so that a panic in
    /// between costs no index.
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

/// The index within a serial.
fn index_of(serial: u64) -> u16 {
    (serial & u64::from(u16::MAX)) as u16
}

/// Locks, also after a panic under the lock.
///
/// Only the closures of `while_open` and `open` can panic there, and neither runs while the data
/// is half changed: what the mutex guards is still good.
fn lock<T>(mutex: &Mutex<T>) -> impl DerefMut<Target = T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues shorter than this are never compacted.
const COMPACT_MIN: usize = 64;

/// How many low bits of a serial hold the index.
const INDEX_BITS: u32 = u16::BITS;

// Loom's mutexes work only inside its models, so under loom only `tests/loom.rs` tests this file.
#[cfg(all(test, not(loom)))]
#[path = "remote/tests.rs"]
mod tests;
