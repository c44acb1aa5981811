//! Layers over a stream that breaks law 1 of byte streams: each ends with the error that says so.

use std::cell::Cell;
use std::future::Future;
use std::io::IoSlice;
use std::task::{Context, Poll};

use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Error, Place, Result, Room};
use soloio_streams::{LengthPrefixed, Lines, Prefix, StapledByteStream, TextStream};

use crate::support::{cut, run};

/// Receives no byte and sends none, without an error.
#[derive(Default)]
struct Lawless(Cell<u32>);

impl Lawless {
    fn count(&self) {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < 1000, "it is polled again and again");
    }
}

impl ByteReceiveStream for Lawless {
    fn poll_receive(
        &self,
        _: &mut Place,
        _: &mut Context<'_>,
        _: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        self.count();
        Poll::Ready(Ok(()))
    }

    fn leave_receive(&self, _: &mut Place) {}
}

impl ByteSendStream for Lawless {
    fn poll_send(
        &self,
        _: &mut Place,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.count();
        Poll::Ready(Ok(0))
    }

    fn poll_flush(&self, _: &mut Place, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn leave_send(&self, _: &mut Place) {}
}

impl ByteStream for Lawless {
    fn poll_send_eof(&self, _: &mut Place, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }

    fn abort(&self) {}
}

async fn refused<T>(result: impl Future<Output = Result<T>>) {
    let error = cut(9, result).await.expect("it ends").err();
    let error = error.expect("it breaks the law");
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    assert!(error.to_string().contains("law 1"), "{error}");
}

#[test]
fn every_layer_ends_with_an_error() {
    run(async || {
        let both = StapledByteStream::new(Lawless::default(), Lawless::default());
        refused(both.receive()).await;
        refused(both.send(b"x")).await;
        let text = TextStream::new(&both);
        refused(text.receive()).await;
        refused(text.receive_lossy()).await;
        refused(text.next()).await;
        refused(text.send("x")).await;
        let lines = Lines::new(&both, 100);
        refused(lines.receive()).await;
        refused(lines.send("x")).await;
        let frames = LengthPrefixed::new(&both, Prefix::U32Be, 100);
        refused(frames.receive()).await;
        refused(frames.send(b"x")).await;
        Ok(())
    });
}
