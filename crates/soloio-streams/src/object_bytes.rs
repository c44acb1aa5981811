//! An object stream of bytes as a byte stream: [`ObjectByteStream`].
//!
//! A byte stream has polls, an object stream has futures. The future of an object is here, not in
//! the operation, so it goes on when that is cut: an object that comes then is received next, and
//! one that is being sent is sent to its end by the next operation.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Error, Half, Place, Result, Room};

use crate::{ObjectReceiveStream, ObjectSendStream, ObjectStream};

/// The most bytes of an object that is sent.
const MOST: usize = 65_536;

/// It would be lost, and the next one take its place.
const LEFT: &str = "an object stream has left an object that was to be sent, without an error";

/// The number of objects in one poll of which all but the last are empty, so that other tasks have
/// their turn.
const SKIPPED: usize = 64;

type Job<T> = Pin<Box<dyn Future<Output = T>>>;

/// An object stream of bytes as a byte stream: for [`Buffered`](soloio::Buffered), TLS, and
/// whatever else is made for byte streams, over messages.
///
/// Where one object ends and the next begins is not seen: a receive returns at most one, a send is
/// one or several of at most 64 KiB. Empty objects are skipped.
///
/// # Examples
///
/// ```
/// use soloio::{Buffered, Error, create_memory_object_stream};
/// use soloio_streams::{ObjectByteStream, StapledObjectStream};
///
/// soloio::block_on(async {
///     let (to_us, ours) = create_memory_object_stream(4);
///     let (to_them, theirs) = create_memory_object_stream(4);
///     let stream = ObjectByteStream::new(StapledObjectStream::new(to_them, ours));
///     let stream = Buffered::new(stream);
///     to_us.send(b"a li".to_vec()).await?;
///     to_us.send(b"ne\n".to_vec()).await?;
///     assert_eq!(stream.receive_until(b"\n", 80).await?, b"a line");
///     stream.send(b"an answer").await?;
///     assert_eq!(theirs.receive().await?, b"an answer");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias("AnyByteStream", "AnyByteReceiveStream", "AnyByteSendStream"))]
pub struct ObjectByteStream<S> {
    /// `None` after an abort.
    stream: RefCell<Option<Rc<S>>>,
    receiving: Half,
    sending: Half,
    came: RefCell<Came>,
    going: RefCell<Going>,
}

/// The receiving side.
#[derive(Default)]
struct Came {
    /// The object that was received, and the number of its bytes that are gone.
    object: Vec<u8>,
    gone: usize,
    receive: Option<Job<Result<Vec<u8>>>>,
}

/// The sending side.
#[derive(Default)]
enum Going {
    #[default]
    Idle,
    /// Accepted, and not sent.
    Object(Vec<u8>),
    /// Returns the object if it was not sent.
    Sending(Job<(Result<()>, Option<Vec<u8>>)>),
    Ending(Job<Result<()>>),
    Ended,
}

