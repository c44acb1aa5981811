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
        if self.0.is_empty() {
            return None;
        }
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

/// The items, and receivers in line.
pub(super) struct Receivers<T> {
    items: VecDeque<T>,
    queue: WaitQueue<()>,
    /// How many were called and have not come yet: so many items are reserved.
    called: usize,
}

impl<T> Receivers<T> {
    /// How many items are not reserved. None are left when the receivers are gone, not even for
    /// those that were called.
    fn free(&self) -> usize {
        self.items.len().saturating_sub(self.called)
    }

    /// Reserves an item for the first in line.
    fn call(&mut self) -> Option<Option<Waker>> {
        if self.queue.is_empty() {
            return None;
        }
        let (_, waker) = self.queue.call()?;
        self.called += 1;
        Some(waker)
    }
}

impl<T> Line for Receivers<T> {
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
    pub(super) senders: RefCell<Senders<T>>,
    pub(super) receivers: RefCell<Receivers<T>>,
    pub(super) open_senders: Cell<usize>,
    pub(super) open_receivers: Cell<usize>,
}

impl<T> Shared<T> {
    /// One sender and one receiver are open.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            senders: RefCell::new(Senders(WaitQueue::new())),
            receivers: RefCell::new(Receivers {
                items: VecDeque::new(),
                queue: WaitQueue::new(),
                called: 0,
            }),
            open_senders: Cell::new(1),
            open_receivers: Cell::new(1),
        }
    }

    /// Puts an item in, if there is a receiver or room for it; the waker is to be called.
    pub(super) fn put(&self, item: T) -> Result<Option<Waker>, T> {
        let mut receivers = self.receivers.borrow_mut();
        let receiver = receivers.call();
        if receiver.is_none() && receivers.free() >= self.max {
            return Err(item);
        }
        receivers.items.push_back(item);
        Ok(receiver.flatten())
    }

    /// Takes an item out that is not reserved, or the one that is reserved for the caller; the
    /// waker is to be called.
    fn take(&self, reserved: bool) -> Option<(T, Option<Waker>)> {
        let mut receivers = self.receivers.borrow_mut();
        receivers.called -= usize::from(reserved);
        let mut senders = self.senders.borrow_mut();
        let mut sender = None;
        if receivers.free() == 0 {
            // So somebody waits to send only if the stream keeps nothing.
            let (item, waker) = senders.call()?;
            receivers.items.push_back(item);
            sender = waker;
        }
        let item = receivers.items.pop_front()?;
        if receivers.free() < self.max {
            if let Some((item, waker)) = senders.call() {
                receivers.items.push_back(item);
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
        self.open_senders.get() == 0 && self.receivers.borrow().items.is_empty()
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
            let lost = std::mem::take(&mut self.receivers.borrow_mut().items);
            drop(lost);
            // Receives that are under way are those of closed ends: nobody waits any more.
            wake_each(std::iter::from_fn(|| self.receivers.borrow_mut().call()).flatten());
            self.wake_senders();
        }
    }

    pub(super) fn statistics(&self) -> ObjectStreamStatistics {
        let receivers = self.receivers.borrow();
        ObjectStreamStatistics {
            current_buffer_used: receivers.free(),
            max_buffer_size: self.max,
            open_send_streams: self.open_senders.get(),
            open_receive_streams: self.open_receivers.get(),
            tasks_waiting_send: self.senders.borrow().0.len(),
            tasks_waiting_receive: receivers.queue.len(),
        }
    }
}
