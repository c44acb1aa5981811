//! Holds the payload of a panic in code that another task or thread waited for.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::{Content, Error, shown_by_message};

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
pub struct Panicked {
    /// The text, if the payload is text.
    message: Option<String>,
    /// In a lock only to make the error `Sync`: the payload is taken out by value.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panicked {
    /// Wraps the payload of a panic that was caught elsewhere, for crates that run code for a
    /// caller.
    pub fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            message,
            payload: Mutex::new(payload),
        }
    }

    /// Returns the text of the panic; `None` if the payload is not text.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl Content<Panicked> {
    /// Returns the payload, for [`resume_unwind`](std::panic::resume_unwind) or a downcast.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let payload = self.into_inner().payload.into_inner();
        payload.unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Panicked> for Error {
    fn from(panicked: Panicked) -> Self {
        Self::Panicked(Content::new(panicked))
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it panicked: {}", self.message().unwrap_or("(no text)"))
    }
}

shown_by_message!(Panicked);

impl StdError for Panicked {}
