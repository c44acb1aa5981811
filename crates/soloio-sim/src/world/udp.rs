//! UDP sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::descriptors::{Id, Object};
use super::network::{Binding, Body, Packet, Protocol, unmapped};
use super::readiness::bits::{ALL, CAME, ERR, HUP, RDHUP, READABLE, ROOM, WRBAND, WRITABLE};
use super::sockets::Common;
use super::udp_segments::Burst;
use super::{Errno, Result, World};
use crate::faults::Fault;

/// The largest datagrams that IPv4 and IPv6 carry.
const LARGEST: usize = 65_507;
const LARGEST_V6: usize = 65_527;

/// The number of datagrams that wait at most; later ones are lost, as in a receive buffer of
/// 212,992 bytes, of which each datagram takes at least 768.
const WAITING: usize = 277;

#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) common: Common,
    pub(crate) error: Errno,
    inbox: VecDeque<(SocketAddr, Burst)>,
    receive_shut: bool,
    send_shut: bool,
}

/// A received datagram.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) data: Vec<u8>,
    /// The size of the datagrams in it, if they are several and the socket takes them so.
    pub(crate) segment: Option<usize>,
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
        self.inbox.front().map_or(0, |(_, burst)| burst.data.len())
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
        segment: Option<Result<u16>>,
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
        let segment = segment.transpose()?;
        let target = self.route(machine, to.ip())?;
        let source = self.source_for(machine, to.ip());
        let udp = self.udp(id).ok_or(libc::ENOTSOCK)?;
        let most = if to.is_ipv4() { LARGEST } else { LARGEST_V6 };
        if data.len() > most {
            return Err(libc::EMSGSIZE);
        }
        if udp.error != 0 {
            return Err(std::mem::take(&mut udp.error));
        }
        if udp.send_shut {
            return Err(libc::EPIPE);
        }
        let mut from = udp.common.local.ok_or(libc::EINVAL)?;
        let burst = udp.burst(data, segment, to).inspect_err(|_| {
            // Linux has made the message and freed it again, which counts as room.
            self.wake(id, ROOM);
        })?;
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
        let count = burst.data.len();
        self.launch((machine, target), (from, to), &burst);
        // It has left the buffer already, which Linux counts as an edge.
        self.wake(id, ROOM);
        Ok(count)
    }

    /// Hands datagrams to the network. Those that arrive one behind the other, and fit, do so as
    /// one message.
    fn launch(&mut self, way: (usize, usize), path: (SocketAddr, SocketAddr), all: &Burst) {
        let mut passing: Option<Burst> = None;
        let cut = all.is_cut(path.1);
        for datagram in all.datagrams() {
            let copies = 1 + u32::from(self.strikes(Fault::Double));
            for copy in 0..copies {
                if !self.passes(way.0, way.1) {
                    continue;
                }
                let alone = Burst::new(datagram.to_vec(), 0);
                let late = self.strikes(Fault::Reorder);
                if late || copy > 0 {
                    self.dispatch(way, path, alone, if late { 10 } else { 1 });
                    continue;
                }
                let joined = |before: &mut Burst| !cut && before.join(datagram);
                if passing.as_mut().is_some_and(joined) {
                    continue;
                }
                if let Some(before) = passing.replace(alone) {
                    self.dispatch(way, path, before, 1);
                }
            }
        }
        if let Some(last) = passing {
            self.dispatch(way, path, last, 1);
        }
    }

    fn dispatch(
        &mut self,
        way: (usize, usize),
        (from, to): (SocketAddr, SocketAddr),
        burst: Burst,
        slow: u64,
    ) {
        let at = self.arrival(way, burst.data.len(), slow);
        let body = Body::Datagram(burst);
        self.deliver_at(at, way.0, way.1, Packet { from, to, body });
    }

    pub(super) fn datagram_arrives(
        &mut self,
        source: usize,
        machine: usize,
        from: SocketAddr,
        to: SocketAddr,
        burst: Burst,
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
        let whole = udp.takes_several() || burst.segment == 0;
        let room = WAITING.saturating_sub(udp.inbox.len());
        if room == 0 {
            return;
        }
        if whole {
            udp.inbox.push_back((from, burst));
        } else {
            let datagrams = burst.datagrams().take(room);
            let datagrams = datagrams.map(|data| (from, Burst::new(data.to_vec(), 0)));
            udp.inbox.extend(datagrams);
        }
        self.wake(id, CAME);
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
        let (from, burst) = match peek {
            true => udp.inbox.front().cloned(),
            false => udp.inbox.pop_front(),
        }
        .ok_or(libc::EAGAIN)?;
        let told = udp.takes_several() && burst.segment > 0;
        Ok(Datagram {
            from: udp.common.shown(from),
            segment: told.then_some(burst.segment),
            data: burst.data,
        })
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
