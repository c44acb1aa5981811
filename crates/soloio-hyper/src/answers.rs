//! Counts the answers of a server's connection, so that its idle times are known.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use pin_project_lite::pin_project;

use crate::body::RequestBody;

/// The state of a connection that its I/O, its service and its driver share. One task at a time
/// changes it; it has atomics because an upgraded connection may go to another thread.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    begun: AtomicU32,
    ended: AtomicU32,
    /// Set while bytes of an answer wait for room.
    blocked: AtomicBool,
    /// Set by each receive over HTTP/2.
    heard: AtomicBool,
}

impl Answers {
    /// Returns the number of answers so far, if each request has had its whole answer.
    #[inline]
    pub(crate) fn all_ended(&self) -> Option<u32> {
        let ended = self.ended.load(Relaxed);
        let all = self.begun.load(Relaxed) == ended && !self.blocked.load(Relaxed);
        all.then_some(ended)
    }

    #[inline]
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Whether the peer has said anything since it was last set to false.
    #[inline]
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set_heard(&self, heard: bool) {
        self.heard.store(heard, Relaxed);
    }
}

/// Adds one. Nothing else writes at that time, so it need not be one step.
#[inline]
fn count(number: &AtomicU32) {
    number.store(number.load(Relaxed).wrapping_add(1), Relaxed);
}

/// An answer that is being made or sent; it has ended when this is dropped.
#[derive(Debug)]
struct Answering(Arc<Answers>);

impl Answering {
    #[inline]
    fn new(answers: &Arc<Answers>) -> Self {
        count(&answers.begun);
        Self(Arc::clone(answers))
    }
}

impl Drop for Answering {
    #[inline]
    fn drop(&mut self) {
        count(&self.0.ended);
    }
}

/// A service whose answers are counted, and whose requests have a limit on their bodies.
pub(crate) struct Counted<S> {
    service: S,
    limit: Duration,
    answers: Arc<Answers>,
}

impl<S> Counted<S> {
    pub(crate) fn new(service: S, limit: Duration, answers: &Arc<Answers>) -> Self {
        Self {
            service,
            limit,
            answers: Arc::clone(answers),
        }
    }
}

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let limit = self.limit;
        let answering = Some(Answering::new(&self.answers));
        let request = request.map(|body| RequestBody::new(body, limit));
        let future = self.service.call(request);
        Answer { future, answering }
    }
}

pin_project! {
    /// The future of an answer.
    pub(crate) struct Answer<F> {
        #[pin]
        future: F,
        answering: Option<Answering>,
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let answering = this.answering.take();
        Poll::Ready(Ok(response.map(|body| AnswerBody { body, answering })))
    }
}

pin_project! {
    /// The body of an answer, which has ended when hyper has dropped it.
    pub(crate) struct AnswerBody<B> {
        #[pin]
        body: B,
        answering: Option<Answering>,
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
