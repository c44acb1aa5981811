//! The part that all sockets share: making, binding, names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::descriptors::{Fd, Id, Object};
use super::network::{Binding, Protocol, unmapped};
use super::options::Options;
use super::tcp::{State, Tcp};
use super::udp::Udp;
use super::unix::{Name, Unix};
use super::{Nanos, Result, World};

/// A socket's address of any family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Internet(SocketAddr),
    Unix(Name),
    /// `AF_UNSPEC`: dissolves a connection.
    None,
}

/// The part that internet sockets share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) v6: bool,
    pub(crate) only_v6: bool,
    /// IPv4 addresses are stored as IPv4, whatever the family.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    /// The program chose its port.
    pub(crate) bound: bool,
    /// Its connection has ended, and with it the claim on a port that the kernel chose.
    pub(crate) freed: bool,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) zero_linger: bool,
    pub(crate) user_timeout: Nanos,
    pub(crate) options: Options,
    buffer: usize,
}

impl Common {
    fn new(v6: bool, buffer: usize) -> Self {
        Self {
            v6,
            only_v6: false,
            local: None,
            remote: None,
            bound: false,
            freed: false,
            reuse_address: false,
            reuse_port: false,
            zero_linger: false,
            user_timeout: 0,
            options: Options::default(),
            buffer,
        }
    }

    /// Returns the state that a connection takes over from its listener.
    pub(super) fn inherited(&self) -> Self {
        Self {
            bound: false,
            ..self.clone()
        }
    }

    /// Returns the number of bytes that may wait to be received.
    pub(crate) fn receive_limit(&self) -> usize {
        let asked = self.options.get(libc::SOL_SOCKET, libc::SO_RCVBUF);
        asked.map_or(self.buffer, |bytes| half(bytes).min(self.buffer))
    }

    /// Returns the number of bytes that may wait to be acknowledged.
    pub(crate) fn send_limit(&self) -> usize {
        let asked = self.options.get(libc::SOL_SOCKET, libc::SO_SNDBUF);
        asked.map_or(self.buffer, |bytes| half(bytes).min(self.buffer))
    }

    /// Returns the unspecified address of its family.
    pub(crate) fn any(&self) -> SocketAddr {
        let ip: IpAddr = match self.v6 {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(ip, 0)
    }

    /// Returns an address as a socket of this family shows it.
    pub(crate) fn shown(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.v6 && v4.ip().is_unspecified() => {
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), v4.port())
            }
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        }
    }

    /// Returns true if this family can reach an address.
    fn takes(&self, address: SocketAddr) -> bool {
        match address {
            SocketAddr::V4(_) => !self.v6,
            SocketAddr::V6(v6) => self.v6 && !(self.only_v6 && v6.ip().to_ipv4_mapped().is_some()),
        }
    }
}

fn half(bytes: i32) -> usize {
    usize::try_from(bytes / 2).unwrap_or(1).max(1)
}

/// The kinds of sockets that `socket` can make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) domain: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
}

