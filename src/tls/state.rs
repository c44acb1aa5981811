//! What a TLS connection holds between two awaits: the machine, what came, what is to go, and how
//! it ended. Nothing here waits.

use std::io::{self, IoSlice};

use super::buffer::Buffer;
use super::failure;
use super::machine::{Act, Machine, Stop, Write};
use crate::error::{Error, OsError, Result};
use crate::sys::room::Room;

/// The bytes of plaintext in a record, at most.
const RECORD: usize = 16_384;

/// How much plaintext is encrypted before it has to be handed over: what a cancelled send may
/// have given to the session without having sent it. A peer that reads nothing makes a connection
/// hold as much. Four records in place of two are slower (row `tls-send` of the benchmarks).
pub(super) const AHEAD: usize = 2 * RECORD;

pub(super) struct State {
    pub(super) machine: Machine,
    /// Ciphertext that came and was not processed.
    pub(super) incoming: Buffer,
    /// Plaintext that nobody has received yet: the rest of a record.
    pub(super) plain: Buffer,
    /// Ciphertext to be handed over, in order.
    pub(super) out: Buffer,
    /// What is in `out` may wait for the first data: a server's session tickets.
    pub(super) held_back: bool,
    /// What the machine failed with; for good.
    failed: Option<rustls::Error>,
    /// The peer has finished in order.
    pub(super) peer_closed: bool,
    /// The stream below ended, and the peer had not said so before.
    pub(super) truncated: bool,
    /// We have finished.
    pub(super) eof: bool,
    /// But that could not be said.
    mute: bool,
    /// How many of the bytes that were put into `out` last are TLS's own, and no data.
    pub(super) own: usize,
}

/// What a connection that closes leaves behind.
pub(super) struct Left {
    /// Bytes that were not handed over.
    pub(super) unsent: usize,
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

    /// What the machine failed with.
    #[inline]
    pub(super) fn failure(&self) -> Result<()> {
        match &self.failed {
            Some(error) => Err(failure::in_traffic(error, self.machine.is_client())),
            None => Ok(()),
        }
    }

    /// Moves as much plaintext into `room` as is there and fits.
    pub(super) fn drain(&mut self, room: &mut Room<'_>) {
        if !self.plain.is_empty() {
            let took = room.put(self.plain.filled());
            self.plain.discard(took);
            if self.plain.is_empty() {
                self.plain.release();
            }
        }
        while self.may_give(room) {
            let more = self.incoming.len().saturating_sub(RECORD);
            let mut deliver = Deliver {
                room: &mut *room,
                plain: &mut self.plain,
                more,
            };
            let advanced = self
                .machine
                .advance(&mut self.incoming, &mut self.out, &mut deliver);
            if self.note(advanced) == Some(Stop::Blocked) {
                break;
            }
        }
        if self.incoming.is_empty() {
            // Who received may not come back soon.
            self.incoming.release();
        }
    }

    /// Gives back the memory that what came does not fill: before a wait in which no task receives.
    pub(super) fn settle_received(&mut self) {
        self.incoming.settle();
        self.plain.settle();
    }

    /// Whether the machine is to be asked at all: it may give more, and there is room for that.
    /// It is for nothing if nothing came and nothing is to be sent.
    fn may_give(&self, room: &Room<'_>) -> bool {
        let idle = self.incoming.is_empty() && !self.machine.common().wants_write();
        !idle && room.remaining() > 0 && self.failed.is_none() && !self.peer_closed
    }

