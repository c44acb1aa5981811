//! Writes a message in debug builds when a task waits long for a lock that it took itself.
//!
//! It is no error, because it cannot be known for certain that the task waits forever: another
//! future of the task may release the lock, and so may a task that the guard was moved to.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{Write, stderr};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::permits::Permits;
use crate::error::Result;
use crate::runtime::scopes::Limit;
use crate::runtime::sleep::Sleep;

/// The time after which a wait is long.
const LONG: Duration = Duration::from_secs(1);

const TEXT: &str = "soloio: a task has waited for a second for a lock that it took itself; if no \
    other future of the task gives it back, and no task that the guard was moved to, it waits for \
    ever";

/// Takes the lock by `taking`, and writes the message if that takes long.
pub(super) async fn watched<T>(
    permits: &RefCell<Permits>,
    taking: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (mut taking, mut long) = (pin!(taking), pin!(Sleep::new(Limit::after(LONG))));
    let mut watches = permits.borrow().is_held_here();
    poll_fn(|cx| {
        let polled = taking.as_mut().poll(cx);
        if polled.is_pending() && watches {
            let Poll::Ready(slept) = long.as_mut().poll(cx) else {
                return polled;
            };
            watches = false;
            if slept.is_ok() {
                // Without a stderr no other place is left for the message.
                drop(writeln!(stderr(), "{TEXT}"));
            }
        }
        polled
    })
    .await
}
