//! Signals: their receivers, the former actions and their return, and floods of signals.
//!
//! Each test that sends a signal runs in a process of its own, apart from all others.
//! Long because each promise has its test.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::thread;

use soloio::{Error, Signal, SignalReceiver, block_on, ctrl_c, open_signal_receiver};
use static_assertions::assert_impl_all;

use crate::cancel_everywhere::everywhere_alone;
use crate::kernel_signals::{
    action, count_on_top, counted, errno, forked, forms, raise, send, set_action, set_errno,
    set_form,
};
use crate::net_support::{tcp_pair, turns};
use crate::support::{alone, deadline, fds, poll_once, rounds, threads};

assert_impl_all!(SignalReceiver: Send, Sync);

fn open(signals: &[Signal]) -> SignalReceiver {
    open_signal_receiver(signals).expect("a receiver")
}

/// Returns a signal that is there now, without waiting.
fn now(signals: &SignalReceiver) -> Option<Signal> {
    block_on(async {
        match poll_once(pin!(signals.receive())).await {
            Poll::Ready(signal) => Some(signal.expect("no error")),
            Poll::Pending => None,
        }
    })
}

#[test]
fn a_signal_wakes_who_waits() {
    alone("signals::a_signal_wakes_who_waits", || {
        let _guard = deadline();
        let signals = open(&[Signal::User1, Signal::Number(libc::SIGHUP)]);
        let rounds = [
            (libc::SIGUSR1, Signal::User1),
            (libc::SIGHUP, Signal::Hangup),
        ];
        block_on(async {
            for (number, signal) in rounds {
                let partner = async {
                    turns(2).await;
                    send(number);
                };
                let (seen, ()) = futures_util::future::join(signals.next(), partner).await;
                assert_eq!(seen.expect("a signal"), Some(signal));
            }
        });
    });
}

#[test]
fn everything_is_as_before_when_the_last_receiver_is_gone() {
    const NAME: &str = "signals::everything_is_as_before_when_the_last_receiver_is_gone";
    alone(NAME, || {
        let _guard = deadline();
        let all = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGPIPE];
        // Sets the actions, since the test may have been started with others.
        let before = [libc::SIG_DFL, libc::SIG_IGN, libc::SIG_DFL, libc::SIG_IGN];
        for (signal, action) in all.into_iter().zip(before) {
            set_action(signal, action);
        }
        let (descriptors, running) = (fds(), threads());
        for round in 0..3 {
            let first = open(&[Signal::Terminate, Signal::Interrupt]);
            let second = open(&[Signal::Terminate, Signal::Terminate, Signal::Pipe]);
            assert_eq!(action(libc::SIGUSR1), before[2], "nobody asked for it");
            assert!(action(libc::SIGTERM) > 1);
            raise(libc::SIGTERM);
            if round == 0 {
                // A signal that was not received is lost with the receiver.
                drop(first);
            } else {
                assert_eq!(now(&first), Some(Signal::Terminate));
                drop(first);
            }
            assert_eq!(action(libc::SIGINT), libc::SIG_IGN);
            assert!(action(libc::SIGTERM) > 1, "the second one wants it still");
            assert_eq!(now(&second), Some(Signal::Terminate));
            assert_eq!(now(&second), None);
            drop(second);
            assert_eq!(all.map(action), before);
        }
        assert_eq!(threads(), running);
        assert_eq!(fds(), descriptors);
    });
}

#[test]
fn every_receiver_on_every_thread_gets_each() {
    const NAME: &str = "signals::every_receiver_on_every_thread_gets_each";
    alone(NAME, || {
        let _guard = deadline();
        let all: Vec<_> = (0..4).map(|_| open(&[Signal::User1])).collect();
        let other = open(&[Signal::User2]);
        thread::scope(|scope| {
            for _ in 0..10 {
                let waiting: Vec<_> = all
                    .iter()
                    .map(|signals| scope.spawn(|| block_on(signals.receive())))
                    .collect();
                send(libc::SIGUSR1);
                for thread in waiting {
                    let seen = thread.join().expect("no panic");
                    assert_eq!(seen.expect("a signal"), Signal::User1);
                }
            }
        });
        assert_eq!(now(&other), None);
    });
}

