//! Cancels the streams' inherent methods: the other rounds call those of the traits.

use std::fs::{self, File};
use std::io::IoSlice;

use futures_util::future::join;
use soloio::{AnyByteStream, Buffered, ByteStream, Result, SendBuffer, create_memory_byte_stream};
use soloio::{MemoryStream, TcpStream, UnixStream};

use super::{Cut, counted, everywhere};
use crate::net_support::{TempDir, clog, numbered, tcp_pair, turns, unix_pair};

type Ended<T> = Option<Result<T>>;

async fn receive<S: ByteStream>(
    (a, b): (S, S),
    operation: impl AsyncFnOnce(&S) -> Ended<Vec<u8>>,
) -> bool {
    let data = numbered(0, 20);
    let partner = async {
        for half in data.chunks(10) {
            turns(2).await;
            b.send(half).await.expect("sent");
        }
        b.send_eof().await.expect("ended");
    };
    let receive = async {
        let got = operation(&a).await;
        let done = got.is_some();
        let mut all = got.map_or_else(Vec::new, |got| got.expect("bytes"));
        while let Some(more) = a.next().await.expect("an orderly end") {
            all.extend(more);
        }
        assert_eq!(all, data, "nothing lost, nothing doubled");
        done
    };
    join(receive, partner).await.0
}

/// Hands the operation its data, and a file with the same content; it returns whether it was done,
/// and the number of unsent bytes if it knows.
async fn send<S: ByteStream>(
    (a, b): (S, S),
    len: usize,
    operation: impl AsyncFnOnce(&S, &[u8], &File) -> (bool, Option<usize>),
) -> bool {
    let taken = clog(&a, 0).await;
    let data = numbered(taken, len);
    let dir = TempDir::new();
    fs::write(dir.path("data"), &data).expect("room for a file");
    let file = File::open(dir.path("data")).expect("it is there");
    let send = async {
        let ended = operation(&a, &data, &file).await;
        a.send(b"!").await.expect("the stream goes on");
        a.send_eof().await.expect("ended");
        ended
    };
    counted(&b, taken, len, send).await
}

pub(super) fn is_done(ended: Ended<()>) -> bool {
    ended.map(|ended| ended.expect("done")).is_some()
}

/// The receives that every type has.
macro_rules! all_receive {
    ($cut:expr, $pair:expr, $stream:ty) => {{
        let cut: Cut = $cut;
        let mut done = receive($pair, async |a: &$stream| cut.apply(a.receive()).await).await;
        done &= receive($pair, async |a: &$stream| cut.apply(a.receive_max(3)).await).await;
        done &= receive($pair, async |a: &$stream| {
            let next = cut.apply(a.next()).await;
            next.map(|next| next.map(|bytes| bytes.expect("no end yet")))
        })
        .await;
        done &= receive($pair, async |a: &$stream| {
            let mut room = [0; 7];
            let got = cut.apply(a.receive_into(&mut room)).await;
            got.map(|got| got.map(|bytes| bytes.to_vec()))
        })
        .await;
        done
    }};
}

/// The sends that every type has.
macro_rules! all_send {
    ($cut:expr, $pair:expr, $stream:ty, $len:expr) => {{
        let cut: Cut = $cut;
        let mut done = send($pair, $len, async |a: &$stream, data, _| {
            (is_done(cut.apply(a.send(data)).await), None)
        })
        .await;
        done &= send($pair, $len, async |a: &$stream, data, _| {
            let mut rest = data;
            let ended = cut.apply(a.send_from(&mut rest)).await;
            (is_done(ended), Some(rest.len()))
        })
        .await;
        done &= send($pair, $len, async |a: &$stream, data, _| {
            let mut parts: Vec<_> = data.chunks(1 + data.len() / 10).map(IoSlice::new).collect();
            let mut parts = &mut parts[..];
            let ended = cut.apply(a.send_vectored(&mut parts)).await;
            let left = parts.iter().map(|part| part.len()).sum();
            (is_done(ended), Some(left))
        })
        .await;
        done &= send($pair, $len, async |a: &$stream, data, file| {
            let ended = cut.apply(a.send_file(file, 0, data.len() as u64)).await;
            (is_done(ended), None)
        })
        .await;
        done &= send($pair, $len, async |a: &$stream, data, file| {
            let mut rest = 0..data.len() as u64;
            let ended = cut.apply(a.send_file_from(file, &mut rest)).await;
            (is_done(ended), Some((rest.end - rest.start) as usize))
        })
        .await;
        done
    }};
}

