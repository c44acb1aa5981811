//! TCP sockets: the effects of their calls, in Linux's order of checks.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::descriptors::{Id, Object};
use super::network::{Binding, Due, Protocol, unmapped};
use super::readiness::bits::{ERR, HUP, OUT, RDHUP, READABLE, WRITABLE, when};
use super::segments::{LINGER, Wire};
use super::sockets::Common;
use super::{Errno, Result, World};
use crate::faults::Fault;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Neither connected nor listening: new, refused, reset, or ended both ways.
    Closed,
    Listening,
    /// Our SYN is not answered yet.
    Connecting,
    /// A SYN came, and our answer is not acknowledged yet.
    Arriving,
    /// Connected; each direction may have ended.
    Open,
}

/// The state of earlier calls for `connect` (`sock->state` in Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Unconnected,
    Connecting,
    Connected,
    /// It was shut down before the connect was decided, or after it had failed.
    Disconnecting,
}

#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) common: Common,
    pub(crate) state: State,
    pub(crate) progress: Progress,
    /// The error of the next call, and of `SO_ERROR`.
    pub(crate) error: Errno,
    /// Received bytes that the program has not taken yet.
    pub(crate) inbox: VecDeque<u8>,
    /// The peer's FIN came.
    pub(crate) peer_ended: bool,
    /// Receiving was shut down, by us or by the peer's end.
    pub(crate) receive_shut: bool,
    pub(crate) send_shut: bool,
    /// A poll or a send found no room: new room is an event.
    pub(crate) wants_room: bool,
    pub(crate) wire: Wire,
    /// The connection's number, which its segments carry in place of sequence numbers: late ones of
    /// an earlier connection between the same ports are not its own.
    pub(super) connection: u64,
    /// Connections to accept, and their limit.
    pub(crate) queue: VecDeque<Id>,
    pub(crate) backlog: usize,
    /// The listener of a connection, until it is accepted.
    pub(crate) listener: Option<Id>,
    /// No descriptor refers to it any more: it only ends in order.
    pub(crate) orphan: bool,
}

impl Tcp {
    pub(crate) fn new(common: Common, buffer: usize) -> Self {
        Self {
            common,
            state: State::Closed,
            progress: Progress::Unconnected,
            error: 0,
            inbox: VecDeque::new(),
            peer_ended: false,
            receive_shut: false,
            send_shut: false,
            wants_room: false,
            wire: Wire::new(buffer),
            connection: 0,
            queue: VecDeque::new(),
            backlog: 0,
            listener: None,
            orphan: false,
        }
    }

    /// Returns the number of bytes that a send would take.
    pub(super) fn room(&self) -> usize {
        let limit = self.common.send_limit();
        limit.saturating_sub(self.wire.unacknowledged())
    }

    /// Returns true if poll reports it writable: at most two thirds of the buffer are used.
    pub(super) fn is_writable(&self) -> bool {
        self.wire.unacknowledged() * 3 <= self.common.send_limit() * 2
    }

    /// `tcp_poll` of Linux.
    pub(super) fn ready(&mut self) -> u32 {
        if self.state == State::Listening {
            return when(!self.queue.is_empty(), READABLE);
        }
        let mut mask = 0;
        if self.receive_shut && self.send_shut || self.state == State::Closed {
            mask |= HUP;
        }
        if self.receive_shut {
            mask |= READABLE | RDHUP;
        }
        if !matches!(self.state, State::Connecting | State::Arriving) {
            if !self.inbox.is_empty() {
                mask |= READABLE;
            }
            if self.send_shut || self.is_writable() {
                mask |= WRITABLE;
            } else {
                self.wants_room = true;
            }
        }
        mask | when(self.error != 0, ERR)
    }

    pub(crate) fn take_error(&mut self) -> Errno {
        std::mem::take(&mut self.error)
    }
}

impl World {
    pub(crate) fn tcp(&mut self, id: Id) -> Option<&mut Tcp> {
        match self.descriptors.get_mut(id) {
            Some(Object::Tcp(tcp)) => Some(tcp),
            _ => None,
        }
    }

    pub(super) fn tcp_machine(&self, id: Id) -> usize {
        let description = self.descriptors.objects.get(&id);
        description.map_or(self.here, |description| description.machine)
    }

