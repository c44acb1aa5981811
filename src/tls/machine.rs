//! A rustls connection as a machine: ciphertext in, plaintext out, and back.
//!
//! It is rustls' interface without buffers of its own: records are decrypted where they were
//! received, and no memory is used for an idle connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, InvalidMessage, ServerConfig};

use super::buffer::Buffer;
use super::observer::Observer;

/// The largest overhead of encryption in a record.
const RECORD_EXTRA: usize = 256;

/// The largest plaintext of a record.
const RECORD_MAX: usize = 16_384;

/// The limit of received bytes that wait for more: a handshake message of the largest size that
/// rustls accepts, 64 KiB, and a record behind it, with all that encryption adds. With a receive
/// they fit into three times the size of a large buffer.
const INCOMING_MAX: usize = 86_000;

/// The same after the handshake, when only session tickets and key updates are to come: with a
/// receive twice that size. Data never takes more than a receive and a record.
const LATER_MAX: usize = 51_000;

/// The reason why the machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The plaintext of a record was passed to [`Act::plain`].
    Plain,
    /// The peer has sent `close_notify`.
    PeerClosed,
    /// More ciphertext is needed; also returned when data may be sent.
    Blocked,
}

/// The actions on events of the machine.
pub(super) trait Act {
    /// Takes the plaintext of a record.
    fn plain(&mut self, payload: &[u8]);

    /// Called when application data may be sent; returns what is to be.
    fn take_traffic(&mut self) -> Option<Traffic<'_>> {
        None
    }
}

/// What is appended to the ciphertext to be sent.
pub(super) enum Traffic<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

/// rustls' connection of either side. In a box, so that a client contains no code of servers.
trait Side: Send + Sync {
    fn process(&mut self, incoming: &mut Buffer, out: &mut Buffer, act: &mut dyn Act) -> Step;
    fn common(&self) -> &CommonState;
}

/// The result of one step: `None` if another one is to follow.
type Step = Result<Option<Stop>>;

/// The error is in a box, so that the usual result fits into registers.
type Result<T, E = Box<rustls::Error>> = std::result::Result<T, E>;

macro_rules! side {
    ($connection:ty) => {
        impl Side for $connection {
            fn process(
                &mut self,
                incoming: &mut Buffer,
                out: &mut Buffer,
                act: &mut dyn Act,
            ) -> Step {
                let status = self.process_tls_records(incoming.filled_mut());
                let (used, step) = handle(status, out, act);
                incoming.discard(used);
                step
            }

            fn common(&self) -> &CommonState {
                self
            }
        }
    };
}

side!(UnbufferedClientConnection);
side!(UnbufferedServerConnection);

/// One end of a TLS connection, without any stream.
pub(super) struct Machine {
    side: Box<dyn Side>,
    is_client: bool,
    pub(super) observer: Arc<Observer>,
    /// `close_notify` was written: nothing may be written after it, not even an alert.
    pub(super) finished: bool,
}

impl Machine {
    pub(super) fn client(
        config: &ClientConfig,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let (config, observer) = Observer::of_client(config);
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(Self {
            side: Box::new(connection),
            is_client: true,
            observer,
            finished: false,
        })
    }

