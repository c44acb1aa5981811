//! The driver: many seeds, exact replay, a failing seed shrunk and shown.

use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::Fault;
use crate::parts::{self, Mine, Others, Part, Tally};
use crate::report::{self, Plan, Replay, table};
use crate::verdict::Verdict;

/// Every `TWICE`th seed runs twice, to compare the two runs.
const TWICE: u64 = 100;

/// The limit of shrinking, in real time.
const SHRINKING: Duration = Duration::from_secs(30);

/// The result of one seed.
struct Outcome {
    failure: Option<String>,
    replays: Vec<Replay>,
    clients: Vec<String>,
}

impl Outcome {
    fn faults(&self) -> u64 {
        self.replays.iter().map(|replay| replay.faults).sum()
    }
}

/// Runs `test` for the seeds from 0 to `seeds`, each on a thread of its own, until one fails.
///
/// A test fails if it panics or returns an error. Then `check` shrinks it (classes of faults are
/// left out, then the last faults, then clients, as long as it fails) and panics with the seed, the
/// end of the trace, the shrunk form, and a table of what was injected. Every hundredth seed runs
/// twice and has to do exactly the same, system call by system call.
///
/// Four environment variables: `SOLOIO_SEED=8` runs that seed alone, and prints its whole trace if
/// it fails; `SOLOIO_SEEDS=1000000` runs that many instead, and `SOLOIO_FIRST=300000` begins with
/// that one; `SOLOIO_PROCESSES=8` splits them among so many processes of this test, if `test`
/// shares nothing between seeds. (A process has one world at a time.)
///
/// # Panics
///
/// * If a seed fails, or does not replay.
/// * If a [`sometimes`](crate::sometimes) assertion was never met (with two seeds or more).
///
/// # Examples
///
/// ```
/// use soloio_sim::{Faults, Sim, check};
/// use std::time::Duration;
///
/// check(3, |seed| {
///     let mut sim = Sim::new(seed, Faults::swarm(seed));
///     sim.client("sleeper", || async { soloio::sleep(Duration::from_secs(60)).await });
///     sim.run_until_done(Duration::from_secs(61))
/// });
/// ```
#[track_caller]
pub fn check<V: Verdict>(seeds: u64, test: impl Fn(u64) -> V + Sync) {
    let place = parts::place(Location::caller());
    let first = number("SOLOIO_FIRST").unwrap_or(0);
    let whole = number("SOLOIO_SEEDS").unwrap_or(seeds);
    let seeds = first..first.saturating_add(whole);
    match parts::mine(&place) {
        Mine::Nothing => return,
        Mine::Part(part) => {
            // The first process prints why it fails.
            std::panic::set_hook(Box::new(|_| {}));
            let explored = || explore(seeds, part, &test);
            parts::end(catch_unwind(AssertUnwindSafe(explored)))
        }
        Mine::First => {}
    }
    if let Some(seed) = number("SOLOIO_SEED") {
        let outcome = attempt(seed, &test, Plan::default());
        match outcome.failure {
            Some(_) => fail(seed, &test, &outcome, usize::MAX),
            None => return eprintln!("seed {seed} holds"),
        }
    }
    let others = Others::start(number("SOLOIO_PROCESSES").unwrap_or(1), &place);
    let mut all = explore(seeds, others.first(), &test);
    match others.finish() {
        Ok(theirs) => all.add(theirs),
        Err(why) => panic!("{why}"),
    }
    eprintln!("{whole} seeds hold; injected:\n{}", table(&all.injected));
    let never: Vec<&String> = all
        .met
        .iter()
        .filter(|(_, was)| !**was)
        .map(|(name, _)| name)
        .collect();
    assert!(
        never.is_empty() || whole < 2,
        "in none of {whole} seeds: {never:?}"
    );
}

/// Runs a part of the seeds.
fn explore<V: Verdict>(seeds: Range<u64>, part: Part, test: &(impl Fn(u64) -> V + Sync)) -> Tally {
    let mut all = Tally::default();
    for seed in seeds.filter(|seed| seed % part.of == part.index) {
        let outcome = attempt(seed, test, Plan::default());
        if outcome.failure.is_some() {
            fail(seed, test, &outcome, 40);
        }
        if seed % TWICE == 0 {
            check_replay(seed, test, &outcome);
        }
        for replay in outcome.replays {
            all.add(Tally {
                injected: replay.injected,
                met: replay.sometimes,
            });
        }
    }
    all
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{variable} is no number: {text}"),
    }
}

