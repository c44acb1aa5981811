//! TCP segments that arrive: handshakes, acknowledgements, data, ends and resets.

use std::net::SocketAddr;

use super::World;
use super::descriptors::{Id, Object};
use super::network::{Binding, Due, Path, Protocol};
use super::readiness::bits::{ALL, CAME};
use super::segments::{Fin, LINGER, Segment};
use super::tcp::{State, Tcp};

impl World {
    pub(super) fn segment_arrives(
        &mut self,
        (source, machine): (usize, usize),
        from: SocketAddr,
        to: SocketAddr,
        connection: u64,
        segment: Segment,
    ) {
        let found = self.network.connections.get(&(machine, to, from)).copied();
        let is_syn = matches!(segment, Segment::Syn { .. });
        match found.and_then(|id| Some((id, self.tcp(id)?))) {
            Some((id, tcp)) if tcp.connection == connection => {
                return self.connection_gets(id, segment);
            }
            // Both connect to each other.
            Some((id, tcp)) if is_syn && tcp.state == State::Connecting => {
                tcp.connection = tcp.connection.min(connection);
                return self.connection_gets(id, segment);
            }
            // The peer has a new one, so this one is over: its reset is late, or was lost.
            Some((id, _)) if is_syn => self.broken(id, libc::ECONNRESET),
            _ => {}
        }
        match segment {
            Segment::Syn { window } => match self.bound(Protocol::Tcp, machine, to) {
                Some(listener) => {
                    let path = (machine, to, from);
                    self.syn_arrives(listener, source, path, connection, window);
                }
                None => self.refuse(machine, to, from, connection),
            },
            // Nothing new: the acknowledged data is settled.
            Segment::Reset | Segment::Ack { .. } => {}
            _ => self.refuse(machine, to, from, connection),
        }
    }

    /// Begins a connection at a listener, or lets the peer retry if the backlog is full.
    fn syn_arrives(
        &mut self,
        listener: Id,
        source: usize,
        (machine, to, from): Path,
        connection: u64,
        window: usize,
    ) {
        let Some(tcp) = self.tcp(listener) else {
            return;
        };
        if tcp.queue.len() > tcp.backlog {
            let syn = Segment::Syn { window };
            if let Some(client) = self.network.connections.get(&(source, from, to)).copied() {
                if let Some(tcp) = self.tcp(client) {
                    tcp.wire.line.push_front(syn);
                    tcp.wire.tries = tcp.wire.ignored;
                    tcp.wire.ignored += 1;
                    self.lost(client);
                }
            }
            return;
        }
        let mut common = tcp.common.inherited();
        (common.local, common.remote) = (Some(to), Some(from));
        let own = common.receive_limit();
        let mut child = Tcp::new(common, own);
        child.state = State::Arriving;
        child.listener = Some(listener);
        child.connection = connection;
        child.wire.window = window;
        child.wire.line.push_back(Segment::SynAck { window: own });
        let id = self.descriptors.add(Object::Tcp(Box::new(child)), machine);
        self.network.connections.insert((machine, to, from), id);
        let parent = self.network.bindings.iter();
        let parent = parent.rev().find(|binding| binding.id == listener);
        if let Some(shares) = parent.map(|parent| (parent.reuse_address, parent.reuse_port)) {
            self.network.bindings.push(Binding {
                protocol: Protocol::Tcp,
                machine,
                address: to,
                id,
                only_v6: false,
                reuse_address: shares.0,
                reuse_port: shares.1,
                listens: false,
            });
        }
        self.transmit(id);
    }