impl<S: ObjectBytes> ObjectByteStream<S> {
    /// The bytes of the objects of `stream`.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream: RefCell::new(Some(Rc::new(stream))),
            receiving: Half::default(),
            sending: Half::default(),
            came: RefCell::default(),
            going: RefCell::default(),
        }
    }

    fn open(&self) -> Result<Rc<S>> {
        self.stream.borrow().clone().ok_or(Error::Closed)
    }

    /// Receives from the object that has come, or the next one; `None` if it has to wait.
    fn receive_some(&self, cx: &Context<'_>, room: &mut Room<'_>) -> Option<Result<()>> {
        for _ in 0..SKIPPED {
            let receive = {
                let mut came = self.came.borrow_mut();
                let Came {
                    object,
                    gone,
                    receive,
                } = &mut *came;
                if *gone < object.len() {
                    *gone += room.put(&object[*gone..]);
                    if *gone == object.len() {
                        (*object, *gone) = (Vec::new(), 0);
                    }
                    return Some(Ok(()));
                }
                receive.take()
            };
            let mut receive = match (receive, self.open()) {
                (_, Err(closed)) => return Some(Err(closed)),
                (Some(receive), _) => receive,
                (None, Ok(stream)) => Box::pin(async move { stream.receive().await }),
            };
            match poll(&mut receive, cx) {
                Poll::Ready(Ok(object)) => self.came.borrow_mut().object = object,
                Poll::Ready(Err(error)) => return Some(Err(error)),
                Poll::Pending => {
                    self.came.borrow_mut().receive = Some(receive);
                    return None;
                }
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    /// Takes the sending side a step further; ready when nothing is under way, or at an error.
    fn advance(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        let stream = self.open()?;
        let mut going = self.going.take();
        loop {
            let (next, polled) = match going {
                Going::Object(object) => {
                    let stream = Rc::clone(&stream);
                    going = Going::Sending(Box::pin(async move {
                        let mut object = Some(object);
                        (stream.send_from(&mut object).await, object)
                    }));
                    continue;
                }
                Going::Sending(mut job) => match poll(&mut job, cx) {
                    Poll::Pending => (Going::Sending(job), Poll::Pending),
                    Poll::Ready((sent, Some(left))) => {
                        let sent = sent.and_then(|()| Err(Error::other(LEFT)));
                        (Going::Object(left), Poll::Ready(sent))
                    }
                    Poll::Ready((sent, None)) => (Going::Idle, Poll::Ready(sent)),
                },
                Going::Ending(mut job) => match poll(&mut job, cx) {
                    Poll::Pending => (Going::Ending(job), Poll::Pending),
                    Poll::Ready(Ok(())) => (Going::Ended, Poll::Ready(Ok(()))),
                    Poll::Ready(failed) => (Going::Idle, Poll::Ready(failed)),
                },
                still => (still, Poll::Ready(Ok(()))),
            };
            self.going.replace(next);
            return polled;
        }
    }

    /// Accepts a prefix of `parts`; `None` if it has to wait.
    fn accept(&self, cx: &Context<'_>, parts: &[IoSlice<'_>]) -> Option<Result<usize>> {
        let is_ending = matches!(*self.going.borrow(), Going::Ending(_) | Going::Ended);
        if is_ending {
            return Some(Err(Error::Closed));
        }
        // The object before this one.
        match self.advance(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Some(Err(error)),
            Poll::Pending => return None,
        }
        let mut object = Vec::new();
        for part in parts {
            object.extend_from_slice(&part[..part.len().min(MOST - object.len())]);
        }
        let accepted = object.len();
        if accepted > 0 {
            self.going.replace(Going::Object(object));
        }
        Some(Ok(accepted))
    }

    /// Sends the end; `None` if it has to wait.
    fn end(&self, cx: &Context<'_>) -> Option<Result<()>> {
        loop {
            match self.advance(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Some(Err(error)),
                Poll::Pending => return None,
            }
            if matches!(*self.going.borrow(), Going::Ended) {
                return Some(Ok(()));
            }
            let stream = match self.open() {
                Ok(stream) => stream,
                Err(closed) => return Some(Err(closed)),
            };
            let end = Box::pin(async move { stream.send_eof().await });
            self.going.replace(Going::Ending(end));
        }
    }
}

/// An object stream of bytes that [`ObjectByteStream`] can be made of.
pub trait ObjectBytes:
    ObjectStream + ObjectReceiveStream<Item = Vec<u8>> + ObjectSendStream<Item = Vec<u8>> + 'static
{
}

impl<S> ObjectBytes for S where
    S: ObjectReceiveStream<Item = Vec<u8>> + ObjectSendStream<Item = Vec<u8>> + 'static
{
}

fn poll<T>(job: &mut Job<T>, cx: &Context<'_>) -> Poll<T> {
    job.as_mut().poll(&mut Context::from_waker(cx.waker()))
}

impl<S: ObjectBytes> ByteReceiveStream for ObjectByteStream<S> {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if room.remaining() == 0 {
            let message = "a receive of at most 0 bytes can never give any";
            let cause = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Poll::Ready(Err(cause.into()));
        }
        let (cx, may) = (&*cx, || self.open().map(drop));
        let attempt = || self.receive_some(cx, room);
        self.receiving.poll(place, cx, may, attempt)
    }

    fn leave_receive(&self, place: &mut Place) {
        self.receiving.leave(place);
    }
}

impl<S: ObjectBytes> ByteSendStream for ObjectByteStream<S> {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let (cx, may) = (&*cx, || self.open().map(drop));
        self.sending.poll(place, cx, may, || self.accept(cx, parts))
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (cx, may) = (&*cx, || self.open().map(drop));
        let flush = || match self.advance(cx) {
            Poll::Ready(flushed) => Some(flushed),
            Poll::Pending => None,
        };
        self.sending.poll(place, cx, may, flush)
    }

    fn leave_send(&self, place: &mut Place) {
        self.sending.leave(place);
    }
}

impl<S: ObjectBytes> ByteStream for ObjectByteStream<S> {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (cx, may) = (&*cx, || self.open().map(drop));
        self.sending.poll(place, cx, may, || self.end(cx))
    }

    async fn close(self) -> Result<()> {
        self.send_eof().await
    }

    /// Drops the object stream.
    fn abort(&self) {
        drop((self.came.take(), self.going.take()));
        drop(self.stream.take());
        self.receiving.wake();
        self.sending.wake();
    }
}

impl<S> fmt::Debug for ObjectByteStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectByteStream").finish_non_exhaustive()
    }
}
