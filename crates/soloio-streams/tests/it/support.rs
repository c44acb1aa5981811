//! What the tests share: a loop with a limit, and cuts.

use std::future::{Future, poll_fn};
use std::pin::pin;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
#[cfg(feature = "tls")]
use soloio::tls::{client_config, rustls, server_config};
use soloio::{ByteSendStream, CancelScope, Error, Result, block_on, fail_after, join, yield_now};

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

/// When operations are cut: the number of polls of each attempt, and whether its scope is cancelled
/// then, or its future dropped. Later attempts are not cut.
#[derive(Debug, Clone)]
pub(crate) struct Cuts(Vec<(u8, bool)>);

impl Cuts {
    /// Repeats an operation until it has come to its end.
    pub(crate) async fn until_done<T>(
        &mut self,
        attempt: impl AsyncFn() -> Result<T>,
    ) -> Result<T> {
        loop {
            let ended = match self.0.pop() {
                Some((polls, false)) => cut(polls, attempt()).await,
                Some((polls, true)) => cancelled(polls, attempt()).await,
                None => return attempt().await,
            };
            match ended {
                Some(Err(Error::Cancelled)) | None => yield_now().await?,
                Some(done) => return done,
            }
        }
    }
}

/// Runs a future in a scope that is cancelled after so many turns.
async fn cancelled<T>(turns: u8, future: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    let scope = CancelScope::new();
    let cancel = async {
        for _ in 0..turns {
            yield_now().await?;
        }
        scope.cancel("cut");
        Ok::<_, Error>(())
    };
    let (ended, cancelled) = join((scope.run(future), cancel)).await;
    cancelled.expect("the test goes on");
    ended
}

pub(crate) fn cuts() -> impl Strategy<Value = Cuts> {
    proptest::collection::vec((0..3_u8, any::<bool>()), 0..40).prop_map(Cuts)
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

/// Configurations of TLS, with a certificate for `test.example`.
#[cfg(feature = "tls")]
pub(crate) fn tls_configs() -> Result<(Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>)> {
    let made = rcgen::generate_simple_self_signed(["test.example".to_owned()]);
    let made = made.map_err(Error::other)?;
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let server = server_config().certificate(vec![made.cert.der().clone()], key);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).map_err(Error::other)?;
    Ok((client_config().roots(roots).build()?, server.build()?))
}

/// The error of another crate that is in it.
pub(crate) fn inside<E: std::error::Error + Clone + 'static>(error: &Error) -> E {
    match error {
        Error::Other(other) => other.downcast_ref::<E>().expect("that kind").clone(),
        other => panic!("{other:?}"),
    }
}
