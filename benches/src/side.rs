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
}

/// What a server process runs on: a side, or a peer that has echo servers only.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Contestant {
    /// An epoll loop without tasks, futures or timers: what the kernel takes, and little else.
    Bare,
    Soloio,
    TokioCurrent,
    TokioLocal,
    #[cfg(feature = "peers")]
    Smol,
    /// With epoll, as the others.
    #[cfg(feature = "peers")]
    Monoio,
}

impl Contestant {
    /// Returns the name on the command line of a server process.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Soloio => "soloio",
            Self::TokioCurrent => "tokio-current",
            Self::TokioLocal => "tokio-local",
            #[cfg(feature = "peers")]
            Self::Smol => "smol",
            #[cfg(feature = "peers")]
            Self::Monoio => "monoio",
        }
    }
}

impl From<Side> for Contestant {
    fn from(side: Side) -> Self {
        match side {
            Side::Soloio => Self::Soloio,
            Side::TokioCurrent => Self::TokioCurrent,
            Side::TokioLocal => Self::TokioLocal,
        }
    }
}
