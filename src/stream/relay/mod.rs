//! `relay`: passes bytes between two streams, both ways, until both have ended.
//!
//! ```text
//!        receive          send
//!   a ────────────> Way ────────────> b      each way on its own: when its stream has ended, the
//!   a <──────────── Way <──────────── b      end is passed on, and the other way continues
//! ```
//!
//! If the stream of a way breaks, the other stream is reset instead of ended. The same happens to
//! each stream that a dropped relay has not sent an end.
//!
//! Received bytes that are not sent yet are in the [`Relay`]: a cancelled run loses nothing.
//! Between two plain sockets `sockets.rs` moves the bytes, inside the kernel if there are many;
//! between others `copy.rs` does, by the contracts of byte streams.

mod copy;
mod relayed;
mod sockets;

use std::cell::Cell;
use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use self::copy::copy;
use self::relayed::Counts;
pub use self::relayed::{RelaySide, Relayed};
use self::sockets::Pump;
use super::{ByteStream, reset_now};
use crate::error::{Error, Result};
use crate::runtime::silence::{CloseLimits, Silence};
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::splice::Pipe;
use crate::task::join;

/// The time that one way may be silent after the other has ended, by default.
const HALF_OPEN: Duration = Duration::from_secs(600);

/// Passes bytes between `a` and `b`, both ways, until both have ended, as a proxy between a client
/// and its server does.
///
/// When one stream ends, the end is sent to the other (`send_eof`), and the other's bytes are still
/// passed on. If it is silent for ten minutes ([`half_open_limit`](Relay::half_open_limit)), the
/// relay ends. When one stream breaks, the other receives the earlier bytes, and is then
/// [`reset`](ByteStream::reset) instead of ended. (A UNIX stream has no reset, and ends.) On Linux
/// bytes between TCP and UNIX sockets stay in the kernel if there are many of them (splice(2)).
///
/// Await it, or call [`run`](Relay::run) to see its progress after an error or a cancel. If it is
/// awaited, it ends both streams: a stream that was sent an end is closed, the other is reset. A
/// stream that is passed as `&stream` may be reset, too, but is not closed.
///
/// # Errors
///
/// See [`run`](Relay::run), and the errors of closing the streams: bytes that did not arrive.
///
/// # Cancel safety
///
/// Dropping it drops the bytes that were received from one stream and not yet handed to the other,
/// at most 256 KiB each way, and resets each stream that was not sent an end. So its peer never
/// takes what it has got for everything. A stream that is passed as `&stream` is reset only if
/// bytes for it are lost, or the other one is broken. A cancel has the same effect.
/// [`run`](Relay::run) keeps the bytes, as long as the relay lives.
///
/// # Examples
///
/// ```
/// use soloio::{create_memory_byte_stream, relay, task_group, unix_socket_pair};
///
/// soloio::block_on(async {
///     let (client, a) = create_memory_byte_stream(64);
///     let (b, server) = unix_socket_pair()?;
///     task_group(async |group| {
///         let relayed = group.spawn(relay(a, b));
///         client.send(b"question").await?;
///         client.send_eof().await?;
///         assert_eq!(server.receive().await?, b"question");
///         assert!(server.next().await?.is_none());
///         server.send(b"answer").await?;
///         server.send_eof().await?;
///         assert_eq!(client.receive().await?, b"answer");
///         let relayed = relayed.await?;
///         assert_eq!((relayed.a_to_b, relayed.b_to_a), (8, 6));
///         assert_eq!(relayed.ended_first, Some(soloio::RelaySide::A));
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "copy_bidirectional")]
#[doc(alias = "proxy")]
#[doc(alias = "splice")]
pub fn relay<'a, A: ByteStream + 'a, B: ByteStream + 'a>(a: A, b: B) -> Relay<'a, A, B> {
    Relay {
        streams: Some((a, b)),
        ways: Default::default(),
        counts: Counts::default(),
        half_open_limit: HALF_OPEN,
        idle_limit: Duration::MAX,
        splice: true,
        life: PhantomData,
    }
}

/// A relay between two streams; made by [`relay`].
#[derive(Debug)]
#[must_use = "nothing is passed on unless awaited"]
pub struct Relay<'a, A: ByteStream, B: ByteStream> {
    /// `None` once they are being closed.
    streams: Option<(A, B)>,
    ways: [Way; 2],
    counts: Counts,
    half_open_limit: Duration,
    idle_limit: Duration,
    splice: bool,
    /// The lifetime of both streams: its future is a box of that lifetime.
    life: PhantomData<&'a ()>,
}

