//! Packets in transit between machines: latency, loss, partitions; and all scheduled events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::descriptors::Id;
use super::segments::Segment;
use super::udp_segments::Burst;
use super::{Errno, Nanos, Result, World};
use crate::faults::Fault;

/// A scheduled event.
#[derive(Debug)]
pub(crate) enum Due {
    /// A packet reaches its machine.
    Arrive {
        source: usize,
        target: usize,
        packet: Packet,
    },
    /// A TCP endpoint sends a lost segment again.
    Retry(Id),
    /// A timerfd that was set to this time expires.
    Expire(Id, Nanos),
    /// A closed connection has waited long enough.
    Forget(Id),
}

/// A packet, with its true addresses.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// A segment of the connection with this number.
    Segment(u64, Segment),
    /// One datagram, or several of a size.
    Datagram(Burst),
    /// A datagram from `to` to `from` found no socket.
    Unreachable,
}

/// The kind of socket of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) protocol: Protocol,
    pub(crate) machine: usize,
    pub(crate) address: SocketAddr,
    pub(crate) id: Id,
    /// An IPv6 wildcard that takes no IPv4.
    pub(crate) only_v6: bool,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) listens: bool,
}

/// A connection's key on its machine: local and remote address.
pub(crate) type Path = (usize, SocketAddr, SocketAddr);

/// One direction between two machines, which takes time to send bytes.
#[derive(Debug)]
struct Link {
    bytes_per_second: u64,
    /// The time at which it has sent what it has got.
    free: Nanos,
    /// The part of a nanosecond after that, in units of 1 / `bytes_per_second`.
    rest: u64,
}

impl Link {
    /// Takes bytes; returns the time at which it has sent them.
    fn send(&mut self, now: Nanos, size: usize) -> Nanos {
        if self.free < now {
            (self.free, self.rest) = (now, 0);
        }
        let rate = u128::from(self.bytes_per_second);
        let work = size as u128 * 1_000_000_000 + u128::from(self.rest);
        let spent = u64::try_from(work / rate).unwrap_or(u64::MAX);
        self.free = self.free.saturating_add(spent);
        self.rest = u64::try_from(work % rate).expect("less than the rate");
        self.free
    }
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    due: BTreeMap<(Nanos, u64), Due>,
    serial: u64,
    /// Pairs of machines; the first does not reach the second.
    cut: BTreeSet<(usize, usize)>,
    /// Additional loss from the first machine to the second.
    loss: BTreeMap<(usize, usize), f64>,
    /// The bandwidth from the first machine to the second.
    links: BTreeMap<(usize, usize), Link>,
    pub(crate) connections: BTreeMap<Path, Id>,
    /// The number of TCP connections that were ever begun.
    pub(super) begun: u64,
    pub(crate) bindings: Vec<Binding>,
}

impl Network {
    pub(crate) fn post(&mut self, at: Nanos, due: Due) {
        self.serial += 1;
        self.due.insert((at, self.serial), due);
    }

    /// Takes the next event that is due by `now`.
    pub(crate) fn pop(&mut self, now: Nanos) -> Option<Due> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Returns the time of the next event.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(crate) fn set_loss(&mut self, from: usize, to: usize, chance: f64) {
        self.loss.insert((from, to), chance);
    }

    /// Limits a direction; 0 bytes are no limit.
    pub(crate) fn set_bandwidth(&mut self, from: usize, to: usize, bytes_per_second: u64) {
        let link = Link {
            bytes_per_second,
            free: 0,
            rest: 0,
        };
        match bytes_per_second {
            0 => self.links.remove(&(from, to)),
            _ => self.links.insert((from, to), link),
        };
    }

