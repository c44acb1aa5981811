//! soloio's own conformance and cancel-everywhere suites, in the world.
//!
//! Their files are those of soloio's `tests/it`, unchanged. What they use of it that asks the real
//! kernel is replaced here: a test runs in a world instead of a process of its own, and descriptors
//! and threads are counted in it. A package of its own, because the files look at the features of
//! theirs, and to be compiled without the optimisation that the world has.

#![cfg(all(test, target_os = "linux", target_env = "gnu"))]
#![allow(
    unexpected_cfgs,
    reason = "the features of soloio, of which this crate has those that matter"
)]
#![allow(dead_code, unused_imports, reason = "other tests of soloio use it")]

#[path = "../../../tests/it"]
mod it {
    pub(crate) mod cancel_everywhere;
    mod conformance;
    pub(crate) mod cut;
    pub(crate) mod net_support;
    pub(crate) mod support;
    pub(crate) mod tls_support;
}

use std::sync::atomic::{AtomicU64, Ordering};

use it::{cut, tls_support};

/// A seed for each world: the tests share TLS configurations, and a session that gets the random
/// name of an earlier one would be taken for it.
fn next_seed() -> u64 {
    static SEEDS: AtomicU64 = AtomicU64::new(0);
    SEEDS.fetch_add(1, Ordering::Relaxed)
}

mod net_support {
    //! The helpers of the socket tests, with a world.

    pub(crate) use crate::it::net_support::*;

    pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
        let (seed, calm) = (crate::next_seed(), soloio_sim::Faults::none());
        soloio_sim::run_with(seed, calm, future)
    }
}

mod support {
    //! The shared helpers, with the world's counts.

    pub(crate) use crate::it::support::*;

    pub(crate) struct Deadline;

    /// A hang is an error at once.
    pub(crate) fn deadline() -> Deadline {
        Deadline
    }

    /// Nothing else is in the world.
    pub(crate) fn alone(_test: &str, body: impl FnOnce()) {
        let (seed, calm) = (crate::next_seed(), soloio_sim::Faults::none());
        soloio_sim::run_program(seed, calm, body);
    }

    pub(crate) fn fds() -> usize {
        soloio_sim::descriptors().expect("in a world")
    }

    pub(crate) fn threads() -> usize {
        soloio_sim::threads().expect("in a world")
    }
}
