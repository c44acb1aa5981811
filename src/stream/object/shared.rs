//! What the ends of a memory object stream share: the items, and who waits.
//!
//! ```text
//!   send ──> [ waiting senders, each with its item ] ──room──> [ items ] ──> receive
//!                                                                 ^
//!            [ waiting receivers ] ──called: one of the items is reserved
//! ```
//!
//! An item lies in the stream, never in the future of a receiver: who is called only knows that one
//! of the items is its own. So a receiver that is dropped after it was called has taken nothing,
//! the order stays as it was, and the turn goes to the next receiver. A sender that waits has its
//! item at its place in line, where a receiver can take it; dropped before, it gets the item back.
//!
//! What always holds: nobody waits to receive while an item is not reserved; nobody waits to send
//! while there is room, or while somebody waits to receive.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

use super::ObjectStreamStatistics;
use crate::executor::wake_each;
use crate::sync::line::Line;
use crate::sync::wait_queue::WaitQueue;

/// Senders in line. The value is the item; `None` once a receiver or the buffer has taken it.
pub(super) struct Senders<T>(WaitQueue<Option<T>>);

impl<T> Senders<T> {
    /// Takes the item of the first in line.
    fn call(&mut self) -> Option<(T, Option<Waker>)> {
        let (item, waker) = self.0.call()?;
        let item = item.take().expect("who is in line has its item");
        Some((item, waker))
    }
}

impl<T> Line for Senders<T> {
    type Value = Option<T>;

    fn queue(&mut self) -> &mut WaitQueue<Option<T>> {
        &mut self.0
    }

    fn pass_on(&mut self) -> Option<Waker> {
        // The item has gone: there is nothing to hand on.
        None
    }
}

/// Receivers in line.
pub(super) struct Receivers {
    queue: WaitQueue<()>,
    /// How many were called and have not come yet: so many items are reserved.
    called: usize,
}

impl Receivers {
    /// Reserves an item for the first in line.
    fn call(&mut self) -> Option<Option<Waker>> {
        let (_, waker) = self.queue.call()?;
        self.called += 1;
        Some(waker)
    }
}

impl Line for Receivers {
    type Value = ();

    fn queue(&mut self) -> &mut WaitQueue<()> {
        &mut self.queue
    }

    fn pass_on(&mut self) -> Option<Waker> {
        self.called -= 1;
        self.call().flatten()
    }
}

/// What the ends share.
pub(super) struct Shared<T> {
    max: usize,
    items: RefCell<VecDeque<T>>,
    pub(super) senders: RefCell<Senders<T>>,
    pub(super) receivers: RefCell<Receivers>,
    pub(super) open_senders: Cell<usize>,
    pub(super) open_receivers: Cell<usize>,
}

impl<T> Shared<T> {
    /// One sender and one receiver are open.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            items: RefCell::default(),
            senders: RefCell::new(Senders(WaitQueue::new())),
            receivers: RefCell::new(Receivers {
                queue: WaitQueue::new(),
                called: 0,
            }),
            open_senders: Cell::new(1),
            open_receivers: Cell::new(1),
        }
    }

    /// Puts an item in, if there is a receiver or room for it; the waker is to be called.
    pub(super) fn put(&self, item: T) -> Result<Option<Waker>, T> {
        let (mut items, mut receivers) = (self.items.borrow_mut(), self.receivers.borrow_mut());
        let receiver = receivers.call();
        if receiver.is_none() && items.len() - receivers.called >= self.max {
            return Err(item);
        }
        items.push_back(item);
        Ok(receiver.flatten())
    }

    /// Takes an item out that is not reserved, or the one that is reserved for the caller; the
    /// waker is to be called.
    fn take(&self, reserved: bool) -> Option<(T, Option<Waker>)> {
        let (mut items, mut senders) = (self.items.borrow_mut(), self.senders.borrow_mut());
        let mut receivers = self.receivers.borrow_mut();
        receivers.called -= usize::from(reserved);
        let mut sender = None;
        if items.len() == receivers.called {
            // So somebody waits to send only if the stream keeps nothing.
            let (item, waker) = senders.call()?;
            items.push_back(item);
            sender = waker;
        }
        let item = items.pop_front()?;
        if items.len() - receivers.called < self.max {
            if let Some((item, waker)) = senders.call() {
                items.push_back(item);
                sender = waker;
            }
        }
        Some((item, sender))
    }

    /// Takes an item and wakes whom that concerns.
    pub(super) fn receive(&self, reserved: bool) -> Option<T> {
        let (item, sender) = self.take(reserved)?;
        if let Some(sender) = sender {
            sender.wake();
        }
        if self.is_over() {
            // They waited for the item to be taken, or to come to them after all.
            self.wake_receivers();
        }
        Some(item)
    }

    /// Nothing is left, and nothing will come. An item that is reserved is left: who was called for
    /// it may yet be cancelled.
    pub(super) fn is_over(&self) -> bool {
        self.open_senders.get() == 0 && self.items.borrow().is_empty()
    }

    pub(super) fn wake_receivers(&self) {
        let woken = self.receivers.borrow_mut().queue.take_wakers();
        wake_each(woken.into_iter());
    }

    pub(super) fn wake_senders(&self) {
        let woken = self.senders.borrow_mut().0.take_wakers();
        wake_each(woken.into_iter());
    }

    /// One sender less.
    pub(super) fn sender_gone(&self) {
        self.open_senders.set(self.open_senders.get() - 1);
        if self.is_over() {
            self.wake_receivers();
        }
    }

    /// One receiver less.
    pub(super) fn receiver_gone(&self) {
        self.open_receivers.set(self.open_receivers.get() - 1);
        if self.open_receivers.get() == 0 {
            // Nobody can receive them any more.
            let lost = self.items.take();
            drop(lost);
            // Receives that are under way are those of closed ends: nobody waits any more.
            wake_each(std::iter::from_fn(|| self.receivers.borrow_mut().call()).flatten());
            self.wake_senders();
        }
    }

    pub(super) fn statistics(&self) -> ObjectStreamStatistics {
        let receivers = self.receivers.borrow();
        ObjectStreamStatistics {
            // All items are gone when the receivers are.
            current_buffer_used: self.items.borrow().len().saturating_sub(receivers.called),
            max_buffer_size: self.max,
            open_send_streams: self.open_senders.get(),
            open_receive_streams: self.open_receivers.get(),
            tasks_waiting_send: self.senders.borrow().0.len(),
            tasks_waiting_receive: receivers.queue.len(),
        }
    }
}
