//! TCP on the wire: the handshake, windows, acknowledgements, retries, ends and resets.
//!
//! Segments of one direction arrive in order. A lost one is sent again after a time that doubles,
//! and later segments wait for it, so a loss appears as a delay, as in real programs.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::descriptors::Id;
use super::network::{Body, Due, Packet};
use super::readiness::bits::{ALL, ERR};
use super::tcp::State;
use super::{Errno, Nanos, World};

/// A TCP segment, without its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn {
        window: usize,
    },
    SynAck {
        window: usize,
    },
    /// Acknowledges `bytes`, and perhaps the FIN; the receiver has room for `window`.
    Ack {
        bytes: usize,
        fin: bool,
        window: usize,
    },
    Data(Vec<u8>),
    Fin,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    /// Not requested.
    No,
    /// Is sent after the data.
    Waits,
    Sent,
    Acknowledged,
}

/// The sending side of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Bytes that wait for the peer's window.
    pub(super) unsent: VecDeque<u8>,
    /// Bytes that were sent and not acknowledged.
    pub(super) flying: usize,
    pub(super) fin: Fin,
    /// The peer's room in bytes, counted from its last acknowledgement.
    pub(super) window: usize,
    /// The room that the peer was last informed of.
    pub(super) told: usize,
    /// Segments that wait to be sent; the first may have been tried.
    pub(super) line: VecDeque<Segment>,
    /// How often the first one was lost. A retry is due if it is not 0.
    pub(super) tries: u32,
    /// The earliest arrival of anything sent from now on.
    pub(super) floor: Nanos,
    /// Our FIN went out before the peer's came.
    pub(super) ended_first: bool,
    /// How often a SYN found a full backlog.
    pub(super) ignored: u32,
}

impl Wire {
    pub(super) fn new(buffer: usize) -> Self {
        Self {
            unsent: VecDeque::new(),
            flying: 0,
            fin: Fin::No,
            window: 0,
            told: buffer,
            line: VecDeque::new(),
            tries: 0,
            floor: 0,
            ended_first: false,
            ignored: 0,
        }
    }

    /// Bytes that take room in the send buffer.
    pub(super) fn unacknowledged(&self) -> usize {
        self.unsent.len() + self.flying
    }

    /// Returns the value of `SIOCOUTQ`: a FIN counts as a byte.
    pub(crate) fn queued(&self) -> usize {
        let fin = matches!(self.fin, Fin::Waits | Fin::Sent);
        self.unacknowledged() + usize::from(fin)
    }
}

const SECOND: Nanos = 1_000_000_000;

/// How long a closed connection is kept, and one without the peer's end.
pub(super) const LINGER: Nanos = 60 * SECOND;

impl World {
    pub(super) fn begin_handshake(&mut self, id: Id) {
        self.network.begun += 1;
        let connection = self.network.begun;
        let Some(tcp) = self.tcp(id) else { return };
        tcp.connection = connection;
        let window = tcp.common.receive_limit();
        tcp.wire.told = window;
        tcp.wire.line.push_back(Segment::Syn { window });
        self.transmit(id);
    }

    /// Sends as much as the peer's window allows.
    pub(super) fn push(&mut self, id: Id) {
        let segment = self.dice.faults.segment;
        let Some(tcp) = self.tcp(id) else { return };
        let wire = &mut tcp.wire;
        while !wire.unsent.is_empty() && wire.flying < wire.window {
            let room = (wire.window - wire.flying).min(segment);
            let count = wire.unsent.len().min(room);
            let data = wire.unsent.drain(..count).collect();
            wire.flying += count;
            wire.line.push_back(Segment::Data(data));
        }
        if wire.unsent.is_empty() && wire.fin == Fin::Waits {
            wire.fin = Fin::Sent;
            wire.line.push_back(Segment::Fin);
        }
        self.transmit(id);
    }

    pub(super) fn send_fin(&mut self, id: Id) {
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.wire.fin == Fin::No {
            tcp.wire.fin = Fin::Waits;
            tcp.wire.ended_first = !tcp.peer_ended;
            self.push(id);
        }
    }

    /// Hands the segments in line to the network, until one is lost.
    pub(super) fn transmit(&mut self, id: Id) {
        let source = self.tcp_machine(id);
        loop {
            let Some(tcp) = self.tcp(id) else { return };
            let (Some(from), Some(to)) = (tcp.common.local, tcp.common.remote) else {
                return;
            };
            if tcp.wire.tries > 0 || tcp.wire.line.is_empty() {
                return;
            }
            let Ok(target) = self.route(source, to.ip()) else {
                return;
            };
            if !self.passes(source, target) {
                self.lost(id);
                return;
            }
            let size = self.head_size(id);
            let at = self.arrival((source, target), size, 1);
            let Some(tcp) = self.tcp(id) else { return };
            let at = at.max(tcp.wire.floor);
            tcp.wire.floor = at;
            let Some(segment) = tcp.wire.line.pop_front() else {
                return;
            };
            let body = Body::Segment(tcp.connection, segment);
            self.deliver_at(at, source, target, Packet { from, to, body });
        }
    }

