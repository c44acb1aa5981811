//! Turns hosts into addresses: literals at once, names on a thread of their own.
//!
//! The system's resolver blocks, for seconds at times. Each lookup runs on a detached thread that
//! is never waited for: whoever asked may leave at any time, and the answer is dropped then.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker, ready};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::error::{Error, ResolveError, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// A host: an address, or a name or an address in a string. An IPv6 address in a string may have
/// a numeric scope, as in `fe80::1%2`.
///
/// Made by `into()` from `&str`, `String` and the address types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// With its IPv6 scope, 0 for none.
    Address(IpAddr, u32),
    Name(String),
}

impl Host {
    /// The address, if it is one; no lookup is needed then.
    pub(super) fn literal(&self, port: u16) -> Option<SocketAddr> {
        match self.0 {
            Kind::Address(IpAddr::V6(ip), scope) => {
                Some(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            Kind::Address(ip, _) => Some(SocketAddr::new(ip, port)),
            Kind::Name(_) => None,
        }
    }

    /// All addresses of the host, in the resolver's order; at least one.
    pub(super) async fn resolve(&self, port: u16) -> Result<Vec<SocketAddr>> {
        if let Some(address) = self.literal(port) {
            return Ok(vec![address]);
        }
        let failed = |cause| Error::Resolve(Box::new(ResolveError::new(self.to_string(), cause)));
        let name = self.name().map_err(failed)?;
        let addresses = lookup(name.to_owned(), port).await?.map_err(failed)?;
        if addresses.is_empty() {
            let cause = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(failed(cause));
        }
        Ok(addresses)
    }

    /// The name, if it can be one at all.
    fn name(&self) -> io::Result<&str> {
        let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        match &self.0 {
            Kind::Address(..) => invalid("an address is not looked up"),
            Kind::Name(name) if name.is_empty() => invalid("the host is empty"),
            Kind::Name(name) if name.contains('\0') => invalid("the host holds a NUL byte"),
            Kind::Name(name) if name.len() > 255 => {
                invalid("the host is longer than the 255 bytes a name can have (RFC 1035)")
            }
            Kind::Name(name) => Ok(name),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self(Kind::Address(ip, 0))
    }
}

impl From<std::net::Ipv4Addr> for Host {
    fn from(ip: std::net::Ipv4Addr) -> Self {
        IpAddr::from(ip).into()
    }
}

impl From<std::net::Ipv6Addr> for Host {
    fn from(ip: std::net::Ipv6Addr) -> Self {
        IpAddr::from(ip).into()
    }
}

impl From<&str> for Host {
    fn from(text: &str) -> Self {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, scope.parse().ok()),
            None => (text, Some(0)),
        };
        match (address.parse(), scope) {
            (Ok(ip @ IpAddr::V6(_)), Some(scope)) => Self(Kind::Address(ip, scope)),
            (Ok(ip), Some(0)) => Self(Kind::Address(ip, 0)),
            _ => Self(Kind::Name(text.to_owned())),
        }
    }
}

impl From<String> for Host {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Host {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Address(ip, 0) => ip.fmt(f),
            Kind::Address(ip, scope) => write!(f, "{ip}%{scope}"),
            Kind::Name(name) => f.write_str(name),
        }
    }
}

type Answer = io::Result<Vec<SocketAddr>>;

/// Asks the system's resolver on a thread, and waits for its answer.
async fn lookup(name: String, port: u16) -> Result<Answer> {
    let mut running: Option<(Receiver<Answer>, Asker)> = None;
    let mut wait = Wait::new(&"the address of a host");
    poll_fn(|cx| {
        context::poll_with(|core| {
            ready!(wait.admit(core, cx))?;
            let (answer, asker) = match &running {
                Some(running) => running,
                None => match start(name.clone(), port) {
                    Ok(started) => running.insert(started),
                    Err(error) => return Poll::Ready(Ok(Err(error))),
                },
            };
            // Stored before the look, so that an answer in between wakes this task again.
            drop(asker.replace(Some(cx.waker().clone())));
            match answer.try_recv() {
                Ok(answer) => {
                    wait.done(core);
                    Poll::Ready(Ok(answer))
                }
                Err(TryRecvError::Empty) => wait.pend(core, cx),
                Err(TryRecvError::Disconnected) => {
                    Poll::Ready(Ok(Err(io::Error::other("the resolver panicked"))))
                }
            }
        })
    })
    .await
}

/// Who is woken by the answer: the last one who looked for it.
#[derive(Clone, Default)]
struct Asker(Arc<Mutex<Option<Waker>>>);

impl Asker {
    /// Puts a waker in place, or takes it away. It may be the user's code, so neither is it cloned
    /// nor the old one dropped while the lock is held.
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, waker)
    }
}

fn start(name: String, port: u16) -> io::Result<(Receiver<Answer>, Asker)> {
    let (sender, receiver) = bounded(1);
    let asker = Asker::default();
    let thread_asker = asker.clone();
    thread::Builder::new()
        .name("soloio-resolve".into())
        .spawn(move || answer(&name, port, sender, &thread_asker))?;
    Ok((receiver, asker))
}

fn answer(name: &str, port: u16, sender: Sender<Answer>, asker: &Asker) {
    // Wakes also if the resolver panics: the channel is closed by then.
    struct WakeAtEnd<'a>(&'a Asker);
    impl Drop for WakeAtEnd<'_> {
        fn drop(&mut self) {
            if let Some(waker) = self.0.replace(None) {
                waker.wake();
            }
        }
    }
    let _wake = WakeAtEnd(asker);
    let sender = sender;
    let addresses = (name, port).to_socket_addrs().map(Iterator::collect);
    if sender.send(addresses).is_err() {
        // Whoever asked has left: nobody needs the answer.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_not_looked_up() {
        let literal = |text: &str| Host::from(text).literal(7).map(|a| a.to_string());
        assert_eq!(literal("127.0.0.1").as_deref(), Some("127.0.0.1:7"));
        assert_eq!(literal("::1").as_deref(), Some("[::1]:7"));
        assert_eq!(literal("fe80::1%3").as_deref(), Some("[fe80::1%3]:7"));
        assert_eq!(literal("localhost"), None);
        assert_eq!(literal("127.0.0.1%3"), None);
        assert_eq!(literal(""), None);
        assert_eq!(Host::from("fe80::1%3").to_string(), "fe80::1%3");
    }
}
