//! Holds the payload of a panic in code that another task or thread waited for.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::shown_by_message;

/// The payload of a panic in code that ran elsewhere: a job on a thread, a closure on the loop.
///
/// # Examples
///
/// Resume the panic in the waiting code, as if it had made the call itself:
///
/// ```should_panic
/// use soloio::{Error, block_on, run_in_thread};
///
/// match block_on(run_in_thread(|| panic!("the job's reason"))) {
///     Ok(()) => {}
///     Err(Error::Panicked(panicked)) => std::panic::resume_unwind(panicked.into_payload()),
///     Err(error) => eprintln!("{error}"),
/// }
/// ```
pub struct Panicked(Arc<Details>);

struct Details {
    /// The text, if the payload is text.
    message: Option<String>,
    /// In a lock only to make the error `Sync`: the payload is taken out by value.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panicked {
    /// The payload of a panic that was caught elsewhere, for crates that run code for a caller.
    pub fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self(Arc::new(Details {
            message,
            payload: Mutex::new(payload),
        }))
    }

    /// The text of the panic; `None` if the payload is not text.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The payload, for [`resume_unwind`](std::panic::resume_unwind) or a downcast.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let details = Arc::into_inner(self.0).expect("it is not shared");
        let payload = details.payload.into_inner();
        payload.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it panicked: {}", self.message().unwrap_or("(no text)"))
    }
}

shown_by_message!(Panicked);

impl StdError for Panicked {}
