//! Other threads: blocking jobs run there, and they can reach the loop.
//!
//! | file | content |
//! |---|---|
//! | `job.rs` | `run_in_thread`: its options, and the effect of a cancel |
//! | `given.rs` | one closure in the pool, and the tasks that wait for it |
//! | `lane.rs` | the lanes that jobs wait in, and their bounds |
//! | `pool/` | the numbers of threads and jobs |
//! | `pool.rs` | the threads: their number, the choice of a job, their end |
//! | `loop_handle.rs` | `LoopHandle`: runs closures of other threads on the loop |

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