/// One way: the bytes in it, and its state.
#[derive(Debug, Default)]
struct Way {
    held: Held,
    /// The stream that the bytes come from has ended.
    ended: bool,
    /// The end was also sent to the other stream.
    done: bool,
    /// Many bytes come: the kernel is to move them.
    bulk: bool,
    /// The number of consecutive receives with few bytes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    few: u8,
    /// The kernel cannot move bytes between these sockets.
    copies: bool,
}

/// Received bytes that were not handed over yet: the bytes `at..end` of a buffer, or as many in a
/// pipe.
#[derive(Debug, Default)]
struct Held {
    /// Empty if there is no buffer.
    data: Box<[u8]>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pipe: Option<Pipe>,
    at: usize,
    end: usize,
}

type Ended = std::result::Result<(), Failed>;

/// An error of a way, and the stream that it is of.
#[derive(Debug)]
struct Failed {
    side: Option<RelaySide>,
    error: Error,
}

/// Returns false for an error of the task.
fn is_about_the_stream(error: &Error) -> bool {
    use Error as E;
    !matches!(error, E::Cancelled | E::Busy | E::NoRuntime | E::OtherLoop)
}

impl<A: ByteStream, B: ByteStream> Relay<'_, A, B> {
    /// Sets the time that one way may be silent after the other has ended: 10 minutes by default,
    /// no limit with `Duration::MAX`. Without a limit a peer that has vanished would keep both
    /// connections open.
    pub fn half_open_limit(mut self, limit: Duration) -> Self {
        self.half_open_limit = limit;
        self
    }

    /// Sets the time for which no byte may move in either direction; no limit by default. It is
    /// noticed up to a fifth of this time later. An end counts as well, and so does the arrival of
    /// a byte at a TCP peer, also below TLS.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Error, create_memory_byte_stream, relay};
    /// use std::time::Duration;
    ///
    /// soloio::block_on(async {
    ///     let (client, ours) = create_memory_byte_stream(64);
    ///     let (to_server, server) = create_memory_byte_stream(64);
    ///     client.send(b"hello").await?;
    ///     let relay = relay(ours, to_server).idle_limit(Duration::from_millis(10));
    ///     assert!(matches!(relay.await, Err(Error::TimedOut(_))));
    ///     assert_eq!(server.receive().await?, b"hello");
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    #[doc(alias = "timeout")]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle_limit = limit;
        self
    }

    /// Sets whether bytes may stay in the kernel between two plain sockets (Linux); true by
    /// default.
    pub fn splice(mut self, splice: bool) -> Self {
        self.splice = splice;
        self
    }

    /// Returns the progress.
    #[must_use]
    pub fn relayed(&self) -> Relayed {
        let [a_to_b, b_to_a] = self.counts.moved.each_ref().map(Cell::get);
        Relayed {
            a_to_b,
            b_to_a,
            ended_first: self.counts.ended_first.get(),
        }
    }

    /// Passes bytes on until both streams have ended and all their bytes were handed to the other.
    /// Then both streams are still open on our side: close them, since a drop does not wait until
    /// the bytes have arrived.
    ///
    /// # Errors
    ///
    /// The errors of the streams. If one breaks, the other is [`reset`](ByteStream::reset) unless
    /// its end was sent. If a stream breaks during a send to it, the other way continues to its
    /// end or a limit, and the error is returned after that. [`Error::TimedOut`] if one stream has
    /// ended and the other was silent for the half-open limit, or both were silent for the idle
    /// limit. [`Error::Busy`] while another task receives from one of the streams, or sends to one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: bytes that were received and not yet handed over stay in
    /// the relay, and another run continues with them. (Between streams of other crates, as far as
    /// they obey their contract.) Once it has begun to reset a stream, dropping the future resets
    /// that at once. Dropping the relay itself resets streams: see [`relay`].
    pub async fn run(&mut self) -> Result<Relayed> {
        let ended = self.pass_on().await;
        if let (Err(Failed { side: Some(it), .. }), Some((a, b))) = (&ended, &self.streams) {
            // The first error already reports the break.
            let _broken_as_well = match it {
                _ if self.ways[*it as usize].done => Ok(()),
                RelaySide::A => b.reset().await,
                RelaySide::B => a.reset().await,
            };
        }
        ended.map_err(|failed| failed.error)?;
        Ok(self.relayed())
    }

    async fn pass_on(&mut self) -> Ended {
        let (counts, [there, back]) = (&self.counts, &mut self.ways);
        let (a, b) = (self.streams.as_ref()).expect("they are closed by nothing that runs it");
        let limits = [self.idle_limit, self.half_open_limit.min(self.idle_limit)];
        // Grows with the bytes that move, and with those that a peer has acknowledged: a socket
        // takes no more until much of its queue has gone.
        let queued = || a.unacknowledged() + b.unacknowledged();
        // TLS queues more bytes than move.
        let moved = || (counts.total() << 32).wrapping_sub(queued());
        let from_a = a.plain_receiver().zip(b.plain_sender());
        let from_b = b.plain_receiver().zip(a.plain_sender());
        match (from_a, from_b) {
            (Some(from_a), Some(from_b)) => {
                let mut there = Pump::new(from_a, there, counts, RelaySide::A, self.splice);
                let mut back = Pump::new(from_b, back, counts, RelaySide::B, self.splice);
                let there = poll_fn(|cx| there.poll(cx));
                let back = poll_fn(|cx| back.poll(cx));
                both([pin!(there), pin!(back)], moved, limits).await
            }
            _ => {
                let there = copy(a, b, there, counts, RelaySide::A);
                let back = copy(b, a, back, counts, RelaySide::B);
                both([pin!(there), pin!(back)], moved, limits).await
            }
        }
    }

    /// Runs to the end and ends both streams: one that was sent an end is closed, so that all
    /// its data arrives; the other is reset.
    async fn run_and_close(mut self) -> Result<Relayed> {
        let ended = self.run().await;
        if matches!(&ended, Err(error) if !is_about_the_stream(error)) {
            return ended;
        }
        let [to_b, to_a] = [0, 1].map(|way| self.ways[way].done);
        let (a, b) = self.streams.take().expect("only this takes them");
        let (a, b) = join((leave(a, to_a), leave(b, to_b))).await;
        let relayed = ended?;
        a.and(b).map(|()| relayed)
    }
}

