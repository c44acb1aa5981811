//! Receives signals of the process: `open_signal_receiver`, `ctrl_c`.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::BorrowedFd;

use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::{Socket, Trigger};
use crate::sys::signal::{self, Receiving, number};

/// A signal of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: ctrl-c was typed at the terminal.
    Interrupt,
    /// SIGTERM: a request to end, sent by `kill` and service managers.
    Terminate,
    /// SIGHUP: the terminal is gone; by convention, a service reads its configuration again.
    Hangup,
    /// SIGQUIT: ctrl-\ was typed at the terminal.
    Quit,
    /// SIGUSR1, for the program's own use.
    User1,
    /// SIGUSR2, for the program's own use.
    User2,
    /// SIGCHLD: a child process ended or stopped.
    Child,
    /// SIGWINCH: the size of the terminal's window has changed.
    WindowChange,
    /// SIGALRM: a timer of alarm(2) or setitimer(2).
    Alarm,
    /// SIGPIPE: a write to a pipe without a reader. Rust programs ignore it from the start.
    Pipe,
    /// SIGTSTP: ctrl-z was typed at the terminal.
    TerminalStop,
    /// SIGCONT: the process continues after a stop.
    Continue,
    /// Any other signal, by its number. Signals with a name above are never received in this form.
    Number(i32),
}

/// The names and their numbers.
const NAMES: [(Signal, i32, &str); 12] = [
    (Signal::Interrupt, number::SIGINT, "SIGINT"),
    (Signal::Terminate, number::SIGTERM, "SIGTERM"),
    (Signal::Hangup, number::SIGHUP, "SIGHUP"),
    (Signal::Quit, number::SIGQUIT, "SIGQUIT"),
    (Signal::User1, number::SIGUSR1, "SIGUSR1"),
    (Signal::User2, number::SIGUSR2, "SIGUSR2"),
    (Signal::Child, number::SIGCHLD, "SIGCHLD"),
    (Signal::WindowChange, number::SIGWINCH, "SIGWINCH"),
    (Signal::Alarm, number::SIGALRM, "SIGALRM"),
    (Signal::Pipe, number::SIGPIPE, "SIGPIPE"),
    (Signal::TerminalStop, number::SIGTSTP, "SIGTSTP"),
    (Signal::Continue, number::SIGCONT, "SIGCONT"),
];

impl Signal {
    /// Its number on this system.
    #[must_use]
    pub fn number(self) -> i32 {
        if let Self::Number(number) = self {
            return number;
        }
        let named = NAMES.iter().find(|(name, ..)| *name == self);
        named.expect("every other one has a name").1
    }

    /// Returns the signal of a number on this system.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        let named = NAMES.iter().find(|(_, its, _)| *its == number);
        named.map_or(Self::Number(number), |(name, ..)| *name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().find(|(name, ..)| name == self);
        match named {
            Some((.., text)) => f.write_str(text),
            None => write!(f, "signal {}", self.number()),
        }
    }
}

