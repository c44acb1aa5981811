//! A future that is pinned beside data that is not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// `future` does not move once this is pinned; `data` can be moved.
///
/// An async block that owns both would have the same effect, but store the future twice: as a
/// captured value, and as the value that it polls.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Beside<F, D> {
    /// Dropped first.
    data: D,
    future: F,
}

impl<F, D> Beside<F, D> {
    #[inline]
    pub(crate) fn new(future: F, data: D) -> Self {
        Self { data, future }
    }

    /// Returns both.
    #[inline]
    pub(crate) fn parts(self: Pin<&mut Self>) -> (Pin<&mut F>, &mut D) {
        // SAFETY: nothing is moved out of `this`: a reference to `data` leaves the function, which
        // is not pinned, and one to `future`, which is. `self` was pinned, so its fields stay where
        // they are until they are dropped. The field is private and this is the only way to it,
        // there is no `Drop` of our own that could move it, the struct is not packed, and it is
        // `Unpin` only if `F` is (no code says so by hand), in which case `F` may be moved anyway.
        unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.data)
        }
    }
}

/// Calls `poll` for `all` until it is ready, then drops `all`, which is stored only once: an async
/// fn would store the argument beside the polled value, and be twice as large at each level.
pub(crate) fn together<T, P, O>(all: T, poll: P) -> impl Future<Output = O>
where
    P: FnMut(Pin<&mut T>, &mut Context<'_>) -> Poll<O>,
{
    Beside::new(Some(all), Together(poll))
}

/// See [`together`].
struct Together<P>(P);

impl<T, P, O> Future for Beside<Option<T>, Together<P>>
where
    P: FnMut(Pin<&mut T>, &mut Context<'_>) -> Poll<O>,
{
    type Output = O;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let (mut all, Together(poll)) = self.parts();
        let there = all.as_mut().as_pin_mut();
        let output = ready!(poll(there.expect("not polled after its end"), cx));
        all.set(None);
        Poll::Ready(output)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[derive(Clone)]
    struct Drops(Rc<RefCell<Vec<&'static str>>>);

    struct Named(&'static str, Drops);

    impl Drop for Named {
        fn drop(&mut self) {
            self.1.0.borrow_mut().push(self.0);
        }
    }

    /// Ready at the second poll.
    async fn twice(named: Named) -> usize {
        let mut polled = false;
        // Borrowed across the wait, so that a move in between would be found by Miri.
        let name = &named;
        std::future::poll_fn(|_| match std::mem::replace(&mut polled, true) {
            true => Poll::Ready(name.0.len()),
            false => Poll::Pending,
        })
        .await
    }

    #[test]
    fn the_future_stays_in_its_place_and_the_data_can_be_changed() {
        let drops = Drops(Rc::default());
        let named = |name| Named(name, drops.clone());
        {
            let mut both = pin!(Beside::new(twice(named("future")), (0, named("data"))));
            let mut cx = Context::from_waker(Waker::noop());
            let mut places = Vec::new();
            for turn in 1..=2 {
                let (future, data) = both.as_mut().parts();
                data.0 += 1;
                places.push(std::ptr::from_ref(&*future).addr());
                let polled = future.poll(&mut cx);
                assert_eq!((polled.is_ready(), data.0), (turn == 2, turn));
            }
            assert_eq!(places[0], places[1]);
        }
        assert_eq!(
            *drops.0.borrow(),
            ["future", "data"],
            "one is dropped at its end"
        );
        drops.0.borrow_mut().clear();
        drop(Beside::new(twice(named("future")), named("data")));
        assert_eq!(*drops.0.borrow(), ["data", "future"], "the data first");
    }

    #[test]
    fn it_can_be_moved_if_the_future_can() {
        fn unpin<T: Unpin>(_: &T) {}
        unpin(&Beside::new(std::future::ready(1), 2));
    }
}
