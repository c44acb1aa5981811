//! Changes that a test makes to the machines and the network between them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::calls::kernel;
use crate::sim::Sim;
use crate::trace::NO_MACHINE;

/// A machine of a [`Sim`], and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
}

impl Machine {
    /// Returns its name, by which the other machines look it up.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its IPv4 address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip.into()
    }
}

/// The network and the machines, as a test changes them.
///
/// Every method panics if there is no machine of that name.
#[derive(Debug)]
pub struct Net<'a>(pub(crate) &'a mut Sim);

impl Net<'_> {
    /// Cuts two machines off from each other: no packet gets through in either direction.
    pub fn partition(&mut self, a: &str, b: &str) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Cuts one direction: the second machine gets no packet of the first.
    pub fn cut(&mut self, from: &str, to: &str) {
        let (a, b) = (self.0.number(from), self.0.number(to));
        kernel::with(|world| {
            world.network.cut(a, b);
            world.note_of(a, format!("cut off from {to}"));
        });
    }

    /// Loses packets from one machine to another, with a chance of 0.0 to 1.0.
    pub fn lose(&mut self, from: &str, to: &str, chance: f64) {
        let (a, b) = (self.0.number(from), self.0.number(to));
        kernel::with(|world| {
            world.network.set_loss(a, b, chance);
            world.note_of(a, format!("loses {chance} of what goes to {to}"));
        });
    }

    /// Limits what goes from one machine to another to so many bytes of data in a (true) second;
    /// with 0 there is no limit, as in the beginning. What has no data, such as an end, takes no
    /// time, but waits for its turn. Nothing is lost, however much waits.
    pub fn bandwidth(&mut self, from: &str, to: &str, bytes_per_second: u64) {
        let (a, b) = (self.0.number(from), self.0.number(to));
        kernel::with(|world| {
            world.network.set_bandwidth(a, b, bytes_per_second);
            world.note_of(a, format!("sends {bytes_per_second} bytes/s to {to}"));
        });
    }

    /// Removes all cuts and losses of this kind.
    pub fn heal(&mut self) {
        kernel::with(|world| {
            world.network.heal();
            world.note_of(NO_MACHINE, "healed");
        });
    }

    /// Takes the power of a machine: its program is gone, and sends nothing more.
    ///
    /// Values that its program drops (destructors run) can reach neither kernel nor network.
    pub fn crash(&mut self, name: &str) {
        let number = self.0.number(name);
        self.0.crash(number);
    }

    /// Starts the program of a crashed machine anew.
    pub fn restart(&mut self, name: &str) {
        let number = self.0.number(name);
        self.0.restart(number);
    }

    /// Stops a program, as in a long garbage collection or a suspended virtual machine. Its kernel
    /// continues: packets are acknowledged, buffers fill.
    pub fn pause(&mut self, name: &str) {
        self.set_paused(name, true);
    }

    /// Continues a paused program.
    pub fn resume(&mut self, name: &str) {
        self.set_paused(name, false);
    }

    fn set_paused(&mut self, name: &str, paused: bool) {
        let number = self.0.number(name);
        kernel::with(|world| {
            world.machines[number].paused = paused;
            world.note_of(number, if paused { "paused" } else { "resumed" });
        });
    }

    /// Sends a signal, such as `SIGTERM` by its number, to the programs that receive it: soloio's
    /// receivers are those of the whole process, whatever machine they are on, and outside of the
    /// world. The trace has a line for each machine that it reaches.
    ///
    /// # Panics
    ///
    /// If no program receives it: it would end the test.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Signal, open_signal_receiver};
    /// use soloio_sim::{Faults, Sim};
    /// use std::time::Duration;
    ///
    /// let mut sim = Sim::new(1, Faults::none());
    /// sim.client("server", || async {
    ///     open_signal_receiver(&[Signal::Terminate])?.receive().await.map(drop)
    /// });
    /// sim.at(Duration::from_secs(5), |net| net.signal(Signal::Terminate.number()));
    /// sim.run_until_done(Duration::from_secs(5)).unwrap();
    /// ```
    pub fn signal(&mut self, number: i32) {
        let here = kernel::with(|world| {
            world.note_of(NO_MACHINE, format!("signal {number}"));
            world.signal = Some(number);
            world.here
        });
        // SAFETY: integers and pointers, valid as zeros; a valid place for the present action. A
        // handler that is there runs now, on this thread, at a moment when no lock is held.
        let raised = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(number, std::ptr::null(), &raw mut action);
            let default = action.sa_sigaction == libc::SIG_DFL;
            assert!(
                known == 0 && !default,
                "no program receives signal {number}"
            );
            libc::raise(number)
        };
        kernel::with(|world| {
            world.signal = None;
            world.here = here.unwrap_or(0);
        });
        assert_eq!(raised, 0, "a signal to this thread");
    }

    /// Sets a machine's calendar (`SystemTime`) ahead.
    pub fn set_ahead(&mut self, name: &str, by: Duration) {
        self.set_calendar(name, i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
    }

    /// Sets a machine's calendar (`SystemTime`) back.
    pub fn set_back(&mut self, name: &str, by: Duration) {
        self.set_calendar(
            name,
            i64::try_from(by.as_nanos()).map_or(i64::MIN, |by| -by),
        );
    }

    fn set_calendar(&mut self, name: &str, skew: i64) {
        let number = self.0.number(name);
        kernel::with(|world| {
            world.machines[number].skew = skew;
            world.note_of(number, format!("calendar {skew} ns ahead"));
        });
    }

    /// Makes a machine's clock run faster than true by this many millionths; slower if negative.
    /// The rate stays between half and twice the true one.
    pub fn drift(&mut self, name: &str, millionths: i64) {
        let number = self.0.number(name);
        kernel::with(|world| {
            let now = world.now;
            world.machines[number].set_drift(now, millionths);
            world.note_of(number, format!("clock drifts {millionths} millionths"));
        });
    }
}
