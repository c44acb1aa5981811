//! The state of a TLS connection between two awaits: the machine, received and unsent bytes, its
//! ends. Nothing here waits.

use std::io::{self, IoSlice};

use super::buffer::Buffer;
use super::failure;
use super::machine::{Act, Machine, Stop, Traffic};
use crate::error::{Error, Result};
use crate::sys::room::Room;

/// The largest plaintext of a record.
const RECORD: usize = 16_384;

/// The amount of plaintext that is encrypted before it has to be handed over: a cancelled send may
/// have given this much to the session without having sent it. If the peer reads nothing, a
/// connection stores as much. Four records instead of two are slower (row `tls-send` of the
/// benchmarks).
pub(super) const AHEAD: usize = 2 * RECORD;

pub(super) struct State {
    pub(super) machine: Machine,
    /// Ciphertext that was received and not processed.
    pub(super) incoming: Buffer,
    /// Plaintext that was not received by a task yet: the rest of a record.
    pub(super) plain: Buffer,
    /// Ciphertext to be handed over, in order.
    pub(super) out: Buffer,
    /// The contents of `out` may wait for the first data: a server's session tickets.
    pub(super) held_back: bool,
    /// The error that the machine has failed with; permanent.
    failed: Option<Box<rustls::Error>>,
    /// The peer has sent `close_notify`.
    pub(super) peer_closed: bool,
    /// The stream below has ended without `close_notify` of the peer.
    pub(super) truncated: bool,
    /// Our direction has ended.
    pub(super) eof: bool,
    /// But `close_notify` could not be written.
    mute: bool,
    /// The number of bytes among those put into `out` last that are TLS's own, not data.
    pub(super) own: usize,
}

/// The rest of a connection that closes.
pub(super) struct Unsent {
    /// Bytes that were not handed over.
    pub(super) bytes: usize,
    /// As in [`State`].
    pub(super) own: usize,
}

