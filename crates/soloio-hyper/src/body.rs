//! The body of a request, with a limit for a client that stops sending: [`RequestBody`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use soloio::{Error, Result, Sleep, sleep};

/// The body of a request: hyper's, with the limit of
/// [`Http::stall_timeout`](crate::Http::stall_timeout) on each wait for more of it.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    limit: Duration,
    /// The wait for more, if there is one.
    stalled: Option<Box<Sleep>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            stalled: None,
        }
    }

    /// hyper's body, without the limit.
    pub fn into_inner(self) -> Incoming {
        self.inner
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.stalled = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::other)));
        }
        if this.limit == Duration::MAX {
            return Poll::Pending;
        }
        let limit = this.limit;
        let stalled = this.stalled.get_or_insert_with(|| Box::new(sleep(limit)));
        let slept = Pin::new(&mut **stalled).poll(cx);
        let late = || Error::timed_out(limit, "waiting for more of a request's body");
        slept.map(|slept| Some(Err(slept.err().unwrap_or_else(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
