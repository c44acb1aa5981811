//! The traits of futures-io and futures-core, over every kind of stream and source.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use soloio::{
    AnyByteStream, Buffered, ByteStream, Error, Io, connect_tcp, create_memory_byte_stream,
    create_memory_object_stream, interval, items, move_on_after,
};

use crate::net_support::{numbered, refused, run, tcp_listener, tcp_pair, turns, udp, unix_pair};
use crate::support::poll_once;

const LOT: usize = 300_000;

async fn read(io: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; max];
    let got = poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buf)).await?;
    buf.truncate(got);
    Ok(buf)
}

async fn flush(io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await
}

async fn close(io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *io).poll_close(cx)).await
}

/// Writes all of it, in pieces of odd lengths.
async fn write(io: &mut (impl AsyncWrite + Unpin), mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let (first, rest) = data.split_at(data.len().min(7));
        let second = &rest[..rest.len().min(4_001)];
        let parts = [first, &[], second].map(IoSlice::new);
        let sent = poll_fn(|cx| Pin::new(&mut *io).poll_write_vectored(cx, &parts)).await?;
        assert!((1..=first.len() + second.len()).contains(&sent));
        data = &data[sent..];
    }
    flush(io).await
}

/// The traits over one kind: all comes back, in order, and then the end, on each side.
async fn echoes<S: ByteStream>((a, b): (S, S)) {
    let data = numbered(0, LOT);
    let (mut reading, mut writing) = (Io::new(&a), Io::new(&a));
    let send = async {
        write(&mut writing, &data).await.expect("written");
        close(&mut writing).await.expect("closed");
        close(&mut writing).await.expect("again");
        let refused = write(&mut writing, b"x").await.expect_err("closed");
        assert_eq!(refused.kind(), ErrorKind::NotConnected);
        assert!(matches!(Error::from(refused), Error::Closed));
    };
    let echo = async {
        let mut io = Io::new(&b);
        loop {
            let some = read(&mut io, 5_003).await.expect("data");
            if some.is_empty() {
                break;
            }
            write(&mut io, &some).await.expect("written");
        }
        close(&mut io).await.expect("closed");
        assert_eq!(read(&mut io, 9).await.expect("the end stays"), b"");
    };
    let receive = async {
        let mut got = Vec::new();
        loop {
            let some = read(&mut reading, 7_001).await.expect("data");
            if some.is_empty() {
                break;
            }
            got.extend(some);
        }
        assert!(got == data);
    };
    join(join(send, receive), echo).await;
}

