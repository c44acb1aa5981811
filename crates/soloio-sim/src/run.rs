//! Runs one future in a world without faults, for tests that only need the clock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use soloio::{Dump, task_group};

use crate::calls::kernel::{self, Entered};
use crate::calls::wait;
use crate::faults::Faults;
use crate::report::{self, Replay};
use crate::threads::{Wait, Waited};
use crate::trace::What;
use crate::world::descriptors::Object;
use crate::world::machine::Machine;

/// The time that threads may still run after the program, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Makes soloio measure the distance of its two clocks at the beginning of all worlds, where it is
/// zero: it does so once in a process.
pub(crate) fn calibrate() {
    static ONCE: Once = Once::new();
    let measure = || {
        let _entered = Entered::new(0, Faults::none(), 0);
        kernel::with(|world| world.machines.push(Machine::new("clock".to_owned(), 0)));
        let past = soloio::block_on(soloio::sleep_until(Instant::now()));
        past.expect("a time that has come");
    };
    // On a separate thread: std's thread-local state must begin in the world under test.
    ONCE.call_once(|| thread::spawn(measure).join().expect("it does not panic"));
}

/// Runs a future to its end in a world of one machine without faults. The clock stands while
/// anything can run and jumps to the next deadline when every task waits, so an hour of sleeping
/// takes no time, and exactly an hour.
///
/// # Panics
///
/// * If every task waits and nothing can ever happen, with the wait of each.
/// * If threads are left that never end.
/// * Inside a world.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// soloio_sim::run(async {
///     let start = Instant::now();
///     soloio::sleep(Duration::from_secs(3600)).await?;
///     assert_eq!(start.elapsed(), Duration::from_secs(3600));
///     Ok::<_, soloio::Error>(())
/// })
/// .unwrap();
/// ```
pub fn run<F: IntoFuture>(future: F) -> F::Output {
    run_with(0, Faults::none(), future)
}

/// Like [`run`], with faults and conditions, and another seed: it determines when faults strike,
/// and the random numbers that the program gets.
///
/// # Panics
///
/// As [`run`] does.
///
/// # Examples
///
/// ```
/// use soloio_sim::{Faults, run_with};
/// use std::time::{Duration, Instant};
///
/// let day = Duration::from_millis(10);
/// run_with(7, Faults::none().with_latency(day, day), async {
///     let listener = soloio::create_tcp_listener().local_host("127.0.0.1").await?;
///     let start = Instant::now();
///     soloio::connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
///     assert_eq!(start.elapsed(), 2 * day);
///     Ok::<_, soloio::Error>(())
/// })
/// .unwrap();
/// ```
pub fn run_with<F: IntoFuture>(seed: u64, faults: Faults, future: F) -> F::Output {
    let (dump, over) = (RefCell::new(None), Cell::new(false));
    in_a_world(seed, faults, &dump, || {
        let observed = task_group(async |group| {
            group.spawn(observe(&dump, &over));
            let _ends = Ends(&over);
            Ok::<_, soloio::Error>(future.into_future().await)
        });
        soloio::block_on(observed).expect("neither the body nor the observer fails")
    })
}

/// Like [`run_with`], for a program that makes its own runtimes.
///
/// # Panics
///
/// As [`run`] does; what the tasks wait for is not in the message.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let calm = soloio_sim::Faults::none();
/// let elapsed = soloio_sim::run_program(7, calm, || {
///     for _ in 0..2 {
///         soloio::block_on(soloio::sleep(Duration::from_secs(60))).unwrap();
///     }
///     soloio_sim::elapsed()
/// });
/// assert_eq!(elapsed, Some(Duration::from_secs(120)));
/// ```
pub fn run_program<T>(seed: u64, faults: Faults, program: impl FnOnce() -> T) -> T {
    in_a_world(seed, faults, &RefCell::new(None), program)
}

/// Runs a program in a world of one machine; `dump` has what its tasks wait for if nothing can ever
/// happen.
fn in_a_world<T>(
    seed: u64,
    faults: Faults,
    dump: &RefCell<Option<Dump>>,
    program: impl FnOnce() -> T,
) -> T {
    calibrate();
    let entered = Entered::new(seed, faults, u64::MAX);
    kernel::with(|world| world.machines.push(Machine::new("main".to_owned(), 0)));
    let result = catch_unwind(AssertUnwindSafe(program));
    OBSERVER.take();
    let stuck = kernel::with(|world| world.stuck) == Some(true);
    let (waiting, tail) = match stuck {
        true => (report::waiting(), report::tail(30)),
        false => Default::default(),
    };
    let left = leave(entered, Vec::new());
    match result {
        _ if stuck => {
            let dump = dump.take();
            let dump = dump.map_or_else(String::new, |dump| dump.to_string());
            panic!(
                "every task waits, and nothing can ever happen\n{dump}\n{waiting}\
                 the last events:\n{tail}"
            )
        }
        Ok(_) if left > 0 => panic!("{left} threads are left that never end"),
        Ok(output) => output,
        Err(payload) => resume_unwind(payload),
    }
}