    fn note(&mut self, advanced: Result<Stop, rustls::Error>) -> Option<Stop> {
        match advanced {
            Ok(stop) => {
                self.peer_closed |= stop == Stop::PeerClosed;
                Some(stop)
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    fn fail(&mut self, error: rustls::Error) {
        self.failed = Some(error);
        // The alert is not to wait for data that will never come.
        self.held_back = false;
    }

    /// One step of a handshake: true if more has to come from the peer.
    pub(super) fn shake(&mut self) -> Result<bool, rustls::Error> {
        let mut keep = Keep {
            plain: &mut self.plain,
        };
        let stop = self
            .machine
            .advance(&mut self.incoming, &mut self.out, &mut keep)?;
        self.peer_closed |= stop == Stop::PeerClosed;
        if !self.machine.common().is_handshaking() {
            return Ok(false);
        }
        if self.peer_closed {
            return Err(rustls::Error::General(
                "the peer has finished during the handshake".into(),
            ));
        }
        Ok(stop == Stop::Blocked)
    }

    /// Encrypts as much of `parts` as may wait to be sent, and tells how much.
    pub(super) fn encrypt(&mut self, parts: &[IoSlice<'_>]) -> Result<usize> {
        self.own = 0;
        let (first, count) = (parts.first().map_or(&[][..], |part| part), parts.len());
        if count == 1 || first.len() >= RECORD {
            let part = &first[..first.len().min(AHEAD)];
            return self.write(|write| write.encrypt(part)).map(|()| part.len());
        }
        // Several pieces in one record.
        let mut gathered = Buffer::default();
        for part in parts {
            let left = RECORD - gathered.len();
            gathered.append(&part[..part.len().min(left)]);
        }
        let part = gathered.filled();
        self.write(|write| write.encrypt(part)).map(|()| part.len())
    }

    /// We have finished: puts `close_notify` behind what is to be sent.
    pub(super) fn finish(&mut self) {
        let before = self.out.len();
        let finished = self.write(|write| write.close_notify());
        self.own = self.own.saturating_add(self.out.len() - before);
        self.mute = finished.is_err();
        self.machine.finished |= !self.mute;
    }

    /// An error if our end could not be said.
    pub(super) fn is_announced(&self) -> Result<()> {
        self.failure()?;
        match self.mute {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Processes what came, which cannot be passed over, until something can be written.
    fn write(
        &mut self,
        write: impl FnMut(&mut dyn Write) -> Result<(), rustls::Error>,
    ) -> Result<()> {
        self.failure()?;
        let mut seal = Seal {
            plain: &mut self.plain,
            write,
            written: false,
        };
        loop {
            let advanced = self
                .machine
                .advance(&mut self.incoming, &mut self.out, &mut seal);
            match advanced {
                Ok(Stop::Plain) => {}
                Ok(Stop::PeerClosed) => self.peer_closed = true,
                Ok(Stop::Blocked) if seal.written => return Ok(()),
                Ok(Stop::Blocked) => return Err(Error::Closed),
                Err(error) => {
                    self.fail(error);
                    return self.failure();
                }
            }
        }
    }

    pub(super) fn left(&self) -> Left {
        Left {
            unsent: self.out.len(),
            own: self.own,
        }
    }

    /// How receiving has ended, once all plaintext is out. `compatible`: the peer has to say so.
    pub(super) fn end(&self, compatible: bool) -> Result<()> {
        self.failure()?;
        if self.peer_closed {
            return Err(Error::EndOfStream);
        }
        if self.truncated {
            // Inside a record it is an accident in any case.
            if compatible || !self.incoming.is_empty() {
                return Err(truncated());
            }
            return Err(Error::EndOfStream);
        }
        Ok(())
    }
}

/// The stream below ended, but the peer had not said that it would.
pub(super) fn truncated() -> Error {
    let message = "the connection ended without TLS's close_notify: data may be missing";
    let cause = io::Error::new(io::ErrorKind::UnexpectedEof, message);
    Error::Broken(OsError::new("receive from", cause).at("the TLS peer"))
}

/// Plaintext goes to who receives; what does not fit is kept.
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

/// Plaintext is kept: nobody receives now.
struct Keep<'a> {
    plain: &'a mut Buffer,
}

impl Act for Keep<'_> {
    fn plain(&mut self, payload: &[u8]) {
        self.plain.append(payload);
    }
}

/// Plaintext is kept, and something is written as soon as that is possible.
struct Seal<'a, W> {
    plain: &'a mut Buffer,
    write: W,
    written: bool,
}

impl<W: FnMut(&mut dyn Write) -> Result<(), rustls::Error>> Act for Seal<'_, W> {
    fn plain(&mut self, payload: &[u8]) {
        self.plain.append(payload);
    }

    fn traffic(&mut self, write: &mut dyn Write) -> Result<(), rustls::Error> {
        if !self.written {
            (self.write)(write)?;
            self.written = true;
        }
        Ok(())
    }
}
