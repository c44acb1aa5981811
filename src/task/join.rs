//! `join` and `try_join`: several futures at once, until all are done.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::race::{order, sealed::Sealed};

/// Runs several futures in this task until all are done, and gives their outputs in order.
///
/// Takes a tuple of two to eight futures, which may differ, or an array or a `Vec` of futures of
/// one type. A future that is done is dropped at once, so what it holds is free for others. Each
/// is looked at whenever one of them is woken, none first; for more than a handful, and for those
/// that are to be cancelled one by one, use a [`task_group`](crate::task_group). Those of an array
/// or a `Vec` are boxed.
///
/// # Cancel safety
///
/// That of the futures, which are dropped with it; outputs that are there already are dropped.
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
pub async fn join<J: Join>(futures: J) -> J::Output {
    futures.run().await
}

/// The same for futures that may fail: the first error ends it, and drops the other futures before
/// this returns.
///
/// All errors are of one type. If several futures fail at once, one of their errors is given.
///
/// # Errors
///
/// The first one of the futures'.
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
pub async fn try_join<J: TryJoin>(futures: J) -> Result<J::Output, J::Error> {
    futures.run().await
}

/// What [`join`] takes: tuples of two to eight futures, arrays and `Vec`s of futures.
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait Join: Sealed {
    /// The outputs, in order.
    type Output;

    /// The join itself; [`join`] is the way to it.
    ///
    /// # Cancel safety
    ///
    /// That of the futures.
    #[doc(hidden)]
    async fn run(self) -> Self::Output;
}

/// What [`try_join`] takes: the same, of futures that give a `Result`.
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait TryJoin: Sealed {
    /// The values, in order.
    type Output;
    /// The error of all of them.
    type Error;

    /// The join itself; [`try_join`] is the way to it.
    ///
    /// # Cancel safety
    ///
    /// That of the futures.
    #[doc(hidden)]
    async fn run(self) -> Result<Self::Output, Self::Error>;
}

/// A future, pinned or boxed, and then its output.
struct Part<F: Future + Unpin> {
    /// `None` when it is done.
    future: Option<F>,
    output: Option<F::Output>,
}

impl<F: Future + Unpin> Part<F> {
    fn new(future: F) -> Self {
        Self {
            future: Some(future),
            output: None,
        }
    }

    /// Looks at it if it is not done; gives the output when it has just come.
    fn look(&mut self, cx: &mut Context<'_>) -> Option<&F::Output> {
        if let Poll::Ready(output) = Pin::new(self.future.as_mut()?).poll(cx) {
            self.future = None;
            self.output = Some(output);
            return self.output.as_ref();
        }
        None
    }

    fn is_done(&self) -> bool {
        self.future.is_none()
    }

    fn take(&mut self) -> F::Output {
        self.output.take().expect("all are done, and this is once")
    }
}

impl<F: Future<Output = Result<T, E>> + Unpin, T, E> Part<F> {
    /// Looks at it; gives the error that it has just ended with.
    fn look_for_error(&mut self, cx: &mut Context<'_>) -> Option<E> {
        if self.look(cx)?.is_ok() {
            return None;
        }
        self.output.take().and_then(Result::err)
    }

    fn take_value(&mut self) -> T {
        let value = self.take().ok();
        value.expect("the first error has ended it")
    }
}

/// A future in a place of the caller's, which it leaves when it is done.
struct Held<'a, F>(Pin<&'a mut Option<F>>);

impl<F: Future> Future for Held<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.0.as_mut().as_pin_mut();
        let polled = future.expect("not polled after its end").poll(cx);
        if polled.is_ready() {
            self.0.set(None);
        }
        polled
    }
}

