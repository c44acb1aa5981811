//! Memory object streams: order, ends, and items with side effects when they are dropped.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::{join, join3};
use soloio::{
    Error, TrySendError, create_memory_object_stream, move_on_after, task_group, yield_now,
};

use crate::net_support::{refused, run, turns};
use crate::support::{Counter, OnDrop, message, poll_with, quiet_panic};

/// Polls with a waker that does nothing.
fn look<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match poll_with(Pin::new(future), Waker::noop()) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn items_come_in_order_and_once() {
    run(async {
        for size in [0, 1, 7, usize::MAX] {
            let (sender, receiver) = create_memory_object_stream(size);
            let got = RefCell::new(Vec::new());
            task_group(async |group| {
                for _ in 0..3 {
                    let (receiver, got) = (receiver.clone(), &got);
                    group.spawn(async move {
                        while let Some(number) = receiver.next().await? {
                            got.borrow_mut().push(number);
                            yield_now().await?;
                        }
                        Ok(())
                    });
                }
                group.spawn(async move {
                    for number in 0..100 {
                        sender.send(number).await?;
                    }
                    Ok(())
                });
                Ok(())
            })
            .await
            .expect("no error");
            assert!(got.into_inner().into_iter().eq(0..100), "size {size}");
        }
    });
}

#[test]
fn a_full_stream_makes_senders_wait_in_line() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(2);
        let sent = RefCell::new(Vec::new());
        task_group(async |group| {
            for name in 0..5 {
                let (sender, sent) = (&sender, &sent);
                group.spawn(async move {
                    sender.send(name).await?;
                    sent.borrow_mut().push(name);
                    Ok(())
                });
            }
            turns(1).await;
            let statistics = sender.statistics();
            assert_eq!(
                (
                    statistics.current_buffer_used,
                    statistics.tasks_waiting_send
                ),
                (2, 3)
            );
            assert_eq!(sender.send_nowait(9), Err(TrySendError::WouldBlock(9)));
            for name in 0..5 {
                assert_eq!(receiver.receive().await?, name);
                turns(1).await;
                assert_eq!(sent.borrow().len(), 5.min(name + 3));
            }
            refused!(receiver.receive_nowait(), Error::WouldBlock);
            Ok(())
        })
        .await
        .expect("no error");
        assert_eq!(sent.into_inner(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_rendezvous_passes_items_from_hand_to_hand() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(0);
        assert_eq!(sender.send_nowait(1), Err(TrySendError::WouldBlock(1)));
        let (sent, ()) = join(sender.send(2), async {
            turns(1).await;
            assert_eq!(receiver.receive_nowait().expect("somebody waits"), 2);
        })
        .await;
        sent.expect("sent");
        let (received, ()) = join(receiver.receive(), async {
            turns(1).await;
            sender.send_nowait(3).expect("somebody waits");
            assert_eq!(sender.send_nowait(4), Err(TrySendError::WouldBlock(4)));
        })
        .await;
        assert_eq!(received.expect("an item"), 3);
    });
}

#[test]
fn the_end_comes_after_what_is_left() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(3);
        let other = sender.clone();
        sender.send(1).await.expect("room");
        drop(sender);
        other.send(2).await.expect("room");
        drop(other);
        assert_eq!(receiver.next().await.expect("an item"), Some(1));
        assert_eq!(receiver.receive_nowait().expect("an item"), 2);
        refused!(receiver.receive_nowait(), Error::EndOfStream);
        refused!(receiver.receive().await, Error::EndOfStream);
        assert_eq!(receiver.next().await.expect("an orderly end"), None);

        // The same for receivers that wait already, several of them.
        let (sender, receiver) = create_memory_object_stream::<()>(3);
        let close = async {
            turns(1).await;
            drop(sender);
        };
        let (first, second, ()) = join3(receiver.next(), receiver.next(), close).await;
        assert_eq!(
            (first.expect("an end"), second.expect("an end")),
            (None, None)
        );
    });
}

