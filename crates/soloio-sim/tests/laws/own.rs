//! A stream that wraps none of the crate's, by its public interface alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Error, Half, Place, Result, Room};

/// One direction: a queue of at most seven bytes.
#[derive(Default)]
struct Way {
    bytes: RefCell<VecDeque<u8>>,
    ended: Cell<bool>,
    broken: Cell<bool>,
    receiving: Half,
    sending: Half,
}

impl Way {
    fn wake(&self) {
        self.receiving.wake();
        self.sending.wake();
    }

    fn take(&self, room: &mut Room<'_>) -> Option<Result<()>> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() {
            let end = match self.broken.get() {
                true => io::Error::from(io::ErrorKind::BrokenPipe).into(),
                false => Error::EndOfStream,
            };
            return self.ended.get().then_some(Err(end));
        }
        while room.remaining() > 0 && !bytes.is_empty() {
            room.put(&[bytes.pop_front().expect("not empty")]);
        }
        drop(bytes);
        self.sending.wake();
        Some(Ok(()))
    }

    fn put(&self, parts: &[IoSlice<'_>]) -> Option<Result<usize>> {
        if self.ended.get() {
            return Some(Err(Error::Closed));
        }
        if self.broken.get() {
            return Some(Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
        }
        let mut bytes = self.bytes.borrow_mut();
        let all = parts.iter().flat_map(|part| part.iter().copied());
        let before = bytes.len();
        bytes.extend(all.take(7 - before));
        let sent = bytes.len() - before;
        drop(bytes);
        self.receiving.wake();
        (sent > 0 || parts.iter().all(|part| part.is_empty())).then_some(Ok(sent))
    }
}

pub(crate) struct Own {
    incoming: Rc<Way>,
    outgoing: Rc<Way>,
    aborted: Cell<bool>,
}

pub(crate) fn pair() -> (Own, Own) {
    let (there, back) = (Rc::<Way>::default(), Rc::<Way>::default());
    let own = |incoming: &Rc<Way>, outgoing: &Rc<Way>| Own {
        incoming: Rc::clone(incoming),
        outgoing: Rc::clone(outgoing),
        aborted: Cell::default(),
    };
    (own(&there, &back), own(&back, &there))
}

impl Own {
    fn open(&self) -> Result<()> {
        match self.aborted.get() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }
}

impl ByteReceiveStream for Own {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if room.remaining() == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidInput).into()));
        }
        let way = &self.incoming;
        way.receiving
            .poll(place, cx, || self.open(), || way.take(room))
    }

    fn leave_receive(&self, place: &mut Place) {
        self.incoming.receiving.leave(place);
    }
}

impl ByteSendStream for Own {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let way = &self.outgoing;
        way.sending
            .poll(place, cx, || self.open(), || way.put(parts))
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let way = &self.outgoing;
        way.sending.poll(place, cx, || self.open(), || Some(Ok(())))
    }

    fn leave_send(&self, place: &mut Place) {
        self.outgoing.sending.leave(place);
    }
}

impl ByteStream for Own {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let way = &self.outgoing;
        way.sending.poll(
            place,
            cx,
            || self.open(),
            || {
                way.ended.set(true);
                way.receiving.wake();
                Some(Ok(()))
            },
        )
    }

    async fn close(self) -> Result<()> {
        self.send_eof().await
    }

    fn abort(&self) {
        if !self.aborted.replace(true) {
            self.outgoing.ended.set(true);
            self.incoming.broken.set(true);
            self.incoming.wake();
            self.outgoing.wake();
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.abort();
    }
}
