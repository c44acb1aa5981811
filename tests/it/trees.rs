//! Random trees of groups, scopes, limits, shields, sockets and channels, with panics, drops and
//! futures that move from one place to another, also to another runtime.
//!
//! Each tree grows from a seed, which also determines the actions on it. It is cancelled in the
//! end, and has to be gone after a bounded number of turns, with no scope and no descriptor left. A
//! panic that the tree did not cause fails the test, which prints the seed.
//!
//! Long because a tree, the actions on it and the conditions it must meet are read together.
//!
//! The long form: `SOLOIO_TEST_ROUNDS=1000000 cargo test --release --test it trees`; one tree, as
//! many times as there are rounds: `SOLOIO_TEST_SEED=..`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    ByteStream, CancelScope, Result, Runtime, UnixStream, create_memory_byte_stream,
    create_memory_object_stream, fail_after, join, move_on_after, race, shield, sleep, task_group,
    yield_now,
};

use crate::support::{
    OnDrop, Random, alone, asked_rounds, deadline, fds, forever, give_way, message, poll_once,
    quiet_panic,
};

const HOUR: Duration = Duration::from_secs(3_600);

const SHORT: Duration = Duration::from_micros(20);

/// The message of the tree's own panics.
const OWN: &str = "of the tree";

/// The number of turns a tree may take to its end once it is cancelled. The trees that are found
/// take a few hundred.
const TURNS: usize = 4_000;

type Boxed = Pin<Box<dyn Future<Output = Result<()>>>>;

/// The state of a node. Its random numbers are its own, so that the tree does not depend on time.
struct World {
    random: RefCell<Random>,
    shared: Rc<Shared>,
}

/// The state that all nodes share.
struct Shared {
    /// The time of the shields: an hour, with contents that end by themselves; or so short that a
    /// loop of shields ends within the turns.
    shield: Duration,
    /// The number of nodes that may still be made.
    room: Cell<usize>,
    scopes: RefCell<Vec<Rc<CancelScope>>>,
    /// Futures that were begun in one place and continue in another.
    moving: RefCell<Vec<Boxed>>,
}

impl std::ops::Deref for World {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl World {
    fn fork(&self) -> Rc<Self> {
        let seed = self.random.borrow_mut().next();
        Rc::new(Self {
            random: RefCell::new(Random::new(seed)),
            shared: Rc::clone(&self.shared),
        })
    }

    fn below(&self, end: usize) -> usize {
        // The low bits of this generator are not random enough.
        (self.random.borrow_mut().next() >> 16) as usize % end
    }

    fn one_in(&self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn limit(&self) -> Duration {
        [Duration::ZERO, HOUR, HOUR][self.below(3)]
    }
}

/// A future that is polled in several places until it has ended.
struct Held(Rc<RefCell<Option<Boxed>>>);

impl Future for Held {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut place = self.0.borrow_mut();
        let Some(future) = &mut *place else {
            return Poll::Ready(Ok(()));
        };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            *place = None;
        }
        polled
    }
}

/// A future in a `FuturesUnordered`, which would leak the others if the drop of one panicked.
struct Contained(Option<Boxed>);

impl Future for Contained {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let future = self.0.as_mut().expect("dropped with this");
        future.as_mut().poll(cx)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let future = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(future))).unwrap_or_else(check);
    }
}