#[test]
fn the_same_signal_twice_is_one_and_none_starves_another() {
    const NAME: &str = "signals::the_same_signal_twice_is_one_and_none_starves_another";
    alone(NAME, || {
        let _guard = deadline();
        let signals = open(&[Signal::User2, Signal::User1]);
        for _ in 0..5 {
            raise(libc::SIGUSR1);
        }
        assert_eq!(now(&signals), Some(Signal::User1));
        assert_eq!(now(&signals), None);
        raise(libc::SIGUSR2);
        raise(libc::SIGUSR1);
        let mut seen = [0, 0];
        for _ in 0..10 {
            match now(&signals).expect("one is there") {
                Signal::User1 => {
                    seen[0] += 1;
                    raise(libc::SIGUSR1);
                }
                _ => seen[1] += 1,
            }
        }
        assert_eq!(seen, [9, 1], "the one that came all the time hid the other");
    });
}

#[test]
fn a_handler_that_was_there_is_called_too() {
    alone("signals::a_handler_that_was_there_is_called_too", || {
        let _guard = deadline();
        let counting = count_on_top(libc::SIGUSR1);
        let signals = open(&[Signal::User1]);
        assert_ne!(action(libc::SIGUSR1), counting);
        set_errno(libc::EDOM);
        raise(libc::SIGUSR1);
        assert_eq!(
            errno(),
            libc::EDOM,
            "a handler that changes it breaks others"
        );
        assert_eq!((counted(), now(&signals)), (1, Some(Signal::User1)));
        drop(signals);
        assert_eq!(action(libc::SIGUSR1), counting);
        raise(libc::SIGUSR1);
        assert_eq!(counted(), 2);
    });
}

/// P12: the former handler and its form are replaced as one. It is swapped while signals come.
#[test]
fn a_former_handler_is_called_in_its_own_form() {
    const NAME: &str = "signals::a_former_handler_is_called_in_its_own_form";
    alone(NAME, || {
        let _guard = deadline();
        set_form(libc::SIGUSR1, false);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(SeqCst) {
                        raise(libc::SIGUSR1);
                    }
                });
            }
            for round in 0_usize.. {
                set_form(libc::SIGUSR1, round % 2 == 0);
                let signals = open(&[Signal::User1]);
                drop(signals);
                let now = forms();
                assert_eq!(now[2], 0, "in round {round}");
                if round >= rounds(5_000) && now[0].min(now[1]) > 1_000 {
                    break;
                }
            }
            over.store(true, SeqCst);
        });
    });
}

#[test]
fn a_handler_that_came_later_stays() {
    alone("signals::a_handler_that_came_later_stays", || {
        let _guard = deadline();
        let signals = open(&[Signal::User1]);
        let counting = count_on_top(libc::SIGUSR1);
        raise(libc::SIGUSR1);
        assert_eq!((counted(), now(&signals)), (1, Some(Signal::User1)));
        drop(signals);
        assert_eq!(action(libc::SIGUSR1), counting);
        raise(libc::SIGUSR1);
        assert_eq!(counted(), 2);
        // Our handler is still below it. If it went on top once more, the two would call each other
        // for ever.
        for seen in 3..6 {
            let again = open(&[Signal::User1]);
            raise(libc::SIGUSR1);
            assert_eq!((counted(), now(&again)), (seen, Some(Signal::User1)));
        }
        // Our handler was replaced, not covered: the next receiver installs it anew.
        set_action(libc::SIGUSR1, libc::SIG_IGN);
        let again = open(&[Signal::User1]);
        raise(libc::SIGUSR1);
        assert_eq!((counted(), now(&again)), (5, Some(Signal::User1)));
        drop(again);
        assert_eq!(action(libc::SIGUSR1), libc::SIG_IGN);
    });
}

