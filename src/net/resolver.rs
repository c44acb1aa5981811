//! Who turns a name into addresses: the system's resolver, on threads, or one that is handed in.
//!
//! The system's resolver blocks, for seconds at times. It runs on detached threads that nobody ever
//! waits for: whoever asked may leave at any time. The threads are the process's, not a runtime's:
//! their number is bounded however many loops there are, and loops that ask for the same name at
//! the same time share one lookup.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};
use std::thread;

use super::lookups::{Asked, Lookups, Ticket};
use crate::error::Result;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Turns names into addresses, in the order in which they are to be tried.
///
/// [`SystemResolver`] is used unless a [`Host`](crate::Host) names another with
/// [`resolved_by`](crate::Host::resolved_by): one that asks a server of its own, adds a cache or a
/// time limit, encodes international names, or answers tests.
///
/// # Examples
///
/// A test's resolver, and a program that does not notice:
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
    /// What is returned becomes the cause of an [`Error::Resolve`](crate::Error::Resolve), unless
    /// it is `Cancelled`, `NoRuntime` or already a `Resolve`. No address at all is an error too,
    /// which need not be made here.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when nobody waits for it any more.
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolving<'a>;
}

/// A lookup under way: what [`Resolver::resolve`] returns.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The system's resolver, `getaddrinfo(3)`: hosts file, DNS, and whatever else is configured.
///
/// It runs on at most 8 threads of the process, which end as soon as nothing is queued. Those who
/// ask for one name at the same time share its lookup. Who is cancelled leaves at once; a lookup
/// that nobody wants any more is not begun, or its answer is dropped. At most 1,024 names wait for
/// a thread: the next one is refused.
///
/// Names are ASCII. International names have to be encoded by the caller (IDNA, RFC 5890).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(system(name, port))
    }
}

/// Looks a name up with the system's resolver.
pub(super) async fn system(name: &str, port: u16) -> Result<Vec<SocketAddr>> {
    static SYSTEM: Pool<fn(&str) -> Answer> = Pool::new(ask_system);
    if !name.is_ascii() {
        let message = "the name is not ASCII: encode it (IDNA) first";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
    }
    let answer = SYSTEM.look_up(name).await?;
    let mut addresses = answer.as_ref().as_ref().map_err(again)?.clone();
    addresses.iter_mut().for_each(|found| found.set_port(port));
    Ok(addresses)
}

fn ask_system(name: &str) -> Answer {
    (name, 0).to_socket_addrs().map(Iterator::collect)
}

/// The same error once more, for each who asked.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Addresses without a port.
type Answer = io::Result<Vec<SocketAddr>>;

/// Threads that look names up, as long as there is something to look up.
struct Pool<L> {
    lookups: Mutex<Lookups<Waker, Arc<Answer>>>,
    look_up: L,
}

impl<L> fmt::Debug for Pool<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<L: Fn(&str) -> Answer + Send + Sync + 'static> Pool<L> {
    const fn new(look_up: L) -> Self {
        Self {
            lookups: Mutex::new(Lookups::new(0)),
            look_up,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lookups<Waker, Arc<Answer>>> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if lookups.epoch() != process::id() {
            // A fork has none of the threads. Whoever waits there is the parent's: not dropped
            // here, where it might be the user's code under a lock.
            mem::forget(mem::replace(&mut *lookups, Lookups::new(process::id())));
        }
        lookups
    }

    /// Waits for the answer. The error is the runtime's, not the resolver's.
    async fn look_up(&'static self, name: &str) -> Result<Arc<Answer>> {
        let mut asker = Asker {
            pool: self,
            ticket: None,
        };
        let mut wait = Wait::new(&"the address of a host");
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                match asker.poll(name, cx.waker().clone()) {
                    Poll::Ready(answer) => {
                        wait.done(core);
                        Poll::Ready(Ok(answer))
                    }
                    Poll::Pending => wait.pend(core, cx),
                }
            })
        })
        .await
    }

    fn start_thread(&'static self) {
        let thread = thread::Builder::new().name("soloio-resolve".into());
        if let Err(cause) = thread.spawn(|| self.work()) {
            let woken = self.lock().no_thread(&Arc::new(Err(cause)));
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// What a thread does: one lookup after the other, until there is none.
    fn work(&self) {
        loop {
            let Some((number, name)) = self.lock().next() else {
                return;
            };
            let answer = catch_unwind(AssertUnwindSafe(|| (self.look_up)(&name)))
                .unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")));
            let woken = self.lock().finish(number, Arc::new(answer));
            for waker in woken {
                // It may be the user's code; a panic there is not this thread's end.
                drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
            }
        }
    }
}

/// One who asks for a name; leaves when dropped.
struct Asker<L: Fn(&str) -> Answer + Send + Sync + 'static> {
    pool: &'static Pool<L>,
    ticket: Option<Ticket>,
}