thread_local! {
    /// The task that makes a dump when nothing can ever happen.
    static OBSERVER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Wakes the observer, which sees what each task waits for before the loop gets an error; returns
/// false if there is none, or it has seen it.
pub(crate) fn wake_observer() -> bool {
    let waker = OBSERVER.take();
    waker.map(Waker::wake).is_some()
}

/// Waits until nothing can ever happen, and makes a dump; ends when the program does.
async fn observe(dump: &RefCell<Option<Dump>>, over: &Cell<bool>) -> soloio::Result<()> {
    poll_fn(|cx| {
        let stuck = kernel::with(|world| world.stuck) == Some(true);
        if stuck && dump.borrow().is_none() {
            dump.replace(soloio::dump().ok().map(without_observer));
        } else if !stuck {
            OBSERVER.replace(Some(cx.waker().clone()));
        }
        match over.get() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}

/// Leaves out the observer and the task of its group, so that the program is the main task.
fn without_observer(mut dump: Dump) -> Dump {
    dump.tasks.retain(|task| !task.running);
    for task in &mut dump.tasks {
        task.depth = task.depth.saturating_sub(1);
    }
    dump
}

/// Ends the observer when dropped, also by a panic.
struct Ends<'a>(&'a Cell<bool>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.set(true);
        wake_observer();
    }
}

/// Ends a world: threads end, the report is kept. Returns the number of threads that are left.
pub(crate) fn leave(entered: Entered, clients: Vec<String>) -> usize {
    let until = kernel::with(|world| wait::after(world, PATIENCE));
    let over = wait::wait(Wait::Alone, until);
    let left = kernel::with(|world| world.threads.count() - 1).unwrap_or(0);
    debug_assert!(left == 0 || over != Waited::Ready, "alone, with others");
    if let Some(replay) = kernel::with(Replay::of) {
        report::leave(replay, clients);
    }
    drop(entered);
    left
}

/// Returns the (true) time since the world began; `None` outside of a world.
#[must_use]
pub fn elapsed() -> Option<Duration> {
    let inside = kernel::is_inside();
    let elapsed = inside.then(|| kernel::with(|world| world.elapsed()))?;
    elapsed.map(Duration::from_nanos)
}

/// Returns the number of calls of each C function in this world so far, such as `recv`; empty
/// outside of a world. A test of a program's system calls compares two of them.
///
/// # Examples
///
/// ```
/// soloio_sim::run(async {
///     let before = soloio_sim::calls();
///     let _pair = soloio::unix_socket_pair().unwrap();
///     let after = soloio_sim::calls();
///     assert_eq!((before.get("socketpair"), after["socketpair"]), (None, 1));
/// });
/// ```
#[must_use]
pub fn calls() -> BTreeMap<&'static str, usize> {
    let mut calls = BTreeMap::new();
    if kernel::is_inside() {
        kernel::with(|world| {
            for record in &world.trace.records {
                if let What::Call(name, ..) = record.what {
                    *calls.entry(name).or_insert(0) += 1;
                }
            }
        });
    }
    calls
}

/// Returns the number of open descriptors of the running machine; `None` outside of a world.
///
/// # Examples
///
/// ```
/// soloio_sim::run(async {
///     let before = soloio_sim::descriptors();
///     let pair = soloio::unix_socket_pair().unwrap();
///     assert_eq!(soloio_sim::descriptors(), before.map(|count| count + 2));
/// #   drop(pair);
/// });
/// ```
#[must_use]
pub fn descriptors() -> Option<usize> {
    let inside = kernel::is_inside();
    inside.then(|| kernel::with(|world| world.descriptors.count(world.here)))?
}

/// Returns the number of threads of the world; `None` outside of one.
///
/// # Examples
///
/// ```
/// soloio_sim::run(async {
///     assert_eq!(soloio_sim::threads(), Some(1));
/// });
/// ```
#[must_use]
pub fn threads() -> Option<usize> {
    let inside = kernel::is_inside();
    inside.then(|| kernel::with(|world| world.threads.count()))?
}

/// Waits until every other task of the world waits: the moment before the clock would jump. Use it
/// in tests instead of a sleep "to let something happen".
///
/// # Errors
///
/// [`soloio::Error::Io`] outside of a world; [`soloio::Error::Cancelled`] in a cancelled scope.
///
/// # Cancel safety
///
/// Nothing is lost.
///
/// # Examples
///
/// ```
/// use soloio::{Event, task_group};
///
/// soloio_sim::run(task_group(async |group| {
///     let event = std::rc::Rc::new(Event::new());
///     let waits = event.clone();
///     group.spawn(async move { waits.wait().await });
///     soloio_sim::wait_all_tasks_blocked().await?;
///     event.set();
///     Ok(())
/// }))
/// .unwrap();
/// ```
pub async fn wait_all_tasks_blocked() -> soloio::Result<()> {
    let made = match kernel::is_inside() {
        true => kernel::with(|world| {
            let idle = Object::Idle { blocked: false };
            world.open(idle, true, true)
        }),
        false => None,
    };
    let Some(Ok(fd)) = made else {
        let outside = io::Error::other("wait_all_tasks_blocked: not in a world");
        return Err(soloio::Error::from(outside));
    };
    // SAFETY: just opened, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(fd.as_raw_fd() > 0);
    soloio::wait_readable(fd.as_fd()).await
}
