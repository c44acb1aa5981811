//! Files as byte streams, over soloio's threads.
//!
//! | file | content |
//! |---|---|
//! | `worker.rs` | work on a file in a thread, which outlives the operation that began it |
//! | `read.rs` | receives from a file |
//! | `write.rs` | sends to a file |
//! | `standard.rs` | standard input and output |

mod read;
mod standard;
mod worker;
mod write;

pub use read::FileReadStream;
pub use standard::{stdin, stdout};
pub use write::FileWriteStream;