/// Runs one seed on a thread of its own.
fn attempt<V: Verdict>(seed: u64, test: &(impl Fn(u64) -> V + Sync), plan: Plan) -> Outcome {
    let work = || {
        report::keep_messages();
        report::set_plan(plan);
        let result = catch_unwind(AssertUnwindSafe(|| test(seed).failure()));
        let message = report::take_message();
        let failure = match result {
            Ok(failure) => failure,
            Err(_) => Some(message.unwrap_or_else(|| "a panic".to_owned())),
        };
        let (replays, clients) = report::take();
        Outcome {
            failure,
            replays,
            clients,
        }
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(format!("seed {seed}"));
        let thread = thread.spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("it catches what panics")
    })
}

fn check_replay<V: Verdict>(seed: u64, test: &(impl Fn(u64) -> V + Sync), first: &Outcome) {
    let second = attempt(seed, test, Plan::default());
    assert_eq!(
        first.replays.len(),
        second.replays.len(),
        "seed {seed} does not replay: another number of worlds"
    );
    for (a, b) in first.replays.iter().zip(&second.replays) {
        if a.hash != b.hash {
            let difference = a.difference(b).unwrap_or_default();
            panic!("seed {seed} does not replay: {difference}");
        }
    }
}

/// Shrinks and shows a seed that failed.
fn fail<V: Verdict>(
    seed: u64,
    test: &(impl Fn(u64) -> V + Sync),
    first: &Outcome,
    lines: usize,
) -> ! {
    let (plan, shrunk) = shrink(seed, test, first);
    let name = thread::current().name().unwrap_or("").to_owned();
    let why = first.failure.clone().unwrap_or_default();
    let mut text =
        format!("seed {seed} fails: {why}\nagain: SOLOIO_SEED={seed} cargo test {name}\n");
    for replay in &first.replays {
        text += &format!("\nthe last events:\n{}", replay.tail(lines));
        text += &format!("\ninjected:\n{}", replay.table());
    }
    if shrunk.is_none() {
        text += "\nshrunk: nothing can be left out\n";
    }
    if let Some(shrunk) = shrunk {
        text += &format!("\nshrunk: {}\n", describe(&plan));
        text += &format!("fails: {}\n", shrunk.failure.clone().unwrap_or_default());
        for replay in &shrunk.replays {
            text += &format!("its last events:\n{}", replay.tail(lines));
        }
    }
    panic!("{text}");
}

fn describe(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if !plan.without.is_empty() {
        let names: Vec<&str> = plan.without.iter().map(|fault| fault.name()).collect();
        parts.push(format!("without {}", names.join(", ")));
    }
    if let Some(most) = plan.most {
        parts.push(format!("with the first {most} faults"));
    }
    if !plan.without_clients.is_empty() {
        parts.push(format!("without {}", plan.without_clients.join(", ")));
    }
    parts.join("; ")
}

/// Leaves out everything that the failure does not need; `None` if it needs everything.
fn shrink<V: Verdict>(
    seed: u64,
    test: &(impl Fn(u64) -> V + Sync),
    first: &Outcome,
) -> (Plan, Option<Outcome>) {
    let start = Instant::now();
    let mut best = (Plan::default(), None);
    let fails = |plan: &Plan| {
        if start.elapsed() > SHRINKING {
            return None;
        }
        let outcome = attempt(seed, test, plan.clone());
        outcome.failure.is_some().then_some(outcome)
    };
    let classes: Vec<Fault> = first
        .replays
        .iter()
        .flat_map(|replay| replay.injected.keys().copied())
        .collect();
    for fault in classes {
        let mut plan = best.0.clone();
        plan.without.push(fault);
        if let Some(outcome) = fails(&plan) {
            best = (plan, Some(outcome));
        }
    }
    // Finds the smallest number of faults: it fails with `high`, and not below `low`.
    let (mut low, mut high) = (0, best.1.as_ref().unwrap_or(first).faults());
    while low < high {
        let middle = low + (high - low) / 2;
        let mut plan = best.0.clone();
        plan.most = Some(middle);
        match fails(&plan) {
            Some(outcome) => {
                high = middle;
                best = (plan, Some(outcome));
            }
            None => low = middle + 1,
        }
    }
    for client in &first.clients {
        let mut plan = best.0.clone();
        plan.without_clients.push(client.clone());
        if let Some(outcome) = fails(&plan) {
            best = (plan, Some(outcome));
        }
    }
    best
}
