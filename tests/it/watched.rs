//! `Watched`: foreign descriptors that stay watched.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join;
use soloio::net::Watched;
use soloio::{Error, Place, Result, fail_after, move_on_after};

use crate::cut::everywhere;
use crate::net_support::{check_numbered, numbered, polled, refused, run, turns};
use crate::support::{alone, fds, poll_once};

fn pair() -> (Watched<UnixStream>, Watched<UnixStream>) {
    let (a, b) = UnixStream::pair().expect("a pair");
    a.set_nonblocking(true).expect("set");
    b.set_nonblocking(true).expect("set");
    let watched = |stream| Watched::new(stream).expect("watched");
    (watched(a), watched(b))
}

async fn read(watched: &Watched<UnixStream>, max: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; max];
    let got = watched
        .read_with(|mut stream| stream.read(&mut bytes))
        .await?;
    bytes.truncate(got);
    Ok(bytes)
}

async fn write(watched: &Watched<UnixStream>, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let sent = watched.write_with(|mut stream| stream.write(data)).await?;
        data = &data[sent..];
    }
    Ok(())
}

#[test]
fn bytes_pass_both_ways_at_once() {
    run(async {
        let (a, b) = pair();
        let data = numbered(0, 1_000_000);
        let exchange = async |io: &Watched<UnixStream>| {
            let receive = async {
                let mut got = 0;
                while got < data.len() {
                    let some = read(io, 10_000).await.expect("data");
                    check_numbered(got, &some);
                    got += some.len();
                }
            };
            let (sent, ()) = join(write(io, &data), receive).await;
            sent.expect("sent");
        };
        join(exchange(&a), exchange(&b)).await;
        drop(b.into_inner());
        assert_eq!(read(&a, 9).await.expect("the end"), b"");
        let broken = write(&a, b"x").await;
        assert!(matches!(&broken, Err(Error::Io(cause)) if cause.kind() == ErrorKind::BrokenPipe));
    });
}

#[test]
fn a_call_is_made_when_it_may_succeed_and_no_descriptor_is_needed() {
    alone(
        "watched::a_call_is_made_when_it_may_succeed_and_no_descriptor_is_needed",
        || {
            run(async {
                let (a, b) = pair();
                let mut poll_made = fds();
                for round in 0..20 {
                    let calls = Cell::new(0);
                    let waits = a.read_with(|mut stream| {
                        calls.set(calls.get() + 1);
                        stream.read(&mut [0; 9])
                    });
                    let answer = async {
                        turns(3).await;
                        write(&b, b"x").await.expect("sent");
                    };
                    let (got, ()) = join(waits, answer).await;
                    assert_eq!(got.expect("data"), 1);
                    // Once at first, and once when it was told.
                    assert!(calls.get() <= 2, "{} calls", calls.get());
                    if round == 0 {
                        // The poller was made.
                        poll_made = fds();
                    }
                    assert_eq!(fds(), poll_made);
                }
            });
        },
    );
}

#[test]
fn each_direction_has_one_operation_and_ends_with_its_scope() {
    run(async {
        let (a, b) = pair();
        let mut waits = Box::pin(read(&a, 9));
        assert!(poll_once(waits.as_mut()).await.is_pending());
        refused!(read(&a, 9).await, Error::Busy);
        write(&a, b"the other direction is free")
            .await
            .expect("sent");
        drop(waits);
        let mut told = None;
        let ended = move_on_after(Duration::from_millis(1), async {
            told = Some(read(&a, 9).await);
            Ok::<_, Error>(())
        });
        ended.await.expect("moves on");
        refused!(told.expect("told, not dropped"), Error::Cancelled);
        write(&b, b"later").await.expect("sent");
        assert_eq!(read(&a, 9).await.expect("data"), b"later");
    });
}

