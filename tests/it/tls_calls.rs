//! The calls that TLS makes of the stream below, counted exactly: one send of each message, and one
//! receive that waits and one that gets it.

use std::cell::Cell;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, MemoryStream, Place, Result, Room,
    create_memory_byte_stream,
};

use crate::net_support::run;
use crate::tls_support::tls;

/// Receives, and sends.
type Calls = Rc<Cell<(usize, usize)>>;

/// Counts the polls of a stream.
struct Counted(MemoryStream, Calls);

impl ByteReceiveStream for Counted {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        let (receives, sends) = self.1.get();
        self.1.set((receives + 1, sends));
        self.0.poll_receive(place, cx, room)
    }

    fn leave_receive(&self, place: &mut Place) {
        self.0.leave_receive(place);
    }
}

impl ByteSendStream for Counted {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let (receives, sends) = self.1.get();
        self.1.set((receives, sends + 1));
        self.0.poll_send(place, cx, parts)
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.0.leave_send(place);
    }
}

impl ByteStream for Counted {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.0.close().await
    }

    fn abort(&self) {
        self.0.abort();
    }
}

#[test]
fn a_message_takes_one_send_and_one_receive_below() {
    run(async {
        let calls = Calls::default();
        let (near, far) = create_memory_byte_stream(100_000);
        let counted = [near, far].map(|stream| Counted(stream, Rc::clone(&calls)));
        let (a, b) = tls(async { counted.into() }).await;
        for (bytes, receives, sends) in [(100, 1, 1), (16_384, 1, 1), (65_536, 2, 2)] {
            let data = vec![7; bytes];
            for round in 0..4 {
                let (before, mut got) = (calls.get(), 0);
                a.send(&data).await.expect("sent");
                while got < bytes {
                    got += b.receive().await.expect("received").len();
                }
                let after = calls.get();
                let made = (after.0 - before.0, after.1 - before.1);
                // The first one also gets the server's tickets.
                if round > 0 {
                    assert_eq!(made, (receives, sends), "{bytes} bytes");
                }
            }
        }
    });
}