/// Begins to receive signals, instead of their former effect.
///
/// It needs no runtime. Call it first in `main`, so that an early signal is received, too. When the
/// last receiver of a signal is dropped, the signal has its former effect again, such as ending the
/// process. A handler that was installed before is still called.
///
/// A process inherits blocked signals from its parent. The signals given here are unblocked on the
/// calling thread, and stay unblocked there. So call it on a thread that lives as long as signals
/// are to be received, such as that of the loop. The process is not changed otherwise: no signal is
/// blocked, and no thread started.
///
/// Up to 1,024 receivers in a process, on any threads, each receive every signal.
///
/// # Errors
///
/// [`Error::Io`] if the system has no descriptors left. It is `InvalidInput` for an empty list, and
/// for signals that cannot be received: SIGKILL, SIGSTOP, and SIGSEGV, SIGBUS, SIGFPE, SIGILL,
/// after which the thread cannot continue. If it fails for one of the signals, none is received.
///
/// # Examples
///
/// ```
/// use soloio::{Signal, open_signal_receiver};
///
/// let signals = open_signal_receiver(&[Signal::Interrupt, Signal::User1])?;
/// std::process::Command::new("kill")
///     .args(["-USR1", &std::process::id().to_string()])
///     .status()?;
/// assert_eq!(soloio::block_on(signals.receive())?, Signal::User1);
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn open_signal_receiver(signals: &[Signal]) -> Result<SignalReceiver> {
    let numbers: Vec<i32> = signals.iter().map(|signal| signal.number()).collect();
    let refusal = numbers.iter().find_map(|number| signal::refusal(*number));
    let none = numbers.is_empty();
    let empty = none.then_some("no signal is named, so none would ever come");
    if let Some(message) = refusal.or(empty) {
        return Err(Error::invalid("receive signals", message));
    }
    match signal::receive(&numbers) {
        Ok((receiving, bell)) => Ok(SignalReceiver {
            receiving,
            bell: Socket::new(bell, Trigger::Edge),
        }),
        Err((cause, 0)) => Err(Error::io("receive", "signals", cause)),
        Err((cause, number)) => Err(Error::io("receive", Signal::from_number(number), cause)),
    }
}

/// Receives signals instead of their former effect; made by [`open_signal_receiver`].
///
/// As in the kernel, several signals of the same kind that come before one is received count as
/// one: they report *that* something happened, not how often. Different signals are all received,
/// in turn.
///
/// Dropping the receiver drops signals that were not received yet.
#[derive(Debug)]
pub struct SignalReceiver {
    /// Declared before the bell, so that it is dropped first, and no signal writes to a bell
    /// without a reader.
    receiving: Receiving,
    bell: Socket,
}

impl SignalReceiver {
    /// Waits for a signal.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while another task receives; to receive in several tasks, open a receiver
    /// for each. [`Error::OtherLoop`] while another runtime that is alive uses this one.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: signals that come meanwhile are received next.
    pub async fn receive(&self) -> Result<Signal> {
        let mut operation = Operation::new(&self.bell, Direction::Read);
        let mut take = |_: &Core, bell: BorrowedFd<'_>| {
            let number = self.receiving.take(bell)?;
            Ok((Signal::from_number(number), After::Ready))
        };
        let failed = |cause| Error::io("receive", "signals", cause);
        poll_fn(|cx| operation.poll(cx, First::Try, &mut take, failed)).await
    }

    /// The same as [`receive`](Self::receive), for loops. Signals have no end: `None` never comes.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Signal>> {
        self.receive().await.map(Some)
    }
}

/// Waits for ctrl-c (SIGINT), once.
///
/// Before its first poll, and after it is done, ctrl-c has its former effect. So a second ctrl-c
/// ends a program that takes too long to stop. A service should receive [`Signal::Terminate`] as
/// well: see [`open_signal_receiver`].
///
/// # Errors
///
/// Those of [`open_signal_receiver`] and of [`SignalReceiver::receive`].
///
/// # Cancel safety
///
/// Dropping the future restores the former effect of ctrl-c.
///
/// # Examples
///
/// ```no_run
/// use soloio::{Error, block_on, ctrl_c, move_on_after};
/// use std::time::Duration;
///
/// block_on(async {
///     let typed = move_on_after(Duration::from_secs(10), ctrl_c()).await?;
///     println!("{}", if typed.is_some() { "ctrl-c" } else { "nothing" });
///     Ok::<_, Error>(())
/// })
/// # .unwrap();
/// ```
pub async fn ctrl_c() -> Result<()> {
    let signals = open_signal_receiver(&[Signal::Interrupt])?;
    signals.receive().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for (signal, number, _) in NAMES {
            assert_eq!(signal.number(), number);
            assert_eq!(Signal::from_number(number), signal);
            assert!(signal.to_string().starts_with("SIG"), "{signal}");
        }
        assert_eq!(Signal::from_number(40), Signal::Number(40));
        assert_eq!(Signal::Number(40).number(), 40);
    }
}
