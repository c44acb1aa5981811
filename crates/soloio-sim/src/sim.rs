//! Several machines in one world, each a separate soloio program, on one thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use soloio::{Runtime, TaskHandle};

use crate::calls::kernel::{self, Entered};
use crate::faults::Faults;
use crate::net::{Machine, Net};
use crate::report;
use crate::run::{calibrate, leave};
use crate::trace::NO_MACHINE;
use crate::turns::Step;
use crate::verdict::{Failure, Verdict};
use crate::world::{Nanos, machine};

pub(crate) type Main = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Option<String>>>>>;
pub(crate) type Action = Box<dyn FnOnce(&mut Net<'_>)>;

/// A world of several machines. Each runs ordinary soloio code, and they reach each other by name
/// or address over a simulated network.
///
/// Made in a test of [`check`](crate::check), so that each seed has a thread of its own: then the
/// thread-local state of std and libraries is new, which exact replay relies on.
pub struct Sim {
    pub(crate) programs: Vec<Program>,
    pub(crate) actions: Vec<(Nanos, Action)>,
    pub(crate) always: Vec<Box<dyn FnMut()>>,
    left_out: Vec<String>,
    entered: Option<Entered>,
}

/// The program of a machine.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) main: Main,
    pub(crate) running: Option<Running>,
    /// The run ends only after this program.
    pub(crate) is_client: bool,
    pub(crate) done: bool,
}

pub(crate) struct Running {
    pub(crate) handle: TaskHandle<'static, Option<String>>,
    pub(crate) runtime: Runtime,
    /// The true time at which its loop wants to run again.
    pub(crate) next: Option<Nanos>,
    /// The loop has said so, and has not run since.
    pub(crate) asked: bool,
}