/// The operations of each type that sends its end without waiting.
macro_rules! all_have {
    ($cut:expr, $pair:expr, $stream:ty, $len:expr) => {{
        let cut: Cut = $cut;
        let done = all_receive!(cut, $pair, $stream) & all_send!(cut, $pair, $stream, $len);
        let (a, b): ($stream, $stream) = $pair;
        let said = is_done(cut.apply(a.send_eof()).await);
        // `close` waits until the peer has read everything.
        let partner = async {
            assert!(b.next().await.expect("an orderly end").is_none());
            drop(b);
        };
        let (closed, ()) = join(cut.apply(a.close()), partner).await;
        done & said & is_done(closed)
    }};
}

/// Covers: TcpStream::receive, TcpStream::receive_max, TcpStream::receive_into, TcpStream::next,
/// TcpStream::send, TcpStream::send_from, TcpStream::send_vectored, TcpStream::send_eof,
/// TcpStream::close, TcpStream::send_file, TcpStream::send_file_from.
#[test]
fn of_tcp() {
    everywhere("cancel_everywhere::faces::of_tcp", async |cut| {
        all_have!(cut, tcp_pair().await, TcpStream, 400_000)
    });
}

/// Covers: UnixStream::receive, UnixStream::receive_max, UnixStream::receive_into,
/// UnixStream::next, UnixStream::send, UnixStream::send_from, UnixStream::send_vectored,
/// UnixStream::send_eof, UnixStream::close, UnixStream::send_file, UnixStream::send_file_from.
#[test]
fn of_unix() {
    everywhere("cancel_everywhere::faces::of_unix", async |cut| {
        all_have!(cut, unix_pair().await, UnixStream, 400_000)
    });
}

/// Covers: MemoryStream::receive, MemoryStream::receive_max, MemoryStream::receive_into,
/// MemoryStream::next, MemoryStream::send, MemoryStream::send_from, MemoryStream::send_vectored,
/// MemoryStream::send_eof, MemoryStream::close, MemoryStream::send_file,
/// MemoryStream::send_file_from.
#[test]
fn of_memory() {
    everywhere("cancel_everywhere::faces::of_memory", async |cut| {
        all_have!(cut, create_memory_byte_stream(5), MemoryStream, 23)
    });
}