impl<L: Fn(&str) -> Answer + Send + Sync + 'static> Asker<L> {
    fn poll(&mut self, name: &str, mut waker: Waker) -> Poll<Arc<Answer>> {
        let mut lookups = self.pool.lock();
        if let Some(ticket) = self.ticket.filter(|ticket| lookups.knows(*ticket)) {
            let answer = lookups.answer(ticket, &mut waker);
            drop(lookups);
            // Whichever waker it is now, it is dropped after the lock.
            drop(waker);
            return answer.map_or(Poll::Pending, Poll::Ready);
        }
        let asked = lookups.ask(name, waker);
        drop(lookups);
        match asked {
            Asked::Waiting(ticket) => self.ticket = Some(ticket),
            Asked::NeedsThread(ticket) => {
                self.ticket = Some(ticket);
                self.pool.start_thread();
            }
            Asked::Full(waker) => {
                drop(waker);
                return Poll::Ready(Arc::new(Err(full())));
            }
        }
        Poll::Pending
    }
}

impl<L: Fn(&str) -> Answer + Send + Sync + 'static> Drop for Asker<L> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let left = self.pool.lock().leave(ticket);
            drop(left);
        }
    }
}

fn full() -> io::Error {
    let message = "too many other names wait to be looked up";
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::super::lookups::THREADS;
    use crate::error::Error;
    use crate::runtime::block_on;
    use crate::task::task_group;

    const WAIT: Duration = Duration::from_secs(60);

    /// Answers when it is told to, and counts.
    #[derive(Default)]
    struct Slow {
        calls: AtomicUsize,
        open: Mutex<bool>,
        opened: Condvar,
    }

    impl Slow {
        fn answer(&self, name: &str) -> Answer {
            self.calls.fetch_add(1, SeqCst);
            let open = self.open.lock().expect("no panic");
            let answered = self.opened.wait_timeout_while(open, WAIT, |open| !*open);
            assert!(!answered.expect("no panic").1.timed_out());
            if name == "panic" {
                std::panic::resume_unwind(Box::new("as told"));
            }
            if name == "nothing" {
                return Err(io::Error::other("no such name"));
            }
            Ok(vec![([127, 0, 0, 1], 0).into()])
        }

        fn open(&self) {
            *self.open.lock().expect("no panic") = true;
            self.opened.notify_all();
        }
    }

    type Looker = Box<dyn Fn(&str) -> Answer + Send + Sync>;

    /// A pool lives for ever, as the process has one. Held here, a leak checker finds it.
    static KEPT: Mutex<Vec<&Pool<Looker>>> = Mutex::new(Vec::new());

    fn pool() -> (&'static Pool<Looker>, Arc<Slow>) {
        let slow = Arc::new(Slow::default());
        let answers = Arc::clone(&slow);
        let look_up: Looker = Box::new(move |name| answers.answer(name));
        let pool: &Pool<Looker> = Box::leak(Box::new(Pool::new(look_up)));
        KEPT.lock().expect("no panic").push(pool);
        (pool, slow)
    }

    /// Polls a future once: it has asked then.
    async fn asked<F: Future>(mut future: Pin<&mut F>) {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
    }

    #[test]
    fn a_hundred_who_ask_share_one_lookup() {
        let (pool, slow) = pool();
        block_on(task_group(async |group| {
            let all: Vec<_> = (0..100).map(|_| group.spawn(pool.look_up("a"))).collect();
            while pool.lock().waiting() < 100 {
                crate::task::yield_now().await?;
            }
            slow.open();
            for one in all {
                assert!(one.await?.is_ok());
            }
            Ok(())
        }))
        .expect("answered");
        assert_eq!(slow.calls.load(SeqCst), 1);
    }

    #[test]
    fn a_hung_resolver_has_few_threads_and_nobody_waits_for_it() {
        let (pool, slow) = pool();
        block_on(async {
            let names: Vec<_> = (0..50).map(|n| n.to_string()).collect();
            let all = names.iter().map(|name| Box::pin(pool.look_up(name)));
            let mut all: Vec<_> = all.collect();
            for one in &mut all {
                asked(one.as_mut()).await;
            }
            assert_eq!(pool.lock().counts(), (THREADS, 50));
            drop(all);
            let (_, jobs) = pool.lock().counts();
            assert!(jobs <= THREADS, "the rest is not begun");
        });
        // Here the runtime has ended, with the threads still inside the resolver.
        slow.open();
        while pool.lock().counts() != (0, 0) {
            thread::yield_now();
        }
        assert!(slow.calls.load(SeqCst) <= THREADS);
    }

    #[test]
    fn errors_and_panics_are_answers() {
        let (pool, slow) = pool();
        slow.open();
        let answers = block_on(async {
            (
                pool.look_up("nothing").await.expect("an answer"),
                pool.look_up("panic").await.expect("an answer"),
                pool.look_up("a").await.expect("an answer"),
            )
        });
        let text = |answer: &Answer| answer.as_ref().expect_err("an error").to_string();
        assert!(text(&answers.0).contains("no such name"));
        assert!(text(&answers.1).contains("panicked"));
        assert!(answers.2.is_ok());
    }

    #[test]
    fn the_same_error_comes_again_for_each() {
        let refused = io::Error::from_raw_os_error(1);
        assert_eq!(again(&refused).raw_os_error(), Some(1));
        let other = io::Error::new(io::ErrorKind::NotFound, "words");
        assert_eq!(again(&other).kind(), io::ErrorKind::NotFound);
        assert_eq!(again(&other).to_string(), "words");
    }

    #[test]
    fn a_name_that_is_not_ascii_is_refused() {
        let refused = block_on(system("b\u{fc}cher.example", 1));
        assert!(matches!(refused, Err(Error::Io(error)) if error.to_string().contains("IDNA")));
    }
}
