//! Memory object streams: a bounded queue of values between tasks of one thread.
//!
//! | file | content |
//! |---|---|
//! | `shared.rs` | the items, and the operations that wait |
//! | `sender.rs` | the sending end |
//! | `receiver.rs` | the receiving end |
//! | `error.rs` | the reason why an item could not be sent immediately, with the item |

mod error;
mod receiver;
mod sender;
mod shared;

use std::rc::Rc;

pub use error::TrySendError;
pub use receiver::ObjectReceiver;
pub use sender::ObjectSender;

use shared::Shared;

/// Makes a stream of values between tasks: values sent to the first end are received from the
/// second, in order, each once.
///
/// It buffers up to `max_buffer_size` items that were not received yet; a send waits for room. With
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

/// The state of a memory object stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStreamStatistics {
    /// The number of items that are not reserved for a receive.
    pub current_buffer_used: usize,
    /// The largest number of items.
    pub max_buffer_size: usize,
    /// The number of open clones of the sending end.
    pub open_send_streams: usize,
    /// The number of open clones of the receiving end.
    pub open_receive_streams: usize,
    /// The number of sends that wait.
    pub tasks_waiting_send: usize,
    /// The number of receives that wait.
    pub tasks_waiting_receive: usize,
}