    fn connection_gets(&mut self, id: Id, segment: Segment) {
        let Some(tcp) = self.tcp(id) else { return };
        match segment {
            // A SYN: both connect to each other, or one to itself.
            Segment::Syn { window } | Segment::SynAck { window }
                if tcp.state == State::Connecting =>
            {
                tcp.state = State::Open;
                tcp.wire.window = window;
                let window = tcp.wire.told;
                self.acknowledge(id, 0, false, window);
                self.wake(id, ALL);
                self.push(id);
            }
            Segment::Syn { .. } | Segment::SynAck { .. } => {}
            Segment::Ack { bytes, fin, window } => self.acknowledged(id, bytes, fin, window),
            Segment::Data(data) => self.data_arrives(id, &data),
            Segment::Fin => self.fin_arrives(id),
            Segment::Reset => {
                let error = match tcp {
                    tcp if tcp.state == State::Connecting => libc::ECONNREFUSED,
                    tcp if tcp.peer_ended => libc::EPIPE,
                    _ => libc::ECONNRESET,
                };
                self.broken(id, error);
            }
        }
    }

    fn acknowledge(&mut self, id: Id, bytes: usize, fin: bool, window: usize) {
        let Some(tcp) = self.tcp(id) else { return };
        tcp.wire.told = window;
        let ack = Segment::Ack { bytes, fin, window };
        tcp.wire.line.push_back(ack);
        self.transmit(id);
    }

    /// Informs the peer of new room, when it is worth a packet.
    pub(super) fn tell_window(&mut self, id: Id) {
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.state != State::Open || tcp.peer_ended {
            return;
        }
        let limit = tcp.common.receive_limit();
        let room = limit.saturating_sub(tcp.inbox.len());
        if room > tcp.wire.told && (room >= tcp.wire.told + limit / 2 || room == limit) {
            self.acknowledge(id, 0, false, room);
        }
    }

    fn acknowledged(&mut self, id: Id, bytes: usize, fin: bool, window: usize) {
        let Some(tcp) = self.tcp(id) else { return };
        let wire = &mut tcp.wire;
        wire.flying = wire.flying.saturating_sub(bytes);
        wire.window = window;
        if tcp.state == State::Arriving {
            tcp.state = State::Open;
            let listener = tcp.listener;
            if let Some(tcp) = listener.and_then(|listener| self.tcp(listener)) {
                tcp.queue.push_back(id);
            }
            if let Some(listener) = listener {
                self.wake(listener, CAME);
            }
        }
        self.push(id);
        self.wake_for_room(id);
        if fin {
            let Some(tcp) = self.tcp(id) else { return };
            tcp.wire.fin = Fin::Acknowledged;
            // Linux wakes pollers when our end has arrived.
            self.wake(id, ALL);
            self.settle(id);
        }
    }

    fn data_arrives(&mut self, id: Id, data: &[u8]) {
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.orphan || tcp.send_shut && tcp.receive_shut && !tcp.peer_ended {
            // The data would be lost: the peer has to know.
            self.send_reset_of(id);
            self.broken(id, libc::ECONNRESET);
            return;
        }
        tcp.inbox.extend(data);
        let limit = tcp.common.receive_limit();
        let window = limit.saturating_sub(tcp.inbox.len());
        self.acknowledge(id, data.len(), false, window);
        self.wake(id, CAME);
    }

    fn fin_arrives(&mut self, id: Id) {
        let Some(tcp) = self.tcp(id) else { return };
        (tcp.peer_ended, tcp.receive_shut) = (true, true);
        let window = tcp.wire.told;
        self.acknowledge(id, 0, true, window);
        self.wake(id, ALL);
        self.settle(id);
    }

    /// Closes a connection that has ended both ways. One without descriptors is removed then, or
    /// after a time in which the peer did not end.
    pub(super) fn settle(&mut self, id: Id) {
        let now = self.now;
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.wire.fin != Fin::Acknowledged {
            return;
        }
        if tcp.peer_ended {
            tcp.state = State::Closed;
            let forgets = tcp.orphan && tcp.wire.line.is_empty();
            self.free_port_of(id);
            if forgets {
                self.drop_tcp(id);
                return;
            }
        }
        self.network.post(now + LINGER, Due::Forget(id));
    }

    pub(super) fn forget(&mut self, id: Id) {
        match self.tcp(id) {
            Some(tcp) if !tcp.orphan => {}
            Some(_) => self.drop_tcp(id),
            None => self.network.unbind(id),
        }
    }
}
