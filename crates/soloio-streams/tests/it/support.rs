//! What the tests share: a loop with a limit, and cuts.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use soloio::{ByteSendStream, Error, Result, block_on, fail_after, yield_now};

/// Runs a test's future, a minute at most.
pub(crate) fn run(test: impl AsyncFnOnce() -> Result<()>) {
    let limited = block_on(fail_after(Duration::from_secs(60), test()));
    limited.expect("all went well");
}

/// Polls a future so often while it is pending, and then drops it.
pub(crate) async fn cut<T>(polls: u8, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// When operations are cut: the number of polls of each attempt; later ones are not cut.
#[derive(Debug, Clone)]
pub(crate) struct Cuts(Vec<u8>);

impl Cuts {
    /// Repeats an operation until it has come to its end.
    pub(crate) async fn until_done<T>(
        &mut self,
        attempt: impl AsyncFn() -> Result<T>,
    ) -> Result<T> {
        loop {
            let Some(polls) = self.0.pop() else {
                return attempt().await;
            };
            match cut(polls, attempt()).await {
                Some(done) => return done,
                None => yield_now().await?,
            }
        }
    }
}

pub(crate) fn cuts() -> impl Strategy<Value = Cuts> {
    proptest::collection::vec(0..3_u8, 0..40).prop_map(Cuts)
}

/// Sends bytes in pieces.
pub(crate) async fn send_in_pieces(
    stream: &impl ByteSendStream,
    data: &[u8],
    size: usize,
) -> Result<()> {
    for piece in data.chunks(size) {
        stream.send(piece).await?;
        yield_now().await?;
    }
    Ok(())
}

/// The error of another crate that is in it.
pub(crate) fn inside<E: std::error::Error + Clone + 'static>(error: &Error) -> E {
    match error {
        Error::Other(other) => other.downcast_ref::<E>().expect("that kind").clone(),
        other => panic!("{other:?}"),
    }
}
