//! Other threads: jobs that block run there, and from there one reaches the loop.
//!
//! | file | what it holds |
//! |---|---|
//! | `job.rs` | `run_in_thread`: one job, and who waits for it |
//! | `pool.rs` | the threads that run jobs: how many there are, when they end |
//! | `loop_handle.rs` | `LoopHandle`: closures that another thread has run on the loop |

mod job;
mod loop_handle;
mod pool;

pub use job::{RunInThread, run_in_thread};
pub use loop_handle::{LoopHandle, loop_handle};
pub use pool::{ThreadStatistics, thread_statistics};
