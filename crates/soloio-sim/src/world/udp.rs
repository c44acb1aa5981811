//! UDP sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::descriptors::{Id, Object};
use super::network::{Binding, Body, Packet, Protocol, unmapped};
use super::readiness::bits::{ALL, CAME, ERR, HUP, RDHUP, READABLE, ROOM, WRBAND, WRITABLE};
use super::sockets::Common;
use super::{Errno, Result, World};
use crate::faults::Fault;

/// The largest datagram that IPv4 carries.
const LARGEST: usize = 65_507;

/// The number of datagrams that wait at most; later ones are lost, as in a receive buffer of
/// 212,992 bytes, of which each datagram takes at least 768.
const WAITING: usize = 277;

#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) common: Common,
    pub(crate) error: Errno,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    receive_shut: bool,
    send_shut: bool,
}

/// A received datagram.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) data: Vec<u8>,
}

impl Udp {
    pub(super) fn new(common: Common) -> Self {
        Self {
            common,
            error: 0,
            inbox: VecDeque::new(),
            receive_shut: false,
            send_shut: false,
        }
    }

    /// `datagram_poll` of Linux.
    pub(super) fn ready(&self) -> u32 {
        let mut mask = WRITABLE | WRBAND;
        if self.error != 0 {
            mask |= ERR;
        }
        if self.receive_shut {
            mask |= RDHUP | READABLE;
        }
        if self.receive_shut && self.send_shut {
            mask |= HUP;
        }
        if !self.inbox.is_empty() {
            mask |= READABLE;
        }
        mask
    }

    pub(super) fn next_size(&self) -> usize {
        self.inbox.front().map_or(0, |(_, data)| data.len())
    }
}

impl World {
    fn udp(&mut self, id: Id) -> Option<&mut Udp> {
        match self.descriptors.get_mut(id) {
            Some(Object::Udp(udp)) => Some(udp),
            _ => None,
        }
    }

    pub(super) fn udp_connect(&mut self, id: Id, to: Option<SocketAddr>) -> Result<()> {
        let machine = self.tcp_machine(id);
        let Some(to) = to.map(unmapped) else {
            let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
            udp.common.remote = None;
            if !udp.common.bound {
                udp.common.local = None;
                self.network.unbind(id);
            }
            return Ok(());
        };
        self.route(machine, to.ip())?;
        let source = self.source_for(machine, to.ip());
        self.udp_bind_for(id, source)?;
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        if let Some(local) = &mut udp.common.local {
            if local.ip().is_unspecified() {
                local.set_ip(source);
            }
        }
        udp.common.remote = Some(to);
        Ok(())
    }

