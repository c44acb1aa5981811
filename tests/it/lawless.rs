//! Streams of a program's own that break law 1 of byte streams: what loops over one ends with an
//! error that says so. It hung, panicked, or took what came for an end.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::sync::Mutex;
use std::task::{Context, Poll};

use soloio::{
    Buffered, ByteReceiveStream, ByteSendStream, ByteStream, Error, Io, MemoryStream, Place,
    Result, Room, SendBuffer, create_memory_byte_stream,
};

use crate::net_support::{polled, run};
#[cfg(target_os = "linux")]
use crate::{
    kernel,
    net_support::{tcp_pair, unix_pair},
    support::alone,
};

/// The way in which a stream breaks the law.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Breach {
    /// It receives nothing, and returns `Ok`.
    Nothing,
    /// It receives into a room of its own, which has more bytes than there was room for.
    Elsewhere,
    /// It accepts none of the bytes of a send.
    None,
    /// It accepts more bytes than it was given.
    More,
}

use Breach::{Elsewhere, More, None as NoByte, Nothing};

/// A stream over another one that keeps the law for so many polls.
struct Lawless {
    inner: MemoryStream,
    breach: Breach,
    lawful: Cell<usize>,
    polls: Cell<u32>,
}

impl Lawless {
    fn over(inner: MemoryStream, breach: Breach) -> Self {
        Self {
            inner,
            breach,
            lawful: Cell::new(0),
            polls: Cell::new(0),
        }
    }

    /// Returns true if this poll breaks the law.
    fn breaks(&self, breaches: [Breach; 2]) -> bool {
        if !breaches.contains(&self.breach) {
            return false;
        }
        let lawful = self.lawful.get();
        self.lawful.set(lawful.saturating_sub(1));
        self.polls.set(self.polls.get() + 1);
        assert!(self.polls.get() < 1000, "it is polled again and again");
        lawful == 0
    }
}

/// Memory as long-lived as any room; a static has its address, so it counts as no leak.
fn kept() -> &'static mut [u8] {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let memory = Box::leak(Box::new([7; 100_000]));
    KEPT.lock().expect("whole").push(memory.as_ptr().addr());
    memory
}

impl ByteReceiveStream for Lawless {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if !self.breaks([Nothing, Elsewhere]) {
            return self.inner.poll_receive(place, cx, room);
        }
        if self.breach == Elsewhere {
            *room = Room::new(kept());
            room.put(&[7; 100_000]);
        }
        Poll::Ready(Ok(()))
    }

    fn leave_receive(&self, place: &mut Place) {
        self.inner.leave_receive(place);
    }
}

impl ByteSendStream for Lawless {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if !self.breaks([NoByte, More]) {
            return self.inner.poll_send(place, cx, parts);
        }
        let all: usize = parts.iter().map(|part| part.len()).sum();
        Poll::Ready(Ok(if self.breach == More { all + 1 } else { 0 }))
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.inner.leave_send(place);
    }
}

impl ByteStream for Lawless {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.inner.close().await
    }

    fn abort(&self) {
        self.inner.abort();
    }

    async fn reset(&self) -> Result<()> {
        self.inner.reset().await
    }
}

fn pair(breach: Breach) -> (Lawless, MemoryStream) {
    let (ours, theirs) = create_memory_byte_stream(100_000);
    (Lawless::over(ours, breach), theirs)
}

/// Expects the error of such a stream; in time, in a few polls.
async fn refused<T>(result: impl Future<Output = Result<T>>) {
    let result = polled(20, result).await.expect("it ends");
    let error = result.err().expect("it breaks the law");
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    assert!(error.to_string().contains("law 1"), "{error}");
}

#[test]
fn a_receive_without_a_byte_is_an_error() {
    run(async {
        for breach in [Nothing, Elsewhere] {
            let (ours, _theirs) = pair(breach);
            refused(ours.receive()).await;
            refused(ours.receive_max(3)).await;
            refused(ours.receive_into(&mut [0; 3])).await;
            refused(ours.next()).await;
            refused((&&ours).receive_max(3)).await;
            let ours = Buffered::new(ours);
            refused(ours.receive()).await;
            refused(ours.receive_exactly(3)).await;
            refused(ours.receive_array::<3>()).await;
            refused(ours.receive_until(b"\n", 100)).await;
            refused(ours.receive_each(b"\n", 100, |_| {})).await;
            refused(ours.next_line(&mut Vec::new(), 100)).await;
            refused(ours.receive_with(100, |_| None::<(usize, ())>)).await;
            assert_eq!(ours.buffer(), b"");
        }
    });
}

/// An empty receive is the end there.
#[test]
fn it_is_no_end_for_crates_that_poll() {
    run(async {
        for breach in [Nothing, Elsewhere] {
            let mut io = Io::new(pair(breach).0);
            let mut memory = [0; 10];
            refused(poll_fn(|cx| {
                io.poll_receive(cx, &mut Room::new(&mut memory))
            }))
            .await;
        }
        for breach in [NoByte, More] {
            let mut io = Io::new(pair(breach).0);
            refused(poll_fn(|cx| io.poll_send(cx, &[IoSlice::new(b"abc")]))).await;
        }
    });
}

