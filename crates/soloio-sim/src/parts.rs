//! Splits the seeds of a check among processes, because a process has one world at a time.
//!
//! The first process starts the test's own program again for each of the others, with the name of
//! the test and a variable that has the part and the place of the check in the source. What a part
//! has met goes back as lines of text.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::io::Write;
use std::panic::Location;
use std::process::{Child, Command, Stdio, exit};
use std::thread;

use crate::faults::Fault;

/// Set in the other processes: "1/2 tests/mixed.rs:190:5 1".
const PART: &str = "SOLOIO_PART";

/// What begins a line for the first process.
const INJECTED: &str = "soloio-sim injected ";
const MET: &str = "soloio-sim met ";
const FAILS: &str = "soloio-sim fails ";

/// What the seeds of a check have met.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) injected: BTreeMap<Fault, u64>,
    pub(crate) met: BTreeMap<String, bool>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        for (fault, count) in other.injected {
            *self.injected.entry(fault).or_insert(0) += count;
        }
        for (name, was) in other.met {
            *self.met.entry(name).or_insert(false) |= was;
        }
    }

    fn lines(&self) -> String {
        let injected = self.injected.iter();
        let injected = injected.map(|(fault, n)| format!("{INJECTED}{n} {}\n", fault.name()));
        let met = self.met.iter();
        injected
            .chain(met.map(|(name, was)| format!("{MET}{was} {name}\n")))
            .collect()
    }

    /// Reads what another process has printed; an error is the reason of a failure.
    fn read(text: &str) -> Result<Self, String> {
        if let Some((_, why)) = text.split_once(FAILS) {
            return Err(why.to_owned());
        }
        let mut tally = Self::default();
        for line in text.lines() {
            let injected = line.strip_prefix(INJECTED);
            if let Some((count, name)) = injected.and_then(|rest| rest.split_once(' ')) {
                let fault = Fault::ALL.iter().find(|fault| fault.name() == name);
                if let (Some(fault), Ok(count)) = (fault, count.parse()) {
                    tally.injected.insert(*fault, count);
                }
            }
            let met = line.strip_prefix(MET);
            if let Some((was, name)) = met.and_then(|rest| rest.split_once(' ')) {
                tally.met.insert(name.to_owned(), was == "true");
            }
        }
        Ok(tally)
    }
}

/// A part of the seeds: those with this remainder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) index: u64,
    pub(crate) of: u64,
}

/// What this process has to do of a check.
pub(crate) enum Mine {
    /// It is the first one.
    First,
    /// It is another one, started for this check.
    Part(Part),
    /// It is another one, started for another check of the same test.
    Nothing,
}

/// Returns the place of a check in the source, and its number among those of the test.
pub(crate) fn place(caller: &Location<'_>) -> String {
    thread_local! {
        static CHECKS: Cell<u32> = const { Cell::new(0) };
    }
    CHECKS.set(CHECKS.get() + 1);
    format!("{caller} {}", CHECKS.get())
}

pub(crate) fn mine(place: &str) -> Mine {
    let Ok(text) = env::var(PART) else {
        return Mine::First;
    };
    let parsed = text.split_once(' ').and_then(|(part, at)| {
        let (index, of) = part.split_once('/')?;
        let (index, of) = (index.parse().ok()?, of.parse().ok()?);
        Some((Part { index, of }, at == place))
    });
    match parsed {
        Some((part, true)) => Mine::Part(part),
        Some((_, false)) => Mine::Nothing,
        None => panic!("{PART} is no part: {text}"),
    }
}

/// The other processes of a check; they end with this.
#[derive(Debug, Default)]
pub(crate) struct Others(Vec<Child>);

impl Others {
    /// Starts them, if `SOLOIO_PROCESSES` has their number and this is a test with a name.
    pub(crate) fn start(processes: u64, place: &str) -> Self {
        let mut others = Self::default();
        let test = thread::current().name().unwrap_or("main").to_owned();
        if test == "main" {
            return others;
        }
        for index in 1..processes {
            let program = env::current_exe().expect("the test's program");
            let child = Command::new(program)
                .args([&test, "--exact", "--nocapture", "--include-ignored"])
                .env(PART, format!("{index}/{processes} {place}"))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn();
            others.0.push(child.expect("another process"));
        }
        others
    }

    /// The part of the first process.
    pub(crate) fn first(&self) -> Part {
        let others = u64::try_from(self.0.len()).expect("a few");
        Part {
            index: 0,
            of: others + 1,
        }
    }

    /// Waits for them; the error is the reason of a failure.
    pub(crate) fn finish(mut self) -> Result<Tally, String> {
        let mut all = Tally::default();
        for child in std::mem::take(&mut self.0) {
            let output = child.wait_with_output().expect("its output");
            let text = String::from_utf8_lossy(&output.stdout);
            all.add(Tally::read(&text)?);
            if !output.status.success() {
                return Err(format!("another process: {}\n{text}", output.status));
            }
        }
        Ok(all)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // A failure means that it has ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Ends a process that has done its part: prints what it has met, or why it fails.
pub(crate) fn end(result: Result<Tally, Box<dyn Any + Send>>) -> ! {
    let (text, status) = match result {
        Ok(tally) => (tally.lines(), 0),
        Err(payload) => {
            let why = payload.downcast_ref::<String>();
            (format!("{FAILS}{}", why.map_or("", String::as_str)), 101)
        }
    };
    let mut out = std::io::stdout();
    // On a line of its own: the test's program has begun one. Nobody is left to get an error.
    drop(write!(out, "\n{text}").and_then(|()| out.flush()));
    exit(status)
}
