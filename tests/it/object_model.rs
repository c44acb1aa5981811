//! Random use of a memory object stream against a naive twin that follows AnyIO's rules.
//!
//! Sends and receives are polled by hand, one at a time, in any order, and dropped in any state.
//! After each step the twin computes the content of the stream, the operations that wait, the
//! result of each poll, and the wakers that must have been called. Long because the twin stands
//! beside its counterpart.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use proptest::prelude::*;
use soloio::{
    Error, ObjectReceiver, ObjectSender, Result, TrySendError, block_on,
    create_memory_object_stream, yield_now,
};

use crate::support::{Wakes, deadline, poll_with};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Begins a send or a receive at one of the ends, and polls it once.
    Send(usize),
    Receive(usize),
    SendNowait(usize),
    ReceiveNowait(usize),
    /// Polls one of the pending operations.
    Poll(usize),
    Drop(usize),
    CloneSender(usize),
    CloneReceiver(usize),
    CloseSender(usize),
    CloseReceiver(usize),
}

fn programs() -> impl Strategy<Value = (usize, Vec<Step>)> {
    let any = any::<usize>;
    let step = prop_oneof![
        6 => any().prop_map(Step::Send),
        6 => any().prop_map(Step::Receive),
        2 => any().prop_map(Step::SendNowait),
        2 => any().prop_map(Step::ReceiveNowait),
        6 => any().prop_map(Step::Poll),
        5 => any().prop_map(Step::Drop),
        1 => any().prop_map(Step::CloneSender),
        1 => any().prop_map(Step::CloneReceiver),
        1 => any().prop_map(Step::CloseSender),
        1 => any().prop_map(Step::CloseReceiver),
    ];
    (0..4_usize, prop::collection::vec(step, 0..120))
}

/// The end of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Sent,
    Received(u32),
    Over,
    Closed,
    Broken,
    WouldBlock,
}

fn end_of<T>(result: Result<T>, well: impl FnOnce(T) -> End) -> End {
    match result {
        Ok(value) => well(value),
        Err(Error::EndOfStream) => End::Over,
        Err(Error::Closed) => End::Closed,
        Err(Error::Broken(_)) => End::Broken,
        Err(Error::WouldBlock) => End::WouldBlock,
        Err(error) => panic!("{error}"),
    }
}

/// An operation of the twin.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    name: u32,
    /// The number of its end.
    end: usize,
    /// The item of a send.
    item: Option<u32>,
    /// The item was taken, or one is reserved for it.
    called: bool,
    /// Its end was closed before that.
    withdrawn: bool,
}

impl Waiter {
    fn waits(&self) -> bool {
        !self.called && !self.withdrawn
    }
}

/// The stream as plain lists.
#[derive(Debug, Default)]
struct Twin {
    max: usize,
    items: VecDeque<u32>,
    sends: Vec<Waiter>,
    receives: Vec<Waiter>,
    senders: Vec<bool>,
    receivers: Vec<bool>,
}

impl Twin {
    fn has_senders(&self) -> bool {
        self.senders.contains(&true)
    }

    fn has_receivers(&self) -> bool {
        self.receivers.contains(&true)
    }

    fn waiting(list: &[Waiter]) -> usize {
        list.iter().filter(|waiter| waiter.waits()).count()
    }

    fn reserved(&self) -> usize {
        self.receives.iter().filter(|waiter| waiter.called).count()
    }

    fn free(&self) -> usize {
        self.items.len() - self.reserved()
    }

    /// Operations that wait at a closed end leave the line.
    fn withdraw(list: &mut [Waiter], at: impl Fn(usize) -> bool) {
        for waiter in list {
            waiter.withdrawn |= waiter.waits() && at(waiter.end);
        }
    }

    /// Moves all items that can move; without receivers nothing moves.
    fn settle(&mut self) {
        while self.has_receivers() {
            let wanted = Self::waiting(&self.receives);
            if self.free() > 0 && wanted > 0 {
                let first = self.receives.iter_mut().find(|waiter| waiter.waits());
                first.expect("one is wanted").called = true;
                continue;
            }
            let room = self.free() < self.max || wanted > 0;
            let sender = self.sends.iter_mut().find(|waiter| waiter.waits());
            match sender {
                Some(sender) if room => {
                    sender.called = true;
                    self.items.extend(sender.item);
                }
                _ => return,
            }
        }
    }

    fn find(list: &[Waiter], name: u32) -> Option<usize> {
        list.iter().position(|waiter| waiter.name == name)
    }

    /// Returns the result of polling a send; a send that ends leaves the list.
    fn poll_send(&mut self, name: u32) -> Option<End> {
        let at = Self::find(&self.sends, name).expect("under way");
        let waiter = self.sends[at];
        let end = if waiter.called {
            End::Sent
        } else if !self.senders[waiter.end] {
            End::Closed
        } else if !self.has_receivers() {
            End::Broken
        } else {
            return None;
        };
        self.sends.remove(at);
        Some(end)
    }

