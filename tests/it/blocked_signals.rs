//! Signals that were blocked when the process started, or have a handler with its own flags.

use std::process::Command;

use soloio::{Signal, block_on, open_signal_receiver};

use crate::kernel_signals::{
    action, block, counted, is_blocked, raise, send, set_counting, start_blocked,
};
use crate::support::{alone, deadline};

/// systemd, a shell's job control or a parent with threads may leave a mask behind.
#[test]
fn a_signal_that_was_blocked_at_the_start_is_received() {
    const MARK: &str = "SOLOIO_TEST_BLOCKED";
    let test = "blocked_signals::a_signal_that_was_blocked_at_the_start_is_received";
    let _guard = deadline();
    if std::env::var_os(MARK).is_none() {
        let mut command = Command::new(std::env::current_exe().expect("the path of the test"));
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(MARK, "1");
        start_blocked(&mut command, libc::SIGUSR1);
        let output = command.output().expect("the test binary starts");
        let text = String::from_utf8_lossy(&output.stdout);
        return assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(is_blocked(libc::SIGUSR1), "inherited");
    // The signal came before the receiver was opened: it is not lost.
    send(libc::SIGUSR1);
    let signals = open_signal_receiver(&[Signal::User1]).expect("a receiver");
    assert!(!is_blocked(libc::SIGUSR1) && !is_blocked(libc::SIGUSR2));
    for _ in 0..3 {
        assert_eq!(block_on(signals.receive()).expect("one"), Signal::User1);
        send(libc::SIGUSR1);
    }
    // Signals that other code has blocked stay blocked.
    block(libc::SIGUSR2);
    drop(open_signal_receiver(&[Signal::User1]).expect("a receiver"));
    assert!(is_blocked(libc::SIGUSR2));
}

#[test]
fn a_handler_for_one_signal_is_called_once() {
    alone(
        "blocked_signals::a_handler_for_one_signal_is_called_once",
        || {
            let _guard = deadline();
            set_counting(libc::SIGUSR1, libc::SA_RESETHAND);
            let signals = open_signal_receiver(&[Signal::User1]).expect("a receiver");
            for _ in 0..3 {
                raise(libc::SIGUSR1);
                assert_eq!(block_on(signals.receive()).expect("one"), Signal::User1);
                assert_eq!(counted(), 1, "the kernel would have reset it");
            }
            drop(signals);
            assert_eq!(action(libc::SIGUSR1), libc::SIG_DFL, "as it would be now");
        },
    );
}

#[test]
fn a_handler_that_was_not_called_is_put_back_as_it_was() {
    let name = "blocked_signals::a_handler_that_was_not_called_is_put_back_as_it_was";
    alone(name, || {
        let _guard = deadline();
        let counting = set_counting(libc::SIGUSR1, libc::SA_RESETHAND | libc::SA_NODEFER);
        drop(open_signal_receiver(&[Signal::User1]).expect("a receiver"));
        assert_eq!(action(libc::SIGUSR1), counting);
        raise(libc::SIGUSR1);
        assert_eq!((counted(), action(libc::SIGUSR1)), (1, libc::SIG_DFL));
    });
}

/// SA_NODEFER: a signal that comes while its handler runs is handled at once, within it.
#[test]
fn a_handler_that_may_be_interrupted_by_its_own_signal_still_is() {
    let name = "blocked_signals::a_handler_that_may_be_interrupted_by_its_own_signal_still_is";
    alone(name, || {
        let _guard = deadline();
        set_counting(libc::SIGUSR2, libc::SA_NODEFER);
        let signals = open_signal_receiver(&[Signal::User2]).expect("a receiver");
        crate::kernel_signals::raise_again_in_handler();
        raise(libc::SIGUSR2);
        assert_eq!(crate::kernel_signals::deepest(), 2);
        assert_eq!(block_on(signals.receive()).expect("one"), Signal::User2);
    });
}
