//! A world to test soloio programs in: kernel, clock and network from a seed, with faults, below
//! the unchanged crate.
//!
//! The program under test is the one that ships: soloio, mio, socket2, rustls and std run as they
//! are. This crate defines the C functions that they call. For a thread in a world these act on a
//! simulated kernel; for all others they call libc. Nothing is compiled differently, and a program
//! that does not depend on this crate is not affected.
//!
//! * Only the time: [`run`] runs a future with a clock that jumps when every task waits.
//! * Machines, faults, seeds: [`check`] and [`Sim`].
//! * Your own streams: [`conformance`] has the laws of byte streams, object streams and listeners.
//!
//! Linux with glibc, for tests only: add it to `[dev-dependencies]`.
//!
//! # Examples
//!
//! ```
//! use soloio_sim::{Faults, Sim, check};
//! use std::time::Duration;
//!
//! check(20, |seed| {
//!     let mut sim = Sim::new(seed, Faults::swarm(seed));
//!     sim.host("echo", || async {
//!         let listener = loop {
//!             // A fault may hit it: `EMFILE`, say.
//!             match soloio::create_tcp_listener().local_host("0.0.0.0").local_port(7).await {
//!                 Ok(listener) => break listener,
//!                 Err(_) => soloio::sleep(Duration::from_millis(1)).await?,
//!             }
//!         };
//!         listener.serve(async |stream| stream.send(&stream.receive().await?).await).await
//!     });
//!     sim.client("caller", || async {
//!         loop {
//!             let call = soloio::fail_after(Duration::from_secs(5), async {
//!                 let stream = soloio::connect_tcp("echo", 7).await?;
//!                 stream.send(b"!").await?;
//!                 stream.receive().await
//!             });
//!             match call.await {
//!                 Ok(answer) => return assert_eq!(answer, b"!"),
//!                 Err(_) => soloio::sleep(Duration::from_millis(100)).await.unwrap(),
//!             }
//!         }
//!     });
//!     sim.run_until_done(Duration::from_secs(3600))
//! });
//! ```

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#![allow(unsafe_code, reason = "it takes the place of C functions")]

mod calls;
mod check;
pub mod conformance;
mod faults;
mod net;
mod parts;
mod report;
mod rng;
mod run;
mod sim;
mod threads;
mod trace;
mod turns;
mod verdict;
mod world;

pub use check::check;
pub use faults::{Fault, Faults};
pub use net::{Machine, Net};
pub use report::{Replay, sometimes};
pub use rng::Rng;
pub use run::{
    calls, descriptors, elapsed, run, run_program, run_with, threads, wait_all_tasks_blocked,
};
pub use sim::Sim;
pub use verdict::{Failure, Verdict};

/// Runs the README's code unchanged.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
