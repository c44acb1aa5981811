//! Socket options: those with an effect, and those that are only stored.

use std::collections::BTreeMap;
use std::time::Duration;

use super::descriptors::{Id, Object};
use super::tcp::State;
use super::{Result, World};

/// Options that are numbers, by level and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options(BTreeMap<(i32, i32), i32>);

impl Options {
    pub(crate) fn get(&self, level: i32, name: i32) -> Option<i32> {
        self.0.get(&(level, name)).copied()
    }

    pub(super) fn set(&mut self, level: i32, name: i32, value: i32) {
        self.0.insert((level, name), value);
    }
}

/// Linux's value of an option that was not set.
fn initial(level: i32, name: i32) -> Option<i32> {
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF) => 131_072,
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE | libc::SO_BROADCAST | libc::SO_RXQ_OVFL) => 0,
        (libc::SOL_SOCKET, libc::SO_NO_CHECK) => 0,
        (libc::SOL_UDP, libc::UDP_SEGMENT | libc::UDP_GRO) => 0,
        (libc::IPPROTO_TCP, libc::TCP_NODELAY | libc::TCP_CORK | libc::TCP_QUICKACK) => 0,
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => 7200,
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => 75,
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => 9,
        (libc::IPPROTO_IP, libc::IP_TTL) => 64,
        (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL | libc::IP_MULTICAST_LOOP) => 1,
        (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_PKTINFO) => 0,
        (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT) => 0,
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => 64,
        (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS | libc::IPV6_MULTICAST_LOOP) => 1,
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS | libc::IPV6_RECVPKTINFO) => 0,
        _ => return None,
    };
    Some(value)
}

/// The smallest buffers that Linux allows, as it counts them.
const LEAST_RECEIVE: i32 = 2304;
const LEAST_SEND: i32 = 4608;