    /// Gives a socket without an address a port.
    fn udp_bind_for(&mut self, id: Id, source: std::net::IpAddr) -> Result<()> {
        let machine = self.tcp_machine(id);
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        if udp.common.local.is_some() {
            return Ok(());
        }
        let any = match source.is_ipv4() {
            true => std::net::Ipv4Addr::UNSPECIFIED.into(),
            false => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let wanted = Binding {
            protocol: Protocol::Udp,
            machine,
            address: SocketAddr::new(any, 0),
            id,
            only_v6: udp.common.only_v6,
            reuse_address: false,
            reuse_port: false,
            listens: false,
        };
        let local = self.take_address(wanted)?;
        self.udp(id).ok_or(libc::ENOTSOCK)?.common.local = Some(local);
        Ok(())
    }

    /// sendto(2), and send(2) of a connected socket.
    pub(crate) fn udp_send(
        &mut self,
        id: Id,
        data: Vec<u8>,
        to: Option<SocketAddr>,
    ) -> Result<usize> {
        let machine = self.tcp_machine(id);
        // Linux gives it a port before any other check.
        let any = self.udp(id).ok_or(libc::ENOTSOCK)?.common.any();
        self.udp_bind_for(id, any.ip())?;
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        if data.len() > 65_535 {
            return Err(libc::EMSGSIZE);
        }
        if let Some(to) = to {
            if to.port() == 0 {
                return Err(libc::EINVAL);
            }
            if to.is_ipv6() != udp.common.v6 && to.is_ipv6() {
                return Err(libc::EAFNOSUPPORT);
            }
        }
        let to = to.map(unmapped).or(udp.common.remote);
        let to = to.ok_or(libc::EDESTADDRREQ)?;
        let target = self.route(machine, to.ip())?;
        let source = self.source_for(machine, to.ip());
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        if data.len() > LARGEST {
            return Err(libc::EMSGSIZE);
        }
        if udp.error != 0 {
            return Err(std::mem::take(&mut udp.error));
        }
        if udp.send_shut {
            return Err(libc::EPIPE);
        }
        let mut from = udp.common.local.ok_or(libc::EINVAL)?;
        if from.ip().is_unspecified() {
            from.set_ip(source);
        }
        if self.strikes(Fault::NoBuffers) {
            return Err(libc::ENOBUFS);
        }
        let to = match to.ip().is_unspecified() {
            true => SocketAddr::new(source, to.port()),
            false => to,
        };
        let count = data.len();
        self.launch(machine, target, from, to, data);
        // It has left the buffer already, which Linux counts as an edge.
        self.wake(id, ROOM);
        Ok(count)
    }

    fn launch(
        &mut self,
        source: usize,
        target: usize,
        from: SocketAddr,
        to: SocketAddr,
        data: Vec<u8>,
    ) {
        let copies = 1 + u32::from(self.strikes(Fault::Double));
        for _ in 0..copies {
            if !self.passes(source, target) {
                continue;
            }
            let slow = if self.strikes(Fault::Reorder) { 10 } else { 1 };
            let at = self.arrival((source, target), data.len(), slow);
            let body = Body::Datagram(data.clone());
            self.deliver_at(at, source, target, Packet { from, to, body });
        }
    }

    pub(super) fn datagram_arrives(
        &mut self,
        source: usize,
        machine: usize,
        from: SocketAddr,
        to: SocketAddr,
        data: Vec<u8>,
    ) {
        let Some(id) = self.udp_taker(machine, from, to) else {
            let (body, from, to) = (Body::Unreachable, to, from);
            if self.passes(machine, source) {
                let at = self.arrival((machine, source), 0, 1);
                self.deliver_at(at, machine, source, Packet { from, to, body });
            }
            return;
        };
        let Some(udp) = self.udp(id) else { return };
        if udp.inbox.len() < WAITING {
            udp.inbox.push_back((from, data));
            self.wake(id, CAME);
        }
    }

    /// Returns the socket that receives a datagram: one connected to its sender precedes others,
    /// and one connected elsewhere gets none.
    fn udp_taker(&self, machine: usize, from: SocketAddr, to: SocketAddr) -> Option<Id> {
        let local = |binding: &&Binding| {
            binding.protocol == Protocol::Udp
                && binding.machine == machine
                && binding.address.port() == to.port()
        };
        let score = |binding: &Binding| {
            let Some(Object::Udp(udp)) = self.descriptors.get(binding.id) else {
                return None;
            };
            let own = udp.common.local.unwrap_or(binding.address).ip();
            let exact = match own {
                ip if ip == to.ip() => 1,
                ip if ip.is_unspecified() && (ip.is_ipv4() == to.is_ipv4()) => 0,
                ip if ip.is_unspecified() && ip.is_ipv6() && !binding.only_v6 => 0,
                _ => return None,
            };
            match udp.common.remote {
                Some(peer) if peer == from => Some(exact + 2),
                Some(_) => None,
                None => Some(exact),
            }
        };
        let bindings = self.network.bindings.iter().filter(local);
        let scored = bindings.filter_map(|binding| Some((score(binding)?, binding.id)));
        scored.max_by_key(|(score, _)| *score).map(|(_, id)| id)
    }

    /// Handles a datagram without a socket at its address: a connected sender gets the error.
    pub(super) fn unreachable_arrives(&mut self, machine: usize, from: SocketAddr, to: SocketAddr) {
        let taker = self.udp_taker(machine, from, to);
        let Some(id) = taker else { return };
        let Some(udp) = self.udp(id) else { return };
        if udp.common.remote == Some(from) {
            udp.error = libc::ECONNREFUSED;
            self.wake(id, ERR);
        }
    }

    /// recvfrom(2) that does not wait.
    pub(crate) fn udp_recv(&mut self, id: Id, peek: bool) -> Result<Datagram> {
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        if udp.error != 0 {
            return Err(std::mem::take(&mut udp.error));
        }
        let (from, data) = match peek {
            true => udp.inbox.front().cloned(),
            false => udp.inbox.pop_front(),
        }
        .ok_or(libc::EAGAIN)?;
        let from = udp.common.shown(from);
        Ok(Datagram { from, data })
    }

    pub(super) fn udp_shutdown(&mut self, id: Id, receive: bool, send: bool) -> Result<()> {
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        udp.receive_shut |= receive;
        udp.send_shut |= send;
        let connected = udp.common.remote.is_some();
        self.wake(id, ALL);
        if connected {
            Ok(())
        } else {
            Err(libc::ENOTCONN)
        }
    }
}
