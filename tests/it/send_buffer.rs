//! `SendBuffer`: compared with a naive twin, and tested alone.

use std::cell::Cell;
use std::fmt;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use futures_util::future::join;
use proptest::prelude::*;
use soloio::{
    Buffered, ByteReceiveStream, ByteSendStream, ByteStream, Error, MemoryStream, Place, Result,
    Room, SendBuffer, create_memory_byte_stream,
};

use crate::allocations::made;
use crate::net_support::{is_broken, polled, refused, run, tcp_pair, unix_pair};
use crate::support::quiet_panic;

proptest! {
    /// Each written byte arrives once and in order, unless it was cleared, whichever flushes were
    /// dropped.
    #[test]
    fn it_agrees_with_its_twin(
        steps in prop::collection::vec((0..8_u8, 0..40_usize), 0..60),
        capacity in 1..20_usize,
    ) {
        run(async {
            let (near, far) = create_memory_byte_stream(capacity);
            let mut buffer = SendBuffer::new(&near);
            let (mut twin, mut arrived) = (Vec::new(), Vec::new());
            let mut next = (0..=u8::MAX).cycle();
            for (step, count) in steps {
                match step {
                    0 => {
                        twin.truncate(twin.len() - buffer.unsent());
                        buffer.clear();
                    }
                    1..=3 => {
                        let data: Vec<u8> = next.by_ref().take(count).collect();
                        buffer.write(&data);
                        twin.extend(data);
                    }
                    4..=6 => {
                        let done = polled(1 + count % 3, buffer.flush()).await;
                        assert_eq!(done.is_some(), buffer.unsent() == 0);
                    }
                    _ => {
                        if let Some(data) = polled(1, far.receive_max(count + 1)).await {
                            arrived.extend(data.expect("bytes"));
                        }
                    }
                }
                let there = twin.len() - buffer.unsent() - arrived.len();
                assert!(there <= capacity && twin.starts_with(&arrived));
            }
            let rest = async {
                while arrived.len() < twin.len() {
                    arrived.extend(far.receive().await.expect("bytes"));
                }
            };
            join(buffer.flush(), rest).await.0.expect("sent");
            assert_eq!(arrived, twin);
        });
    }
}

/// Takes ten bytes at a time, and counts those that were not behind the last ones in memory.
struct Picky {
    inner: MemoryStream,
    next: Cell<*const u8>,
    moved: Cell<usize>,
}

impl ByteReceiveStream for Picky {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        self.inner.poll_receive(place, cx, room)
    }

    fn leave_receive(&self, place: &mut Place) {
        self.inner.leave_receive(place);
    }
}

impl ByteSendStream for Picky {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let most = &parts[0][..parts[0].len().min(10)];
        let polled = self.inner.poll_send(place, cx, &[IoSlice::new(most)]);
        if let Poll::Ready(Ok(sent)) = polled {
            let moved = usize::from(self.next.get() != most.as_ptr());
            self.moved.set(self.moved.get() + moved);
            self.next.set(most[sent..].as_ptr());
        }
        polled
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.inner.leave_send(place);
    }
}

impl ByteStream for Picky {
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

/// 20 MB in pieces of 1,000 bytes took eleven seconds, nearly all of it for moves of the rest.
#[test]
fn the_rest_of_a_partial_send_is_not_moved_each_time() {
    run(async {
        let (inner, _far) = create_memory_byte_stream(usize::MAX);
        let picky = Picky {
            inner,
            next: Cell::new(std::ptr::null()),
            moved: Cell::new(0),
        };
        let mut buffer = SendBuffer::new(&picky);
        buffer.write(&[7; 100_000]);
        buffer.flush().await.expect("room");
        // Once for each half that is given back.
        let moved = picky.moved.get();
        assert!(moved < 10, "{moved} moves");
    });
}

#[test]
fn a_send_buffer_sends_in_order_and_uses_its_memory_again() {
    run(async {
        let (near, far) = create_memory_byte_stream(10);
        let mut buffer = SendBuffer::new(&near);
        buffer.write(b"0123456789");
        let letter = 'b';
        write!(buffer, "a{letter:>3}");
        assert_eq!(
            (buffer.unsent(), format!("{buffer:?}").contains("14")),
            (14, true)
        );
        assert!(polled(3, buffer.flush()).await.is_none(), "no room");
        assert_eq!(buffer.unsent(), 4);
        buffer.write(b"c");
        let receive = async { Buffered::new(&far).receive_exactly(15).await };
        let (flushed, received) = join(buffer.flush(), receive).await;
        flushed.expect("sent");
        assert_eq!(received.expect("all"), b"0123456789a  bc");
        let before = made();
        for _ in 0..5 {
            buffer.write(b"0123456789");
            buffer.flush().await.expect("sent");
            far.receive_into(&mut [0; 10]).await.expect("received");
        }
        assert_eq!(made(), before);
        drop(buffer);
        near.send_eof()
            .await
            .expect("an empty buffer resets nothing");
        refused!(SendBuffer::new(&near).flush().await, Error::Closed);
    });
}

/// Its text has a beginning, and no end: formatting it fails, or panics.
struct Half(bool);

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("begun, ")?;
        if self.0 {
            quiet_panic("by the value");
        }
        Err(fmt::Error)
    }
}

/// The rest of a message would be sent as if it were whole.
#[test]
fn a_value_that_is_not_formatted_leaves_nothing_of_itself() {
    run(async {
        let (near, far) = create_memory_byte_stream(100);
        let mut buffer = SendBuffer::new(&near);
        buffer.write(b"before");
        for panics in [false, true] {
            let half = Half(panics);
            let write = AssertUnwindSafe(|| write!(buffer, "a {half} b"));
            catch_unwind(write).expect_err("it fails");
            assert_eq!(buffer.unsent(), 6, "{panics}");
        }
        let after = 'c';
        write!(buffer, " and {after}");
        buffer.flush().await.expect("room");
        assert_eq!(far.receive().await.expect("sent"), b"before and c");
    });
}

/// The peer has seen an end, and an end is permanent.
#[test]
fn a_reset_after_the_end_changes_nothing_for_the_peer() {
    async fn check<S: ByteStream>((near, far): (S, S)) {
        near.send_eof().await.expect("ended");
        refused!(far.receive().await, Error::EndOfStream);
        near.reset().await.expect("nothing is on its way");
        refused!(far.receive().await, Error::EndOfStream);
    }
    run(async {
        check(create_memory_byte_stream(64)).await;
        check(tcp_pair().await).await;
        check(unix_pair().await).await;
    });
}

/// With a plain end the peer would take half of an answer for the whole.
#[test]
fn a_send_buffer_that_is_dropped_with_bytes_resets_its_stream() {
    run(async {
        for clears in [false, true] {
            let (near, far) = tcp_pair().await;
            let mut buffer = SendBuffer::new(&near);
            buffer.write(b"half of ");
            buffer.flush().await.expect("sent");
            buffer.write(b"an answer");
            if clears {
                buffer.clear();
            }
            drop(buffer);
            if clears {
                near.send_eof().await.expect("it is open");
                assert_eq!(far.receive().await.expect("sent"), b"half of ");
                refused!(far.receive().await, Error::EndOfStream);
            } else {
                refused!(near.send(b"more").await, Error::Closed);
                drop(near);
                while let Ok(data) = far.receive().await {
                    assert!(b"half of ".starts_with(&data));
                }
                let ended = far.receive().await;
                assert!(is_broken(&ended), "{ended:?}");
            }
        }
    });
}