    pub(super) fn server(config: &ServerConfig) -> Result<Self, rustls::Error> {
        let (config, observer) = Observer::of_server(config);
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self {
            side: Box::new(connection),
            is_client: false,
            observer,
            finished: false,
        })
    }

    /// The negotiated parameters.
    pub(super) fn common(&self) -> &CommonState {
        self.side.common()
    }

    /// Returns whether a valid first message of the peer has come.
    pub(super) fn has_begun(&self) -> bool {
        self.common().protocol_version().is_some()
    }

    pub(super) fn is_client(&self) -> bool {
        self.is_client
    }

    /// Runs until an action outside is needed; appends data to be sent to `out`.
    ///
    /// It must not be called again after an error: the alert, if there is one, is then in `out`.
    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        incoming: &mut Buffer,
        out: &mut Buffer,
        act: &mut dyn Act,
    ) -> Result<Stop> {
        loop {
            let step = match self.finished {
                false => self.side.process(incoming, out, act),
                true => self.process_after_end(incoming, out, act),
            };
            match step {
                Ok(None) => {}
                Ok(Some(Stop::Blocked)) if self.is_too_much(incoming.len()) => {
                    return Err(Box::new(InvalidMessage::HandshakePayloadTooLarge.into()));
                }
                Ok(Some(stop)) => return Ok(stop),
                Err(error) => return Err(self.failed(error, out)),
            }
        }
    }

    /// Returns whether a message that needs more than `len` bytes is too long.
    #[inline]
    fn is_too_much(&self, len: usize) -> bool {
        len > LATER_MAX && (len > INCOMING_MAX || !self.common().is_handshaking())
    }

    /// If rustls was built with debug assertions, it panics if the peer violates the protocol after
    /// our end, because an alert would come after `close_notify` (rustls issue 959). A peer must
    /// not be able to cause that.
    #[cold]
    fn process_after_end(
        &mut self,
        incoming: &mut Buffer,
        out: &mut Buffer,
        act: &mut dyn Act,
    ) -> Step {
        let step = catch_unwind(AssertUnwindSafe(|| self.side.process(incoming, out, act)));
        step.unwrap_or_else(|_| general("the peer broke the protocol after we had finished"))
    }

    /// Takes the data that is left to be sent after an error, without processing input.
    #[cold]
    fn failed(&mut self, error: Box<rustls::Error>, out: &mut Buffer) -> Box<rustls::Error> {
        let [mut nothing, mut plain] = Default::default();
        while !self.finished && self.common().wants_write() {
            if !matches!(self.side.process(&mut nothing, out, &mut plain), Ok(None)) {
                break;
            }
        }
        error
    }
}

#[cold]
fn general<T>(message: &str) -> Result<T> {
    Err(Box::new(rustls::Error::General(message.into())))
}

/// Handles one status: returns the number of processed input bytes, and whether to stop there.
#[inline]
fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    out: &mut Buffer,
    act: &mut dyn Act,
) -> (usize, Step) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(Box::new(error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    act.plain(record.payload);
                }
                Some(Err(error)) => break Err(Box::new(error)),
                None => break Ok(Some(Stop::Plain)),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            put(out, RECORD_MAX + RECORD_EXTRA, |room| {
                data.encode(room).map_err(encoding)
            })
            .map(|()| None)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in `out`, so the order is preserved.
            data.done();
            Ok(None)
        }
        Ok(ConnectionState::WriteTraffic(mut write)) => {
            let written = match act.take_traffic() {
                None => Ok(()),
                Some(Traffic::Data(data)) => {
                    let estimate = data.len() + data.len().div_ceil(RECORD_MAX) * RECORD_EXTRA;
                    put(out, estimate, |room| {
                        write.encrypt(data, room).map_err(encrypting)
                    })
                }
                Some(Traffic::CloseNotify) => put(out, RECORD_EXTRA, |room| {
                    write.queue_close_notify(room).map_err(encrypting)
                }),
            };
            written.map(|()| Some(Stop::Blocked))
        }
        Ok(ConnectionState::PeerClosed) => Ok(Some(Stop::PeerClosed)),
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Some(Stop::Blocked)),
        // Early data is never negotiated; states of later rustls versions are unknown.
        Ok(_) => general("unexpected state of the connection"),
    };
    (discard, step)
}

/// The room that is needed; `None` if that is not the failure.
fn encoding(error: EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

/// The same.
fn encrypting(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Lets `encode` write after the contents of `out`, with as much room as it requests.
fn put(
    out: &mut Buffer,
    estimate: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<()> {
    let mut room = estimate;
    loop {
        match encode(out.room(room)) {
            Ok(written) => {
                out.commit(written);
                return Ok(());
            }
            Err(Some(more)) if more > room => room = more,
            Err(_) => return Err(Box::new(rustls::Error::EncryptError)),
        }
    }
}
