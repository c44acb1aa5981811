//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::side::{Contestant, Side};
use crate::work::Kind;

/// soloio and tokio side by side: time, CPU, memory, instructions.
#[derive(Debug, Parser)]
#[command(name = "soloio-benches")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Mode>,
    #[command(flatten)]
    pub how: How,
}

/// The number of rounds and operations.
#[derive(Args, Clone, Copy, Debug)]
pub struct How {
    /// A smoke run: everything is run and checked, the numbers mean little.
    #[arg(long, global = true)]
    pub quick: bool,
    /// Rounds per row (7, or 3 of instructions, or 1 in a smoke run).
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: Option<u16>,
    /// End with status 1 if a row misses its target.
    #[arg(long, global = true)]
    pub strict: bool,
}

impl How {
    /// Returns the number of rounds: the one given, 1 for a smoke run, or else `full`.
    pub fn rounds(self, full: usize) -> usize {
        let untold = if self.quick { 1 } else { full };
        self.rounds.map_or(untold, usize::from)
    }
}

/// The command; without one, all rows are measured.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Measure some rows.
    Row {
        /// Names as `list` prints them.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Print the names of the rows.
    List,
    /// Measure one row once on one side, for a profiler.
    Once { side: Side, key: String },
    /// Count user-space instructions per operation, under valgrind.
    Instructions {
        /// Only these servers.
        keys: Vec<String>,
        /// Keep the profiles in this folder, for callgrind_annotate.
        #[arg(long)]
        keep: Option<PathBuf>,
        /// End with status 1 if soloio takes a twentieth more than this table of before says.
        #[arg(long)]
        against: Option<PathBuf>,
    },
    /// Compare echo servers with a bare epoll loop, and with other runtimes (feature `peers`).
    Peers,
    /// Measure what an operation takes among ever more connections, tasks and timers.
    Growth,
    /// Count how often the threads of a server on two cores sleep for an echo.
    Sleeps,
    /// Run one server, the process under measurement, until a signal ends it.
    #[command(hide = true)]
    Server {
        #[arg(long)]
        side: Contestant,
        #[arg(long)]
        kind: Kind,
        #[arg(long)]
        core: usize,
    },
}
