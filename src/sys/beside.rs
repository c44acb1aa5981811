//! What is pinned inside of what is pinned: a future beside its data, the fields of a tuple.

use std::pin::Pin;

/// `future` stays where it is once this is pinned; `data` can be moved.
///
/// An async block that owns both would do the same, and have room for the future twice: as what it
/// was given, and as what it polls.
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

    /// Both at once.
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

/// A tuple whose fields are pinned when it is.
pub(crate) trait Fields {
    /// The tuple of them.
    type Pinned<'a>
    where
        Self: 'a;

    /// All fields at once.
    fn fields(self: Pin<&mut Self>) -> Self::Pinned<'_>;
}

macro_rules! fields {
    ($($place:tt $type:ident),+) => {
        impl<$($type),+> Fields for ($($type,)+) {
            type Pinned<'a> = ($(Pin<&'a mut $type>,)+) where Self: 'a;

            #[inline]
            fn fields(self: Pin<&mut Self>) -> Self::Pinned<'_> {
                // SAFETY: nothing is moved out of `this`, and each field leaves the function once,
                // pinned. `self` was pinned, so they stay where they are until they are dropped. A
                // tuple has no `Drop` of its own, is not packed, and is `Unpin` only if all of its
                // fields are. No caller treats a field of a tuple it calls this on as not pinned,
                // since all it has is the pinned tuple.
                unsafe {
                    let this = self.get_unchecked_mut();
                    ($(Pin::new_unchecked(&mut this.$place),)+)
                }
            }
        }
    };
}

fields!(0 A, 1 B);
fields!(0 A, 1 B, 2 C);
fields!(0 A, 1 B, 2 C, 3 D);
fields!(0 A, 1 B, 2 C, 3 D, 4 E);
fields!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F);
fields!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G);
fields!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H);

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
    fn the_fields_of_a_tuple_stay_in_their_places() {
        let drops = Drops(Rc::default());
        let named = |name| Named(name, drops.clone());
        let mut both = pin!((twice(named("a")), twice(named("the other"))));
        let mut cx = Context::from_waker(Waker::noop());
        for ready in [false, true] {
            let (a, b) = both.as_mut().fields();
            let length = a.poll(&mut cx);
            assert_eq!(
                (length.is_ready(), b.poll(&mut cx).is_ready()),
                (ready, ready)
            );
        }
    }

    #[test]
    fn it_can_be_moved_if_the_future_can() {
        fn unpin<T: Unpin>(_: &T) {}
        unpin(&Beside::new(std::future::ready(1), 2));
    }
}
