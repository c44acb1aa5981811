//! Streams and listeners that a user implements with only the required methods: the behaviour of
//! the provided methods, also through a reference or an `Rc`.

use std::cell::{Cell, RefCell};
use std::future::{self, Future};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Error, Listener, MemoryStream, Peer, Place,
    Result, Room, connect_unix, create_memory_byte_stream, create_unix_listener,
};

use crate::net_support::{TempDir, refused, run};

/// Moves three bytes at a time, and records its ends.
struct Own {
    inner: MemoryStream,
    /// The number of bytes that can still be sent.
    left: Cell<usize>,
    ends: RefCell<Vec<&'static str>>,
}

impl Own {
    fn over(inner: MemoryStream) -> Self {
        Self {
            inner,
            left: Cell::new(usize::MAX),
            ends: RefCell::default(),
        }
    }

    fn ended(&self) -> Vec<&'static str> {
        self.ends.take()
    }
}

impl ByteReceiveStream for Own {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        room.limited(3, |room| self.inner.poll_receive(place, cx, room))
    }

    fn leave_receive(&self, place: &mut Place) {
        self.inner.leave_receive(place);
    }
}

impl ByteSendStream for Own {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let next = parts.iter().find(|part| !part.is_empty());
        let next = next.map_or(&[][..], |part| part);
        let most = &next[..next.len().min(3).min(self.left.get())];
        if most.len() < next.len().min(1) {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
        }
        let sent = ready!(self.inner.poll_send(place, cx, &[IoSlice::new(most)]))?;
        self.left.set(self.left.get() - sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.inner.leave_send(place);
    }
}

impl ByteStream for Own {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.ends.borrow_mut().push("send_eof");
        self.inner.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.inner.close().await
    }

    fn abort(&self) {
        self.ends.borrow_mut().push("abort");
        self.inner.abort();
    }
}

fn pair() -> (Own, MemoryStream) {
    let (ours, theirs) = create_memory_byte_stream(1000);
    (Own::over(ours), theirs)
}

#[test]
fn a_receive_is_as_long_as_what_came() {
    run(async {
        let (own, peer) = pair();
        peer.send(b"abcdefgh").await.expect("room");
        assert_eq!(own.receive_max(2).await.expect("data"), b"ab");
        let got = own.receive().await.expect("data");
        assert_eq!((&got[..], got.capacity()), (&b"cde"[..], 3));
        let by_way = &own;
        let one = <&Own as ByteReceiveStream>::receive_max(&by_way, 1).await;
        assert_eq!(one.expect("data"), b"f");
        refused!(own.receive_max(0).await, Error::Io(_));
        peer.send_eof().await.expect("the first");
        let rest = Rc::new(own).next().await.expect("data");
        assert_eq!(rest.as_deref(), Some(&b"gh"[..]));
    });
}

#[test]
fn parts_are_sent_one_by_one_and_what_is_left_did_not_go() {
    run(async {
        let (own, peer) = pair();
        let mut parts = [b"".as_slice(), b"one", b"", b"two"].map(IoSlice::new);
        let mut parts = &mut parts[..];
        let by_way = &own;
        let sent = <&Own as ByteSendStream>::send_vectored(&by_way, &mut parts).await;
        sent.expect("room");
        assert!(parts.is_empty());
        own.left.set(5);
        let mut parts = [b"abc", b"def", b"ghi"].map(|part| IoSlice::new(part));
        let mut parts = &mut parts[..];
        refused!(own.send_vectored(&mut parts).await, Error::Io(_));
        let left: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        assert_eq!(left, [&b"f"[..], b"ghi"]);
        assert_eq!(peer.receive().await.expect("data"), b"onetwoabcde");
    });
}