    pub(crate) fn tcp_listen(&mut self, id: Id, backlog: usize) -> Result<()> {
        let tcp = self.tcp(id).ok_or(libc::EOPNOTSUPP)?;
        match tcp.state {
            State::Closed if tcp.progress == Progress::Unconnected => {}
            State::Listening => {
                tcp.backlog = backlog;
                return Ok(());
            }
            _ => return Err(libc::EINVAL),
        }
        if tcp.common.local.is_none() || tcp.common.freed {
            let any = tcp.common.any();
            self.bind_internet(id, any)?;
        }
        if self.forbids_listening(id) {
            return Err(libc::EADDRINUSE);
        }
        let bindings = &mut self.network.bindings;
        for binding in bindings.iter_mut().filter(|binding| binding.id == id) {
            binding.listens = true;
        }
        let tcp = self.tcp(id).expect("looked at above");
        (tcp.state, tcp.backlog) = (State::Listening, backlog);
        (tcp.receive_shut, tcp.send_shut) = (false, false);
        Ok(())
    }

    /// connect(2) that does not wait.
    pub(crate) fn tcp_connect(&mut self, id: Id, to: Option<SocketAddr>) -> Result<()> {
        let tcp = self.tcp(id).ok_or(libc::EOPNOTSUPP)?;
        let Some(to) = to else {
            return self.tcp_disconnect(id);
        };
        match (tcp.progress, tcp.state) {
            (Progress::Connected, _) => return Err(libc::EISCONN),
            (Progress::Disconnecting, _) => return Err(libc::EINVAL),
            (Progress::Connecting, State::Connecting) => return Err(libc::EALREADY),
            (Progress::Connecting, State::Closed) => {
                let error = tcp.take_error();
                self.tcp_disconnect(id)?;
                return Err(if error == 0 {
                    libc::ECONNABORTED
                } else {
                    error
                });
            }
            (Progress::Connecting, _) => {
                tcp.progress = Progress::Connected;
                return Ok(());
            }
            (Progress::Unconnected, State::Closed) => {}
            (Progress::Unconnected, _) => return Err(libc::EISCONN),
        }
        let (to, machine) = (unmapped(to), self.tcp_machine(id));
        self.route(machine, to.ip())?;
        let to = match to.ip().is_unspecified() {
            // Linux takes it for this host.
            true => SocketAddr::new(self.source_for(machine, loopback(to)), to.port()),
            false => to,
        };
        let from = self.bind_for(id, machine, to)?;
        let path = (machine, from, to);
        if self.network.connections.contains_key(&path) {
            return Err(libc::EADDRNOTAVAIL);
        }
        self.network.connections.insert(path, id);
        let tcp = self.tcp(id).expect("looked at above");
        tcp.state = State::Connecting;
        tcp.progress = Progress::Connecting;
        tcp.common.remote = Some(to);
        tcp.error = 0;
        self.begin_handshake(id);
        Err(libc::EINPROGRESS)
    }

    /// Returns the local address of a new connection: the socket's, or one that the kernel chooses.
    fn bind_for(&mut self, id: Id, machine: usize, to: SocketAddr) -> Result<SocketAddr> {
        let source = self.source_for(machine, to.ip());
        let tcp = self.tcp(id).ok_or(libc::EOPNOTSUPP)?;
        let freed = std::mem::take(&mut tcp.common.freed);
        let local = tcp.common.local.map(unmapped).filter(|_| !freed);
        let port = match local {
            Some(local) if local.port() != 0 => local.port(),
            _ => {
                let ip = local.map_or(source, |local| local.ip());
                let wanted = Binding {
                    protocol: Protocol::Tcp,
                    machine,
                    address: SocketAddr::new(ip, 0),
                    id,
                    only_v6: false,
                    reuse_address: false,
                    reuse_port: false,
                    listens: false,
                };
                self.take_address(wanted)?.port()
            }
        };
        let ip = match local.map(|local| local.ip()) {
            Some(ip) if !ip.is_unspecified() => ip,
            _ => source,
        };
        let address = SocketAddr::new(ip, port);
        self.tcp(id).ok_or(libc::EOPNOTSUPP)?.common.local = Some(address);
        Ok(address)
    }

    /// connect(2) with `AF_UNSPEC`; Linux does the same to a socket after a failed connect.
    pub(super) fn tcp_disconnect(&mut self, id: Id) -> Result<()> {
        self.network.disconnect(id);
        let tcp = self.tcp(id).ok_or(libc::EOPNOTSUPP)?;
        if tcp.state == State::Open {
            self.send_reset_of(id);
        }
        let tcp = self.tcp(id).expect("looked at above");
        let buffer = tcp.common.receive_limit();
        // A port that was chosen by the program stays.
        let frees = tcp.state != State::Closed && !tcp.common.bound;
        tcp.wire = Wire::new(buffer);
        (tcp.state, tcp.progress) = (State::Closed, Progress::Unconnected);
        (tcp.receive_shut, tcp.send_shut, tcp.peer_ended) = (false, false, false);
        (tcp.common.remote, tcp.error) = (None, 0);
        tcp.inbox.clear();
        if frees {
            tcp.common.local = None;
            self.network.unbind(id);
        }
        self.wake(id, ERR);
        Ok(())
    }

