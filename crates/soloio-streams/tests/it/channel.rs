//! The channel: each direction, ends, waits on loops and threads, cuts.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use proptest::prelude::*;
use soloio::{CancelScope, Error, TrySendError, block_on, join, yield_now};
use soloio_streams::channel;

use crate::support::{cut, cuts, run};

#[test]
fn threads_send_and_a_loop_receives() {
    for capacity in [0, 1, 7, 5_000] {
        let (sender, receiver) = channel(capacity);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for number in 0..1_000 {
                        sender
                            .send_blocking((thread, number))
                            .expect("it is received");
                    }
                })
            })
            .collect();
        drop(sender);
        run(async || {
            let mut next = [0; 4];
            while let Some((thread, number)) = receiver.next().await? {
                assert_eq!(next[thread], number, "each once, in order");
                next[thread] += 1;
            }
            assert_eq!(next, [1_000; 4]);
            Ok(())
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
    }
}

#[test]
fn a_loop_sends_and_threads_receive() {
    let (sender, receiver) = channel(2);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || {
                let mut sum = 0;
                loop {
                    match receiver.receive_blocking() {
                        Ok(number) => sum += number,
                        Err(Error::EndOfStream) => return sum,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    drop(receiver);
    run(async || {
        // Two tasks, so that both wait for room.
        let send = async |from| {
            for number in from..from + 500 {
                sender.send(number).await?;
            }
            Ok::<_, Error>(())
        };
        let (first, second) = join((send(0), send(500))).await;
        first.and(second)
    });
    drop(sender);
    let sum: u32 = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .sum();
    assert_eq!(sum, 999 * 1_000 / 2);
}

#[test]
fn two_loops_talk() {
    let (to, questions) = channel::<u32>(1);
    let (back, answers) = channel(1);
    let other = thread::spawn(move || {
        block_on(async {
            while let Some(question) = questions.next().await? {
                back.send(question + 1).await?;
            }
            Ok::<_, Error>(())
        })
    });
    run(async || {
        for number in 0..200 {
            to.send(number).await?;
            assert_eq!(answers.receive().await?, number + 1);
        }
        Ok(())
    });
    drop(to);
    other.join().expect("no panic").expect("no error");
}

#[test]
fn receivers_that_are_gone_end_every_send() {
    let (sender, receiver) = channel(1);
    sender.send_blocking("kept").expect("room");
    let blocked = {
        let sender = sender.clone();
        thread::spawn(move || sender.send_blocking("blocked"))
    };
    let waiting = {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut item = Some("waiting");
            let ended = block_on(sender.send_from(&mut item));
            (item, ended)
        })
    };
    run(async || {
        let mut item = Some("here");
        let close = async {
            yield_now().await?;
            drop(receiver);
            Ok::<_, Error>(())
        };
        let (sent, closed) = join((sender.send_from(&mut item), close)).await;
        closed?;
        assert!(matches!(sent, Err(Error::Broken(_))));
        assert_eq!(item, Some("here"));
        assert_eq!(
            sender.send_nowait("late"),
            Err(TrySendError::Broken("late"))
        );
        Ok(())
    });
    assert_eq!(
        blocked.join().expect("no panic"),
        Err(TrySendError::Broken("blocked"))
    );
    let (item, ended) = waiting.join().expect("no panic");
    assert!(item == Some("waiting") && matches!(ended, Err(Error::Broken(_))));
}

#[test]
fn senders_that_are_gone_leave_what_they_sent() {
    let (sender, receiver) = channel(4);
    let clone = sender.clone();
    drop(sender);
    let thread =
        thread::spawn(move || clone.send_blocking(1).and_then(|()| clone.send_blocking(2)));
    run(async || {
        assert_eq!(receiver.receive().await?, 1);
        assert_eq!(receiver.receive().await?, 2);
        assert_eq!(receiver.next().await?, None);
        assert!(matches!(receiver.receive_nowait(), Err(Error::EndOfStream)));
        Ok(())
    });
    thread.join().expect("no panic").expect("it is received");
}

#[test]
fn a_thread_with_a_loop_does_not_block() {
    run(async || {
        let (sender, receiver) = channel(1);
        assert!(matches!(
            receiver.receive_blocking(),
            Err(Error::WouldBlock)
        ));
        sender.send_blocking(1).expect("room");
        assert_eq!(sender.send_blocking(2), Err(TrySendError::WouldBlock(2)));
        assert_eq!(receiver.receive_blocking()?, 1);
        Ok(())
    });
}

#[test]
fn a_cancelled_scope_ends_a_wait() {
    run(async || {
        let (sender, receiver) = channel(1);
        let scope = CancelScope::new();
        let cancel = async { scope.cancel("enough") };
        let (ended, ()) = join((scope.run(receiver.receive()), cancel)).await;
        assert!(matches!(ended, Some(Err(Error::Cancelled))));
        sender.send(1).await?;
        let mut item = Some(2);
        let ended = scope.run(sender.send_from(&mut item)).await;
        assert!(matches!(ended, Some(Err(Error::Cancelled))));
        assert_eq!((item, receiver.receive().await?), (Some(2), 1));
        Ok(())
    });
}

/// Counts the wakes.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_batch_is_one_wake() {
    run(async || {
        let (sender, receiver) = channel(200);
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        let mut receive = pin!(receiver.receive());
        let mut poll = || receive.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        let sent = thread::spawn(move || {
            (0..200).for_each(|number| sender.send_blocking(number).expect("room"));
        });
        sent.join().expect("no panic");
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        assert!(matches!(poll(), Poll::Ready(Ok(0))));
        assert_eq!(receiver.receive().await?, 1);
        Ok(())
    });
}

#[test]
fn a_wait_that_is_cut_leaves_no_waker() {
    run(async || {
        let (sender, receiver) = channel(1);
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        for _ in 0..3 {
            let mut receive = pin!(receiver.receive());
            let mut cx = Context::from_waker(&waker);
            assert!(receive.as_mut().poll(&mut cx).is_pending());
            assert!(receive.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(Arc::strong_count(&counted), 2, "the waker is in no list");
        sender.send(1).await?;
        assert_eq!(counted.0.load(Ordering::SeqCst), 0);
        assert!(cut(0, receiver.receive()).await.is_some());
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Cut receives on the loop, a thread that sends: each value comes once, in order.
    #[test]
    fn no_cut_loses_a_value(count in 0..100_u32, capacity in 1..5_usize, mut cuts in cuts()) {
        let (sender, receiver) = channel(capacity);
        let thread = thread::spawn(move || {
            (0..count).for_each(|number| sender.send_blocking(number).expect("it is received"));
        });
        run(async || {
            let mut got = Vec::new();
            while let Some(number) = cuts.until_done(async || receiver.next().await).await? {
                got.push(number);
            }
            assert_eq!(got, (0..count).collect::<Vec<_>>());
            Ok(())
        });
        thread.join().expect("no panic");
    }
}
