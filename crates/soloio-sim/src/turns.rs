//! One step of a run: a turn of each loop with work, or a move of the clock.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::calls::{kernel, wait};
use crate::net::Net;
use crate::sim::{Running, Sim};
use crate::verdict::Failure;
use crate::world::descriptors::Fd;
use crate::world::{Nanos, START};

/// The result of one step.
pub(crate) enum Step {
    /// A loop or a thread ran.
    Ran,
    /// The clock has moved.
    Moved,
    /// The limit is reached.
    Late,
    /// Nothing can ever happen.
    Stuck,
}

impl Sim {
    pub(crate) fn step(&mut self, end: Duration) -> Result<Step, Failure> {
        let acted = self.act();
        kernel::with(|world| world.advance());
        if acted {
            self.forget_answers();
        }
        self.ask();
        if self.turns()? {
            return Ok(Step::Ran);
        }
        if wait::let_threads_run() || kernel::with(|world| world.announce_idle()) == Some(true) {
            return Ok(Step::Ran);
        }
        let end = Nanos::try_from(end.as_nanos()).unwrap_or(Nanos::MAX);
        let actions = self.actions.iter().map(|(at, _)| *at).min();
        let running = self.programs.iter().enumerate();
        Ok(kernel::with(|world| {
            let awake = running.filter(|(number, _)| !world.machines[*number].paused);
            let timers = awake.filter_map(|(_, program)| program.running.as_ref()?.next);
            let actions = actions.map(|at| START.saturating_add(at));
            let events = world.next_moment();
            match timers.chain(events).chain(actions).min() {
                None => Step::Stuck,
                Some(next) if next > START.saturating_add(end) => {
                    world.move_to(START.saturating_add(end));
                    Step::Late
                }
                Some(next) => {
                    world.move_to(next);
                    Step::Moved
                }
            }
        })
        .expect("the world that `new` has made"))
    }

    /// Runs the actions that were planned for this time, in the order of their planning; returns
    /// true if there was one.
    fn act(&mut self) -> bool {
        let mut acted = false;
        let now = kernel::with(|world| world.elapsed()).unwrap_or(0);
        while let Some(at) = self.actions.iter().position(|(time, _)| *time <= now) {
            let (_, action) = self.actions.remove(at);
            action(&mut Net(self));
            self.hold_always();
            acted = true;
        }
        acted
    }

    /// Lets each loop be asked again: something outside of the loops may have changed the answer.
    pub(crate) fn forget_answers(&mut self) {
        let running = self.programs.iter_mut();
        for running in running.filter_map(|program| program.running.as_mut()) {
            running.asked = false;
        }
    }

    /// Asks each loop that has run when it wants to run again, as a foreign loop does before it
    /// waits. A wake that comes later, from another thread or another machine's program, has to
    /// show in the loop's descriptor.
    fn ask(&mut self) {
        for (number, program) in self.programs.iter_mut().enumerate() {
            if let Some(running) = program.running.as_mut().filter(|found| !found.asked) {
                running.asked = true;
                kernel::with(|world| world.here = number);
                let wait = running.runtime.next_timeout();
                running.next = wait.and_then(|wait| {
                    let wait = Nanos::try_from(wait.as_nanos()).ok()?;
                    kernel::with(|world| {
                        let shown = world.machines[number].clock(world.now).checked_add(wait)?;
                        Some(world.true_time(shown))
                    })?
                });
            }
        }
    }

    fn hold_always(&mut self) {
        for invariant in &mut self.always {
            invariant();
        }
    }

    /// Makes a turn of each loop with work, in random order; returns true if there was one.
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
        let fd: Fd = running.runtime.as_fd().as_raw_fd();
        let can = kernel::with(|world| {
            world.here = number;
            if world.machines[number].paused {
                return false;
            }
            let due = running.next.is_some_and(|at| at <= world.now);
            due || world
                .descriptors
                .id(fd)
                .is_ok_and(|set| world.has_events(set))
        });
        can == Some(true)
    }

    fn turn(&mut self, number: usize) -> Result<(), Failure> {
        let program = &mut self.programs[number];
        let Some(running) = &mut program.running else {
            return Ok(());
        };
        running.asked = false;
        // It fails only if the kernel refuses to wait, and then the tasks get the error.
        drop(running.runtime.turn(Some(Duration::ZERO)));
        if !running.handle.is_finished() {
            return Ok(());
        }
        let Some(Running {
            handle,
            mut runtime,
            ..
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
}