#[test]
fn places_hold_a_direction_until_they_are_left() {
    run(async {
        let (a, b) = pair();
        let mut place = Place::default();
        let polled = |place: &mut Place, cx: &mut std::task::Context<'_>| {
            a.poll_read_with(place, cx, |mut stream| stream.read(&mut [0; 9]))
        };
        let waits = std::future::poll_fn(|cx| Poll::Ready(polled(&mut place, cx).is_pending()));
        assert!(waits.await);
        refused!(read(&a, 9).await, Error::Busy);
        a.leave_read(&mut place);
        assert!(poll_once(pin!(read(&a, 9))).await.is_pending());
        let writes = |cx: &mut std::task::Context<'_>| {
            b.poll_write_with(&mut place, cx, |mut stream| stream.write(b"four"))
        };
        assert_eq!(std::future::poll_fn(writes).await.expect("sent"), 4);
        b.leave_write(&mut place);
        let got = std::future::poll_fn(|cx| polled(&mut place, cx)).await;
        assert_eq!(got.expect("data"), 4);
    });
}

#[test]
fn it_goes_on_under_another_runtime_and_beside_one_that_watches_the_same() {
    let (a, b) = pair();
    run(async { assert!(poll_once(pin!(read(&a, 9))).await.is_pending()) });
    let other = std::thread::spawn(move || {
        run(async {
            let twin = a
                .get_ref()
                .as_fd()
                .try_clone_to_owned()
                .expect("a duplicate");
            let twin = Watched::new(UnixStream::from(twin)).expect("watched");
            let both = join(read(&a, 1), read(&twin, 1));
            let send = async {
                turns(2).await;
                write(&b, b"xy").await.expect("sent");
            };
            let ((first, second), ()) = join(both, send).await;
            let mut got = [first.expect("data"), second.expect("data")].concat();
            got.sort_unstable();
            assert_eq!(got, b"xy");
        });
    });
    other.join().expect("it went well");
}

#[test]
fn what_would_hold_up_the_loop_is_refused() {
    let (blocking, _b) = UnixStream::pair().expect("a pair");
    let refused = Watched::new(blocking).map(drop);
    assert!(matches!(&refused, Err(Error::Io(cause)) if cause.kind() == ErrorKind::InvalidInput));
    run(async {
        let (a, _b) = pair();
        let failed = a
            .read_with(|_| Err::<(), _>(ErrorKind::NotFound.into()))
            .await;
        assert!(matches!(&failed, Err(Error::Io(cause)) if cause.kind() == ErrorKind::NotFound));
    });
    let (a, _b) = pair();
    let outside = futures_util::FutureExt::now_or_never(read(&a, 9));
    refused!(outside.expect("no wait"), Error::NoRuntime);
}

#[test]
fn what_is_told_is_true_whoever_makes_the_calls() {
    run(async {
        let (a, b) = pair();
        a.writable().await.expect("there is room");
        for round in 0..5 {
            let waits = polled(3, a.readable()).await;
            assert!(waits.is_none(), "nothing is there in round {round}");
            write(&b, b"abc").await.expect("sent");
            a.readable().await.expect("data");
            a.readable().await.expect("still data");
            let mut room = [0; 2];
            if round % 2 == 0 {
                let got = a.try_read_with(|mut stream| stream.read(&mut room));
                assert_eq!(got.expect("data"), 2);
                a.readable().await.expect("one more");
                let all = a.try_read_with(|mut stream| stream.read(&mut room));
                assert_eq!(all.expect("data"), 1);
                let none = a.try_read_with(|mut stream| stream.read(&mut room));
                assert_eq!(none.expect_err("empty").kind(), ErrorKind::WouldBlock);
            } else {
                // The loop is not told of these.
                let mut stream = a.get_ref();
                stream.read_exact(&mut [0; 3]).expect("data");
            }
        }
        let (full, count) = (Cell::new(false), Cell::new(0));
        while !full.get() {
            match a.try_write_with(|mut stream| stream.write(&[0; 10_000])) {
                Ok(sent) => count.set(count.get() + sent),
                Err(error) => full.set(error.kind() == ErrorKind::WouldBlock),
            }
        }
        assert!(polled(3, a.writable()).await.is_none());
        while count.get() > 0 {
            count.set(count.get() - read(&b, 10_000).await.expect("data").len());
        }
        a.writable().await.expect("room again");
        drop(b);
        a.readable().await.expect("the end");
        a.readable().await.expect("the end, again");
    });
}