/// No end is reported while a receiver may still give back the item reserved for it.
#[test]
fn the_end_waits_for_an_item_that_is_reserved() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(1);
        let called = move_on_after(Duration::MAX, receiver.receive());
        let mut called = Box::pin(called);
        assert!(
            crate::support::poll_once(called.as_mut())
                .await
                .is_pending()
        );
        sender.send(1).await.expect("room");
        drop(sender);
        refused!(receiver.receive_nowait(), Error::WouldBlock);
        let (item, ()) = join(receiver.next(), async {
            turns(1).await;
            drop(called);
        })
        .await;
        assert_eq!(item.expect("an item"), Some(1));
        assert_eq!(receiver.next().await.expect("an end"), None);
    });
}

#[test]
fn without_receivers_a_send_fails_and_keeps_its_item() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(0);
        let other = receiver.clone();
        receiver.close();
        refused!(receiver.receive().await, Error::Closed);
        refused!(receiver.clone().receive_nowait(), Error::Closed);
        let mut item = Some("kept");
        let (sent, ()) = join(sender.send_from(&mut item), async {
            turns(1).await;
            drop(other);
        })
        .await;
        refused!(sent, Error::Broken(_));
        assert_eq!(item, Some("kept"));
        refused!(sender.send("x").await, Error::Broken(_));
        assert_eq!(sender.send_nowait("y"), Err(TrySendError::Broken("y")));
        refused!(sender.send_from(&mut None).await, Error::Broken(_));
        let error = Error::from(TrySendError::Broken("z"));
        assert!(error.to_string().contains("without receivers"), "{error}");
    });
}

/// C18: closing an end leaves the task that waits on it waiting (anyio#1289).
#[test]
fn closing_an_end_ends_what_waits_on_it() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(0);
        let (other_sender, other_receiver) = (sender.clone(), receiver.clone());
        let mut item = Some(1);
        let (sent, ()) = join(sender.send_from(&mut item), async {
            turns(1).await;
            sender.close();
            sender.close();
        })
        .await;
        refused!(sent, Error::Closed);
        assert_eq!(item, Some(1));
        assert_eq!(sender.send_nowait(2), Err(TrySendError::Closed(2)));

        let close = async {
            turns(1).await;
            receiver.close();
            // From here on the other receiver is the first in line.
            other_sender.send_nowait(3).expect("a receive waits");
        };
        let (closed, item, ()) = join3(receiver.receive(), other_receiver.receive(), close).await;
        refused!(closed, Error::Closed);
        assert_eq!(item.expect("the item"), 3);
        assert_eq!(other_sender.statistics().open_send_streams, 1);
        assert_eq!(other_sender.statistics().open_receive_streams, 1);
    });
}

/// The send was successful, so the item arrives, whatever is closed meanwhile.
#[test]
fn an_item_that_was_accepted_reaches_the_receive_it_was_for() {
    run(async {
        for others in 0..2 {
            let (sender, receiver) = create_memory_object_stream(others);
            let others: Vec<_> = (0..others).map(|_| receiver.clone()).collect();
            let close = async {
                turns(1).await;
                sender.send_nowait("kept").expect("a receive waits");
                receiver.close();
                drop(sender);
                drop(others);
            };
            let (received, second, ()) = join3(receiver.receive(), receiver.receive(), close).await;
            assert_eq!(received.expect("an item that was accepted"), "kept");
            refused!(second, Error::Closed);
        }
    });
}

/// An item may hold something another task waits for, for example the place for an answer.
#[test]
fn an_item_whose_receive_is_dropped_after_the_close_is_dropped_too() {
    run(async {
        let alive = Counter::new();
        let (sender, receiver) = create_memory_object_stream(1);
        let mut receive = Box::pin(receiver.receive());
        assert!(look(&mut receive).is_none());
        sender.send_nowait(alive.hold()).expect("a receive waits");
        receiver.close();
        assert_eq!(alive.get(), 1, "it is still to come");
        drop(receive);
        let used = sender.statistics().current_buffer_used;
        assert_eq!((alive.get(), used), (0, 0));
    });
}

