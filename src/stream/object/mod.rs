//! Memory object streams: a bounded queue of values between tasks of one thread.
//!
//! | file | what it holds |
//! |---|---|
//! | `shared.rs` | the items, and who waits |
//! | `sender.rs` | the sending end |
//! | `receiver.rs` | the receiving end |
//! | `error.rs` | why an item could not be sent at once, with the item |

mod error;
mod receiver;
mod sender;
mod shared;

use std::rc::Rc;

pub use error::TrySendError;
pub use receiver::ObjectReceiver;
pub use sender::ObjectSender;

use shared::Shared;

/// Makes a stream of values between tasks: what goes into the first comes out of the second, in
/// order, each value once.
///
/// It keeps up to `max_buffer_size` items that nobody has received yet; a send waits for room. With
/// 0 a send waits for a receiver; with `usize::MAX` it never waits. Both ends can be cloned.
///
/// # Examples
///
/// ```
/// use soloio::{create_memory_object_stream, task_group};
///
/// soloio::block_on(async {
///     let (sender, receiver) = create_memory_object_stream(4);
///     task_group(async |group| {
///         group.spawn(async move {
///             for number in 1..=10 {
///                 sender.send(number).await?;
///             }
///             Ok(()) // the sender is dropped here, which ends the stream
///         });
///         let mut sum = 0;
///         while let Some(number) = receiver.next().await? {
///             sum += number;
///         }
///         assert_eq!(sum, 55);
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "channel")]
#[must_use]
pub fn create_memory_object_stream<T>(
    max_buffer_size: usize,
) -> (ObjectSender<T>, ObjectReceiver<T>) {
    let stream = Rc::new(Shared::new(max_buffer_size));
    let sender = ObjectSender::new(Rc::clone(&stream));
    (sender, ObjectReceiver::new(stream))
}

/// What a memory object stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStreamStatistics {
    /// How many items are there that no receiver was called for.
    pub current_buffer_used: usize,
    /// How many there can be.
    pub max_buffer_size: usize,
    /// How many clones of the sending end are open.
    pub open_send_streams: usize,
    /// How many clones of the receiving end are open.
    pub open_receive_streams: usize,
    /// How many sends wait.
    pub tasks_waiting_send: usize,
    /// How many receives wait.
    pub tasks_waiting_receive: usize,
}