#[test]
fn a_call_that_is_always_interrupted_holds_up_no_other_task() {
    run(async {
        let (a, _b) = pair();
        let calls = Cell::new(0_u32);
        let endless = a.read_with(|_| {
            calls.set(calls.get() + 1);
            Err::<(), _>(ErrorKind::Interrupted.into())
        });
        let ended = fail_after(Duration::from_millis(1), endless).await;
        refused!(ended, Error::TimedOut(_));
        let interrupted = Cell::new(40);
        let done = a.read_with(|_| match interrupted.replace(interrupted.get() - 1) {
            0 => Ok("at last"),
            _ => Err(ErrorKind::Interrupted.into()),
        });
        assert_eq!(done.await.expect("it ends"), "at last");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn each_priority_event_is_told_once_and_readers_wait_beside_it() {
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (far, _) = listener.accept().expect("accepted");
    far.set_nonblocking(true).expect("set");
    run(async {
        let far = Watched::new(far).expect("watched");
        for _ in 0..3 {
            assert!(polled(3, far.priority()).await.is_none());
            let sent = socket2::SockRef::from(&near).send_out_of_band(b"!");
            assert_eq!(sent.expect("sent"), 1);
            far.priority().await.expect("told");
            let mut room = [std::mem::MaybeUninit::uninit(); 2];
            let got = socket2::SockRef::from(far.get_ref()).recv_out_of_band(&mut room);
            assert_eq!(got.expect("the urgent byte"), 1);
            (&near).write_all(b"data").expect("sent");
            assert!(
                polled(3, far.priority()).await.is_none(),
                "that is no event"
            );
            let mut room = [0; 9];
            let got = far.read_with(|mut stream| stream.read(&mut room)).await;
            assert_eq!(got.expect("data"), 4);
        }
        drop(near);
        far.priority().await.expect("the end");
        far.priority().await.expect("the end, again");
    });
}

/// Covers: Watched::read_with, Watched::write_with.
#[test]
fn cut() {
    everywhere("watched::cut", async |cut| {
        let (a, b) = pair();
        let receive = async {
            let mut room = [0; 9];
            let got = cut.apply(a.read_with(|mut stream| stream.read(&mut room)));
            let done = match got.await {
                Some(got) => {
                    assert_eq!(got.expect("data"), 3);
                    true
                }
                None => {
                    assert_eq!(read(&a, 9).await.expect("nothing is lost"), b"abc");
                    false
                }
            };
            let filled = cut
                .apply(a.write_with(|mut stream| stream.write(b"def")))
                .await;
            match filled {
                Some(sent) => assert_eq!(sent.expect("sent"), 3),
                None => write(&a, b"def").await.expect("nothing was sent"),
            }
            done
        };
        let partner = async {
            turns(3).await;
            write(&b, b"abc").await.expect("sent");
            assert_eq!(read(&b, 9).await.expect("data"), b"def");
        };
        join(receive, partner).await.0
    });
}

/// Covers: Watched::readable, Watched::writable, Watched::priority.
#[cfg(target_os = "linux")]
#[test]
fn cut_waits() {
    everywhere("watched::cut_waits", async |cut| {
        let (a, b) = pair();
        let wait = async {
            let told = cut.apply(a.readable()).await;
            if let Some(told) = &told {
                told.as_ref().expect("data");
            }
            assert_eq!(read(&a, 9).await.expect("nothing is lost"), b"abc");
            let room = cut.apply(a.writable()).await;
            // The peer has ended.
            let ended = cut.apply(a.priority()).await;
            told.is_some() && room.is_some() && ended.is_some()
        };
        let partner = async {
            turns(3).await;
            write(&b, b"abc").await.expect("sent");
            turns(3).await;
            drop(b);
        };
        join(wait, partner).await.0
    });
}