#[test]
fn a_send_of_none_or_of_more_than_all_is_an_error() {
    run(async {
        for breach in [NoByte, More] {
            for lawful in [0, 1] {
                let (ours, theirs) = pair(breach);
                let clogged = lawful * 100_000 - lawful;
                theirs.send(b"x").await.expect("room");
                ours.inner.send(&vec![0; clogged]).await.expect("room");
                ours.lawful.set(lawful);
                let mut rest = &b"abc"[..];
                refused(ours.send_from(&mut rest)).await;
                assert_eq!(rest.len(), 3 - lawful, "what was handed over before");
                refused(ours.send(b"abc")).await;
                let mut parts = [b"".as_slice(), b"ab", b"c"].map(IoSlice::new);
                refused(ours.send_vectored(&mut &mut parts[..])).await;
                refused(Buffered::new(&ours).send(b"abc")).await;
                let mut buffer = SendBuffer::new(&ours);
                buffer.write(b"abc");
                refused(buffer.flush()).await;
                assert_eq!(buffer.unsent(), 3);
            }
            // Nothing is all of nothing.
            if breach == NoByte {
                pair(breach).0.send(b"").await.expect("nothing to send");
            }
        }
    });
}

/// A kernel that accepts none of the bytes, without an error. No kernel does it today; what stands
/// in front of one may.
#[cfg(target_os = "linux")]
#[test]
fn a_kernel_that_takes_no_byte_is_an_error() {
    const NAME: &str = "lawless::a_kernel_that_takes_no_byte_is_an_error";
    alone(NAME, || {
        run(async {
            let ((tcp, _far), (unix, far)) = (tcp_pair().await, unix_pair().await);
            far.send(b"to be relayed").await.expect("room");
            // The length of the one, and the flags of the other, which are not 0.
            let filtered = kernel::fail_call(libc::SYS_sendto, 2, 1, 0)
                && kernel::fail_call(libc::SYS_sendmsg, 2, 1, 0);
            if !filtered {
                return;
            }
            refused(tcp.send(b"abc")).await;
            refused(unix.send(b"abc")).await;
            let mut rest = &b"abc"[..];
            refused(tcp.send_from(&mut rest)).await;
            let mut parts = [b"ab", b"cd"].map(|part| IoSlice::new(part));
            refused(tcp.send_vectored(&mut &mut parts[..])).await;
            #[cfg(feature = "unix-ext")]
            {
                let fds = [std::os::fd::AsFd::as_fd(&tcp)];
                refused(unix.send_fds_from(&mut rest, &fds)).await;
            }
            assert_eq!(rest, b"abc");
            #[cfg(feature = "relay")]
            refused(soloio::relay(&unix, &tcp).run()).await;
        });
    });
}

#[cfg(feature = "relay")]
#[test]
fn a_relay_resets_the_other_stream() {
    use soloio::relay;

    use crate::net_support::is_broken;

    run(async {
        for breach in [Nothing, Elsewhere, NoByte, More] {
            for lawless_first in [true, false] {
                let (near, _far) = pair(breach);
                let (ours, client) = create_memory_byte_stream(100);
                client.send(b"hello").await.expect("room");
                match lawless_first {
                    true => refused(relay(&near, &ours).run()).await,
                    false => refused(relay(&ours, &near).run()).await,
                }
                assert!(is_broken(&client.receive().await), "{breach:?}");
            }
        }
    });
}

#[cfg(feature = "relay")]
#[test]
fn a_file_is_not_sent_for_ever() {
    run(async {
        let file = std::fs::File::open(std::env::current_exe().expect("this program"));
        let file = file.expect("it can be read");
        for breach in [NoByte, More] {
            let (ours, _theirs) = pair(breach);
            let mut rest = 0..10;
            refused(ours.send_file_from(&file, &mut rest)).await;
            assert_eq!(rest, 0..10);
        }
    });
}

/// In the handshake, and after it.
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn tls_over_it_ends() {
    use soloio::tls::TlsStream;

    use crate::tls_support::{NAME, client_config, server_config, tls_over};

    run(async {
        for breach in [Nothing, Elsewhere, NoByte, More] {
            let (ours, _theirs) = pair(breach);
            refused(TlsStream::client(ours, NAME, client_config()).into_future()).await;
            if [Nothing, Elsewhere].contains(&breach) {
                let (ours, _theirs) = pair(breach);
                refused(TlsStream::server(ours, server_config()).into_future()).await;
            }
            let (a, b) = create_memory_byte_stream(100_000);
            let (a, b) = (Lawless::over(a, breach), Lawless::over(b, breach));
            a.lawful.set(usize::MAX);
            b.lawful.set(usize::MAX);
            let (client, _server) = tls_over((a, b), true).await;
            client.inner().lawful.set(0);
            match breach {
                Nothing | Elsewhere => refused(client.receive()).await,
                NoByte | More => refused(client.send(b"hello")).await,
            }
        }
    });
}