/// Covers: AnyByteStream::receive, AnyByteStream::receive_max, AnyByteStream::receive_into,
/// AnyByteStream::next, AnyByteStream::send, AnyByteStream::send_from,
/// AnyByteStream::send_vectored, AnyByteStream::send_eof, AnyByteStream::close,
/// AnyByteStream::send_file, AnyByteStream::send_file_from.
#[test]
fn of_any() {
    async fn boxed() -> (AnyByteStream<'static>, AnyByteStream<'static>) {
        let (a, b) = unix_pair().await;
        (AnyByteStream::new(a), AnyByteStream::new(b))
    }
    everywhere("cancel_everywhere::faces::of_any", async |cut| {
        all_have!(cut, boxed().await, AnyByteStream<'static>, 400_000)
    });
}

/// Covers: Buffered::receive, Buffered::receive_max, Buffered::receive_into, Buffered::next,
/// Buffered::send, Buffered::send_from, Buffered::send_vectored, Buffered::send_eof,
/// Buffered::close, Buffered::receive_exactly, Buffered::receive_until,
/// Buffered::receive_until_into, Buffered::receive_array, Buffered::receive_with,
/// Buffered::receive_each, Buffered::next_line, Buffered::send_file, Buffered::send_file_from.
#[test]
fn of_buffered() {
    type Stream = Buffered<UnixStream>;
    async fn pair() -> (Stream, Stream) {
        let (a, b) = unix_pair().await;
        (Buffered::new(a), Buffered::new(b))
    }
    everywhere("cancel_everywhere::faces::of_buffered", async |cut| {
        let mut done = all_have!(cut, pair().await, Stream, 400_000);
        done &= receive(pair().await, async |a: &Stream| {
            cut.apply(a.receive_exactly(15)).await
        })
        .await;
        done &= receive(pair().await, async |a: &Stream| {
            let delimiter = numbered(14, 3);
            let got = cut.apply(a.receive_until(&delimiter, 20)).await;
            got.map(|got| got.map(|before| [before, delimiter].concat()))
        })
        .await;
        done &= receive(pair().await, async |a: &Stream| {
            let (mut line, delimiter) = (Vec::new(), numbered(14, 3));
            let received = a.receive_until_into(&mut line, &delimiter, 20);
            let got = cut.apply(received).await;
            got.map(|got| got.map(|()| [line, delimiter].concat()))
        })
        .await;
        done &= receive(pair().await, async |a: &Stream| {
            let got = cut.apply(a.receive_array::<15>()).await;
            got.map(|got| got.map(|array| array.to_vec()))
        })
        .await;
        done &= receive(pair().await, async |a: &Stream| {
            let item = |bytes: &[u8]| Some((15, bytes.get(..15)?.to_vec()));
            cut.apply(a.receive_with(20, item)).await
        })
        .await;
        done &= receive(pair().await, async |a: &Stream| {
            let (mut items, delimiter) = (Vec::new(), numbered(14, 3));
            let each = |item: &[u8]| items.push([item, &delimiter].concat());
            let got = cut.apply(a.receive_each(&delimiter, 20, each)).await;
            got.map(|got| got.map(|_| items.concat()))
        })
        .await;
        done & cancelled_line(cut, pair().await).await
    });
}

/// `numbered` has one line feed at most, so this has data of its own.
async fn cancelled_line<S: ByteStream>(cut: Cut, (a, b): (Buffered<S>, Buffered<S>)) -> bool {
    let partner = async {
        for half in [&b"a line in"[..], b" two parts\r\nrest"] {
            turns(2).await;
            b.send(half).await.expect("sent");
        }
        b.send_eof().await.expect("ended");
    };
    let receive = async {
        let mut line = vec![9];
        let done = match cut.apply(a.next_line(&mut line, 40)).await {
            Some(came) => came.expect("a line"),
            None => {
                assert_eq!(line, [9], "unchanged");
                assert!(a.next_line(&mut line, 40).await.expect("a line"));
                false
            }
        };
        assert_eq!(line, b"a line in two parts");
        assert_eq!(a.receive_exactly(4).await.expect("the rest"), b"rest");
        assert!(!a.next_line(&mut line, 40).await.expect("the end"));
        done
    };
    join(receive, partner).await.0
}

/// Covers: SendBuffer::flush.
#[test]
fn of_send_buffer() {
    everywhere("cancel_everywhere::faces::of_send_buffer", async |cut| {
        send(
            unix_pair().await,
            400_000,
            async |a: &UnixStream, data, _| {
                let mut buffer = SendBuffer::new(a);
                let parts = data.chunks(1 + data.len() / 10);
                parts.for_each(|part| buffer.write(part));
                let done = is_done(cut.apply(buffer.flush()).await);
                let left = buffer.unsent();
                assert!(!done || left == 0);
                buffer.clear();
                (done, Some(left))
            },
        )
        .await
    });
}

/// Covers: TlsStream::receive, TlsStream::receive_max, TlsStream::receive_into, TlsStream::next,
/// TlsStream::send, TlsStream::send_from, TlsStream::send_vectored, TlsStream::send_file,
/// TlsStream::send_file_from.
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn of_tls() {
    use super::tls::{Stream, pair};

    everywhere("cancel_everywhere::faces::of_tls", async |cut| {
        all_receive!(cut, pair().await, Stream) & all_send!(cut, pair().await, Stream, 200)
    });
}
