//! The contestants: soloio, and the two single-threaded runtimes of tokio.

use clap::ValueEnum;

/// The runtime under test. The better of tokio's two is the one in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Side {
    Soloio,
    /// `tokio::runtime::Builder::new_current_thread().build()`, tasks by `tokio::spawn`.
    TokioCurrent,
    /// `tokio::runtime::LocalRuntime`, tasks by `spawn_local`.
    TokioLocal,
}

impl Side {
    pub const ALL: [Self; 3] = [Self::Soloio, Self::TokioCurrent, Self::TokioLocal];

    /// Returns the name on the command line of a server process.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Soloio => "soloio",
            Self::TokioCurrent => "tokio-current",
            Self::TokioLocal => "tokio-local",
        }
    }
}