/// Makes a node with everything below it. A `finite` one ends even if it is not cancelled.
fn node(world: &Rc<World>, depth: usize, finite: bool) -> Boxed {
    let room = world.room.get();
    world.room.set(room.saturating_sub(1));
    let world = world.fork();
    if depth == 0 || room == 0 || world.one_in(5) {
        return Box::pin(leaf(world, finite));
    }
    let below = move |world: &Rc<World>| node(world, depth - 1, finite);
    match world.below(14) {
        0..=2 => Box::pin(group(world, depth - 1, finite)),
        3 | 4 => Box::pin(async move {
            let scope = Rc::new(CancelScope::new());
            world.scopes.borrow_mut().push(Rc::clone(&scope));
            if world.one_in(8) {
                scope.cancel("before it runs");
            }
            scope.run(below(&world)).await.unwrap_or(Ok(()))
        }),
        5 => Box::pin(fail_after(world.limit(), below(&world))),
        6 => Box::pin(move_on_after(world.limit(), below(&world)).map(|ended| ended.map(drop))),
        7 => match world.one_in(2) {
            // A shield may last an hour, so its contents have to end by themselves.
            true => Box::pin(shield(world.shield, node(&world, depth - 1, true))),
            false => Box::pin(shield(Duration::ZERO, below(&world))),
        },
        8 => Box::pin(async move {
            let count = 1 + world.below(3);
            let mut all: FuturesUnordered<_> =
                (0..count).map(|_| Contained(Some(below(&world)))).collect();
            while let Some(ended) = all.next().await {
                ended?;
            }
            Ok(())
        }),
        9 => Box::pin(async move {
            match world.one_in(2) {
                true => drop(race((below(&world), below(&world))).await),
                false => drop(join((below(&world), below(&world))).await),
            }
            Ok(())
        }),
        10 => Box::pin(async move { caught(below(&world)).await }),
        // A moving future takes no other moving one in, since it might contain itself.
        11 | 12 if depth < 5 => Box::pin(moved(Rc::clone(&world), below(&world))),
        11 | 12 => Box::pin(async move {
            let found = world.moving.borrow_mut().pop();
            match found.filter(|_| !finite) {
                Some(found) => fail_after(world.limit(), found).await,
                None => below(&world).await,
            }
        }),
        _ => Box::pin(async move {
            // The future is dropped before its end.
            let mut cut = below(&world);
            for _ in 0..world.below(3) {
                if poll_once(cut.as_mut()).await.is_ready() {
                    return Ok(());
                }
                yield_now().await?;
            }
            Ok(())
        }),
    }
}

/// Catches the tree's own panics, and resumes others.
async fn caught(future: Boxed) -> Result<()> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(ended) => ended,
        Err(payload) => {
            check(payload);
            Ok(())
        }
    }
}

fn check(payload: Box<dyn Any + Send>) {
    if message(&*payload) != OWN {
        resume_unwind(payload);
    }
}

async fn group(world: Rc<World>, depth: usize, finite: bool) -> Result<()> {
    let count = world.below(4);
    task_group(async |group| {
        let mut tasks = Vec::new();
        for _ in 0..count {
            let (inner, child) = (world.fork(), node(&world, depth, finite));
            tasks.push(group.spawn(async move {
                let ended = child.await;
                if inner.one_in(3) {
                    // Spawns a sibling, perhaps after the cancel, and perhaps in a shield.
                    let late = leaf(Rc::clone(&inner), true);
                    let late = group.spawn(shield(inner.shield, late));
                    drop(late.await);
                }
                ended
            }));
        }
        match world.below(8) {
            0 => group.cancel(),
            1 => tasks.iter().for_each(|task| task.cancel()),
            2 if count > 0 => {
                yield_now().await?;
                tasks[0].cancel();
            }
            3 => {
                for task in tasks {
                    task.await?;
                }
            }
            _ => {}
        }
        match world.one_in(2) {
            true => node(&world, depth, finite).await,
            false => Ok(()),
        }
    })
    .await
}

/// Polls a future in one place, then continues it in another, or leaves it in `moving`.
async fn moved(world: Rc<World>, future: Boxed) -> Result<()> {
    let future = Rc::new(RefCell::new(Some(future)));
    let lent = || Box::pin(Held(Rc::clone(&future))) as Boxed;
    for _ in 0..1 + world.below(2) {
        let mut place = surrounded(&world, lent());
        if poll_once(place.as_mut()).await.is_ready() {
            return Ok(());
        }
        if world.one_in(2) {
            yield_now().await?;
        }
    }
    if world.one_in(3) {
        world.moving.borrow_mut().push(lent());
        return Ok(());
    }
    let ended = surrounded(&world, lent()).await;
    drop(future); // As in `leaf`.
    ended
}

