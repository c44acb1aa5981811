//! The one world of this process, and the threads in it.
//!
//! One at a time: libraries keep state for the whole process (pools of threads, caches, counters),
//! and two worlds would disturb each other through it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::faults::Faults;
use crate::threads::ThreadId;
use crate::world::World;
use crate::world::descriptors::{Fd, GENERATIONS, SPAN};

static KERNEL: Mutex<Option<Box<World>>> = Mutex::new(None);

/// Where threads wait for the baton, by their numbers. At one place for all, each pass would wake
/// every thread of the world.
static BATONS: [Condvar; 64] = [const { Condvar::new() }; 64];

/// Locked as long as there is a world.
static TURN: Mutex<()> = Mutex::new(());

static THREADS: AtomicU64 = AtomicU64::new(1);

/// There is a world: threads outside of it have to check.
static EXISTS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The number of this thread in the world; 0 if it is in none.
    static THREAD: Cell<ThreadId> = const { Cell::new(0) };
    /// This thread has the lock: calls of the world's own code are real.
    static LOCKED: Cell<bool> = const { Cell::new(false) };
}

/// True for the numbers of a world's descriptors, perhaps of a world that has ended.
pub(crate) fn is_number(fd: Fd) -> bool {
    fd >= SPAN
}

/// True if calls on a descriptor go to the world.
pub(crate) fn is_simulated(fd: Fd) -> bool {
    is_number(fd) && !LOCKED.get()
}

/// True if this thread is in a world.
pub(crate) fn is_inside() -> bool {
    THREAD.get() != 0 && !LOCKED.get()
}

/// True if the lock is held by this thread.
pub(crate) fn is_locked() -> bool {
    LOCKED.get()
}

pub(crate) fn exists() -> bool {
    EXISTS.load(Ordering::Relaxed)
}

/// This thread's number in the world; 0 if it is in none.
pub(crate) fn thread() -> ThreadId {
    THREAD.get()
}

pub(crate) fn set_thread(id: ThreadId) {
    THREAD.set(id);
}

pub(crate) fn new_thread() -> ThreadId {
    THREADS.fetch_add(1, Ordering::Relaxed)
}

fn baton(thread: ThreadId) -> &'static Condvar {
    let place = usize::try_from(thread).expect("64 bits");
    &BATONS[place % BATONS.len()]
}

/// The lock of the world; until it is dropped, its owner's calls are real ones.
pub(crate) struct Locked {
    guard: Option<MutexGuard<'static, Option<Box<World>>>>,
}

impl Locked {
    pub(crate) fn new() -> Self {
        LOCKED.set(true);
        let guard = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
        Self { guard: Some(guard) }
    }

    pub(crate) fn world(&mut self) -> Option<&mut World> {
        self.guard.as_mut()?.as_deref_mut()
    }

    /// Waits until this thread has the baton.
    pub(crate) fn wait_for_baton(&mut self, me: ThreadId) {
        self.pass_baton();
        let guard = self.guard.take().expect("put back below");
        let waits = |world: &mut Option<Box<World>>| match world {
            // A thread without its world never runs again.
            None => true,
            Some(world) => world.threads.holder != me,
        };
        let guard = baton(me)
            .wait_while(guard, waits)
            .unwrap_or_else(PoisonError::into_inner);
        self.guard = Some(guard);
    }

    /// Notifies the thread that got the baton.
    pub(crate) fn pass_baton(&mut self) {
        if let Some(world) = self.world() {
            baton(world.threads.holder).notify_all();
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.guard = None;
        LOCKED.set(false);
    }
}

/// Runs `look` on the world, if there is one.
pub(crate) fn with<R>(look: impl FnOnce(&mut World) -> R) -> Option<R> {
    let mut locked = Locked::new();
    locked.world().map(look)
}

/// An existing world with this thread in it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    _turn: MutexGuard<'static, ()>,
}

impl Entered {
    /// Makes a world, as soon as there is no other, and enters it.
    ///
    /// # Panics
    ///
    /// If this thread is in a world already.
    pub(crate) fn new(seed: u64, faults: Faults, most_faults: u64) -> Self {
        static GENERATION: AtomicI32 = AtomicI32::new(0);
        assert!(
            thread() == 0,
            "soloio-sim: this thread is in a world already"
        );
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed) % GENERATIONS;
        let mut world = Box::new(World::new(generation, seed, faults, most_faults));
        let me = new_thread();
        world.threads.begin(me, 0);
        world.threads.holder = me;
        let mut locked = Locked::new();
        locked.guard.as_mut().expect("just locked").replace(world);
        drop(locked);
        EXISTS.store(true, Ordering::Relaxed);
        THREAD.set(me);
        Self { _turn: turn }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        THREAD.set(0);
        EXISTS.store(false, Ordering::Relaxed);
        let mut locked = Locked::new();
        let world = locked.guard.as_mut().and_then(|guard| guard.take());
        // Still locked: descriptors of the real kernel in messages are closed here.
        drop(world);
    }
}
