//! A machine: its addresses, its state, and its clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Nanos, START};

/// One machine of a world.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    /// False after a crash: it neither sends nor receives.
    pub(crate) up: bool,
    /// Its programs stand still; its kernel continues.
    pub(crate) paused: bool,
    /// The error of its calendar, in nanoseconds; negative if it is behind.
    pub(crate) skew: i64,
    /// The error of its clock's rate, in millionths; negative if it is slow.
    drift: i64,
    /// The beginning of this rate: the true time, and the clock's time.
    since: (Nanos, Nanos),
}

impl Machine {
    /// Makes the machine of a number (from 0).
    pub(crate) fn new(name: String, number: usize) -> Self {
        let number = u16::try_from(number + 1).expect("no world has 65,000 machines");
        let [high, low] = number.to_be_bytes();
        Self {
            name,
            v4: Ipv4Addr::new(10, 0, high, low),
            v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number),
            up: true,
            paused: false,
            skew: 0,
            drift: 0,
            since: (START, START),
        }
    }

    /// Returns true if an address is this machine's own, seen from itself.
    pub(crate) fn owns(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip.is_unspecified() || ip == self.v4 || ip == self.v6
    }

    /// Returns its clock's time at a true time.
    pub(crate) fn clock(&self, now: Nanos) -> Nanos {
        let (from, showed) = self.since;
        let passed = i128::from(now - from);
        let passed = passed * i128::from(MILLION + self.drift) / i128::from(MILLION);
        showed + Nanos::try_from(passed).expect("a clock goes forward")
    }

    /// Returns the true time at which its clock shows a time.
    pub(crate) fn true_time(&self, shown: Nanos) -> Nanos {
        let (from, showed) = self.since;
        let passed = i128::from(shown.saturating_sub(showed));
        let rate = i128::from(MILLION + self.drift);
        // Rounded up: a timer may be late, never early.
        let passed = (passed * i128::from(MILLION) + rate - 1) / rate;
        from.saturating_add(Nanos::try_from(passed).unwrap_or(Nanos::MAX))
    }

    /// Makes the clock run at another rate from now on.
    pub(crate) fn set_drift(&mut self, now: Nanos, millionths: i64) {
        self.since = (now, self.clock(now));
        self.drift = millionths.clamp(-MILLION / 2, MILLION);
    }
}

const MILLION: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_is_read_both_ways() {
        let mut machine = Machine::new("a".to_owned(), 0);
        assert_eq!(machine.clock(START + 5), START + 5);
        machine.set_drift(START + 1000, 500);
        let later = START + 1_001_000;
        assert_eq!(machine.clock(later), START + 1_001_500);
        assert_eq!(machine.true_time(START + 1_001_500), later);
        machine.set_drift(later, -500);
        assert_eq!(machine.clock(later), START + 1_001_500, "no jump");
    }
}