#[test]
fn all_comes_back_over_every_kind() {
    run(async {
        echoes(tcp_pair().await).await;
        echoes(unix_pair().await).await;
        for size in [100, 65_536] {
            echoes(create_memory_byte_stream(size)).await;
        }
        let (a, b) = unix_pair().await;
        echoes((Rc::new(a), Rc::new(b))).await;
        let (a, b) = unix_pair().await;
        echoes((Arc::new(a), Arc::new(b))).await;
        let (a, b) = tcp_pair().await;
        echoes((AnyByteStream::new(a), AnyByteStream::new(b))).await;
        let (a, b) = tcp_pair().await;
        echoes((Buffered::new(a), Buffered::new(b))).await;
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn all_comes_back_over_every_kind_of_tls() {
    use crate::tls_support::tls;
    run(async {
        echoes(tls(tcp_pair()).await).await;
        echoes(tls(async { create_memory_byte_stream(1_000) }).await).await;
        echoes(tls(tls(unix_pair())).await).await;
        let (a, b) = tls(tcp_pair()).await;
        echoes((AnyByteStream::new(a), AnyByteStream::new(b))).await;
        let (a, b) = tcp_pair().await;
        let any = async { (AnyByteStream::new(a), AnyByteStream::new(b)) };
        echoes(tls(any).await).await;
    });
}

/// What is told of a cancel: an error that no loop tries again after, with ours in it.
fn is_told(error: io::Error) {
    let retried = [ErrorKind::Interrupted, ErrorKind::WouldBlock];
    assert!(!retried.contains(&error.kind()), "{error:?}");
    refused!(Err::<(), _>(Error::from(error)), Error::Cancelled);
}

async fn cancels_are_told<S: ByteStream>((a, b): (S, S)) {
    for inside in [false, true] {
        let mut told = None;
        let ended = move_on_after(Duration::from_millis(1), async {
            let mut io = Io::new(&a);
            told = Some(match inside {
                false => read(&mut io, 9).await,
                true => {
                    let mut all: FuturesUnordered<_> = [read(&mut io, 9)].into_iter().collect();
                    all.next().await.expect("one")
                }
            });
            Ok::<_, Error>(())
        });
        ended.await.expect("moves on");
        is_told(told.expect("told, not dropped").expect_err("cancelled"));
    }
    b.send(b"later").await.expect("sent");
    let got = read(&mut Io::new(&a), 9).await;
    assert_eq!(got.expect("it is free, nothing is lost"), b"later");
}

#[test]
fn a_cancel_is_an_io_error_with_ours_in_it() {
    run(async {
        cancels_are_told(tcp_pair().await).await;
        cancels_are_told(create_memory_byte_stream(10)).await;
        cancels_are_told({
            let (a, b) = unix_pair().await;
            (AnyByteStream::new(a), AnyByteStream::new(b))
        })
        .await;
        #[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
        cancels_are_told(crate::tls_support::tls(tcp_pair()).await).await;
    });
}

#[test]
fn a_second_reader_is_told_that_the_stream_is_busy() {
    run(async {
        let (a, b) = unix_pair().await;
        let (mut first, mut second) = (Io::new(&a), Io::new(&a));
        assert!(poll_once(pin!(read(&mut first, 9))).await.is_pending());
        let busy = read(&mut second, 9).await.expect_err("another one reads");
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        drop(first);
        b.send(b"free").await.expect("sent");
        assert_eq!(read(&mut second, 9).await.expect("data"), b"free");
    });
}

#[test]
fn one_that_is_always_ready_lets_its_limit_be_met() {
    run(async {
        let (a, b) = create_memory_byte_stream(64);
        let ended = move_on_after(Duration::from_millis(20), async {
            let (mut a, mut b) = (Io::new(&a), Io::new(&b));
            loop {
                write(&mut a, b"ball").await?;
                read(&mut b, 9).await?;
            }
            #[allow(unreachable_code, reason = "it says of what type the loop is")]
            Ok::<(), Error>(())
        });
        assert!(ended.await.expect("moves on").is_none());
    });
}

#[test]
fn one_that_a_dead_runtime_left_goes_on_under_the_next() {
    let (a, b) = run(tcp_pair());
    let mut io = Io::new(a);
    run(async { assert!(poll_once(pin!(read(&mut io, 9))).await.is_pending()) });
    let other = std::thread::spawn(move || {
        run(async {
            let send = async {
                turns(3).await;
                b.send(b"hello").await.expect("sent");
            };
            let (got, ()) = join(read(&mut io, 9), send).await;
            assert_eq!(got.expect("data"), b"hello");
            io
        })
    });
    let mut io = other.join().expect("it went well");
    let outside = futures_util::FutureExt::now_or_never(read(&mut io, 9));
    let error = outside.expect("no wait").expect_err("no runtime");
    assert!(matches!(Error::from(error), Error::NoRuntime));
}

/// Takes one, and sees that waiting for the next is possible.
async fn first<T>(items: &mut (impl Stream<Item = soloio::Result<T>> + Unpin)) -> T {
    let first = items.next().await.expect("an item").expect("no error");
    assert!(poll_once(pin!(items.next())).await.is_pending());
    first
}

#[test]
fn connections_datagrams_and_objects_are_items() {
    run(async {
        let listener = tcp_listener().await;
        let mut clients = items(|| listener.accept());
        let port = listener.local_addr().port();
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        let accepted = first(&mut clients).await;
        client.send(b"x").await.expect("sent");
        assert_eq!(accepted.receive().await.expect("data"), b"x");
        // The one that waits is in the stream, and goes with it.
        refused!(listener.accept().await, Error::Busy);
        drop(clients);
        assert!(poll_once(pin!(listener.accept())).await.is_pending());

        let (socket, sender) = (udp().await, udp().await);
        sender
            .send_to(b"one", socket.local_addr())
            .await
            .expect("sent");
        let mut datagrams = items(|| socket.receive());
        assert_eq!(first(&mut datagrams).await.0, b"one");

        let (sender, receiver) = create_memory_object_stream(9);
        let mut objects = items(|| receiver.receive());
        sender.send(1).await.expect("sent");
        assert_eq!(first(&mut objects).await, 1);
        sender.send(2).await.expect("sent");
        drop(sender);
        assert_eq!(objects.next().await.expect("an item").expect("2"), 2);
        assert!(!objects.is_terminated());
        assert!(objects.next().await.is_none());
        assert!(objects.is_terminated() && objects.next().await.is_none());
    });
}

#[cfg(feature = "signal")]
#[test]
fn signals_are_items() {
    run(async {
        let receiver = soloio::open_signal_receiver(&[soloio::Signal::WindowChange]);
        let receiver = receiver.expect("a receiver");
        let mut signals = items(|| receiver.receive());
        assert!(poll_once(pin!(signals.next())).await.is_pending());
        let kill = ["-WINCH".to_owned(), std::process::id().to_string()];
        let killed = std::process::Command::new("kill").args(kill).status();
        assert!(killed.expect("kill").success());
        assert_eq!(first(&mut signals).await, soloio::Signal::WindowChange);
    });
}

#[test]
fn an_error_is_an_item_and_what_stays_is_told_once() {
    run(async {
        let mut outcomes = [
            Ok(1),
            Err(Error::WouldBlock),
            Ok(2),
            Err(Error::Closed),
            Ok(3),
        ]
        .into_iter();
        let mut all = items(|| std::future::ready(outcomes.next().expect("no more is asked for")));
        assert!(matches!(all.next().await, Some(Ok(1))));
        assert!(matches!(all.next().await, Some(Err(Error::WouldBlock))));
        assert!(matches!(all.next().await, Some(Ok(2))));
        assert!(matches!(all.next().await, Some(Err(Error::Closed))));
        assert!(all.next().await.is_none() && all.next().await.is_none());
    });
}

#[test]
fn a_cancel_ends_a_loop_over_items() {
    run(async {
        let listener = tcp_listener().await;
        let ended = move_on_after(Duration::from_millis(1), async {
            items(|| listener.accept())
                .try_for_each(async |_| Ok(()))
                .await
        });
        assert!(ended.await.expect("moves on").is_none());
        assert!(poll_once(pin!(listener.accept())).await.is_pending());
    });
}

#[test]
fn ticks_are_items() {
    run(async {
        let start = Instant::now();
        let period = Duration::from_millis(2);
        let mut ticks = interval(period);
        for _ in 0..2 {
            ticks.next().await.expect("no end").expect("a tick");
        }
        // Both ways at once: a poll that was left is gone on with.
        assert!(poll_once(pin!(ticks.next())).await.is_pending());
        ticks.tick().await.expect("a tick");
        assert!(poll_once(pin!(ticks.tick())).await.is_pending());
        ticks.next().await.expect("no end").expect("a tick");
        assert!(start.elapsed() >= period * 4);
        assert!(start.elapsed() < Duration::from_secs(10));
        let cut = move_on_after(Duration::from_millis(1), async {
            let mut slow = interval(Duration::from_secs(60));
            slow.next().await.expect("no end")
        });
        assert!(cut.await.expect("moves on").is_none());
    });
}

/// One box for all items, and none where nothing waits in the middle.
#[test]
fn items_need_one_box() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(100);
        let mut objects = items(|| receiver.receive());
        for round in 0..50 {
            sender.send(round).await.expect("sent");
            let before = crate::allocations::made();
            let got = objects.next().await;
            assert_eq!(got.expect("an item").expect("no error"), round);
            assert!(round < 3 || crate::allocations::made() == before);
        }
    });
}

/// Where all that is held may travel, so may the future.
#[test]
fn what_holds_only_what_can_travel_can_travel() {
    fn travels<T: Send>(future: T) -> T {
        future
    }
    run(async {
        let (a, b) = tcp_pair().await;
        let mut io = Io::new(a);
        let reading = travels(async move { read(&mut io, 9).await });
        let mut io = Io::new(b);
        let writing = travels(async move { write(&mut io, b"x").await });
        let (got, written) = join(reading, writing).await;
        written.expect("written");
        assert_eq!(got.expect("data"), b"x");
        let waits: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        join_all(waits).await;
        assert!(matches!(
            poll_once(pin!(travels(interval(Duration::ZERO)).tick())).await,
            Poll::Pending
        ));
    });
}