    fn poll_receive(&mut self, name: u32) -> Option<End> {
        let at = Self::find(&self.receives, name).expect("under way");
        let waiter = self.receives[at];
        let end = if waiter.called {
            End::Received(self.items.pop_front().expect("reserved"))
        } else if !self.receivers[waiter.end] {
            End::Closed
        } else if !self.has_senders() && self.items.is_empty() {
            End::Over
        } else {
            return None;
        };
        self.receives.remove(at);
        self.settle();
        self.withdraw_all();
        Some(end)
    }

    /// Once nothing more can come, no operation waits.
    fn withdraw_all(&mut self) {
        if !self.has_senders() && self.items.is_empty() {
            Self::withdraw(&mut self.receives, |_| true);
        }
        if !self.has_receivers() {
            let reserved = self.reserved();
            self.items.truncate(reserved);
            Self::withdraw(&mut self.sends, |_| true);
        }
    }

    /// True if the operation would end when polled.
    fn is_ready(&self, name: u32) -> bool {
        let send = Self::find(&self.sends, name).map(|at| self.sends[at]);
        let receive = Self::find(&self.receives, name).map(|at| self.receives[at]);
        let over = !self.has_senders() && self.items.is_empty();
        send.is_some_and(|w| w.called || !self.senders[w.end] || !self.has_receivers())
            || receive.is_some_and(|w| w.called || !self.receivers[w.end] || over)
    }

    /// Begins a send and polls it once: it enters the line like a waiting one.
    fn send(&mut self, name: u32, end: usize, nowait: bool) -> Option<End> {
        self.sends.push(Waiter {
            name,
            end,
            item: Some(name),
            called: false,
            withdrawn: false,
        });
        if self.senders[end] && self.has_receivers() {
            self.settle();
        }
        let ended = self.poll_send(name);
        self.or_would_block(name, nowait, ended)
    }

    fn receive(&mut self, name: u32, end: usize, nowait: bool) -> Option<End> {
        self.receives.push(Waiter {
            name,
            end,
            item: None,
            called: false,
            withdrawn: false,
        });
        if self.receivers[end] {
            self.settle();
        }
        let ended = self.poll_receive(name);
        self.or_would_block(name, nowait, ended)
    }

    fn or_would_block(&mut self, name: u32, nowait: bool, ended: Option<End>) -> Option<End> {
        if nowait && ended.is_none() {
            self.drop(name);
            return Some(End::WouldBlock);
        }
        ended
    }

    /// Returns true if an item goes back to its owner.
    fn drop(&mut self, name: u32) -> bool {
        if let Some(at) = Self::find(&self.receives, name) {
            self.receives.remove(at);
            self.settle();
            self.withdraw_all();
            return false;
        }
        let at = Self::find(&self.sends, name).expect("under way");
        !self.sends.remove(at).called
    }

    fn close_receiver(&mut self, end: usize) {
        self.receivers[end] = false;
        Self::withdraw(&mut self.receives, |at| at == end);
        self.withdraw_all();
    }

    fn close_sender(&mut self, end: usize) {
        self.senders[end] = false;
        Self::withdraw(&mut self.sends, |at| at == end);
        self.withdraw_all();
    }
}

/// A pending operation.
struct Operation {
    name: u32,
    future: Pin<Box<dyn Future<Output = End>>>,
    wakes: Arc<Wakes>,
    /// The number of wakes at its last poll.
    seen: usize,
}

impl Operation {
    fn poll(&mut self) -> Option<End> {
        self.seen = self.wakes.count();
        let waker = Waker::from(Arc::clone(&self.wakes));
        match poll_with(self.future.as_mut(), &waker) {
            Poll::Ready(end) => Some(end),
            Poll::Pending => None,
        }
    }
}

/// An item that notes if it was not sent.
struct Carried {
    item: Option<u32>,
    back: Rc<RefCell<Vec<u32>>>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.back.borrow_mut().extend(self.item);
    }
}

struct Test {
    twin: Twin,
    senders: Vec<Rc<ObjectSender<u32>>>,
    receivers: Vec<Rc<ObjectReceiver<u32>>>,
    under_way: Vec<Operation>,
    back: Rc<RefCell<Vec<u32>>>,
}

impl Test {
    fn new(max: usize) -> Self {
        let (sender, receiver) = create_memory_object_stream(max);
        Self {
            twin: Twin {
                max,
                senders: vec![true],
                receivers: vec![true],
                ..Twin::default()
            },
            senders: vec![Rc::new(sender)],
            receivers: vec![Rc::new(receiver)],
            under_way: Vec::new(),
            back: Rc::default(),
        }
    }

    fn start(&mut self, name: u32, future: Pin<Box<dyn Future<Output = End>>>) -> Option<End> {
        let mut operation = Operation {
            name,
            future,
            wakes: Wakes::new(),
            seen: 0,
        };
        let ended = operation.poll();
        if ended.is_none() {
            self.under_way.push(operation);
        }
        ended
    }