impl Sim {
    /// Makes a world and enters it.
    ///
    /// # Panics
    ///
    /// Inside a world.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        calibrate();
        let plan = report::plan();
        let faults = plan
            .without
            .iter()
            .fold(faults, |faults, fault| faults.without(*fault));
        let entered = Entered::new(seed, faults, plan.most.unwrap_or(u64::MAX));
        kernel::with(|world| world.driven = true);
        Self {
            programs: Vec::new(),
            actions: Vec::new(),
            always: Vec::new(),
            left_out: plan.without_clients,
            entered: Some(entered),
        }
    }

    /// Adds a machine with a program that may run for ever, such as a server. `main` is called
    /// again when the machine is restarted. A program that ends with an error fails the run.
    ///
    /// # Panics
    ///
    /// If a machine has that name already.
    pub fn host<F>(&mut self, name: &str, main: impl FnMut() -> F + 'static) -> Machine
    where
        F: Future<Output: Verdict> + 'static,
    {
        self.add(name, false, main)
    }

    /// Adds a machine with a program that has to come to its end, or the run fails.
    ///
    /// # Panics
    ///
    /// If a machine has that name already.
    pub fn client<F>(
        &mut self,
        name: impl Into<String>,
        main: impl FnMut() -> F + 'static,
    ) -> Machine
    where
        F: Future<Output: Verdict> + 'static,
    {
        self.add(&name.into(), true, main)
    }

    fn add<F>(
        &mut self,
        name: &str,
        is_client: bool,
        mut main: impl FnMut() -> F + 'static,
    ) -> Machine
    where
        F: Future<Output: Verdict> + 'static,
    {
        let taken = self.programs.iter().any(|program| program.name == name);
        assert!(!taken, "a machine has the name {name} already");
        let number = self.programs.len();
        let ip = kernel::with(|world| {
            let machine = machine::Machine::new(name.to_owned(), number);
            let ip = machine.v4;
            world.machines.push(machine);
            ip
        });
        let main: Main = Box::new(move || {
            let future = main();
            Box::pin(async move { future.await.failure() })
        });
        self.programs.push(Program {
            name: name.to_owned(),
            main,
            running: None,
            is_client,
            done: self.left_out.iter().any(|out| out == name),
        });
        if !self.programs[number].done {
            self.boot(number);
        }
        Machine {
            number,
            name: name.to_owned(),
            ip: ip.expect("the world that `new` has made"),
        }
    }

    /// Changes the network or the machines at a time after the beginning.
    pub fn at(&mut self, time: Duration, action: impl FnOnce(&mut Net<'_>) + 'static) {
        let time = Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX);
        self.actions.push((time, Box::new(action)));
    }

    /// Changes the network or the machines now.
    pub fn net(&mut self) -> Net<'_> {
        Net(self)
    }

    /// Calls `invariant` after every event; it panics if it does not hold.
    pub fn always(&mut self, invariant: impl FnMut() + 'static) {
        self.always.push(Box::new(invariant));
    }

    /// Returns the (true) time since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(kernel::with(|world| world.elapsed()).unwrap_or(0))
    }

    pub(crate) fn number(&self, name: &str) -> usize {
        let found = self
            .programs
            .iter()
            .position(|program| program.name == name);
        found.unwrap_or_else(|| panic!("there is no machine {name}"))
    }

    fn boot(&mut self, number: usize) {
        kernel::with(|world| {
            world.here = number;
            world.machines[number].up = true;
            world.machines[number].paused = false;
            world.note("boots");
        });
        // A fault may leave no descriptor: a machine that boots tries again.
        let runtime = (0..1000).find_map(|_| Runtime::new().ok());
        let runtime = runtime.expect("no machine fails a thousand times in a row");
        let handle = runtime.spawn((self.programs[number].main)());
        self.programs[number].running = Some(Running {
            handle,
            runtime,
            next: None,
            asked: false,
        });
    }

    pub(crate) fn crash(&mut self, number: usize) {
        kernel::with(|world| {
            world.here = number;
            world.machines[number].up = false;
            world.note("crashes");
        });
        // The power is off: closing a socket now sends nothing.
        self.programs[number].running = None;
        kernel::with(|world| world.lose_all(number));
    }

    pub(crate) fn restart(&mut self, number: usize) {
        if self.programs[number].running.is_none() && !self.programs[number].done {
            self.boot(number);
        }
    }

    /// Runs until every client is done.
    ///
    /// # Errors
    ///
    /// If a program ends with an error, if the clients are not done after `limit` of virtual time,
    /// and immediately if every task waits and nothing can ever happen, with the wait of each.
    ///
    /// # Panics
    ///
    /// With the panic of a program, and of an invariant.
    pub fn run_until_done(&mut self, limit: Duration) -> Result<(), Failure> {
        let end = self.elapsed().saturating_add(limit);
        self.forget_answers();
        while !self.is_done() {
            match self.step(end)? {
                Step::Ran | Step::Moved => {}
                Step::Late => {
                    let waits = self.dump();
                    let why = format!("the clients are not done after {limit:?}\n{waits}");
                    return Err(Failure::new(why));
                }
                Step::Stuck => {
                    let waits = self.dump();
                    let why = format!("every task waits, and nothing can ever happen\n{waits}");
                    return Err(Failure::new(why));
                }
            }
        }
        Ok(())
    }

    /// Runs for some virtual time, or until nothing can ever happen.
    ///
    /// # Errors
    ///
    /// If a program ends with an error.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.elapsed().saturating_add(time);
        self.forget_answers();
        loop {
            match self.step(end)? {
                Step::Ran | Step::Moved => {}
                Step::Late | Step::Stuck => return Ok(()),
            }
        }
    }

    /// True if every client is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let mut clients = self.programs.iter().filter(|program| program.is_client);
        clients.all(|program| program.done)
    }

    /// Returns the waits of every machine.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (number, program) in self.programs.iter().enumerate() {
            if let Some(running) = &program.running {
                kernel::with(|world| world.here = number);
                let name = &program.name;
                text += &format!("{name}:\n{}\n", running.runtime.dump());
            }
        }
        text + &report::waiting()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Later events in the trace are not part of the test.
        kernel::with(|world| world.note_of(NO_MACHINE, "the run is over"));
        for number in 0..self.programs.len() {
            kernel::with(|world| world.here = number);
            self.programs[number].running = None;
        }
        let clients = self.programs.iter().filter(|program| program.is_client);
        let clients = clients.map(|program| program.name.clone()).collect();
        if let Some(entered) = self.entered.take() {
            let left = leave(entered, clients);
            if left > 0 && !std::thread::panicking() {
                panic!("{left} threads are left that never end");
            }
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.programs.iter().map(|program| &program.name);
        f.debug_struct("Sim")
            .field("machines", &names.collect::<Vec<_>>())
            .field("elapsed", &self.elapsed())
            .finish()
    }
}