macro_rules! join_tuple {
    ($count:literal: $($place:tt $name:ident $type:ident $value:ident),+) => {
        impl<$($type: IntoFuture),+> Join for ($($type,)+) {
            type Output = ($($type::Output,)+);

            async fn run(self) -> Self::Output {
                $(let $name = pin!(Some(self.$place.into_future()));)+
                $(let mut $name = Part::new(Held($name));)+
                poll_fn(|cx| {
                    for place in order($count) {
                        match place {
                            $($place => drop($name.look(cx)),)+
                            _ => unreachable!("a place below the count"),
                        }
                    }
                    if $($name.is_done())&&+ {
                        Poll::Ready(($($name.take(),)+))
                    } else {
                        Poll::Pending
                    }
                })
                .await
            }
        }

        impl<Er, $($value,)+ $($type: IntoFuture<Output = Result<$value, Er>>),+> TryJoin
            for ($($type,)+)
        {
            type Output = ($($value,)+);
            type Error = Er;

            async fn run(self) -> Result<Self::Output, Er> {
                $(let $name = pin!(Some(self.$place.into_future()));)+
                $(let mut $name = Part::new(Held($name));)+
                poll_fn(|cx| {
                    for place in order($count) {
                        let failed = match place {
                            $($place => $name.look_for_error(cx),)+
                            _ => unreachable!("a place below the count"),
                        };
                        if let Some(error) = failed {
                            return Poll::Ready(Err(error));
                        }
                    }
                    if $($name.is_done())&&+ {
                        Poll::Ready(Ok(($($name.take_value(),)+)))
                    } else {
                        Poll::Pending
                    }
                })
                .await
            }
        }
    };
}

join_tuple!(2: 0 a A TA, 1 b B TB);
join_tuple!(3: 0 a A TA, 1 b B TB, 2 c C TC);
join_tuple!(4: 0 a A TA, 1 b B TB, 2 c C TC, 3 d D TD);
join_tuple!(5: 0 a A TA, 1 b B TB, 2 c C TC, 3 d D TD, 4 e E TE);
join_tuple!(6: 0 a A TA, 1 b B TB, 2 c C TC, 3 d D TD, 4 e E TE, 5 f F TF);
join_tuple!(7: 0 a A TA, 1 b B TB, 2 c C TC, 3 d D TD, 4 e E TE, 5 f F TF, 6 g G TG);
join_tuple!(8: 0 a A TA, 1 b B TB, 2 c C TC, 3 d D TD, 4 e E TE, 5 f F TF, 6 g G TG, 7 h H TH);

type Boxed<F> = Part<Pin<Box<F>>>;

fn boxed<F: IntoFuture>(future: F) -> Boxed<F::IntoFuture> {
    Part::new(Box::pin(future.into_future()))
}

/// Looks at all until all are done.
async fn all<F: Future + Unpin>(parts: &mut [Part<F>]) {
    poll_fn(|cx| {
        for place in order(parts.len()) {
            parts[place].look(cx);
        }
        if parts.iter().all(Part::is_done) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The same until one has failed.
async fn try_all<F, T, E>(parts: &mut [Part<F>]) -> Result<(), E>
where
    F: Future<Output = Result<T, E>> + Unpin,
{
    poll_fn(|cx| {
        for place in order(parts.len()) {
            if let Some(error) = parts[place].look_for_error(cx) {
                return Poll::Ready(Err(error));
            }
        }
        if parts.iter().all(Part::is_done) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

impl<F: IntoFuture, const N: usize> Join for [F; N] {
    type Output = [F::Output; N];

    async fn run(self) -> Self::Output {
        let mut parts = self.map(boxed);
        all(&mut parts).await;
        parts.map(|mut part| part.take())
    }
}

impl<F: IntoFuture> Join for Vec<F> {
    type Output = Vec<F::Output>;

    async fn run(self) -> Self::Output {
        let mut parts: Vec<_> = self.into_iter().map(boxed).collect();
        all(&mut parts).await;
        parts.iter_mut().map(Part::take).collect()
    }
}

impl<F: IntoFuture<Output = Result<T, E>>, T, E, const N: usize> TryJoin for [F; N] {
    type Output = [T; N];
    type Error = E;

    async fn run(self) -> Result<Self::Output, E> {
        let mut parts = self.map(boxed);
        try_all(&mut parts).await?;
        Ok(parts.map(|mut part| part.take_value()))
    }
}

impl<F: IntoFuture<Output = Result<T, E>>, T, E> TryJoin for Vec<F> {
    type Output = Vec<T>;
    type Error = E;

    async fn run(self) -> Result<Self::Output, E> {
        let mut parts: Vec<_> = self.into_iter().map(boxed).collect();
        try_all(&mut parts).await?;
        Ok(parts.iter_mut().map(Part::take_value).collect())
    }
}