/// Wraps a future in a place to poll it in.
fn surrounded(world: &Rc<World>, future: Boxed) -> Boxed {
    match world.below(6) {
        0 => Box::pin(fail_after(world.limit(), future)),
        1 => Box::pin(async {
            let mut all: FuturesUnordered<_> = std::iter::once(Contained(Some(future))).collect();
            all.next().await.unwrap_or(Ok(()))
        }),
        2 => Box::pin(task_group(async move |group| group.spawn(future).await)),
        3 => {
            let scope = Rc::new(CancelScope::new());
            world.scopes.borrow_mut().push(Rc::clone(&scope));
            Box::pin(async move { scope.run(future).await.unwrap_or(Ok(())) })
        }
        4 => Box::pin(shield(Duration::ZERO, future)),
        _ => future,
    }
}

/// A leaf; some leaves panic in a drop, at the end or before.
async fn leaf(world: Rc<World>, finite: bool) -> Result<()> {
    let panics = || {
        if !thread::panicking() {
            quiet_panic(OWN);
        }
    };
    let dropped = world.one_in(12).then(|| OnDrop(panics));
    let ended = calm_leaf(world, finite).await;
    // Dropped here and not at the end of the scope: the compiler leaks a returned value when a
    // local's drop panics (rust-lang/rust#47949).
    drop(dropped);
    ended
}

async fn calm_leaf(world: Rc<World>, finite: bool) -> Result<()> {
    match world.below(if finite { 9 } else { 16 }) {
        0 => Ok(()),
        1 => yields(&world).await,
        2 => {
            for _ in 0..world.below(4) {
                give_way().await;
            }
            Ok(())
        }
        3 => sleep(Duration::ZERO).await,
        4 if world.one_in(4) => {
            quiet_panic(OWN);
            Ok(())
        }
        4 | 5 => match world.one_in(2) {
            true => talk(create_memory_byte_stream(4)).await,
            false => talk(unix_pair()?).await,
        },
        6 => {
            let (sender, receiver) = create_memory_object_stream(world.below(2));
            let both = join((sender.send(world.below(9)), receiver.receive()));
            let (sent, received) = both.await;
            sent.map_err(soloio::Error::other)?;
            received.map(drop)
        }
        7 => {
            // Cleans up in a shield, within the rest of its time.
            let ended = yields(&world).await;
            shield(world.shield, yields(&world)).await?;
            ended
        }
        8 => Err(soloio::Error::other("a failure of the tree")),
        9 | 10 => sleep(HOUR).await,
        11 => {
            forever().await;
            Ok(())
        }
        12 => {
            let (a, _b) = unix_pair()?;
            a.receive().await.map(drop)
        }
        13 => {
            let (_sender, receiver) = create_memory_object_stream::<u8>(1);
            receiver.receive().await.map(drop)
        }
        // A loop that ignores the cancel ends with the allowance of the shields.
        14 if world.shield < HOUR && world.one_in(4) => loop {
            drop(yield_now().await);
        },
        14 if world.shield < HOUR => loop {
            drop(shield(world.shield, sleep(SHORT / 4)).await);
        },
        _ => {
            let scope = {
                let scopes = world.scopes.borrow();
                Rc::clone(&scopes[world.below(scopes.len())])
            };
            scope.cancel("from inside");
            sleep(HOUR).await
        }
    }
}

fn unix_pair() -> Result<(UnixStream, UnixStream)> {
    let (a, b) = std::os::unix::net::UnixStream::pair().map_err(soloio::Error::other)?;
    Ok((a.try_into()?, b.try_into()?))
}

async fn yields(world: &World) -> Result<()> {
    for _ in 0..world.below(4) {
        yield_now().await?;
    }
    Ok(())
}

async fn talk<S: ByteStream>((a, b): (S, S)) -> Result<()> {
    let mut room = [0; 8];
    let (sent, received) = join((a.send(b"hello"), b.receive_into(&mut room))).await;
    sent?;
    received.map(drop)
}

