//! Other threads: jobs that block run there, and from there one reaches the loop.
//!
//! | file | what it holds |
//! |---|---|
//! | `job.rs` | `run_in_thread`: its options, and what a cancel does to it |
//! | `given.rs` | one closure that the pool has, and the tasks that wait for it |
//! | `lane.rs` | the lanes that jobs wait in, and their bounds |
//! | `pool/` | how the threads are doing |
//! | `pool.rs` | the threads: how many there are, which job one runs, when it ends |
//! | `loop_handle.rs` | `LoopHandle`: closures that another thread has run on the loop |

pub(crate) mod given;
#[cfg(feature = "threads")]
mod job;
pub(crate) mod lane;
#[cfg(feature = "threads")]
mod loop_handle;
mod pool;

#[cfg(feature = "threads")]
pub use job::{RunInThread, run_in_thread};
#[cfg(feature = "threads")]
pub use loop_handle::{LoopHandle, loop_handle};
#[cfg(feature = "threads")]
pub use pool::{ThreadStatistics, thread_statistics};
