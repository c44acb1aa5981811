//! `TlsStream`: its public methods, which are those of a byte stream.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::failure;
use super::handshake::TlsHandshake;
use super::machine::Machine;
use super::session::Session;
use super::state::{Unsent, truncated};
use crate::error::{Error, OsError, Result, TlsError};
use crate::runtime::place::Place;
use crate::runtime::silence::{CloseLimits, Silence};
use crate::stream::{
    ByteReceiveStream, ByteSendStream, ByteStream, Io, Plain, RECEIVE_MAX, byte_stream_face,
    reset_now,
};
use crate::sys::clock;
use crate::sys::room::Room;
use crate::task::fail_after;

/// TLS over any byte stream: TCP, UNIX, memory, another TLS stream.
///
/// It is a byte stream itself, and obeys its laws. One task may receive while another sends, both
/// borrowing the stream. The differences from a socket:
///
/// * The end is the peer's `close_notify`. A connection that ends without it is
///   [`Error::Broken`]: data may be missing. See
///   [`standard_compatible`](TlsHandshake::standard_compatible).
/// * Encrypted data has to be sent as it is. A cancelled send may have encrypted up to 32,768 bytes
///   that are not sent yet. They count as sent, and every later operation sends them first. If the
///   stream is dropped before that, they are lost.
/// * Dropping it sends no `close_notify`, so that the peer sees a truncated connection;
///   [`close`](Self::close) sends it.
/// * It has no buffers while it is idle, and less than 100 kB of memory while its peer floods it
///   and reads nothing (the bound of the tests in `tls_flood.rs`).
///
/// It can be sent to another thread while no operation uses it, but threads cannot share it.
///
/// # Examples
///
/// A server with a certificate made in place, and a client that trusts it, in memory:
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use std::sync::Arc;
/// use soloio::tls::{TlsStream, rustls};
/// use soloio::{create_memory_byte_stream, task_group};
///
/// let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
/// let certificate = made.cert.der().clone();
/// let key = made.signing_key.serialize_der().try_into().unwrap();
/// let provider = Arc::new(rustls::crypto::ring::default_provider());
/// let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
///     .with_safe_default_protocol_versions()
///     .unwrap()
///     .with_no_client_auth()
///     .with_single_cert(vec![certificate.clone()], key)
///     .unwrap();
/// let mut roots = rustls::RootCertStore::empty();
/// roots.add(certificate).unwrap();
/// let client = rustls::ClientConfig::builder_with_provider(provider)
///     .with_safe_default_protocol_versions()
///     .unwrap()
///     .with_root_certificates(roots)
///     .with_no_client_auth();
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(16_384);
///     task_group(async |group| {
///         let serving = group.spawn(async {
///             let stream = TlsStream::server(theirs, Arc::new(server)).await?;
///             let name = stream.receive().await?;
///             stream.send(&[b"Hello, ", &name[..]].concat()).await?;
///             stream.close().await
///         });
///         let stream = TlsStream::client(ours, "example.org", Arc::new(client)).await?;
///         stream.send(b"world").await?;
///         assert_eq!(stream.receive().await?, b"Hello, world");
///         assert!(stream.next().await?.is_none());
///         stream.close().await?;
///         serving.await
///     })
///     .await
/// })
/// .unwrap();
/// # }
/// ```
#[doc(alias = "TLSStream")]
#[derive(Debug)]
pub struct TlsStream<S> {
    pub(super) session: Box<Session<S>>,
}

impl<S: ByteStream> TlsStream<S> {
    pub(super) fn new(session: Box<Session<S>>) -> Self {
        Self { session }
    }

    /// Begins TLS as a client: the peer has to prove that it is `name`, a host name or an IP
    /// address.
    ///
    /// If the stream has been used before, all data that the peer had sent until then must have
    /// been received: data that is still in the stream is taken for TLS.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if the name is invalid, the certificate is not accepted, or the two sides
    /// have nothing in common; [`Error::Broken`] if the peer ends; those of the stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    #[doc(alias = "wrap")]
    pub fn client<'a, 'n, N>(stream: S, name: N, config: Arc<ClientConfig>) -> TlsHandshake<'a, S>
    where
        N: TryInto<ServerName<'n>, Error: std::error::Error + Send + Sync + 'static>,
    {
        let machine = match name.try_into() {
            Ok(name) => Machine::client(&config, name.to_owned())
                .map_err(|error| failure::in_handshake(error, true)),
            Err(error) => {
                let message = "the server's name has to be a host name (in its ASCII form, \
                               xn--.., if it is international) or an IP address";
                Err(TlsError::new(message).caused_by(error).into())
            }
        };
        TlsHandshake::new(stream, machine)
    }

    /// Begins TLS as a server.
    ///
    /// If the stream has been used before, all data that the peer had sent until then must have
    /// been received: data that is still in the stream is taken for TLS.
    ///
    /// It has no time limit; [`TlsListener`](super::TlsListener) has one, or use
    /// [`fail_after`](crate::fail_after). Early data is never accepted.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if the peer does not speak TLS, refuses our certificate, or the two sides
    /// have nothing in common; [`Error::Broken`] if the peer ends; those of the stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    #[doc(alias = "wrap")]
    pub fn server<'a>(stream: S, config: Arc<ServerConfig>) -> TlsHandshake<'a, S> {
        let machine = Machine::server(&config).map_err(|error| failure::in_handshake(error, false));
        TlsHandshake::new(stream, machine)
    }

