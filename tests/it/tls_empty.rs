//! TLS over a stream that breaks its law: it ends a receive without a byte, as Rust's readers do at
//! the end.

use std::cell::Cell;
use std::future::IntoFuture;
use std::io::IoSlice;
use std::task::{Context, Poll};

use futures_util::future::join;
use soloio::tls::TlsStream;
use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Error, MemoryStream, Place, Result, Room,
    create_memory_byte_stream,
};

use crate::net_support::{refused, run};
use crate::tls_support::{NAME, client_config, server_config};

/// From a moment on, each receive is ready with nothing.
struct Empty {
    inner: MemoryStream,
    empty: Cell<bool>,
}

impl ByteReceiveStream for Empty {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        match self.empty.get() {
            true => Poll::Ready(Ok(())),
            false => self.inner.poll_receive(place, cx, room),
        }
    }

    fn leave_receive(&self, place: &mut Place) {
        self.inner.leave_receive(place);
    }
}

impl ByteSendStream for Empty {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.inner.poll_send(place, cx, parts)
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.inner.leave_send(place);
    }
}

impl ByteStream for Empty {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.inner.close().await
    }

    fn abort(&self) {
        self.inner.abort();
    }
}

fn pair(empty: bool) -> (Empty, Empty) {
    let (a, b) = create_memory_byte_stream(65_536);
    let of = |inner, empty| {
        let empty = Cell::new(empty);
        Empty { inner, empty }
    };
    (of(a, empty), of(b, false))
}

/// A receive looked for the next byte without end, in one poll: the loop was blocked.
#[test]
fn a_receive_without_a_byte_is_an_error_and_no_loop() {
    run(async {
        let (a, b) = pair(false);
        let client = TlsStream::client(a, NAME, client_config()).into_future();
        let server = TlsStream::server(b, server_config()).into_future();
        let (client, server) = join(client, server).await;
        let (client, _server) = (client.expect("a handshake"), server.expect("a handshake"));
        client.inner().empty.set(true);
        refused!(client.receive().await, Error::Other(_));

        let (a, _b) = pair(true);
        let client = TlsStream::client(a, NAME, client_config()).await;
        refused!(client.map(drop), Error::Other(_));
    });
}