async fn leave<S: ByteStream>(stream: S, in_order: bool) -> Result<()> {
    match in_order {
        true => stream.close().await,
        false => stream.reset().await,
    }
}

impl<'a, A: ByteStream + 'a, B: ByteStream + 'a> IntoFuture for Relay<'a, A, B> {
    type Output = Result<Relayed>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run_and_close())
    }
}

/// A stream that was sent no end must not seem to have one.
impl<A: ByteStream, B: ByteStream> Drop for Relay<'_, A, B> {
    fn drop(&mut self) {
        if let Some((a, b)) = &self.streams {
            let ([there, back], [from_a, from_b]) = (&self.ways, &self.counts.broken);
            cut(a, back, from_b.get());
            cut(b, there, from_a.get());
        }
    }
}

/// Resets the stream of a way that is not done, unless it is borrowed and nothing was lost.
fn cut<S: ByteStream>(stream: &S, way: &Way, is_broken: bool) {
    let ends = needs_drop::<S>() || is_broken || way.held.length() > 0;
    if ends && !way.done {
        reset_now(stream);
    }
}

/// Waits for both ways. They may be silent for the first of the limits at a time, and after one is
/// done the other for the second.
async fn both(
    mut ways: [Pin<&mut (dyn Future<Output = Ended> + '_)>; 2],
    moved: impl Fn() -> u64,
    limits: [Duration; 2],
) -> Ended {
    let (mut done, mut broken) = ([false; 2], None);
    let [mut idle, mut half_open] = limits.map(|silence| {
        let total = Duration::MAX;
        Silence::new(CloseLimits { total, silence })
    });
    poll_fn(|cx| {
        for (way, passing) in ways.iter_mut().enumerate() {
            let polled = (!done[way]).then(|| passing.as_mut().poll(cx));
            let Some(Poll::Ready(ended)) = polled else {
                continue;
            };
            done[way] = true;
            match ended {
                // The peer of the send is gone: its earlier data can still be passed on.
                Err(failed)
                    if failed.side.is_some_and(|side| side as usize != way)
                        && matches!(failed.error, Error::Broken(_)) =>
                {
                    broken.get_or_insert(failed);
                }
                ended => ended?,
            }
        }
        let (silence, doing) = match done {
            [true, true] => return Poll::Ready(broken.take().map_or(Ok(()), Err)),
            [false, false] if limits[0] == Duration::MAX => return Poll::Pending,
            [false, false] => (&mut idle, "relaying between two silent streams"),
            _ => (
                &mut half_open,
                "relaying from a silent stream after the end of the other",
            ),
        };
        let limit = limits[usize::from(done[0] || done[1])];
        let over = ready!(silence.poll(&moved, cx)).err();
        let error = over.unwrap_or_else(|| Error::timed_out(limit, doing));
        // A break comes first: the other stream has to be reset.
        let failed = broken.take().unwrap_or(Failed { side: None, error });
        Poll::Ready(Err(failed))
    })
    .await
}
