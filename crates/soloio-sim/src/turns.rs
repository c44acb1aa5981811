//! One step of a run: a turn of each loop with work, or a move of the clock.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::calls::{kernel, wait};
use crate::net::Net;
use crate::sim::{Running, Sim};
use crate::verdict::Failure;
use crate::world::Nanos;
use crate::world::descriptors::Fd;

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

    /// Runs the actions that were planned for this time, in the order of their planning.
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
        // It fails only if the kernel refuses to wait, and then the tasks get the error.
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

    /// Returns the times at which the loops want to run again, since the beginning.
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
}
