//! Collects the tasks to wake, and the posts of other threads, of one turn of the loop.
//!
//! Everything is collected first, and foreign wakers are called last, when no cell is borrowed:
//! they are the user's code.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::context::Core;
use crate::executor::remote::Post;
use crate::executor::{Payload, Slots, TaskId, each};
use crate::reactor::Tasks;
use crate::room;

/// Lists that are filled and emptied in each turn; stored to reuse their capacity.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) woken: Vec<Waker>,
    /// Wakers of timers that were dropped on other threads: to be dropped while nothing is
    /// borrowed.
    unused: Vec<Waker>,
    wakes: Vec<usize>,
    posts: Vec<Post>,
    /// A panic of the user's code while the rest was sorted.
    panic: Option<Payload>,
}

impl Tasks for Slots {
    #[inline(always)]
    fn wake(&mut self, number: usize) -> Option<Waker> {
        self.wake_inline(TaskId::from_number(number))
    }

    fn wake_rarely(&mut self, number: usize) -> Option<Waker> {
        self.wake(TaskId::from_number(number))
    }
}

impl Inbox {
    /// Lets other threads ring from now on; returns false if something is already queued.
    #[inline(always)]
    pub(super) fn try_sleep(&mut self, core: &Core) -> bool {
        core.remote().try_sleep(&mut self.wakes, &mut self.posts) || {
            self.sort(core);
            false
        }
    }

    /// Takes wakes and posts of other threads, and the events of the last wait.
    pub(super) fn gather(&mut self, core: &Core, timers: usize) {
        if core.remote().drain(&mut self.wakes, &mut self.posts) {
            self.sort(core);
        }
        let (mut reactor, mut slots) = (core.reactor(), core.executor.slots());
        // Tasks of this runtime are listed at once: that runs no foreign code.
        reactor.collect(&mut self.woken, &mut *slots);
        reactor.expire(timers, |waker| {
            if let Some(foreign) = slots.wake_own(waker) {
                self.woken.push(foreign);
            }
        });
    }

    /// Executes the posts of other threads, except the wakes.
    #[cold]
    fn sort(&mut self, core: &Core) {
        let posts = mem::take(&mut self.posts);
        for post in &posts {
            match *post {
                Post::Source(key) => {
                    let waiters = core.reactor().deregister(key, None);
                    self.woken.append(&mut core.list_waiters(waiters));
                }
                Post::Timer(key) => {
                    let waker = core.reactor().timers.cancel(key);
                    self.unused.extend(waker);
                }
                Post::Scope(_) => {}
            }
        }
        // Code of the user's runs last: a dump in it finds no closed source.
        for post in &posts {
            let Post::Scope(key) = *post else { continue };
            // It drops foreign wakers, which may panic. The posts after it still count.
            let left = catch_unwind(AssertUnwindSafe(|| core.leave_scope(key)));
            if let Err(payload) = left {
                self.panic.get_or_insert(payload);
            }
        }
        self.posts = posts;
        self.posts.clear();
        for number in self.wakes.drain(..) {
            let id = TaskId::from_number(number);
            self.woken.extend(core.executor.list(id));
        }
        room::shrink(&mut self.posts);
        room::shrink(&mut self.wakes);
    }

    /// Calls all collected wakers. The others are called after a panic of one, and the first panic
    /// is returned.
    #[inline]
    pub(super) fn wake_all(&mut self, core: &Core) -> Option<Payload> {
        if self.woken.is_empty() && self.unused.is_empty() {
            // Usually there is none, but it must not wait until a task is woken.
            return self.panic.take();
        }
        self.wake_some(core)
    }

    #[cold]
    fn wake_some(&mut self, core: &Core) -> Option<Payload> {
        let mut woken = mem::take(&mut self.woken);
        let slots = || core.executor.slots();
        let mut foreign = woken.drain(..).filter_map(|waker| slots().wake_own(waker));
        let woke = each(&mut foreign, Waker::wake);
        drop(foreign);
        room::shrink(&mut woken);
        self.woken = woken;
        let dropped = each(&mut self.unused.drain(..), drop);
        room::shrink(&mut self.unused);
        self.panic.take().or(woke).or(dropped)
    }
}