    /// Handles the loss of the first segment in line: retries, or gives up after too many tries.
    pub(super) fn lost(&mut self, id: Id) {
        let now = self.now;
        let Some(tcp) = self.tcp(id) else { return };
        let limit = tcp.common.user_timeout;
        let wire = &mut tcp.wire;
        wire.tries += 1;
        let shift = (wire.tries - 1).min(16);
        let (wait, most) = match wire.line.front() {
            Some(Segment::Syn { .. } | Segment::SynAck { .. }) => (SECOND << shift, 7),
            _ => (((SECOND / 5) << shift).min(120 * SECOND), 16),
        };
        let waited = (SECOND / 5) << shift;
        let too_long = limit != 0 && waited > limit;
        if wire.tries >= most || too_long {
            wire.line.clear();
            wire.tries = 0;
            self.broken(id, libc::ETIMEDOUT);
        } else {
            self.network.post(now + wait, Due::Retry(id));
        }
    }

    pub(super) fn retry(&mut self, id: Id) {
        let source = self.tcp_machine(id);
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.wire.tries == 0 {
            return;
        }
        let Some(to) = tcp.common.remote else { return };
        let Ok(target) = self.route(source, to.ip()) else {
            return;
        };
        if self.passes(source, target) {
            if let Some(tcp) = self.tcp(id) {
                tcp.wire.tries = 0;
            }
            self.pass_head(id);
        } else {
            self.lost(id);
        }
    }

    /// The number of bytes of data in the first segment in line.
    fn head_size(&mut self, id: Id) -> usize {
        let head = self.tcp(id).and_then(|tcp| tcp.wire.line.front());
        match head {
            Some(Segment::Data(data)) => data.len(),
            _ => 0,
        }
    }

    /// Sends the first segment in line without loss, and then the others.
    fn pass_head(&mut self, id: Id) {
        let source = self.tcp_machine(id);
        let Some(tcp) = self.tcp(id) else { return };
        let (Some(from), Some(to)) = (tcp.common.local, tcp.common.remote) else {
            return;
        };
        if let Ok(target) = self.route(source, to.ip()) {
            let size = self.head_size(id);
            let at = self.arrival((source, target), size, 1);
            let Some(tcp) = self.tcp(id) else { return };
            let Some(segment) = tcp.wire.line.pop_front() else {
                return;
            };
            let at = at.max(tcp.wire.floor);
            tcp.wire.floor = at;
            let body = Body::Segment(tcp.connection, segment);
            self.deliver_at(at, source, target, Packet { from, to, body });
        }
        self.transmit(id);
    }

    /// Resets a connection that has no socket here.
    pub(super) fn refuse(
        &mut self,
        source: usize,
        from: SocketAddr,
        to: SocketAddr,
        connection: u64,
    ) {
        let Ok(target) = self.route(source, to.ip()) else {
            return;
        };
        if self.reaches(source, target) {
            let at = self.arrival((source, target), 0, 1);
            let body = Body::Segment(connection, Segment::Reset);
            self.deliver_at(at, source, target, Packet { from, to, body });
        }
    }

    /// Resets the connection of a socket for its peer.
    pub(super) fn send_reset_of(&mut self, id: Id) {
        let source = self.tcp_machine(id);
        let Some(tcp) = self.tcp(id) else { return };
        let (Some(from), Some(to)) = (tcp.common.local, tcp.common.remote) else {
            return;
        };
        // Behind the data in transit: a reset that overtook it would be taken for an old one.
        let (floor, connection) = (tcp.wire.floor, tcp.connection);
        let Ok(target) = self.route(source, to.ip()) else {
            return;
        };
        if self.reaches(source, target) {
            let at = self.arrival((source, target), 0, 1).max(floor);
            let body = Body::Segment(connection, Segment::Reset);
            self.deliver_at(at, source, target, Packet { from, to, body });
        }
    }

    /// The fault of a reset: both ends get one.
    pub(super) fn break_both(&mut self, id: Id, error: Errno) {
        self.send_reset_of(id);
        self.broken(id, error);
        if let Some(tcp) = self.tcp(id) {
            // The present call reports it.
            tcp.error = 0;
        }
    }

    /// Breaks the connection, with an error that the next call reports.
    pub(super) fn broken(&mut self, id: Id, error: Errno) {
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.orphan || tcp.state == State::Arriving {
            self.drop_tcp(id);
            return;
        }
        tcp.error = error;
        tcp.state = State::Closed;
        (tcp.receive_shut, tcp.send_shut) = (true, true);
        tcp.wire = Wire::new(0);
        self.free_port_of(id);
        self.wake(id, ALL | ERR);
    }
}
