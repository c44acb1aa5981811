//! The TLS stream: its face, which is that of a byte stream.

use std::future::Future;
use std::io::IoSlice;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::failure;
use super::handshake::TlsHandshake;
use super::machine::Machine;
use super::session::Session;
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Result, TlsError};
use crate::stream::{ByteReceiveStream, ByteSendStream, ByteStream, RECEIVE_MAX, or_end};

/// TLS over any byte stream: TCP, UNIX, memory, another TLS stream.
///
/// It is a byte stream itself, and keeps its laws. One task may receive while another sends, both
/// borrowing the stream. What differs from a socket:
///
/// * The end is the peer's `close_notify`. A connection that ends without it is
///   [`Error::Broken`]: data may be missing. See
///   [`standard_compatible`](TlsHandshake::standard_compatible).
/// * What was encrypted has to be sent as it is. A send that is cancelled has given at most 32,768
///   bytes to the session that the peer may not have yet; they count as sent, and every later
///   operation hands them over first. Dropping the stream then loses them.
/// * Dropping it sends no `close_notify`, so that the peer sees a truncated connection;
///   [`close`](Self::close) sends it.
/// * It has no buffers while it is idle, and at most 86,000 bytes of them while its peer sends all
///   the time and reads nothing.
///
/// It can be sent to another thread while nobody uses it, but not be shared by threads.
///
/// # Examples
///
/// A server with a certificate made on the spot, and a client that trusts it, in memory:
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
    /// If the stream has been used before, all that the peer had sent until then must have been
    /// received: what is still in the stream is taken for TLS.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if the name is none, the certificate is not accepted, or the two sides have
    /// nothing in common; [`Error::Broken`] if the peer ends; those of the stream.
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
    /// If the stream has been used before, all that the peer had sent until then must have been
    /// received: what is still in the stream is taken for TLS.
    ///
    /// There is no limit of time here; [`TlsListener`](super::TlsListener) has one, or use
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

    /// Receives 1 to 65,536 bytes, exactly sized; waits without holding a buffer.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] when the peer has said that it finished, [`Error::Broken`] when the
    /// connection ended without that, [`Error::Tls`] when what came is no good; all for good.
    /// [`Error::Busy`] while another task receives.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: every byte is still there.
    pub fn receive(&self) -> impl Future<Output = Result<Vec<u8>>> {
        self.session.receive_max(RECEIVE_MAX)
    }

    /// Receives 1 to `max` bytes (no more than 65,536 at a time), exactly sized.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); a `max` of 0 is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub fn receive_max(&self, max: usize) -> impl Future<Output = Result<Vec<u8>>> {
        self.session.receive_max(max)
    }

    /// Receives into `buf` and returns its filled part, never empty.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); an empty buffer is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub fn receive_into<'b>(
        &self,
        buf: &'b mut [u8],
    ) -> impl Future<Output = Result<&'b mut [u8]>> {
        self.session.receive_into(buf)
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), but for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Vec<u8>>> {
        or_end(self.receive().await)
    }

    /// Sends all of `data`; returns when the stream below took all of it. Sending nothing hands
    /// over what cancelled sends may have left.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the peer is gone, [`Error::Closed`] after
    /// [`send_eof`](Self::send_eof), [`Error::Tls`] when the connection has failed,
    /// [`Error::Busy`] while another task sends.
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was given to the session; [`send_from`](Self::send_from) tells how
    /// much. The stream goes on.
    pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> {
        self.session.send(data)
    }

    /// Sends all of `rest`, and takes off its front what was given to the session.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// The bytes no longer in `rest` count as sent; at most 32,768 of them may not have been
    /// handed over yet, which the next operation does. The stream goes on.
    pub fn send_from(&self, rest: &mut &[u8]) -> impl Future<Output = Result<()>> {
        self.session.send(rest)
    }

    /// Sends all `parts` as if they stood in one piece, advancing them as
    /// [`IoSlice::advance_slices`] does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send_from`](Self::send_from).
    pub fn send_vectored(
        &self,
        parts: &mut &mut [IoSlice<'_>],
    ) -> impl Future<Output = Result<()>> {
        self.session.send(parts)
    }

    /// Ends our direction with `close_notify`: the peer sees the end once it has received
    /// everything. Receiving goes on. May be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after an abort; those of sending.
    ///
    /// # Cancel safety
    ///
    /// Our direction has ended. If the end was not handed over yet, calling it again does that,
    /// and so does a receive.
    #[doc(alias = "shutdown")]
    pub async fn send_eof(&self) -> Result<()> {
        self.session.send_eof().await
    }

    /// Ends our direction with `close_notify`, and closes the stream below, which waits until the
    /// peer has received everything. What the peer still sends is discarded. To send
    /// `close_notify` takes at most as long as the [`CloseLimits`](crate::CloseLimits) of the
    /// socket below say, or 30 s in all and 5 s of silence over other streams.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there was no room for `close_notify`; what the goodbye ran into, and
    /// what closing the stream below says. The stream is freed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the stream; the goodbye may be cut short.
    #[doc(alias = "aclose")]
    pub async fn close(self) -> Result<()> {
        self.session.close().await
    }

    /// Ends the stream at once although others still hold it: operations that are under way get
    /// [`Error::Closed`].
    #[doc(alias = "aclose_forcefully")]
    pub fn abort(&self) {
        self.session.abort();
    }

    /// Ends TLS in order, and gives back the stream below and what came behind the peer's end:
    /// the beginning of what the peer sends without TLS.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if the peer sent data that was not received;
    /// [`Error::Broken`] if it ended without saying so; those of sending and
    /// receiving. The stream is dropped then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn unwrap(self) -> Result<(S, Vec<u8>)> {
        self.session.end_tls().await
    }
}

impl<S: ByteStream> ByteReceiveStream for TlsStream<S> {
    async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        self.session.receive_into(buf).await
    }

    async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        self.session.receive_max(max).await
    }
}

impl<S: ByteStream> ByteSendStream for TlsStream<S> {
    async fn send_from(&self, rest: &mut &[u8]) -> Result<()> {
        self.session.send(rest).await
    }

    async fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> Result<()> {
        self.session.send(parts).await
    }
}

impl<S: ByteStream> ByteStream for TlsStream<S> {
    async fn send_eof(&self) -> Result<()> {
        self.session.send_eof().await
    }

    async fn close(self) -> Result<()> {
        self.session.close().await
    }

    fn abort(&self) {
        self.session.abort();
    }

    async fn reset(&self) -> Result<()> {
        self.session.reset().await
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
