//! `join` and `try_join`: several futures at once, until all are done.

use std::convert::{Infallible, identity};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::race::{order, sealed::Sealed};
use crate::sys::beside::{Beside, together};
use crate::sys::fields::Fields;

/// Runs several futures in this task until all are done, and returns their outputs in order.
///
/// It takes a tuple of two to eight futures, which may differ, or an array or a `Vec` of futures of
/// one type. A future that is done is dropped at once, so its locks and places are free for others.
/// All are polled whenever one of them is woken, in a varying order; for more than a few, and to
/// cancel them one by one, use a [`task_group`](crate::task_group). Futures of an array or a `Vec`
/// are boxed.
///
/// # Cancel safety
///
/// That of the futures, which are dropped with it; outputs that are already there are dropped.
///
/// # Examples
///
/// ```
/// use soloio::{create_memory_byte_stream, join};
///
/// soloio::block_on(async {
///     let (a, b) = create_memory_byte_stream(2);
///     let (sent, received) = join((a.send(b"hi"), b.receive())).await;
///     sent?;
///     assert_eq!(received?, b"hi");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "gather")]
pub fn join<J: Join>(futures: J) -> impl Future<Output = J::Output> {
    futures.run()
}

/// Runs several fallible futures in this task until all are done, and returns their values. The
/// first error ends it, and the other futures are dropped before this returns.
///
/// All errors have one type. If several futures fail in the same poll, one of their errors is
/// returned.
///
/// # Errors
///
/// The first error of the futures.
///
/// # Cancel safety
///
/// As [`join`]; the same holds after an error.
///
/// # Examples
///
/// ```
/// use soloio::{create_memory_byte_stream, try_join};
///
/// soloio::block_on(async {
///     let (a, b) = create_memory_byte_stream(2);
///     let ((), received) = try_join((a.send(b"hi"), b.receive())).await?;
///     assert_eq!(received, b"hi");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn try_join<J: TryJoin>(futures: J) -> impl Future<Output = Result<J::Output, J::Error>> {
    futures.run()
}

/// The argument of [`join`]: tuples of two to eight futures, arrays and `Vec`s of futures.
pub trait Join: Sealed {
    /// The outputs, in order.
    type Output;

    /// The join itself; call [`join`] instead.
    ///
    /// # Cancel safety
    ///
    /// That of the futures.
    #[doc(hidden)]
    fn run(self) -> impl Future<Output = Self::Output>;
}

/// The argument of [`try_join`]: the same, of futures that return a `Result`.
pub trait TryJoin: Sealed {
    /// The values, in order.
    type Output;
    /// The error of all of them.
    type Error;

    /// The join itself; call [`try_join`] instead.
    ///
    /// # Cancel safety
    ///
    /// That of the futures.
    #[doc(hidden)]
    fn run(self) -> impl Future<Output = Result<Self::Output, Self::Error>>;
}

/// A future, `None` when it is done; beside it its value, and how an output is split into that and
/// an error.
type Part<F, T, E> = Beside<Option<F>, (Option<T>, fn(<F as Future>::Output) -> Result<T, E>)>;

fn part<F: IntoFuture, T, E>(
    future: F,
    split: fn(F::Output) -> Result<T, E>,
) -> Part<F::IntoFuture, T, E> {
    Beside::new(Some(future.into_future()), (None, split))
}