/// Runs one tree from its seed to its end; returns the number of turns after its cancel.
fn grow(seed: u64) -> usize {
    let root = Rc::new(CancelScope::new());
    let world = Rc::new(World {
        random: RefCell::new(Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        shared: Rc::new(Shared {
            shield: [HOUR, SHORT][usize::from(seed % 4 == 0)],
            room: Cell::new(40),
            scopes: RefCell::new(vec![Rc::clone(&root)]),
            moving: RefCell::default(),
        }),
    });
    let (inner, scope) = (world.fork(), Rc::clone(&root));
    let tree: Boxed = Box::pin(async move {
        let tree = async { join((node(&inner, 6, false), node(&inner, 6, false))).await };
        let tree = AssertUnwindSafe(scope.run(tree)).catch_unwind();
        tree.await.map(drop).unwrap_or_else(check);
        Ok(())
    });
    let tree = Rc::new(RefCell::new(Some(tree)));
    let mut runtimes = [(); 2].map(|()| Runtime::new().expect("a runtime"));
    let mut home = 0;
    let current = Rc::new(Cell::new(0));
    let enter = |runtime: &Runtime| {
        // From here on the tasks that were spawned earlier do not poll it any more.
        current.set(current.get() + 1);
        let (mut held, own, current) = (Held(Rc::clone(&tree)), current.get(), Rc::clone(&current));
        runtime.spawn(poll_fn(move |cx| match current.get() == own {
            true => Pin::new(&mut held).poll(cx),
            false => Poll::Pending,
        }))
    };
    let mut task = enter(&runtimes[home]);
    let mut earlier = Vec::new();
    for _ in 0..world.below(6) {
        turn(&mut runtimes[home]);
        if world.one_in(3) && !world.scopes.borrow().is_empty() {
            let at = world.below(world.scopes.borrow().len());
            let scope = Rc::clone(&world.scopes.borrow()[at]);
            scope.cancel("from outside");
        }
        if world.one_in(5) && !task.is_finished() {
            // Moves to the other runtime with all its waits, perhaps into the middle of a task
            // there.
            home = 1 - home;
            earlier.push(std::mem::replace(&mut task, enter(&runtimes[home])));
        }
    }
    let mut turns = 0;
    if !world.one_in(8) {
        root.cancel("the end");
        while !task.is_finished() {
            // A wait in a combinator is woken by the runtime in which it began.
            runtimes.iter_mut().for_each(turn);
            turns += 1;
            if turns % 100 == 0 {
                // Futures in `moving` are not polled, so a shield among them would last for its
                // hour.
                end(&mut runtimes, (None, world.moving.take()), turns / 100 % 3);
            }
            if turns == TURNS {
                let tasks = runtimes[home].block_on(async { soloio::dump().expect("inside") });
                panic!("it goes on and on: {tasks}");
            }
        }
    }
    let left = (tree.take(), world.moving.take());
    earlier.push(task);
    end(&mut runtimes, left, world.below(3));
    earlier.iter().for_each(|task| task.cancel());
    for runtime in &mut runtimes {
        (0..2).for_each(|_| turn(runtime));
        let text = format!("{runtime:?}");
        assert!(text.contains("scopes: 0"), "{text}");
    }
    turns
}

/// Drops the rest in one of the runtimes, or outside.
fn end(runtimes: &mut [Runtime; 2], left: (Option<Boxed>, Vec<Boxed>), place: usize) {
    let dropped = catch_unwind(AssertUnwindSafe(|| match place {
        0 => drop(left),
        at => runtimes[at - 1].block_on(async { drop(left) }),
    }));
    dropped.unwrap_or_else(check);
}

/// Runs a turn, and catches the tree's own panics, which the turn resumes.
fn turn(runtime: &mut Runtime) {
    let turned = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    match turned {
        Ok(turned) => turned.expect("a turn"),
        Err(payload) => check(payload),
    }
}

#[test]
fn trees_end_in_time_and_leave_nothing() {
    alone("trees::trees_end_in_time_and_leave_nothing", || {
        let _deadline = deadline();
        let asked = std::env::var("SOLOIO_TEST_SEED").ok();
        let asked = asked.map(|seed| seed.parse().expect("a number"));
        let rounds = asked_rounds().unwrap_or_else(|| if asked.is_some() { 1 } else { 10_000 });
        let seeds = (1..=rounds as u64).map(|round| asked.unwrap_or(round));
        let (start, before) = (Instant::now(), fds());
        let mut most = 0;
        for seed in seeds {
            let _guard = OnDrop(|| {
                if thread::panicking() {
                    eprintln!("the tree of SOLOIO_TEST_SEED={seed}");
                }
            });
            most = most.max(grow(seed));
            assert_eq!(fds(), before, "descriptors");
        }
        println!("at most {most} turns; {:?}", start.elapsed());
    });
}