impl World {
    /// socket(2).
    pub(crate) fn socket(&mut self, kind: Kind) -> Result<Fd> {
        const OPTIONS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let Kind {
            domain,
            kind,
            protocol,
        } = kind;
        let (options, kind) = (kind & OPTIONS, kind & !OPTIONS);
        let buffer = self.dice.faults.buffer;
        let internet = |v6| Common::new(v6, buffer);
        let object = match (domain, kind) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => {
                if !matches!(protocol, 0 | libc::IPPROTO_TCP) {
                    return Err(libc::EPROTONOSUPPORT);
                }
                let common = internet(domain == libc::AF_INET6);
                Object::Tcp(Box::new(Tcp::new(common, buffer)))
            }
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => {
                if !matches!(protocol, 0 | libc::IPPROTO_UDP) {
                    return Err(libc::EPROTONOSUPPORT);
                }
                Object::Udp(Box::new(Udp::new(internet(domain == libc::AF_INET6))))
            }
            (libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_DGRAM) => {
                Object::Unix(Box::new(Unix::new(kind == libc::SOCK_DGRAM, buffer)))
            }
            _ => return Err(libc::EAFNOSUPPORT),
        };
        self.may_open()?;
        let (nonblocking, cloexec) = (
            options & libc::SOCK_NONBLOCK != 0,
            options & libc::SOCK_CLOEXEC != 0,
        );
        self.open(object, nonblocking, cloexec)
    }

    pub(crate) fn common(&mut self, id: Id) -> Option<&mut Common> {
        match self.descriptors.get_mut(id) {
            Some(Object::Tcp(tcp)) => Some(&mut tcp.common),
            Some(Object::Udp(udp)) => Some(&mut udp.common),
            _ => None,
        }
    }

    /// bind(2).
    pub(crate) fn bind(&mut self, id: Id, address: &Address) -> Result<()> {
        match (self.descriptors.get(id), address) {
            (Some(Object::Tcp(_) | Object::Udp(_)), Address::Internet(to)) => {
                self.bind_internet(id, *to)
            }
            (Some(Object::Unix(_)), Address::Unix(name)) => self.unix_bind(id, name),
            (Some(Object::Tcp(_) | Object::Udp(_)), _) => Err(libc::EAFNOSUPPORT),
            (Some(Object::Unix(_)), _) => Err(libc::EINVAL),
            _ => Err(libc::ENOTSOCK),
        }
    }

    pub(super) fn bind_internet(&mut self, id: Id, to: SocketAddr) -> Result<()> {
        let machine = self.tcp_machine(id);
        let closed = self.tcp(id).is_none_or(|tcp| tcp.state == State::Closed);
        let protocol = match self.tcp(id) {
            Some(_) => Protocol::Tcp,
            None => Protocol::Udp,
        };
        let common = self.common(id).ok_or(libc::ENOTSOCK)?;
        if !common.takes(to) {
            // Linux has a different error for each family.
            let v6 = common.v6;
            return Err(if v6 { libc::EINVAL } else { libc::EAFNOSUPPORT });
        }
        if common.bound || !closed || common.local.is_some() && !common.freed {
            return Err(libc::EINVAL);
        }
        let wanted = Binding {
            protocol,
            machine,
            address: unmapped(to),
            id,
            only_v6: common.only_v6,
            reuse_address: common.reuse_address,
            reuse_port: common.reuse_port,
            listens: false,
        };
        let taken = self.take_address(wanted)?;
        let common = self.common(id).expect("looked at above");
        (common.local, common.freed) = (Some(taken), false);
        // A port that the kernel chose can be taken back by the kernel.
        common.bound = to.port() != 0;
        Ok(())
    }

    /// listen(2).
    pub(crate) fn listen(&mut self, id: Id, backlog: i32) -> Result<()> {
        // Linux: a negative backlog means the largest one.
        let backlog = usize::try_from(backlog).unwrap_or(4096).min(4096);
        match self.descriptors.get(id) {
            Some(Object::Tcp(_)) => self.tcp_listen(id, backlog),
            Some(Object::Unix(_)) => self.unix_listen(id, backlog),
            Some(Object::Udp(_)) => Err(libc::EOPNOTSUPP),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// connect(2) that does not wait.
    pub(crate) fn connect(&mut self, id: Id, address: &Address) -> Result<()> {
        let fits = self.common(id).map(|common| match address {
            Address::Internet(to) => common.takes(*to),
            Address::Unix(_) => false,
            Address::None => true,
        });
        match (self.descriptors.get(id), address, fits) {
            (Some(Object::Tcp(_) | Object::Udp(_)), _, Some(false)) => Err(libc::EAFNOSUPPORT),
            (Some(Object::Tcp(_)), Address::Internet(to), _) => self.tcp_connect(id, Some(*to)),
            (Some(Object::Tcp(_)), Address::None, _) => self.tcp_connect(id, None),
            (Some(Object::Udp(_)), Address::Internet(to), _) => self.udp_connect(id, Some(*to)),
            (Some(Object::Udp(_)), Address::None, _) => self.udp_connect(id, None),
            (Some(Object::Unix(_)), Address::Unix(name), _) => self.unix_connect(id, name),
            (Some(Object::Unix(_)), _, _) => Err(libc::EINVAL),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// accept4(2) that does not wait: the new number, and the peer.
    pub(crate) fn accept(&mut self, id: Id, flags: i32) -> Result<(Fd, Address)> {
        let child = match self.descriptors.get(id) {
            Some(Object::Tcp(_)) => self.tcp_accept(id)?,
            Some(Object::Unix(_)) => self.unix_accept(id)?,
            Some(Object::Udp(_)) => return Err(libc::EOPNOTSUPP),
            _ => return Err(libc::ENOTSOCK),
        };
        self.set_nonblocking(child, flags & libc::SOCK_NONBLOCK != 0);
        let fd = self.name_object(child, flags & libc::SOCK_CLOEXEC != 0, 0)?;
        let peer = self.remote_of(child);
        Ok((fd, peer))
    }

    fn remote_of(&mut self, id: Id) -> Address {
        match self.common(id) {
            Some(common) => {
                let remote = common.remote.unwrap_or_else(|| common.any());
                Address::Internet(common.shown(remote))
            }
            None => Address::Unix(self.unix_peer_name(id).unwrap_or_default()),
        }
    }

    /// getsockname(2).
    pub(crate) fn local_name(&mut self, id: Id) -> Result<Address> {
        if let Some(common) = self.common(id) {
            let local = common.local.unwrap_or_else(|| common.any());
            return Ok(Address::Internet(common.shown(local)));
        }
        match self.descriptors.get(id) {
            Some(Object::Unix(unix)) => Ok(Address::Unix(unix.name.clone())),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// getpeername(2).
    pub(crate) fn peer_name(&mut self, id: Id) -> Result<Address> {
        match self.descriptors.get(id) {
            Some(Object::Tcp(tcp)) if tcp.state != State::Open => Err(libc::ENOTCONN),
            Some(Object::Udp(udp)) if udp.common.remote.is_none() => Err(libc::ENOTCONN),
            Some(Object::Tcp(_) | Object::Udp(_)) => Ok(self.remote_of(id)),
            Some(Object::Unix(_)) => Ok(Address::Unix(self.unix_peer_name(id)?)),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// shutdown(2).
    pub(crate) fn shutdown(&mut self, id: Id, how: i32) -> Result<()> {
        self.fact(id, libc::SO_TYPE)?;
        let (receive, send) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(libc::EINVAL),
        };
        match self.descriptors.get(id) {
            Some(Object::Tcp(_)) => self.tcp_shutdown(id, receive, send),
            Some(Object::Udp(_)) => self.udp_shutdown(id, receive, send),
            Some(Object::Unix(_)) => self.unix_shutdown(id, receive, send),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// Returns the number of bytes that a receive would find (`FIONREAD`).
    pub(crate) fn unread(&mut self, id: Id) -> Result<usize> {
        match self.descriptors.get(id) {
            Some(Object::Tcp(tcp)) if tcp.state == State::Listening => Err(libc::EINVAL),
            Some(Object::Tcp(tcp)) => Ok(tcp.inbox.len()),
            Some(Object::Udp(udp)) => Ok(udp.next_size()),
            Some(Object::Unix(_)) => Ok(self.unix_unread(id)),
            Some(Object::Pipe(_)) => Ok(self.pipe_fill(id)),
            _ => Err(libc::ENOTTY),
        }
    }

    /// Returns the number of bytes that are not acknowledged (`TIOCOUTQ`).
    pub(crate) fn unacknowledged(&mut self, id: Id) -> Result<usize> {
        match self.descriptors.get(id) {
            Some(Object::Tcp(tcp)) if tcp.state == State::Listening => Err(libc::EINVAL),
            Some(Object::Tcp(tcp)) => Ok(tcp.wire.queued()),
            Some(Object::Udp(_)) => Ok(0),
            Some(Object::Unix(_)) => Ok(self.unix_unsent(id)),
            _ => Err(libc::ENOTTY),
        }
    }
}