impl<F: Future, T, E> Part<F, T, E> {
    /// Polls it if it is not done; returns true if it is, or the error that it has ended with.
    fn poll_part(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Result<bool, E> {
        let (mut future, (value, split)) = self.parts();
        if let Some(left) = future.as_mut().as_pin_mut() {
            let Poll::Ready(output) = left.poll(cx) else {
                return Ok(false);
            };
            future.set(None);
            *value = Some(split(output)?);
        }
        Ok(true)
    }

    fn take(self: Pin<&mut Self>) -> T {
        let (_, (value, _)) = self.parts();
        value.take().expect("all are done, and this is once")
    }
}

/// Returns the values of futures that cannot fail.
fn sure<T>(Ok(values): Result<T, Infallible>) -> T {
    values
}

macro_rules! run_tuple {
    ($futures:ident, $split:expr, $end:expr, $count:literal: $($place:tt),+) => {
        together(($(part($futures.$place, $split),)+), |parts, cx| {
            let (mut parts, mut done) = (parts.fields(), true);
            for place in order($count) {
                let polled = match place {
                    $($place => parts.$place.as_mut().poll_part(cx),)+
                    _ => unreachable!("a place below the count"),
                };
                match polled {
                    Ok(is_done) => done &= is_done,
                    Err(error) => return Poll::Ready($end(Err(error))),
                }
            }
            match done {
                true => Poll::Ready($end(Ok(($(parts.$place.take(),)+)))),
                false => Poll::Pending,
            }
        })
    };
}

macro_rules! join_tuple {
    ($count:literal: $($place:tt $type:ident $value:ident),+) => {
        impl<$($type: IntoFuture),+> Join for ($($type,)+) {
            type Output = ($($type::Output,)+);

            fn run(self) -> impl Future<Output = Self::Output> {
                run_tuple!(self, Ok, sure, $count: $($place),+)
            }
        }

        impl<Er, $($value,)+ $($type: IntoFuture<Output = Result<$value, Er>>),+> TryJoin
            for ($($type,)+)
        {
            type Output = ($($value,)+);
            type Error = Er;

            fn run(self) -> impl Future<Output = Result<Self::Output, Er>> {
                run_tuple!(self, identity, identity, $count: $($place),+)
            }
        }
    };
}

join_tuple!(2: 0 A TA, 1 B TB);
join_tuple!(3: 0 A TA, 1 B TB, 2 C TC);
join_tuple!(4: 0 A TA, 1 B TB, 2 C TC, 3 D TD);
join_tuple!(5: 0 A TA, 1 B TB, 2 C TC, 3 D TD, 4 E TE);
join_tuple!(6: 0 A TA, 1 B TB, 2 C TC, 3 D TD, 4 E TE, 5 F TF);
join_tuple!(7: 0 A TA, 1 B TB, 2 C TC, 3 D TD, 4 E TE, 5 F TF, 6 G TG);
join_tuple!(8: 0 A TA, 1 B TB, 2 C TC, 3 D TD, 4 E TE, 5 F TF, 6 G TG, 7 H TH);

/// On the heap, pinned there.
type Boxed<F, T, E> = Pin<Box<Part<F, T, E>>>;

fn boxed<F: IntoFuture, T, E>(
    future: F,
    split: fn(F::Output) -> Result<T, E>,
) -> Boxed<F::IntoFuture, T, E> {
    Box::pin(part(future, split))
}

/// Polls all that are not done, until one has failed.
fn all<F, T, E>(parts: &mut [Boxed<F, T, E>], cx: &mut Context<'_>) -> Poll<Result<(), E>>
where
    F: Future,
{
    let mut done = true;
    for place in order(parts.len()) {
        done &= parts[place].as_mut().poll_part(cx)?;
    }
    match done {
        true => Poll::Ready(Ok(())),
        false => Poll::Pending,
    }
}

macro_rules! run_boxed {
    ($parts:expr, $end:expr, $values:expr) => {
        together($parts, |parts, cx| {
            let parts = parts.get_mut();
            let ended = ready!(all(parts, cx));
            Poll::Ready($end(ended.map(|()| $values(parts))))
        })
    };
}

fn array<F: Future, T, E, const N: usize>(parts: &mut [Boxed<F, T, E>; N]) -> [T; N] {
    parts.each_mut().map(|part| part.as_mut().take())
}

fn vec<F: Future, T, E>(parts: &mut [Boxed<F, T, E>]) -> Vec<T> {
    parts.iter_mut().map(|part| part.as_mut().take()).collect()
}

impl<F: IntoFuture, const N: usize> Join for [F; N] {
    type Output = [F::Output; N];

    fn run(self) -> impl Future<Output = Self::Output> {
        run_boxed!(self.map(|future| boxed(future, Ok)), sure, array)
    }
}

impl<F: IntoFuture> Join for Vec<F> {
    type Output = Vec<F::Output>;

    fn run(self) -> impl Future<Output = Self::Output> {
        let parts = self.into_iter().map(|future| boxed(future, Ok));
        run_boxed!(parts.collect::<Vec<_>>(), sure, vec)
    }
}

impl<F: IntoFuture<Output = Result<T, E>>, T, E, const N: usize> TryJoin for [F; N] {
    type Output = [T; N];
    type Error = E;

    fn run(self) -> impl Future<Output = Result<Self::Output, E>> {
        run_boxed!(self.map(|future| boxed(future, identity)), identity, array)
    }
}

impl<F: IntoFuture<Output = Result<T, E>>, T, E> TryJoin for Vec<F> {
    type Output = Vec<T>;
    type Error = E;

    fn run(self) -> impl Future<Output = Result<Self::Output, E>> {
        let parts = self.into_iter().map(|future| boxed(future, identity));
        run_boxed!(parts.collect::<Vec<_>>(), identity, vec)
    }
}
