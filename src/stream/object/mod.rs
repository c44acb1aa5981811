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

/// What both ends have: clones that are counted, and a close that withdraws their own waits.
macro_rules! object_end {
    ($end:ident, $open:ident, $gone:ident, $withdraw:ident, $(#[$close:meta])*) => {
        impl<T> $end<T> {
            pub(super) fn new(stream: Rc<Shared<T>>) -> Self {
                Self {
                    stream,
                    closed: Cell::new(false),
                }
            }

            $(#[$close])*
            #[doc(alias = "aclose")]
            pub fn close(&self) {
                if !self.closed.replace(true) {
                    let own = self.end();
                    self.stream.$withdraw(|end| end == own);
                    self.stream.$gone();
                }
            }

            fn end(&self) -> End {
                std::ptr::from_ref(self).addr()
            }

            /// Returns the state of the stream: its items, ends and waiting operations.
            #[must_use]
            pub fn statistics(&self) -> ObjectStreamStatistics {
                self.stream.statistics()
            }
        }

        impl<T> Clone for $end<T> {
            /// Makes another one; a clone of a closed one is closed.
            fn clone(&self) -> Self {
                let open = usize::from(!self.closed.get());
                let count = &self.stream.$open;
                count.set(count.get() + open);
                Self {
                    stream: Rc::clone(&self.stream),
                    closed: self.closed.clone(),
                }
            }
        }

        impl<T> Drop for $end<T> {
            fn drop(&mut self) {
                if !self.closed.get() {
                    self.stream.$gone();
                }
            }
        }

        impl<T> std::fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let statistics = self.statistics();
                f.debug_tuple(stringify!($end)).field(&statistics).finish()
            }
        }
    };
}

use object_end;

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