/// After the close it is as if these items had never been sent.
#[test]
fn sends_that_wait_at_an_end_leave_with_it() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(1);
        let other = sender.clone();
        sender.send_nowait(1).expect("room");
        let (mut own, mut others) = (Some(2), Some(3));
        let mut first = Box::pin(sender.send_from(&mut own));
        let mut second = Box::pin(other.send_from(&mut others));
        assert!(look(&mut first).is_none() && look(&mut second).is_none());
        sender.close();
        assert_eq!(receiver.statistics().tasks_waiting_send, 1);
        assert_eq!(receiver.receive_nowait().expect("it was accepted"), 1);
        assert_eq!(
            receiver.receive_nowait().expect("it waited at an open end"),
            3
        );
        refused!(receiver.receive_nowait(), Error::WouldBlock);
        refused!(look(&mut first).expect("it has ended"), Error::Closed);
        assert!(look(&mut second).expect("it has ended").is_ok());
        drop((first, second));
        assert_eq!((own, others), (Some(2), None));

        // The same for the last sender: the receiver gets the end.
        let (sender, receiver) = create_memory_object_stream(0);
        let mut send = Box::pin(sender.send(1));
        assert!(look(&mut send).is_none());
        sender.close();
        refused!(receiver.receive_nowait(), Error::EndOfStream);
        refused!(look(&mut send).expect("it has ended"), Error::Closed);
    });
}

/// A waker that panics is called when the stream's state is complete.
#[test]
fn a_waker_that_panics_in_a_receive_leaves_the_stream_as_it_should_be() {
    struct Alarm;

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            quiet_panic("woken");
        }
    }

    run(async {
        let (sender, receiver) = create_memory_object_stream(0);
        let mut first = Box::pin(receiver.receive());
        let mut second = Box::pin(receiver.receive());
        assert!(look(&mut first).is_none());
        assert!(poll_with(second.as_mut(), &Waker::from(Arc::new(Alarm))).is_pending());
        sender.send_nowait(1).expect("a receive waits");
        drop(sender);
        // The first receive takes the last item, which is the end for the second.
        let caught = catch_unwind(AssertUnwindSafe(|| look(&mut first).is_some()));
        assert_eq!(message(&*caught.expect_err("the waker's panic")), "woken");
        drop(first);
        refused!(
            look(&mut second).expect("it was withdrawn"),
            Error::EndOfStream
        );
        assert_eq!(receiver.statistics().current_buffer_used, 0);
    });
}

#[test]
fn items_that_nobody_can_receive_are_dropped_at_once() {
    run(async {
        let alive = Counter::new();
        let (sender, receiver) = create_memory_object_stream(5);
        for _ in 0..4 {
            sender.send(alive.hold()).await.expect("room");
        }
        drop(receiver);
        assert_eq!(
            (alive.get(), sender.statistics().current_buffer_used),
            (0, 0)
        );
    });
}

/// No item is dropped while the stream is borrowed: its drop may use the stream.
#[test]
fn an_item_may_use_its_own_stream_when_it_is_dropped() {
    run(async {
        let (sender, receiver) = create_memory_object_stream::<OnDrop<Box<dyn FnMut()>>>(5);
        let used = Counter::new();
        for _ in 0..3 {
            let (own, used) = (sender.clone(), used.clone());
            let look: Box<dyn FnMut()> = Box::new(move || {
                used.add();
                assert_eq!(own.statistics().open_receive_streams, 0);
                own.close();
            });
            sender.send(OnDrop(look)).await.expect("room");
        }
        drop(receiver);
        assert_eq!((used.get(), sender.statistics().open_send_streams), (3, 1));
    });
}