    /// Lets all machines reach each other again, apart from random faults.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.loss.clear();
    }

    pub(crate) fn unbind(&mut self, id: Id) {
        self.bindings.retain(|binding| binding.id != id);
    }

    pub(crate) fn disconnect(&mut self, id: Id) {
        self.connections.retain(|_, other| *other != id);
    }

    pub(super) fn forget_machine(&mut self, machine: usize) {
        self.connections.retain(|path, _| path.0 != machine);
        self.bindings.retain(|binding| binding.machine != machine);
    }
}

/// Returns the IPv4 address that an IPv6 address stands for, or the address itself.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

impl World {
    /// Returns the machine that an address leads to from another machine.
    pub(crate) fn route(&self, from: usize, ip: IpAddr) -> Result<usize> {
        if self.machines[from].owns(ip) {
            return Ok(from);
        }
        let found = self.machines.iter().position(|machine| machine.owns(ip));
        found.ok_or(libc::ENETUNREACH)
    }

    /// Returns the source address of a machine for a socket without one.
    pub(crate) fn source_for(&self, machine: usize, to: IpAddr) -> IpAddr {
        let machine = &self.machines[machine];
        match to {
            IpAddr::V4(v4) if v4.is_loopback() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(v6) if v6.is_loopback() => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V4(_) => machine.v4.into(),
            IpAddr::V6(_) => machine.v6.into(),
        }
    }

    /// Draws if a packet gets through.
    pub(super) fn passes(&mut self, source: usize, target: usize) -> bool {
        self.reaches(source, target) && !self.strikes(Fault::Loss)
    }

    /// Like `passes`, without the fault of a loss: for resets, which are not sent again. A lost
    /// reset leaves a peer that only receives waiting for ever; a test that needs that cuts the
    /// connection.
    pub(super) fn reaches(&mut self, source: usize, target: usize) -> bool {
        let way = (source, target);
        if self.network.cut.contains(&way) || !self.machines[source].up {
            return false;
        }
        if !self.machines[target].up {
            return false;
        }
        let extra = self.network.loss.get(&way).copied().unwrap_or(0.0);
        extra == 0.0 || !self.dice.nature.hit(extra)
    }

    /// Returns the time at which a packet with so many bytes of data arrives, which is `slow` times
    /// as long on its way as others.
    pub(super) fn arrival(&mut self, way: (usize, usize), size: usize, slow: u64) -> Nanos {
        let now = self.now;
        let link = self.network.links.get_mut(&way);
        let sent = link.map_or(now, |link| link.send(now, size));
        sent.saturating_add(self.latency() * slow)
    }

    /// Returns the time that a packet is on its way.
    fn latency(&mut self) -> Nanos {
        let (least, most) = self.dice.faults.latency;
        let nanos = |time: std::time::Duration| Nanos::try_from(time.as_nanos()).unwrap_or(0);
        match (nanos(least), nanos(most)) {
            (least, most) if least == most => least,
            (least, most) => self.dice.nature.between(least, most),
        }
    }

    pub(super) fn deliver_at(&mut self, at: Nanos, source: usize, target: usize, packet: Packet) {
        let arrive = Due::Arrive {
            source,
            target,
            packet,
        };
        self.network.post(at, arrive);
    }

    /// Delivers a packet.
    pub(super) fn arrive(&mut self, source: usize, target: usize, packet: Packet) {
        if !self.machines[target].up {
            return;
        }
        match packet.body {
            Body::Segment(connection, segment) => {
                let (from, to) = (packet.from, packet.to);
                self.segment_arrives((source, target), from, to, connection, segment);
            }
            Body::Datagram(data) => {
                self.datagram_arrives(source, target, packet.from, packet.to, data)
            }
            Body::Unreachable => self.unreachable_arrives(target, packet.from, packet.to),
        }
    }

