//! Cuts operations off at each of their waits, and checks the state they leave.
//!
//! The driver runs a round for each count of polls. The operation is cut off after that many polls,
//! once as soon as it waits again (`late: false`), and once when it was woken but not polled yet
//! (`late: true`); once by being dropped, and once by a scope around it (`gently`), where it ends
//! with `Cancelled` or, if it is ready, with its value. The rounds continue until the operation
//! ends before its cut. Each round makes its own objects, runs a partner beside the operation, and
//! checks that nothing is lost and that the object still works; the driver checks descriptors,
//! threads, sources, timers and scopes. Long because every public operation has its round.

use std::future::{Future, IntoFuture, poll_fn};
use std::task::Poll;
use std::time::Duration;

use soloio::{CancelScope, Error, Result, Runtime};

use crate::support::{alone, deadline, fds, threads};

/// The moment at which an operation is cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) polls: usize,
    late: bool,
    gently: bool,
}

impl Cut {
    const NEVER: Self = Self {
        polls: usize::MAX,
        late: false,
        gently: false,
    };

    /// Drops the operation after `polls` polls.
    #[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
    pub(crate) const fn after(polls: usize, late: bool) -> Self {
        Self {
            polls,
            late,
            gently: false,
        }
    }

    /// Returns the operation's output, or `None` if it was cut before its end.
    pub(crate) async fn apply<F, T>(self, operation: F) -> Option<Result<T>>
    where
        F: IntoFuture<Output = Result<T>>,
    {
        if self.gently {
            return self.apply_gently(operation).await;
        }
        let mut operation = std::pin::pin!(operation.into_future());
        let mut polls = 0;
        poll_fn(|cx| {
            if polls == self.polls {
                return Poll::Ready(None);
            }
            polls += 1;
            match operation.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if polls == self.polls && !self.late => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Like `apply`, with a scope that is cancelled in place of the drop.
    async fn apply_gently<F, T>(self, operation: F) -> Option<Result<T>>
    where
        F: IntoFuture<Output = Result<T>>,
    {
        let scope = CancelScope::new();
        let mut run = std::pin::pin!(scope.run(operation));
        let mut polls = 0;
        let ended = poll_fn(|cx| {
            if polls == self.polls {
                scope.cancel("the cut");
            }
            polls += 1;
            let polled = run.as_mut().poll(cx);
            if polled.is_pending() && polls == self.polls && !self.late {
                scope.cancel("the cut");
            }
            polled
        })
        .await;
        match ended {
            None => panic!("an operation of ours was dropped instead of being told"),
            Some(Err(Error::Cancelled)) => None,
            Some(output) => Some(output),
        }
    }
}

/// Runs `round` with every cut; `round` returns true if the operation came to its end.
pub(crate) fn everywhere(test: &str, round: impl AsyncFn(Cut) -> bool) {
    // A plain name is a test of `cancel_everywhere`; a name with `::` is complete.
    let module = ["cancel_everywhere::", ""][usize::from(test.contains("::"))];
    everywhere_alone(&format!("{module}{test}"), round);
}

/// Like `everywhere`, with the test's full name.
pub(crate) fn everywhere_alone(test: &str, round: impl AsyncFn(Cut) -> bool) {
    alone(test, || {
        let _guard = deadline();
        let mut runtime = Runtime::new().expect("a runtime");
        // Makes the loop's precise timer now, so that not only some of the rounds make it.
        let precise = soloio::sleep(Duration::from_micros(300));
        runtime.block_on(precise).expect("a runtime");
        let threads = threads();
        let ended = runtime.block_on(round(Cut::NEVER));
        assert!(ended, "{test} comes to its end");
        wait_for_lookups(&mut runtime, threads);
        let mut cuts = 0;
        for late in [false, true] {
            for polls in 0.. {
                assert!(polls < 1000, "{test} has no end");
                let before = fds();
                let mut done = false;
                for gently in [true, false] {
                    let cut = Cut {
                        polls,
                        late,
                        gently,
                    };
                    done = runtime.block_on(round(cut));
                    wait_for_lookups(&mut runtime, threads);
                    check_nothing_left(&runtime, before, &format!("{test}, {cut:?}"));
                    cuts += 1;
                }
                if done {
                    break;
                }
            }
        }
        assert!(cuts >= 8, "{cuts} cuts");
    });
}

/// Waits for abandoned lookups: such a thread ends with its resolver call, and wakes no task.
/// Threads of jobs stay a while.
fn wait_for_lookups(runtime: &mut Runtime, before: usize) {
    while threads() > before + soloio::thread_statistics().threads {
        std::thread::yield_now();
    }
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
}

fn check_nothing_left(runtime: &Runtime, before: usize, what: &str) {
    assert_eq!(fds(), before, "descriptors after {what}");
    let state = format!("{runtime:?}");
    assert!(state.contains("sources: 0"), "{state} after {what}");
    assert!(state.contains("scopes: 0"), "{state} after {what}");
    assert_eq!(runtime.next_timeout(), None, "a timer is left after {what}");
}
