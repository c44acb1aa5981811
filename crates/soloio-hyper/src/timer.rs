//! soloio's timers for hyper: [`SoloTimer`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;

/// soloio's timers for hyper's builders: `builder.timer(SoloTimer)`.
///
/// A timer that hyper moves stays where it is, and only its moment changes. One in a scope that is
/// cancelled does not end, as that would look like a limit that was reached: the cancel is told to
/// the stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoloTimer;

/// A wait; `None` once a cancel was told to it, which nothing follows.
struct Sleep(Option<soloio::Sleep>);

impl Sleep {
    fn boxed(sleep: soloio::Sleep) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Self(Some(sleep)))
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Pending;
        };
        let slept = ready!(Pin::new(sleep).poll(cx));
        match slept {
            Ok(()) => Poll::Ready(()),
            Err(_) => {
                self.0 = None;
                Poll::Pending
            }
        }
    }
}

impl rt::Sleep for Sleep {}

impl rt::Timer for SoloTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Sleep::boxed(soloio::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Sleep::boxed(soloio::sleep_until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        let own = sleep.as_mut().downcast_mut_pin::<Sleep>();
        match own.and_then(|own| own.get_mut().0.as_mut()) {
            Some(own) => own.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}