    /// Returns the socket that receives packets to an address: one bound to this very address
    /// precedes one bound to all.
    pub(super) fn bound(&self, protocol: Protocol, machine: usize, to: SocketAddr) -> Option<Id> {
        let fits = |binding: &&Binding| {
            let own = binding.address;
            let same = binding.protocol == protocol && binding.machine == machine;
            let listens = protocol == Protocol::Udp || binding.listens;
            same && listens && own.port() == to.port() && covers(own.ip(), binding.only_v6, to.ip())
        };
        let all = self.network.bindings.iter().filter(fits);
        // The last of several, in the order in which Linux finds them; exact ones first.
        all.max_by_key(|binding| !binding.address.ip().is_unspecified())
            .map(|binding| binding.id)
    }

    /// Takes an address for a socket; port 0 becomes a free one.
    pub(crate) fn take_address(&mut self, mut wanted: Binding) -> Result<SocketAddr> {
        let ip = wanted.address.ip();
        if !self.machines[wanted.machine].owns(ip) {
            return Err(libc::EADDRNOTAVAIL);
        }
        if wanted.address.port() == 0 {
            let port = self.free_port(&wanted)?;
            wanted.address.set_port(port);
        } else if self.conflicts(&wanted) {
            return Err(libc::EADDRINUSE);
        }
        let address = wanted.address;
        self.network.bindings.push(wanted);
        Ok(address)
    }

    fn free_port(&mut self, wanted: &Binding) -> std::result::Result<u16, Errno> {
        const FIRST: u64 = 32_768;
        const COUNT: u64 = 28_232;
        let start = self.dice.nature.below(COUNT);
        for step in 0..COUNT {
            let port = u16::try_from(FIRST + (start + step) % COUNT).expect("below 61,000");
            let address = SocketAddr::new(wanted.address.ip(), port);
            let alone = Binding {
                address,
                reuse_address: false,
                reuse_port: false,
                ..*wanted
            };
            if !self.conflicts(&alone) {
                return Ok(port);
            }
        }
        Err(libc::EADDRINUSE)
    }

    fn conflicts(&self, wanted: &Binding) -> bool {
        self.network.bindings.iter().any(|other| {
            let same = other.protocol == wanted.protocol && other.machine == wanted.machine;
            let port = other.address.port() == wanted.address.port();
            let shares_address = other.reuse_address && wanted.reuse_address;
            let shares = match wanted.protocol {
                Protocol::Tcp => shares_address && !other.listens && !wanted.listens,
                Protocol::Udp => shares_address,
            };
            let shares = shares || other.reuse_port && wanted.reuse_port;
            same && port && !shares && overlap(other, wanted)
        })
    }

    /// Returns true if another socket keeps this one from listening: an address shared by
    /// `SO_REUSEADDR` may have one listener.
    pub(crate) fn forbids_listening(&self, id: Id) -> bool {
        let bindings = &self.network.bindings;
        let Some(own) = bindings.iter().find(|binding| binding.id == id) else {
            return false;
        };
        bindings.iter().any(|other| {
            other.id != id
                && other.listens
                && other.protocol == own.protocol
                && other.machine == own.machine
                && other.address.port() == own.address.port()
                && !(other.reuse_port && own.reuse_port)
                && overlap(other, own)
        })
    }
}

/// Returns true if a socket bound to `own` receives packets to `to`.
fn covers(own: IpAddr, only_v6: bool, to: IpAddr) -> bool {
    match own {
        IpAddr::V6(v6) if v6.is_unspecified() => !only_v6 || to.is_ipv6(),
        IpAddr::V4(v4) if v4.is_unspecified() => to.is_ipv4(),
        own => own == to,
    }
}

fn overlap(a: &Binding, b: &Binding) -> bool {
    let (ip_a, ip_b) = (a.address.ip(), b.address.ip());
    let both_any = ip_a.is_unspecified() && ip_b.is_unspecified();
    if both_any && ip_a.is_ipv4() != ip_b.is_ipv4() {
        let v6 = if ip_a.is_ipv6() { a } else { b };
        return !v6.only_v6;
    }
    covers(ip_a, a.only_v6, ip_b) || covers(ip_b, b.only_v6, ip_a)
}