    fn send(&mut self, name: u32, end: usize) {
        let sender = Rc::clone(&self.senders[end]);
        let carried = Carried {
            item: Some(name),
            back: Rc::clone(&self.back),
        };
        let future = async move {
            let mut carried = carried;
            let sent = sender.send_from(&mut carried.item).await;
            assert_eq!(carried.item.is_none(), sent.is_ok());
            carried.item = None;
            end_of(sent, |()| End::Sent)
        };
        let ended = self.start(name, Box::pin(future));
        assert_eq!(ended, self.twin.send(name, end, false));
    }

    fn receive(&mut self, name: u32, end: usize) {
        let receiver = Rc::clone(&self.receivers[end]);
        let future = async move { end_of(receiver.receive().await, End::Received) };
        let ended = self.start(name, Box::pin(future));
        assert_eq!(ended, self.twin.receive(name, end, false));
    }

    fn send_nowait(&mut self, name: u32, end: usize) {
        let sent = self.senders[end].send_nowait(name).map_err(|error| {
            assert!(matches!(
                error,
                TrySendError::WouldBlock(item)
                    | TrySendError::Closed(item)
                    | TrySendError::Broken(item) if item == name
            ));
            Error::from(error)
        });
        let ended = Some(end_of(sent, |()| End::Sent));
        assert_eq!(ended, self.twin.send(name, end, true));
    }

    fn poll(&mut self, at: usize) {
        let operation = &mut self.under_way[at];
        let (name, ended) = (operation.name, operation.poll());
        if ended.is_some() {
            self.under_way.remove(at);
        }
        let sends = Twin::find(&self.twin.sends, name).is_some();
        let expected = if sends {
            self.twin.poll_send(name)
        } else {
            self.twin.poll_receive(name)
        };
        assert_eq!(ended, expected);
    }

    fn drop(&mut self, at: usize) {
        let operation = self.under_way.remove(at);
        let name = operation.name;
        drop(operation);
        let back = self.twin.drop(name);
        assert_eq!(self.back.take(), Vec::from_iter(back.then_some(name)));
    }

    fn step(&mut self, name: u32, step: Step) {
        let (senders, receivers) = (self.senders.len(), self.receivers.len());
        let under_way = self.under_way.len();
        match step {
            Step::Send(end) => self.send(name, end % senders),
            Step::Receive(end) => self.receive(name, end % receivers),
            Step::SendNowait(end) => self.send_nowait(name, end % senders),
            Step::ReceiveNowait(end) => {
                let end = end % receivers;
                let ended = end_of(self.receivers[end].receive_nowait(), End::Received);
                assert_eq!(Some(ended), self.twin.receive(name, end, true));
            }
            Step::Poll(_) | Step::Drop(_) if under_way == 0 => {}
            Step::Poll(at) => self.poll(at % under_way),
            Step::Drop(at) => self.drop(at % under_way),
            Step::CloneSender(end) => {
                let clone = (*self.senders[end % senders]).clone();
                self.senders.push(Rc::new(clone));
                self.twin.senders.push(self.twin.senders[end % senders]);
            }
            Step::CloneReceiver(end) => {
                let clone = (*self.receivers[end % receivers]).clone();
                self.receivers.push(Rc::new(clone));
                let open = self.twin.receivers[end % receivers];
                self.twin.receivers.push(open);
            }
            Step::CloseSender(end) => {
                self.senders[end % senders].close();
                self.twin.close_sender(end % senders);
            }
            Step::CloseReceiver(end) => {
                self.receivers[end % receivers].close();
                self.twin.close_receiver(end % receivers);
            }
        }
    }

    fn check(&self) {
        let statistics = self.senders[0].statistics();
        assert_eq!(statistics, self.receivers[0].statistics());
        assert_eq!(statistics.current_buffer_used, self.twin.free());
        assert_eq!(statistics.max_buffer_size, self.twin.max);
        let open = |ends: &[bool]| ends.iter().filter(|open| **open).count();
        assert_eq!(statistics.open_send_streams, open(&self.twin.senders));
        assert_eq!(statistics.open_receive_streams, open(&self.twin.receivers));
        assert_eq!(
            statistics.tasks_waiting_send,
            Twin::waiting(&self.twin.sends)
        );
        let waiting = Twin::waiting(&self.twin.receives);
        assert_eq!(statistics.tasks_waiting_receive, waiting);
        for operation in &self.under_way {
            if self.twin.is_ready(operation.name) {
                assert!(operation.wakes.count() > operation.seen, "a wake is lost");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn does_what_the_twin_does((max, steps) in programs()) {
        let _guard = deadline();
        block_on(async {
            let mut test = Test::new(max);
            for (name, step) in (0..).zip(steps) {
                test.step(name, step);
                test.check();
                // Yields, so that the turn's budget never ends between two steps.
                yield_now().await.expect("inside a runtime");
            }
        });
    }
}
