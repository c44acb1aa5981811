//! A sequence of results as a `Stream` of futures-core: [`items`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::error::{Error, Result};
use crate::shown::shown;

/// Makes a `Stream` of the results of a method that is called repeatedly, such as `accept` of a
/// listener or `receive` of datagrams, objects, signals.
///
/// [`Error::EndOfStream`] is the end of it. [`Error::Cancelled`], [`Error::Closed`] and
/// [`Error::NoRuntime`] are returned once, and then it has ended, too. After any other error the
/// next item follows; code that does not stop at errors has to know which of them are permanent.
///
/// The future of an item is stored from poll to poll, in one box for all of them. A pending one is
/// dropped with the `Items`, which has the same effect as dropping the method's own future: for
/// methods of this crate nothing is lost.
///
/// # Examples
///
/// ```
/// use futures_util::{StreamExt, TryStreamExt};
/// use soloio::{Error, create_memory_object_stream, items};
///
/// soloio::block_on(async {
///     let (sender, receiver) = create_memory_object_stream(10);
///     for number in 1..=4 {
///         sender.send(number).await?;
///     }
///     drop(sender);
///     let numbers = items(|| receiver.receive());
///     let doubled: Vec<i32> = numbers.map_ok(|number| number * 2).take(3).try_collect().await?;
///     assert_eq!(doubled, [2, 4, 6]);
///     // Items that were not requested are still there.
///     assert_eq!(receiver.receive().await?, 4);
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
pub fn items<M, F, T>(next: M) -> Items<M, F>
where
    M: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    Items {
        next,
        running: Box::pin(None),
        over: false,
    }
}

/// The items of a source; made by [`items`].
#[must_use = "streams do nothing unless polled"]
pub struct Items<M, F> {
    next: M,
    /// The future of the pending item.
    running: Pin<Box<Option<F>>>,
    over: bool,
}

// The method is not pinned, and the future is in a box.
impl<M, F> Unpin for Items<M, F> {}

impl<M, F, T> Stream for Items<M, F>
where
    M: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if this.running.is_none() {
            let next = (this.next)();
            this.running.set(Some(next));
        }
        let Some(running) = this.running.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let item = ready!(running.poll(cx));
        this.running.set(None);
        this.over = matches!(
            item,
            Err(Error::EndOfStream | Error::Closed | Error::Cancelled | Error::NoRuntime)
        );
        Poll::Ready(match item {
            Err(Error::EndOfStream) => None,
            item => Some(item),
        })
    }
}

impl<M, F, T> FusedStream for Items<M, F>
where
    M: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    fn is_terminated(&self) -> bool {
        self.over
    }
}

shown!([M, F] Items<M, F>, "Items", this => over: this.over, ..);
