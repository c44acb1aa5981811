//! Between threads and loops.
//!
//! | file | content |
//! |---|---|
//! | `channel.rs` | a bounded channel with its ends on any threads or loops |
//! | `waiters.rs` | the tasks that wait at an end of it |
//! | `loop_thread.rs` | a loop in a thread, and calls into it |

mod channel;
mod loop_thread;
mod waiters;

pub use channel::{ThreadReceiver, ThreadSender, channel};
pub use loop_thread::LoopThread;