impl State {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            incoming: Buffer::default(),
            plain: Buffer::default(),
            out: Buffer::default(),
            held_back: false,
            failed: None,
            peer_closed: false,
            truncated: false,
            eof: false,
            mute: false,
            own: usize::MAX,
        }
    }

    /// Returns the error that the machine has failed with.
    #[inline]
    pub(super) fn failure(&self) -> Result<()> {
        match &self.failed {
            Some(error) => Err(failure::in_traffic(error, self.machine.is_client())),
            None => Ok(()),
        }
    }

    /// Moves as much plaintext into `room` as fits.
    #[inline]
    pub(super) fn drain(&mut self, room: &mut Room<'_>) {
        if !self.plain.is_empty() {
            let took = room.put(self.plain.filled());
            self.plain.discard(took);
        }
        while self.may_give(room) && self.decrypt(room) {}
    }

    /// Processes received data until it has plaintext; returns false if there is none.
    fn decrypt(&mut self, room: &mut Room<'_>) -> bool {
        let more = self.incoming.len().saturating_sub(RECORD);
        let plain = &mut self.plain;
        let (incoming, out) = (&mut self.incoming, &mut self.out);
        let advanced = self
            .machine
            .advance(incoming, out, &mut Deliver { room, plain, more });
        match advanced {
            Ok(stop) => {
                self.peer_closed |= stop == Stop::PeerClosed;
                stop != Stop::Blocked
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Gives back memory that is not filled: before a wait in which no task receives.
    pub(super) fn settle_received(&mut self) {
        self.incoming.settle();
        self.plain.settle();
    }

    /// Returns whether to run the machine: it may have more plaintext, and there is room for it. If
    /// nothing came and nothing is to be sent, it has none.
    #[inline]
    fn may_give(&self, room: &Room<'_>) -> bool {
        let idle = self.incoming.is_empty() && !self.machine.common().wants_write();
        !idle && room.remaining() > 0 && self.failed.is_none() && !self.peer_closed
    }

    #[cold]
    fn fail(&mut self, error: Box<rustls::Error>) {
        self.failed = Some(error);
        self.incoming.release();
        // The alert must not wait for data that will never come.
        self.held_back = false;
    }

    /// Runs one step of a handshake; returns true if more has to come from the peer.
    pub(super) fn shake(&mut self) -> Result<bool, Box<rustls::Error>> {
        let (incoming, out) = (&mut self.incoming, &mut self.out);
        let stop = self.machine.advance(incoming, out, &mut self.plain)?;
        self.peer_closed |= stop == Stop::PeerClosed;
        if !self.machine.common().is_handshaking() {
            return Ok(false);
        }
        if self.peer_closed {
            let message = "the peer has finished during the handshake";
            return Err(Box::new(rustls::Error::General(message.into())));
        }
        Ok(stop == Stop::Blocked)
    }

    /// Encrypts as much of `parts` as may wait to be sent, and returns the number of bytes.
    pub(super) fn encrypt(&mut self, parts: &[IoSlice<'_>]) -> Result<usize> {
        self.own = 0;
        let mut gathered = Buffer::default();
        let part = match parts {
            [first, rest @ ..] if rest.is_empty() || first.len() >= RECORD => {
                &first[..first.len().min(AHEAD)]
            }
            // Puts several pieces into one record.
            _ => {
                gathered.room(RECORD);
                for part in parts {
                    let left = RECORD - gathered.len();
                    gathered.append(&part[..part.len().min(left)]);
                }
                gathered.filled()
            }
        };
        self.write(Traffic::Data(part)).map(|()| part.len())
    }

    /// Ends our direction: appends `close_notify` to the data to be sent.
    pub(super) fn finish(&mut self) {
        let before = self.out.len();
        let finished = self.write(Traffic::CloseNotify);
        self.own = self.own.saturating_add(self.out.len() - before);
        self.mute = finished.is_err();
        self.machine.finished |= !self.mute;
    }

    /// Returns an error if `close_notify` could not be written.
    pub(super) fn is_announced(&self) -> Result<()> {
        self.failure()?;
        match self.mute {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Processes received data, which has to come first, until something can be written.
    #[inline]
    fn write(&mut self, traffic: Traffic<'_>) -> Result<()> {
        self.failure()?;
        let mut seal = Seal {
            plain: &mut self.plain,
            traffic: Some(traffic),
        };
        loop {
            let advanced = self
                .machine
                .advance(&mut self.incoming, &mut self.out, &mut seal);
            match advanced {
                Ok(Stop::Plain) => {}
                Ok(Stop::PeerClosed) => self.peer_closed = true,
                Ok(Stop::Blocked) if seal.traffic.is_none() => return Ok(()),
                Ok(Stop::Blocked) => return Err(Error::Closed),
                Err(error) => {
                    self.fail(error);
                    return self.failure();
                }
            }
        }
    }

    pub(super) fn unsent(&self) -> Unsent {
        Unsent {
            bytes: self.out.len(),
            own: self.own,
        }
    }

    /// Returns the end of receiving, after all plaintext. If `compatible`, the peer must have sent
    /// `close_notify`.
    pub(super) fn end(&self, compatible: bool) -> Result<()> {
        self.failure()?;
        if self.peer_closed {
            return Err(Error::EndOfStream);
        }
        if self.truncated {
            // An end inside a record is an error in any case.
            if compatible || !self.incoming.is_empty() {
                return Err(truncated());
            }
            return Err(Error::EndOfStream);
        }
        Ok(())
    }
}

/// The error if the stream below has ended without `close_notify` of the peer.
pub(super) fn truncated() -> Error {
    let message = "the connection ended without TLS's close_notify: data may be missing";
    let cause = io::Error::new(io::ErrorKind::UnexpectedEof, message);
    Error::broken("receive from", "the TLS peer", cause)
}

/// Delivers plaintext to the receiver; stores the part that does not fit.
struct Deliver<'a, 'r> {
    room: &'a mut Room<'r>,
    plain: &'a mut Buffer,
    more: usize,
}

impl Act for Deliver<'_, '_> {
    fn plain(&mut self, payload: &[u8]) {
        let took = if self.plain.is_empty() {
            self.room.put_before(payload, self.more)
        } else {
            0
        };
        self.plain.append(&payload[took..]);
    }
}

/// Stores plaintext: no task receives now.
impl Act for Buffer {
    fn plain(&mut self, payload: &[u8]) {
        self.append(payload);
    }
}

/// Stores plaintext, and writes as soon as that is possible.
struct Seal<'a> {
    plain: &'a mut Buffer,
    /// `None` once it is written.
    traffic: Option<Traffic<'a>>,
}

impl Act for Seal<'_> {
    fn plain(&mut self, payload: &[u8]) {
        self.plain.append(payload);
    }

    fn take_traffic(&mut self) -> Option<Traffic<'_>> {
        self.traffic.take()
    }
}