    /// Ends TLS regularly, and returns the stream below and the bytes after the peer's end: the
    /// beginning of the data that the peer sends without TLS.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if the peer sent data that was not received; [`Error::Broken`] if it ended
    /// without `close_notify`; those of sending and receiving. Then the stream is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn unwrap(self) -> Result<(S, Vec<u8>)> {
        let session = self.session;
        session.announce_end(true);
        session.state.borrow().is_announced()?;
        let mut nothing = [0; 1];
        let mut place = Place::default();
        let mut receive = |cx: &mut Context<'_>| {
            session.poll_receive(&mut place, cx, &mut Room::new(&mut nothing))
        };
        let received = poll_fn(|cx| session.poll_while_handing_over(cx, &mut receive));
        match received.await {
            Err(Error::EndOfStream) if session.state.borrow().peer_closed => {
                poll_fn(|cx| session.poll_hand_over(cx)).await?;
                let rest = session.state.borrow().incoming.filled().to_vec();
                Ok((session.inner, rest))
            }
            Err(Error::EndOfStream) => Err(truncated()),
            Err(error) => Err(error),
            Ok(()) => Err(TlsError::new(
                "unwrap: the peer sent data that was not received before its end",
            )
            .into()),
        }
    }

    /// Runs the last `step` within the limits of closing, and discards data that comes meanwhile: a
    /// peer may not read until it has sent. Also returns the time that is left for the stream
    /// below; for a socket below, which stores its limits, that is no limit.
    async fn in_time(
        &self,
        mut step: impl FnMut(&mut Io<&Self>, &mut Context<'_>) -> Poll<Result<()>>,
    ) -> (Result<()>, Duration) {
        let below = self
            .session
            .inner
            .plain_sender()
            .map(|Plain(socket)| socket);
        let mut limits = below.map_or_else(CloseLimits::default, |it| it.close_limits().get());
        let (begun, mut silence) = (clock::now(), Silence::new(limits));
        let mut discarded = 0_usize;
        let mut io = Io::new(self);
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = step(&mut io, cx) {
                return Poll::Ready(done);
            }
            loop {
                let mut bytes = Vec::new();
                let mut room = Room::exact(&mut bytes, RECEIVE_MAX);
                match io.poll_receive(cx, &mut room) {
                    Poll::Ready(Ok(())) if !room.is_empty() => discarded += room.len(),
                    // The stream below reports the end of receiving.
                    _ => break,
                }
            }
            let queued = || below.map_or(0, |socket| socket.unacknowledged());
            ready!(silence.poll(|| discarded.wrapping_sub(queued()) as u64, cx))?;
            limits.total = Duration::ZERO;
            let cause = io::Error::from(io::ErrorKind::TimedOut);
            Poll::Ready(Err(Error::Broken(OsError::new("close", cause))))
        })
        .await;
        let took = Duration::from_nanos(clock::now() - begun);
        limits.total = limits.total.saturating_sub(took);
        let Some(socket) = below else {
            return (done, limits.total);
        };
        socket.close_limits().set(limits);
        (done, Duration::MAX)
    }
}

/// Applies the rule of [`ByteStream::close`] to the results of ending TLS and of closing the stream
/// below. Only data counts: records of TLS's own may be lost.
fn all_arrived(said: Result<()>, closed: Result<()>, unsent: Unsent) -> Result<()> {
    let below = closed.as_ref().map_or_else(Error::lost, |()| Some(0));
    let (lost, met) = match (said, below) {
        (Ok(()), Some(lost)) => (lost, closed),
        (Err(Error::Broken(cause)), Some(lost)) => {
            let lost = lost + unsent.bytes;
            let error = Error::not_acknowledged(lost, cause.into_inner(), "the TLS peer");
            (lost, Err(error))
        }
        (said, _) => return said.and(closed),
    };
    if lost > unsent.own { met } else { Ok(()) }
}

byte_stream_face!(TlsStream<S>, [S: ByteStream], [S: ByteStream], [S: ByteStream]);

impl<S: ByteStream> ByteReceiveStream for TlsStream<S> {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        self.session.poll_receive(place, cx, room)
    }

    fn leave_receive(&self, place: &mut Place) {
        self.session.leave_receive(place);
    }
}

impl<S: ByteStream> ByteSendStream for TlsStream<S> {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.session.poll_send(place, cx, parts)
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.session.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.session.leave_send(place);
    }

    #[cfg(feature = "relay")]
    fn unacknowledged(&self) -> u64 {
        self.session.inner.unacknowledged()
    }
}

impl<S: ByteStream> ByteStream for TlsStream<S> {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.session.poll_send_eof(place, cx)
    }

    /// Ends our direction with `close_notify`, and closes the stream below.
    async fn close(self) -> Result<()> {
        let (said, left) = self.in_time(|io, cx| io.poll_send_eof(cx)).await;
        let Session { inner, state, .. } = *self.session;
        let unsent = state.into_inner().unsent();
        let closed = fail_after(left, inner.close()).await;
        all_arrived(said, closed, unsent)
    }

    fn abort(&self) {
        self.session.abort();
    }

    /// Hands over the rest, and resets the stream below without `close_notify`.
    async fn reset(&self) -> Result<()> {
        let _resets = Resets(self);
        let (flushed, left) = self.in_time(|io, cx| io.poll_flush(cx)).await;
        let reset = fail_after(left, self.session.inner.reset()).await;
        let unsent = self.session.state.borrow().unsent();
        all_arrived(flushed, reset, unsent)
    }
}

/// Resets the stream when dropped, also in the middle of a reset.
struct Resets<'a, S: ByteStream>(&'a TlsStream<S>);

impl<S: ByteStream> Drop for Resets<'_, S> {
    fn drop(&mut self) {
        reset_now(&self.0.session.inner);
        ByteStream::abort(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_one_pointer_and_can_travel() {
        fn travels<T: Send>() {}
        travels::<TlsStream<()>>();
        travels::<TlsStream<TlsStream<()>>>();
        assert_eq!(size_of::<TlsStream<()>>(), size_of::<usize>());
    }
}
