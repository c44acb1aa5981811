//! Time limits are scopes: the operations that need a limit find it, and its end leaves nothing.

use std::cell::Cell;
use std::iter::once;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    CancelScope, Error, Result, Runtime, current_effective_deadline, fail_after, sleep, yield_now,
};

use crate::support::{deadline, poll_once, poll_with};

const HOUR: Duration = Duration::from_secs(3_600);

async fn long() -> Result<()> {
    sleep(HOUR).await
}

/// A limit that something in it has looked for, and that ends by a panic, leaves nothing behind.
#[test]
fn a_limit_that_panics_leaves_no_scope() {
    let mut runtime = Runtime::new().expect("a runtime");
    let limited = fail_after(HOUR, async {
        assert!(current_effective_deadline().is_none(), "by the test");
        Ok::<_, Error>(())
    });
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(limited)));
    assert!(ended.is_err());
    assert!(format!("{runtime:?}").contains("scopes: 0"), "{runtime:?}");
}

/// A waiting limit shows in the deadline and the timeout, and in the scopes when something in it
/// has looked for it.
#[test]
fn a_limit_that_waits_is_found_when_it_is_asked_for() {
    let mut runtime = Runtime::new().expect("a runtime");
    let asked = Cell::new(false);
    let inner = async {
        yield_now().await?;
        asked.set(current_effective_deadline().is_some());
        long().await
    };
    let mut limited = Box::pin(fail_after(HOUR, fail_after(HOUR, inner)));
    for scopes in ["scopes: 1", "scopes: 2"] {
        assert!(runtime.block_on(poll_once(limited.as_mut())).is_pending());
        assert!(format!("{runtime:?}").contains(scopes), "{runtime:?}");
    }
    assert!(asked.get() && runtime.next_timeout().is_some());
    runtime.block_on(async { drop(limited) });
    assert!(format!("{runtime:?}").contains("scopes: 0"));
    assert_eq!(runtime.next_timeout(), None);

    // A cancel of the scope around it ends the wait with `Cancelled`, not `TimedOut`.
    let scope = CancelScope::new();
    let mut limited = Box::pin(scope.run(fail_after(HOUR, long())));
    assert!(runtime.block_on(poll_once(limited.as_mut())).is_pending());
    scope.cancel("from outside");
    let ended = runtime.block_on(limited).expect("handed on");
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    // Its own time limit ends the wait with `TimedOut`.
    let waits = fail_after(Duration::from_millis(1), long());
    let ended = runtime.block_on(waits);
    assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
    // The scopes of ended tasks are released in the next turn.
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(format!("{runtime:?}").contains("scopes: 0"));
}

/// Nothing but the timer wakes the body, with a scope or without one.
#[test]
fn a_limit_wakes_the_code_that_polled_it_last() {
    let _deadline = deadline();
    let [mut first, mut last] = [(); 2].map(|()| Runtime::new().expect("a runtime"));
    for way in 0..8 {
        let body = async {
            assert!(way < 4 || current_effective_deadline().is_some());
            std::future::pending::<Result<()>>().await
        };
        let mut limited = Box::pin(fail_after(Duration::from_millis(5), body));
        let polled = match way % 4 {
            0 => first.block_on(poll_once(limited.as_mut())),
            1 => last.block_on(poll_once(limited.as_mut())),
            2 => last.block_on(async { poll_with(limited.as_mut(), Waker::noop()) }),
            _ => last.block_on(async {
                let mut all: FuturesUnordered<_> = once(poll_once(limited.as_mut())).collect();
                all.next().await.expect("one")
            }),
        };
        assert!(polled.is_pending());
        let ended = last.block_on(limited);
        assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
    }
}
