//! The part that the ends of a memory object stream share: the items, and the operations that wait.
//!
//! ```text
//!   send ──> [ waiting senders, each with its item ] ──room──> [ items ] ──> receive
//!                                                                 ^
//!            [ waiting receivers ] ──called: one of the items is reserved
//! ```
//!
//! An item is in the stream, never in the future of a receiver: a receive that is called only knows
//! that one of the items is reserved for it. So a receive that is dropped after it was called has
//! taken nothing, the order does not change, and the next receive is called. The item of a waiting
//! send is at its place in line, where a receive can take it; a send that is dropped before gets
//! the item back.
//!
//! An end that is closed withdraws the operations that wait at it: they leave the line at once. A
//! receive that was called before still gets its item, because the sender was already notified of
//! its success.
//!
//! Invariants: no receive waits while an item is not reserved; no send waits while there is room,
//! or while a receive waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

use super::ObjectStreamStatistics;
use crate::executor::{wake_list, wake_one};
use crate::room;
use crate::sync::line::Line;
use crate::sync::wait_queue::WaitQueue;

/// Identifies the end that an operation waits at: its address, which is stable while it is
/// borrowed.
pub(super) type End = usize;

/// A send in line.
pub(super) struct Offered<T> {
    pub(super) end: End,
    /// `None` once a receiver or the buffer has taken it; still there if the send was withdrawn.
    pub(super) item: Option<T>,
}

/// Sends in line.
pub(super) struct Senders<T>(WaitQueue<Offered<T>>);

impl<T> Senders<T> {
    /// Takes the item of the first send in line.
    fn call(&mut self) -> Option<(T, Option<Waker>)> {
        if self.0.is_empty() {
            return None;
        }
        let (offered, waker) = self.0.call()?;
        let item = offered.item.take().expect("what is in line has its item");
        Some((item, waker))
    }
}

impl<T> Line for Senders<T> {
    type Value = Offered<T>;

    fn queue(&mut self) -> &mut WaitQueue<Offered<T>> {
        &mut self.0
    }

    fn pass_on(&mut self, _: &Offered<T>) -> Option<Waker> {
        // The item was taken: there is nothing to pass on.
        None
    }
}

/// A receive in line.
pub(super) struct Seat {
    pub(super) end: End,
    /// True if it was called for an item; false if it was withdrawn.
    pub(super) reserved: bool,
}

/// The items, and receives in line.
pub(super) struct Receivers<T> {
    items: VecDeque<T>,
    queue: WaitQueue<Seat>,
    /// The number of items that are reserved for receives that were called and not polled since.
    reserved: usize,
}

impl<T> Receivers<T> {
    /// Returns the number of items that are not reserved.
    fn free(&self) -> usize {
        self.items.len() - self.reserved
    }

    /// Reserves an item for the first receive in line.
    fn call(&mut self) -> Option<Option<Waker>> {
        if self.queue.is_empty() {
            return None;
        }
        let (seat, waker) = self.queue.call()?;
        seat.reserved = true;
        self.reserved += 1;
        Some(waker)
    }
}

impl<T> Line for Receivers<T> {
    type Value = Seat;

    fn queue(&mut self) -> &mut WaitQueue<Seat> {
        &mut self.queue
    }

    fn pass_on(&mut self, seat: &Seat) -> Option<Waker> {
        if !seat.reserved {
            return None;
        }
        self.reserved -= 1;
        self.call().flatten()
    }
}

/// The part that the ends share.
pub(super) struct Shared<T> {
    max: usize,
    pub(super) senders: RefCell<Senders<T>>,
    pub(super) receivers: RefCell<Receivers<T>>,
    pub(super) open_senders: Cell<usize>,
    pub(super) open_receivers: Cell<usize>,
}

impl<T> Shared<T> {
    /// Starts with one sender and one receiver.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            senders: RefCell::new(Senders(WaitQueue::new())),
            receivers: RefCell::new(Receivers {
                items: VecDeque::new(),
                queue: WaitQueue::new(),
                reserved: 0,
            }),
            open_senders: Cell::new(1),
            open_receivers: Cell::new(1),
        }
    }

    /// Puts an item in, if there is a receiver or room for it; the caller must call the waker.
    pub(super) fn put(&self, item: T) -> Result<(), T> {
        let mut receivers = self.receivers.borrow_mut();
        let receiver = receivers.call();
        if receiver.is_none() && receivers.free() >= self.max {
            return Err(item);
        }
        receivers.items.push_back(item);
        drop(receivers);
        wake_one(receiver.flatten());
        Ok(())
    }

    /// Takes an item that is not reserved, or the one that is reserved for the caller; the caller
    /// must call the waker.
    fn take(&self, reserved: bool) -> Option<(T, Option<Waker>)> {
        let mut receivers = self.receivers.borrow_mut();
        receivers.reserved -= usize::from(reserved);
        let mut senders = self.senders.borrow_mut();
        let mut sender = None;
        if receivers.free() == 0 {
            // A send can wait here only if the stream has no buffer.
            let (item, waker) = senders.call()?;
            receivers.items.push_back(item);
            sender = waker;
        }
        let item = receivers.items.pop_front()?;
        room::shrink(&mut receivers.items);
        if receivers.free() < self.max {
            if let Some((item, waker)) = senders.call() {
                receivers.items.push_back(item);
                sender = waker;
            }
        }
        Some((item, sender))
    }

    /// Takes an item and wakes the operations that wait for that. The caller has left its place.
    pub(super) fn receive(&self, reserved: bool) -> Option<T> {
        let (item, sender) = self.take(reserved)?;
        wake_one(sender);
        if self.is_over() {
            // They waited because this item was reserved for another receive that could be dropped.
            self.withdraw_receives(|_| true);
        }
        Some(item)
    }

    /// Returns true if no item is left, and none will come. A reserved item is one that is left:
    /// the receive that was called for it may still be cancelled.
    pub(super) fn is_over(&self) -> bool {
        self.open_senders.get() == 0 && self.receivers.borrow().items.is_empty()
    }

    /// Removes receives from the line; they end with an error or the end.
    pub(super) fn withdraw_receives(&self, at: impl Fn(End) -> bool) {
        let mut receivers = self.receivers.borrow_mut();
        let woken = receivers.queue.call_all(|seat| at(seat.end));
        drop(receivers);
        wake_list(woken);
    }

    /// Removes sends from the line; they end with an error and get their items back.
    pub(super) fn withdraw_sends(&self, at: impl Fn(End) -> bool) {
        let mut senders = self.senders.borrow_mut();
        let woken = senders.0.call_all(|offered| at(offered.end));
        drop(senders);
        wake_list(woken);
    }

    /// Counts one sender less.
    pub(super) fn sender_gone(&self) {
        self.open_senders.set(self.open_senders.get() - 1);
        if self.is_over() {
            self.withdraw_receives(|_| true);
        }
    }

    /// Counts one receiver less.
    pub(super) fn receiver_gone(&self) {
        self.open_receivers.set(self.open_receivers.get() - 1);
        if self.open_receivers.get() == 0 {
            self.drop_unreachable();
            self.withdraw_sends(|_| true);
        }
    }

    /// Drops the items that can no longer be received: without receivers all but the reserved.
    pub(super) fn drop_unreachable(&self) {
        if self.open_receivers.get() == 0 {
            let mut receivers = self.receivers.borrow_mut();
            let reserved = receivers.reserved;
            let lost = receivers.items.split_off(reserved);
            room::shrink(&mut receivers.items);
            drop(receivers);
            drop(lost);
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
