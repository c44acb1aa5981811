//! Several machines in one world, each a soloio program of its own, on one thread.

use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::time::Duration;

use soloio::{Runtime, TaskHandle};

use crate::calls::kernel::{self, Entered};
use crate::calls::wait;
use crate::faults::Faults;
use crate::net::{Machine, Net};
use crate::report;
use crate::run::{calibrate, leave};
use crate::verdict::{Failure, Verdict};
use crate::world::descriptors::Fd;
use crate::world::{Nanos, machine};

type Main = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Option<String>>>>>;
type Action = Box<dyn FnOnce(&mut Net<'_>)>;

/// A world of several machines. Each runs ordinary soloio code, and they reach each other by name
/// or address over a simulated network.
///
/// Made in a test of [`check`](crate::check), so that each seed has a thread of its own: what std
/// and libraries keep for a thread is new then, which exact replay rests on.
pub struct Sim {
    programs: Vec<Program>,
    actions: Vec<(Nanos, Action)>,
    always: Vec<Box<dyn FnMut()>>,
    left_out: Vec<String>,
    entered: Option<Entered>,
}

/// What a machine runs.
struct Program {
    name: String,
    main: Main,
    running: Option<Running>,
    /// The run is not over before it is.
    is_client: bool,
    done: bool,
}

struct Running {
    handle: TaskHandle<'static, Option<String>>,
    runtime: Runtime,
}

/// What one step of a run did.
enum Step {
    /// Something ran.
    Ran,
    /// The clock has moved.
    Moved,
    /// The limit has come.
    Late,
    /// Nothing can ever happen.
    Stuck,
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

    /// Does something to the network or the machines at a time after the beginning.
    pub fn at(&mut self, time: Duration, action: impl FnOnce(&mut Net<'_>) + 'static) {
        let time = Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX);
        self.actions.push((time, Box::new(action)));
    }

    /// Does something to the network or the machines now.
    pub fn net(&mut self) -> Net<'_> {
        Net(self)
    }

    /// Calls `invariant` after everything that happens; it panics if it does not hold.
    pub fn always(&mut self, invariant: impl FnMut() + 'static) {
        self.always.push(Box::new(invariant));
    }

    /// The (true) time since the world began.
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
        // Out of descriptors, by a fault: a machine that boots tries again.
        let runtime = (0..1000).find_map(|_| Runtime::new().ok());
        let runtime = runtime.expect("no machine fails a thousand times in a row");
        let handle = runtime.spawn((self.programs[number].main)());
        self.programs[number].running = Some(Running { handle, runtime });
    }

    pub(crate) fn crash(&mut self, number: usize) {
        kernel::with(|world| {
            world.here = number;
            world.machines[number].up = false;
            world.note("crashes");
        });
        // With the power off: what it closes now is gone already.
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
    /// and at once if every task waits and nothing can ever happen: with what each waits for.
    ///
    /// # Panics
    ///
    /// With the panic of a program, and of an invariant.
    pub fn run_until_done(&mut self, limit: Duration) -> Result<(), Failure> {
        let end = self.elapsed().saturating_add(limit);
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

    /// Runs for a while of virtual time, or until nothing can ever happen.
    ///
    /// # Errors
    ///
    /// If a program ends with an error.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.elapsed().saturating_add(time);
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

    fn step(&mut self, end: Duration) -> Result<Step, Failure> {
        self.act();
        kernel::with(|world| world.advance());
        if self.turns()? || wait::let_threads_run() {
            return Ok(Step::Ran);
        }
        if kernel::with(|world| world.announce_idle()) == Some(true) {
            return Ok(Step::Ran);
        }
        let end = Nanos::try_from(end.as_nanos()).unwrap_or(Nanos::MAX);
        let timers: Vec<Nanos> = self.timers();
        let actions = self.actions.iter().map(|(at, _)| *at).min();
        Ok(kernel::with(|world| {
            let events = world
                .next_moment()
                .map(|at| at - (world.now - world.elapsed()));
            let next = timers.iter().copied().chain(events).chain(actions).min();
            let begin = world.now - world.elapsed();
            match next {
                None => Step::Stuck,
                Some(next) if next > end => {
                    world.move_to(begin.saturating_add(end));
                    Step::Late
                }
                Some(next) => {
                    world.move_to(begin + next);
                    Step::Moved
                }
            }
        })
        .expect("the world that `new` has made"))
    }

    /// Does what was planned for this time, in the order in which it was planned.
    fn act(&mut self) {
        let now = kernel::with(|world| world.elapsed()).unwrap_or(0);
        while let Some(at) = self.actions.iter().position(|(time, _)| *time <= now) {
            let (_, action) = self.actions.remove(at);
            action(&mut Net(self));
            self.hold_always();
        }
    }

    fn hold_always(&mut self) {
        for invariant in &mut self.always {
            invariant();
        }
    }

    /// A turn of each loop that has something to do, in random order; true if there was one.
    fn turns(&mut self) -> Result<bool, Failure> {
        let mut order: Vec<usize> = (0..self.programs.len()).collect();
        kernel::with(|world| world.dice.nature.shuffle(&mut order));
        let mut ran = false;
        for number in order {
            if self.can_run(number) {
                ran = true;
                self.turn(number)?;
                self.hold_always();
            }
        }
        Ok(ran)
    }

    fn can_run(&self, number: usize) -> bool {
        let Some(running) = &self.programs[number].running else {
            return false;
        };
        let paused = kernel::with(|world| {
            world.here = number;
            world.machines[number].paused
        });
        if paused == Some(true) {
            return false;
        }
        let fd: Fd = running.runtime.as_fd().as_raw_fd();
        let events = kernel::with(|world| {
            let set = world.descriptors.id(fd);
            set.is_ok_and(|set| world.has_events(set))
        });
        events == Some(true) || running.runtime.next_timeout() == Some(Duration::ZERO)
    }

    fn turn(&mut self, number: usize) -> Result<(), Failure> {
        let program = &mut self.programs[number];
        let Some(running) = &mut program.running else {
            return Ok(());
        };
        // It fails only where the kernel refuses to wait, and the tasks are told.
        drop(running.runtime.turn(Some(Duration::ZERO)));
        if !running.handle.is_finished() {
            return Ok(());
        }
        let Some(Running {
            handle,
            mut runtime,
        }) = program.running.take()
        else {
            return Ok(());
        };
        program.done = true;
        let name = program.name.clone();
        let failure = runtime.block_on(handle);
        drop(runtime);
        match failure {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(Failure::new(format!("{name} failed: {why}"))),
            Err(error) => Err(Failure::new(format!("{name} failed: {error}"))),
        }
    }

    /// When the loops want to run again, since the beginning.
    fn timers(&self) -> Vec<Nanos> {
        let running = self.programs.iter().enumerate();
        let timers = running.filter_map(|(number, program)| {
            let running = program.running.as_ref()?;
            let paused = kernel::with(|world| {
                world.here = number;
                world.machines[number].paused
            });
            if paused == Some(true) {
                return None;
            }
            let wait = running.runtime.next_timeout()?;
            let wait = Nanos::try_from(wait.as_nanos()).ok()?;
            kernel::with(|world| {
                let shown = world.machines[number].clock(world.now).checked_add(wait)?;
                let at = world.true_time(shown);
                Some(at.saturating_sub(world.now - world.elapsed()))
            })?
        });
        timers.collect()
    }

    /// What every machine waits for.
    fn dump(&self) -> String {
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
