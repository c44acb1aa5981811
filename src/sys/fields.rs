//! The fields of a tuple, pinned when it is.

use std::pin::Pin;

/// A tuple with fields that are pinned when it is.
pub(crate) trait Fields {
    /// The tuple of pinned fields.
    type Pinned<'a>
    where
        Self: 'a;

    /// Returns all fields.
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
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Ready at the second poll.
    async fn twice(name: &'static str) -> usize {
        let mut polled = false;
        let name = String::from(name);
        // Borrowed across the wait, so that a move in between would be found by Miri.
        let name = &name;
        poll_fn(|_| match std::mem::replace(&mut polled, true) {
            true => Poll::Ready(name.len()),
            false => Poll::Pending,
        })
        .await
    }

    #[test]
    fn the_fields_of_a_tuple_stay_in_their_places() {
        let mut both = pin!((twice("a"), twice("the other")));
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
}