#[test]
fn a_reset_is_an_abort_unless_it_is_written() {
    run(async {
        let (own, peer) = pair();
        own.reset().await.expect("nothing waits");
        assert_eq!(own.ended(), ["abort"]);
        refused!(peer.receive().await, Error::Broken(_) | Error::EndOfStream);
        // The same through a reference and an `Rc`: one call each.
        let by_way = &own;
        <&Own as ByteStream>::reset(&by_way).await.expect("again");
        assert_eq!(own.ended(), ["abort"]);
        let own = Rc::new(own);
        own.reset().await.expect("again");
        Rc::clone(&own).abort();
        assert_eq!(own.ended(), ["abort", "abort"]);
    });
}

#[test]
fn only_the_last_owner_closes() {
    run(async {
        let (own, peer) = pair();
        let own = Rc::new(own);
        ByteStream::close(&*own).await.expect("a goodbye");
        Rc::clone(&own).close().await.expect("a goodbye");
        own.send_eof().await.expect("again");
        assert_eq!(own.ended(), ["send_eof"; 3]);
        refused!(peer.receive().await, Error::EndOfStream);
        peer.send(b"still open").await.expect("a receiver");
        assert_eq!(own.receive_max(10).await.expect("data"), b"sti");
        let inner = Rc::clone(&own);
        drop(own);
        inner.close().await.expect("the last one");
        refused!(peer.send(b"x").await, Error::Broken(_));
    });
}

/// Returns the streams that it was made with, the last first.
struct Given {
    streams: RefCell<Vec<MemoryStream>>,
    aborted: Cell<bool>,
}

impl Listener for Given {
    type Stream = MemoryStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<MemoryStream>>> {
        let stream = self.streams.borrow_mut().pop();
        Ok(future::ready(Ok(stream.ok_or(Error::Closed)?)))
    }

    fn abort(&self) {
        self.aborted.set(true);
    }
}

#[test]
fn a_listener_of_ones_own_serves_among_others() {
    run(async {
        let (ours, theirs) = create_memory_byte_stream(100);
        let (ours2, theirs2) = create_memory_byte_stream(100);
        let given = Given {
            streams: RefCell::new(vec![ours, ours2]),
            aborted: Cell::new(false),
        };
        let by_way: &&Given = &&given;
        let (begun, peer) = by_way.accept_from().await.expect("one");
        assert!(matches!(peer, Peer::Unknown));
        begun
            .await
            .expect("at once")
            .send(b"2")
            .await
            .expect("room");
        assert_eq!(theirs2.receive().await.expect("data"), b"2");
        let first = by_way.accept_begin().await.expect("one").await;
        first.expect("at once").send(b"1").await.expect("room");
        assert_eq!(theirs.receive().await.expect("data"), b"1");
        refused!(Listener::accept(by_way).await, Error::Closed);

        #[cfg(feature = "extras")]
        {
            let tcp = crate::net_support::tcp_listener().await;
            let all = soloio::MultiListener::new().with(&given).with(&tcp);
            Listener::abort(&&all);
            refused!(tcp.accept().await, Error::Closed);
        }
        #[cfg(not(feature = "extras"))]
        by_way.abort();
        assert!(given.aborted.get());
    });
}

#[test]
fn the_contract_of_a_listener_is_kept_by_name() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let unix = create_unix_listener(&path).await.expect("listens");
        let client = connect_unix(&path).await.expect("connects");
        let begun = Listener::accept_begin(&unix).await.expect("one");
        let stream = begun.await.expect("at once");
        #[cfg(feature = "extras")]
        let all = soloio::MultiListener::new().with(unix);
        #[cfg(not(feature = "extras"))]
        let all = unix;
        let second = connect_unix(&path).await.expect("connects");
        let begun = Listener::accept_begin(&all).await.expect("one");
        let other = begun.await.expect("at once");
        stream.send(b"one").await.expect("room");
        other.send(b"two").await.expect("room");
        assert_eq!(client.receive().await.expect("data"), b"one");
        assert_eq!(second.receive().await.expect("data"), b"two");
        other.abort();
        refused!(other.receive().await, Error::Closed);
        refused!(
            second.receive().await,
            Error::EndOfStream | Error::Broken(_)
        );
    });
}