    /// Takes a connection out of the backlog of a listener: an object without a number.
    pub(crate) fn tcp_accept(&mut self, id: Id) -> Result<Id> {
        let tcp = self.tcp(id).ok_or(libc::EOPNOTSUPP)?;
        if tcp.state != State::Listening {
            return Err(libc::EINVAL);
        }
        if tcp.queue.is_empty() {
            return Err(libc::EAGAIN);
        }
        self.may_open()?;
        if !self.has_number() {
            return Err(libc::EMFILE);
        }
        let tcp = self.tcp(id).expect("looked at above");
        let child = tcp.queue.pop_front().ok_or(libc::EAGAIN)?;
        if self.strikes(Fault::AbortedAccept) {
            self.end_tcp_hard(child);
            return Err(libc::ECONNABORTED);
        }
        if let Some(tcp) = self.tcp(child) {
            (tcp.listener, tcp.progress) = (None, Progress::Connected);
        }
        Ok(child)
    }

    /// Ends a listener: connections in its backlog are reset.
    pub(super) fn stop_listening(&mut self, id: Id) {
        let Some(tcp) = self.tcp(id) else { return };
        let queue = std::mem::take(&mut tcp.queue);
        tcp.state = State::Closed;
        tcp.receive_shut = false;
        tcp.send_shut = false;
        for child in queue {
            self.end_tcp_hard(child);
        }
        let arriving: Vec<Id> = self.network.connections.values().copied().collect();
        for child in arriving {
            let waits = self.tcp(child).is_some_and(|tcp| tcp.listener == Some(id));
            if waits {
                self.end_tcp_hard(child);
            }
        }
        for binding in &mut self.network.bindings {
            if binding.id == id {
                binding.listens = false;
            }
        }
        self.free_port_of(id);
    }

    /// Closes the last descriptor: sends the rest and a FIN, or a reset.
    pub(super) fn end_tcp(&mut self, id: Id) {
        let Some(tcp) = self.tcp(id) else { return };
        match tcp.state {
            State::Listening => {
                self.stop_listening(id);
                self.drop_tcp(id);
            }
            State::Open => {
                // Unreceived data is lost, so the peer must not believe that it arrived.
                let hard = !tcp.inbox.is_empty() || tcp.common.zero_linger;
                if hard {
                    self.end_tcp_hard(id);
                    return;
                }
                tcp.orphan = true;
                (tcp.send_shut, tcp.receive_shut) = (true, true);
                self.send_fin(id);
                self.settle(id);
            }
            _ => self.drop_tcp(id),
        }
    }

    /// Ends a connection: its port is free, unless the program has bound it.
    pub(super) fn free_port_of(&mut self, id: Id) {
        self.network.disconnect(id);
        let now = self.now;
        let Some(tcp) = self.tcp(id) else { return };
        let (waits, freed) = (tcp.wire.ended_first, !tcp.common.bound);
        tcp.common.freed = freed;
        if waits {
            // TIME_WAIT: no other socket can have the port for a while.
            let ghost = self.descriptors.reserve();
            let bindings = self.network.bindings.iter_mut();
            for binding in bindings.filter(|binding| binding.id == id) {
                binding.id = ghost;
            }
            self.network.post(now + LINGER, Due::Forget(ghost));
        } else if freed {
            self.network.unbind(id);
        }
    }

    /// Resets a connection and removes it.
    pub(super) fn end_tcp_hard(&mut self, id: Id) {
        self.send_reset_of(id);
        self.drop_tcp(id);
    }

    pub(super) fn drop_tcp(&mut self, id: Id) {
        self.network.disconnect(id);
        self.network.unbind(id);
        self.descriptors.objects.remove(&id);
    }

    /// Makes new room an event, if one was requested.
    pub(super) fn wake_for_room(&mut self, id: Id) {
        let Some(tcp) = self.tcp(id) else { return };
        if tcp.wants_room && tcp.is_writable() {
            tcp.wants_room = false;
            self.wake(id, super::readiness::bits::ROOM | OUT);
        }
    }
}

fn loopback(address: SocketAddr) -> std::net::IpAddr {
    match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}
