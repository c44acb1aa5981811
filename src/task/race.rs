//! `race`: several futures at once, until the first is done.
//!
//! No future is favoured: each poll begins with another one. The start comes from a sequence that
//! is spread evenly for every number of futures, also if several races take turns in it; with a
//! plain counter, two races in one loop would each always have the same start.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::task::Poll;

use crate::sys::beside::together;
use crate::sys::fields::Fields;

/// Runs several futures in this task until one is done; the others are dropped before this returns.
///
/// It takes a tuple of two to eight futures, which may differ, and returns a [`Winner`]. Or it
/// takes an array or a `Vec` of futures of one type, and returns the index and the output. The
/// first that is done wins, also with an error. If several are done, none is favoured.
///
/// It owns its futures, so that their claims (a place in line, a lock that was handed over) are
/// released when the race is decided. A race between futures that live longer, by `&mut future`, is
/// dangerous: such a future keeps a lock that was handed to it, although it is not polled, and all
/// others wait forever. That is *futurelock*, see [`sync`](crate::sync). Spawn a task instead,
/// which is always polled, and race for its handle.
///
/// All futures are polled whenever one of them is woken; for more than a few, and for futures that
/// have to continue, use a [`task_group`](crate::task_group). Futures of an array or a `Vec` are
/// boxed. A race of none never ends.
///
/// # Cancel safety
///
/// That of the futures, which are dropped with it.
///
/// # Examples
///
/// ```
/// use soloio::{Event, Winner, race, sleep};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let stop = Event::new();
///     stop.set();
///     match race((stop.wait(), sleep(Duration::from_secs(60)))).await {
///         Winner::First(stopped) => stopped?,
///         Winner::Second(_) => panic!("too late"),
///     }
///
///     let (place, slept) = race([60, 0, 60].map(|s| sleep(Duration::from_secs(s)))).await;
///     assert_eq!(place, 1);
///     slept
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "select")]
pub fn race<R: Race>(futures: R) -> impl Future<Output = R::Output> {
    futures.run()
}

/// The argument of [`race`]: tuples of two to eight futures, arrays and `Vec`s of futures.
pub trait Race: sealed::Sealed {
    /// The result of the race.
    type Output;

    /// The race itself; call [`race`] instead.
    ///
    /// # Cancel safety
    ///
    /// That of the futures.
    #[doc(hidden)]
    fn run(self) -> impl Future<Output = Self::Output>;
}

/// The future of a tuple that won a [`race`], with its output. It has as many cases as futures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner<
    A,
    B,
    C = Infallible,
    D = Infallible,
    E = Infallible,
    F = Infallible,
    G = Infallible,
    H = Infallible,
> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
    /// The third one.
    Third(C),
    /// The fourth one.
    Fourth(D),
    /// The fifth one.
    Fifth(E),
    /// The sixth one.
    Sixth(F),
    /// The seventh one.
    Seventh(G),
    /// The eighth one.
    Eighth(H),
}

/// Prevents implementations outside of this crate.
pub(super) mod sealed {
    /// It cannot be named outside of this crate.
    pub trait Sealed {}
}

/// Returns the index to begin a poll of `count` futures with.
pub(super) fn start(count: usize) -> usize {
    /// The golden ratio as a fraction of 2^64: its multiples are spread evenly, also any regular
    /// subset of them.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    thread_local! {
        static AT: Cell<u64> = const { Cell::new(0) };
    }
    let at = AT.with(|at| {
        at.set(at.get().wrapping_add(STEP));
        at.get()
    });
    let scaled = u128::from(at) * count as u128;
    usize::try_from(scaled >> 64).expect("less than the count")
}

/// Returns the indices of `count` futures in the order of this poll.
pub(super) fn order(count: usize) -> impl Iterator<Item = usize> {
    let start = start(count);
    (start..count).chain(0..start)
}

macro_rules! race_tuple {
    ($count:literal: $($place:tt $type:ident $case:ident),+) => {
        impl<$($type: IntoFuture),+> sealed::Sealed for ($($type,)+) {}

        impl<$($type: IntoFuture),+> Race for ($($type,)+) {
            type Output = Winner<$($type::Output),+>;

            fn run(self) -> impl Future<Output = Self::Output> {
                let futures = ($(self.$place.into_future(),)+);
                together(futures, |futures, cx| {
                    let mut futures = futures.fields();
                    for place in order($count) {
                        match place {
                            $($place => {
                                if let Poll::Ready(output) = futures.$place.as_mut().poll(cx) {
                                    return Poll::Ready(Winner::$case(output));
                                }
                            })+
                            _ => unreachable!("a place below the count"),
                        }
                    }
                    Poll::Pending
                })
            }
        }
    };
}

race_tuple!(2: 0 A First, 1 B Second);
race_tuple!(3: 0 A First, 1 B Second, 2 C Third);
race_tuple!(4: 0 A First, 1 B Second, 2 C Third, 3 D Fourth);
race_tuple!(5: 0 A First, 1 B Second, 2 C Third, 3 D Fourth, 4 E Fifth);
race_tuple!(6: 0 A First, 1 B Second, 2 C Third, 3 D Fourth, 4 E Fifth, 5 F Sixth);
race_tuple!(7: 0 A First, 1 B Second, 2 C Third, 3 D Fourth, 4 E Fifth, 5 F Sixth, 6 G Seventh);
race_tuple!(8: 0 A First, 1 B Second, 2 C Third, 3 D Fourth, 4 E Fifth, 5 F Sixth, 6 G Seventh,
    7 H Eighth);

/// The race of boxed futures.
fn race_all<F: IntoFuture>(
    futures: impl IntoIterator<Item = F>,
) -> impl Future<Output = (usize, F::Output)> {
    let boxed = |future: F| Box::pin(future.into_future());
    let futures: Vec<_> = futures.into_iter().map(boxed).collect();
    together(futures, |futures, cx| {
        let futures = futures.get_mut();
        for place in order(futures.len()) {
            if let Poll::Ready(output) = futures[place].as_mut().poll(cx) {
                return Poll::Ready((place, output));
            }
        }
        Poll::Pending
    })
}

impl<F: IntoFuture, const N: usize> sealed::Sealed for [F; N] {}

impl<F: IntoFuture, const N: usize> Race for [F; N] {
    type Output = (usize, F::Output);

    fn run(self) -> impl Future<Output = Self::Output> {
        race_all(self)
    }
}

impl<F: IntoFuture> sealed::Sealed for Vec<F> {}

impl<F: IntoFuture> Race for Vec<F> {
    type Output = (usize, F::Output);

    fn run(self) -> impl Future<Output = Self::Output> {
        race_all(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_as_frequent_as_the_others() {
        for count in 1..=8 {
            for races in 1..=8_usize {
                // Only one of `races` races that take turns is counted.
                let mut seen = vec![0; count];
                for _ in 0..10_000 {
                    for _ in 1..races {
                        start(count);
                    }
                    seen[start(count)] += 1;
                }
                let (least, most) = (seen.iter().min(), seen.iter().max());
                let (least, most) = (least.expect("some"), most.expect("some"));
                assert!(
                    most - least <= 500 / count,
                    "{races} races of {count}: {seen:?}"
                );
            }
        }
    }

    #[test]
    fn each_is_looked_at_once() {
        assert_eq!(order(0).count(), 0);
        for count in 1..9 {
            let mut all: Vec<_> = order(count).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count));
        }
    }
}