#[test]
fn child_processes_are_not_touched() {
    alone("signals::child_processes_are_not_touched", || {
        let _guard = deadline();
        set_action(libc::SIGTERM, libc::SIG_DFL);
        let signals = open(&[Signal::Terminate, Signal::Interrupt]);
        let shell = Command::new("sh")
            .args(["-c", "kill -TERM $$; exit 7"])
            .status();
        let shell = shell.expect("a shell");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&shell),
            Some(libc::SIGTERM),
            "{shell}"
        );
        // The child of a fork gets the signal itself; its parent does not.
        assert_eq!(forked(|| raise(libc::SIGTERM)), Err(libc::SIGTERM));
        assert_eq!(now(&signals), None, "the parent got its child's signal");
        let refused = forked(|| {
            let refused = open_signal_receiver(&[Signal::User1]).is_err();
            assert!(refused);
        });
        assert_eq!(refused, Ok(0));
        drop(signals);
        let taken = forked(|| {
            let signals = open(&[Signal::Terminate]);
            raise(libc::SIGTERM);
            drop(signals);
            raise(libc::SIGTERM);
        });
        assert_eq!(
            taken,
            Err(libc::SIGTERM),
            "its own again after the receiver"
        );
    });
}

/// A flood, while receivers and descriptors are opened and closed: no byte may ever be written to a
/// descriptor that reuses a bell's number.
#[test]
fn a_flood_loses_nothing_and_writes_nowhere_else() {
    const NAME: &str = "signals::a_flood_loses_nothing_and_writes_nowhere_else";
    alone(NAME, || {
        let _guard = deadline();
        let lasting = open(&[Signal::User1, Signal::User2]);
        let (over, before) = (AtomicBool::new(false), fds());
        thread::scope(|scope| {
            for signal in [libc::SIGUSR1, libc::SIGUSR2] {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(SeqCst) {
                        raise(signal);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..rounds(20_000) {
                    drop(open(&[Signal::User1]));
                    let (mut stray, other) = StdUnixStream::pair().expect("a pair");
                    stray.set_nonblocking(true).expect("a flag");
                    let got = stray.read(&mut [0; 8]).map_err(|error| error.kind());
                    assert_eq!(got, Err(ErrorKind::WouldBlock), "a stray byte");
                    drop(other);
                }
                over.store(true, SeqCst);
                // Ends the last wait.
                raise(libc::SIGUSR1);
            });
            block_on(async {
                let (a, b) = tcp_pair().await;
                let mut seen = 0;
                while !over.load(SeqCst) {
                    lasting.receive().await.expect("a signal");
                    a.send(b"system calls of others go on").await.expect("sent");
                    b.receive().await.expect("received");
                    seen += 1;
                }
                assert!(seen > 0);
            });
        });
        // Receives the last signals.
        while now(&lasting).is_some() {}
        raise(libc::SIGUSR2);
        assert_eq!(now(&lasting), Some(Signal::User2));
        assert_eq!(fds(), before);
    });
}

#[test]
fn ctrl_c_is_its_own_again_afterwards() {
    alone("signals::ctrl_c_is_its_own_again_afterwards", || {
        let _guard = deadline();
        // The present action, ignored (nohup, a shell's background), and the default of a
        // terminal's program.
        for before in [action(libc::SIGINT), libc::SIG_IGN, libc::SIG_DFL] {
            set_action(libc::SIGINT, before);
            block_on(async {
                let mut typed = pin!(ctrl_c());
                assert_eq!(action(libc::SIGINT), before, "not polled yet");
                assert!(poll_once(typed.as_mut()).await.is_pending());
                raise(libc::SIGINT);
                typed.await.expect("typed");
                assert_eq!(action(libc::SIGINT), before);
            });
        }
    });
}

/// Covers: SignalReceiver::receive, SignalReceiver::next.
#[test]
fn receiving_a_signal_cancelled_everywhere() {
    let name = "signals::receiving_a_signal_cancelled_everywhere";
    everywhere_alone(name, async |cut| {
        let signals = open(&[Signal::User1]);
        let mut done = true;
        for next in [false, true] {
            let receive = async {
                let got = match next {
                    true => cut.apply(signals.next()).await.map(drop),
                    false => cut.apply(signals.receive()).await.map(drop),
                };
                if got.is_none() {
                    let kept = signals.receive().await.expect("it was kept");
                    assert_eq!(kept, Signal::User1);
                }
                got.is_some()
            };
            let partner = async {
                turns(2).await;
                raise(libc::SIGUSR1);
            };
            done &= futures_util::future::join(receive, partner).await.0;
        }
        done
    });
}

