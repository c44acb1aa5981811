//! Resolves a name to addresses: with the system's resolver, on threads, or one of the caller's.
//!
//! The system's resolver may block, sometimes for seconds. It runs on the threads of
//! `threads/pool.rs`: a task that waits for an answer may leave at any time, and nothing waits for
//! a thread that hangs.
//!
//! ```text
//!   the hosts file has it, or it is localhost? ──yes──> the answer   (lane Files)
//!          └──no──> the system's resolver ────────────> the answer   (lane Names)
//! ```

use std::future::Future;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::hosts;
use crate::error::{Error, Result};
use crate::room::Few;
use crate::sys::{again, names};
use crate::threads::given::Given;
use crate::threads::lane::Lane;

/// Resolves names to addresses, in the order in which they are to be tried.
///
/// [`SystemResolver`] is used unless a [`Host`](crate::Host) has another, set by
/// [`resolved_by`](crate::Host::resolved_by). A resolver may query a server of its own, add a cache
/// or a time limit, encode international names, or return fixed addresses in tests.
///
/// # Examples
///
/// A resolver for a test, and a program that is not changed for it:
///
/// ```
/// use soloio::{Host, connect_tcp, create_tcp_listener};
/// use soloio::net::{Resolver, Resolving};
/// use std::{net::Ipv4Addr, sync::Arc};
///
/// struct AllIsHere;
///
/// impl Resolver for AllIsHere {
///     fn resolve<'a>(&'a self, _name: &'a str, port: u16) -> Resolving<'a> {
///         Box::pin(async move { Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]) })
///     }
/// }
///
/// soloio::block_on(async {
///     let resolver = Arc::new(AllIsHere);
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let database = Host::from("database.example").resolved_by(resolver);
///     let client = connect_tcp(database, listener.local_addr().port()).await?;
///     assert_eq!(client.peer_addr(), listener.local_addr());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "getaddrinfo")]
pub trait Resolver: Send + Sync {
    /// Looks up `name`, which is never an address, never empty and at most 255 bytes long. The
    /// addresses have `port` in them.
    ///
    /// # Errors
    ///
    /// The error becomes the cause of an [`Error::Resolve`](crate::Error::Resolve), unless it is
    /// `Cancelled`, `NoRuntime` or already a `Resolve`. An empty list becomes an error too; the
    /// resolver need not make one.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when no task waits for it any more.
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolving<'a>;
}

/// A lookup in progress: the type that [`Resolver::resolve`] returns.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The system's resolver, `getaddrinfo(3)`: hosts file, DNS, and other configured sources.
///
/// It runs on threads that [`run_in_thread`](crate::run_in_thread) uses too, for at most 8 names at
/// a time. A cancelled task leaves at once; a lookup that no task waits for any more is not begun.
/// A running lookup continues until the system's resolver returns, and its answer is dropped. It no
/// longer counts among the 8, but there are at most 64 such lookups. Tasks that look up the
/// same name at the same time share a lookup. At most 1,024 names wait for a thread: the next one
/// is refused.
///
/// Names in the hosts file do not wait for others. Nor does `localhost`, nor a name that ends in
/// `.localhost` (RFC 6761): if the hosts file does not have it, its addresses are 127.0.0.1 and
/// ::1, and no server is queried.
///
/// A name that is not ASCII is refused, or encoded (IDNA 2008, UTS 46) with the feature `idna`.
///
/// # Errors
///
/// The kind is `NotFound` if there is no such name, or it has no address. The kind is
/// `ResourceBusy` if that is unknown (no answer in time, a server that failed or refused, too many
/// names that wait): a later try may succeed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    #[inline]
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(system(name, port))
    }
}

/// Looks a name up with the system's resolver.
pub(super) async fn system(name: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let name = &*names::ascii(name)?;
    let mut answer = look_up(Lane::Files, name, ask_files).await?;
    if answer.is_none() {
        answer = look_up(Lane::Names, name, |name| Some(names::look_up(name))).await?;
    }
    let mut addresses = answer.expect("the second one is not `None`")?;
    addresses.iter_mut().for_each(|found| found.set_port(port));
    Ok(addresses)
}

/// Addresses without a port; `None` if another lane has to be used.
type Answer = Option<io::Result<Vec<SocketAddr>>>;

/// Uses the system's resolver for a name in the file, because it may be configured to ignore the
/// file.
#[inline]
fn ask_files(name: &str) -> Answer {
    match hosts::has(name) {
        // The resolver finds it there without the dot only, and would query servers.
        true => Some(names::look_up(name.strip_suffix('.').unwrap_or(name))),
        false => hosts::localhost(name).map(Ok),
    }
}

/// Waits for the answer of `ask`, which other tasks may already wait for. The outer error is the
/// runtime's, not the resolver's.
async fn look_up(lane: Lane, name: &str, ask: fn(&str) -> Answer) -> Result<Answer> {
    let lookup = Lookup::shared(lane, name, ask);
    lookup.given.wait(&"the address of a host").await?;
    let ended = lookup.given.ended();
    Ok(
        match ended.as_ref().expect("it is over, and taken by none") {
            Ok(Some(Ok(addresses))) => Some(Ok(addresses.clone())),
            Ok(None) => None,
            Ok(Some(Err(cause))) => Some(Err(again(cause))),
            Err(Error::Io(refused)) => Some(Err(again(refused))),
            Err(_) => Some(Err(io::Error::other("the resolver panicked"))),
        },
    )
}

/// One lookup, shared by all tasks that wait for it: abandoned, and removed, with the last of them.
struct Lookup {
    key: (Lane, String),
    given: Given<Answer>,
}

/// The lookups of the process with this number. A forked process has none of the threads.
type Lookups = (u32, Few<(Lane, String), Weak<Lookup>>);

#[inline]
fn lookups() -> MutexGuard<'static, Lookups> {
    static LOOKUPS: Mutex<Lookups> = Mutex::new((0, Few::new()));
    let mut lookups = LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner);
    if lookups.0 != process::id() {
        mem::forget(mem::replace(&mut *lookups, (process::id(), Few::new())));
    }
    lookups
}

impl Lookup {
    #[inline]
    fn shared(lane: Lane, name: &str, ask: fn(&str) -> Answer) -> Arc<Self> {
        let key = (lane, name.to_owned());
        // A statement of its own: nothing may be dropped, nor begun, under the lock.
        let known = lookups().1.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| !known.given.is_over()) {
            return known;
        }
        let asked = name.to_owned();
        let given = Given::new(lane, move || ask(&asked));
        let lookup = Arc::new(Self { key, given });
        // If two threads are here at the same time, the later lookup is found from now on.
        let found = Arc::downgrade(&lookup);
        lookups().1.insert(lookup.key.clone(), found);
        lookup
    }
}

impl Drop for Lookup {
    #[inline]
    fn drop(&mut self) {
        let mut lookups = lookups();
        let known = lookups.1.get(&self.key);
        if known.is_some_and(|known| known.strong_count() == 0) {
            lookups.1.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    #[test]
    fn a_name_that_is_not_ascii_is_refused_or_encoded() {
        let found = block_on(system("B\u{fc}cher.localhost", 1));
        match cfg!(feature = "idna") {
            true => assert!(!found.expect("that of xn--bcher-kva.localhost").is_empty()),
            false => {
                assert!(matches!(found, Err(Error::Io(it)) if it.to_string().contains("IDNA")))
            }
        }
        let refused = block_on(system("\u{fffd}", 1));
        assert!(matches!(refused, Err(Error::Io(error)) if error.to_string().contains("IDNA")));
    }
}