impl World {
    /// getsockopt(2) of options that are one number.
    pub(crate) fn option(&mut self, id: Id, level: i32, name: i32) -> Result<i32> {
        if level == libc::SOL_SOCKET {
            if let Some(value) = self.fact(id, name)? {
                return Ok(value);
            }
        }
        let is_udp = matches!(self.descriptors.get(id), Some(Object::Udp(_)));
        let Some(common) = self.common(id) else {
            return match self.descriptors.get(id) {
                Some(Object::Unix(unix)) if level == libc::SOL_SOCKET => {
                    let set = unix.options.get(level, name);
                    set.or_else(|| initial(level, name))
                        .ok_or(libc::ENOPROTOOPT)
                }
                Some(Object::Unix(_)) => Err(libc::EOPNOTSUPP),
                _ => Err(libc::ENOTSOCK),
            };
        };
        let v6 = common.v6;
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => Ok(common.reuse_address.into()),
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => Ok(common.reuse_port.into()),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if v6 => Ok(common.only_v6.into()),
            (libc::IPPROTO_IPV6, _) if !v6 => Err(libc::EOPNOTSUPP),
            (libc::SOL_UDP, _) if !is_udp => Err(match v6 {
                true => libc::ENOPROTOOPT,
                false => libc::EOPNOTSUPP,
            }),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                let millis = common.user_timeout / 1_000_000;
                Ok(i32::try_from(millis).unwrap_or(i32::MAX))
            }
            _ => {
                let set = common.options.get(level, name);
                set.or_else(|| initial(level, name))
                    .ok_or(libc::ENOPROTOOPT)
            }
        }
    }

    /// Returns properties of the socket that cannot be set.
    pub(super) fn fact(&mut self, id: Id, name: i32) -> Result<Option<i32>> {
        let object = self.descriptors.get_mut(id).ok_or(libc::EBADF)?;
        let (kind, domain, protocol, listens) = match &*object {
            Object::Tcp(tcp) => {
                let listens = tcp.state == State::Listening;
                (
                    libc::SOCK_STREAM,
                    family(tcp.common.v6),
                    libc::IPPROTO_TCP,
                    listens,
                )
            }
            Object::Udp(udp) => (
                libc::SOCK_DGRAM,
                family(udp.common.v6),
                libc::IPPROTO_UDP,
                false,
            ),
            Object::Unix(unix) => (unix.kind(), libc::AF_UNIX, 0, unix.listens()),
            _ => return Err(libc::ENOTSOCK),
        };
        let value = match name {
            libc::SO_TYPE => kind,
            libc::SO_DOMAIN => domain,
            libc::SO_PROTOCOL => protocol,
            libc::SO_ACCEPTCONN => listens.into(),
            libc::SO_ERROR => match object {
                Object::Tcp(tcp) => tcp.take_error(),
                Object::Udp(udp) => std::mem::take(&mut udp.error),
                Object::Unix(unix) => std::mem::take(&mut unix.error),
                _ => 0,
            },
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// setsockopt(2) of options that are one number.
    pub(crate) fn set_option(&mut self, id: Id, level: i32, name: i32, value: i32) -> Result<()> {
        let stored = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => doubled(value, LEAST_RECEIVE),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => doubled(value, LEAST_SEND),
            _ => value,
        };
        let Some(common) = self.common(id) else {
            return match self.descriptors.get_mut(id) {
                Some(Object::Unix(unix)) if level == libc::SOL_SOCKET => {
                    unix.options.set(level, name, stored);
                    Ok(())
                }
                Some(Object::Unix(_)) => Err(libc::EOPNOTSUPP),
                _ => Err(libc::ENOTSOCK),
            };
        };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => common.reuse_address = value != 0,
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => common.reuse_port = value != 0,
            (libc::IPPROTO_IPV6, _) if !common.v6 => return Err(libc::ENOPROTOOPT),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => {
                if common.local.is_some() {
                    return Err(libc::EINVAL);
                }
                common.only_v6 = value != 0;
            }
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                let millis = u64::try_from(value).map_err(|_| libc::EINVAL)?;
                common.user_timeout = millis * 1_000_000;
            }
            (libc::SOL_UDP, _) => return self.set_udp_option(id, name, value),
            _ if initial(level, name).is_none() => return Err(libc::ENOPROTOOPT),
            _ => common.options.set(level, name, stored),
        }
        Ok(())
    }

    /// `SO_LINGER`: only a time of zero has an effect.
    pub(crate) fn set_linger(&mut self, id: Id, time: Option<Duration>) -> Result<()> {
        match self.descriptors.get_mut(id) {
            Some(Object::Tcp(tcp)) => tcp.common.zero_linger = time == Some(Duration::ZERO),
            Some(Object::Udp(_) | Object::Unix(_)) => {}
            _ => return Err(libc::ENOTSOCK),
        }
        Ok(())
    }

    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`: no time is no limit.
    pub(crate) fn set_limit(&mut self, id: Id, name: i32, time: Duration) -> Result<()> {
        self.limit(id, name)?;
        if let Some(description) = self.descriptors.objects.get_mut(&id) {
            let limit = &mut description.limits[usize::from(name == libc::SO_SNDTIMEO)];
            *limit = Some(time).filter(|time| !time.is_zero());
        }
        Ok(())
    }

    pub(crate) fn limit(&self, id: Id, name: i32) -> Result<Option<Duration>> {
        let description = self.descriptors.objects.get(&id).ok_or(libc::EBADF)?;
        match description.object {
            Object::Tcp(_) | Object::Udp(_) | Object::Unix(_) => {
                Ok(description.limits[usize::from(name == libc::SO_SNDTIMEO)])
            }
            _ => Err(libc::ENOTSOCK),
        }
    }

    pub(crate) fn linger(&mut self, id: Id) -> Option<Duration> {
        let zero = self.common(id).is_some_and(|common| common.zero_linger);
        zero.then_some(Duration::ZERO)
    }
}

fn family(v6: bool) -> i32 {
    if v6 { libc::AF_INET6 } else { libc::AF_INET }
}

fn doubled(value: i32, least: i32) -> i32 {
    value.clamp(0, 212_992).saturating_mul(2).max(least)
}