/// Covers: ctrl_c.
#[test]
fn waiting_for_ctrl_c_cancelled_everywhere() {
    let name = "signals::waiting_for_ctrl_c_cancelled_everywhere";
    everywhere_alone(name, async |cut| {
        set_action(libc::SIGINT, libc::SIG_IGN);
        let partner = async {
            turns(2).await;
            raise(libc::SIGINT);
        };
        let (done, ()) = futures_util::future::join(cut.apply(ctrl_c()), partner).await;
        assert_eq!(action(libc::SIGINT), libc::SIG_IGN);
        done.is_some()
    });
}

#[test]
fn what_cannot_be_received_is_told() {
    alone("signals::what_cannot_be_received_is_told", || {
        let _guard = deadline();
        let before = [libc::SIGUSR1, libc::SIGUSR2].map(action);
        let refused = |signals: &[Signal]| match open_signal_receiver(signals) {
            Err(Error::Io(error)) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                error.to_string()
            }
            other => panic!("{other:?}"),
        };
        for (number, said) in [
            (libc::SIGKILL, "SIGKILL cannot be caught"),
            (libc::SIGSTOP, "SIGSTOP cannot be caught"),
            (libc::SIGSEGV, "SIGSEGV is about the thread"),
            (libc::SIGBUS, "SIGBUS is about the thread"),
            (0, "no signal of that number"),
            (-5, "no signal of that number"),
            (65, "no signal of that number"),
            (i32::MAX, "no signal of that number"),
        ] {
            let message = refused(&[Signal::User1, Signal::Number(number)]);
            assert!(message.contains(said), "{message}");
            assert_eq!(action(libc::SIGUSR1), before[0], "none is received");
        }
        assert!(refused(&[]).contains("no signal is named"));
        // The C library reserves this signal: its call fails, and the error contains the number.
        let message = open_signal_receiver(&[Signal::User2, Signal::Number(33)])
            .expect_err("not for us")
            .to_string();
        assert!(message.starts_with("receive signal 33: "), "{message}");
        assert_eq!(action(libc::SIGUSR2), before[1], "none is received");
    });
}

#[test]
fn a_receiver_is_used_by_one_task_of_one_runtime() {
    let name = "signals::a_receiver_is_used_by_one_task_of_one_runtime";
    alone(name, || {
        let _guard = deadline();
        let signals = open(&[Signal::User1]);
        let outside = pin!(signals.receive());
        let outside = crate::support::poll_with(outside, std::task::Waker::noop());
        assert!(matches!(outside, Poll::Ready(Err(Error::NoRuntime))));
        block_on(async {
            let mut first = pin!(signals.receive());
            assert!(poll_once(first.as_mut()).await.is_pending());
            assert!(matches!(signals.receive().await, Err(Error::Busy)));
            let elsewhere = thread::scope(|scope| {
                let thread = scope.spawn(|| block_on(signals.receive()));
                thread.join().expect("no panic")
            });
            assert!(matches!(elsewhere, Err(Error::OtherLoop)));
            raise(libc::SIGUSR1);
            assert_eq!(first.await.expect("a signal"), Signal::User1);
        });
        // The runtime has ended: the next one may use the receiver.
        raise(libc::SIGUSR1);
        assert_eq!(now(&signals), Some(Signal::User1));
    });
}

#[test]
fn there_is_room_for_a_thousand_receivers() {
    alone("signals::there_is_room_for_a_thousand_receivers", || {
        let _guard = deadline();
        crate::kernel::limit_descriptors(4096);
        let before = action(libc::SIGUSR1);
        let all: Vec<_> = (0..1024).map(|_| open(&[Signal::User1])).collect();
        let message = open_signal_receiver(&[Signal::User1]).expect_err("no room");
        assert!(message.to_string().contains("1024"), "{message}");
        raise(libc::SIGUSR1);
        for signals in all {
            assert_eq!(now(&signals), Some(Signal::User1));
        }
        assert_eq!(action(libc::SIGUSR1), before);
        drop(open(&[Signal::User1]));
    });
}
