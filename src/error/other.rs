//! Holds an error that is not of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;

type Boxed = Box<dyn StdError + Send + Sync>;

/// A foreign error, in [`Error::Other`](crate::Error::Other); made by
/// [`Error::other`](crate::Error::other).
///
/// It dereferences to the error itself, for [`downcast_ref`](StdError#method.downcast_ref) and its
/// other methods. It is one pointer, where a box of a trait object is two, so each result of each
/// operation is smaller by a word.
///
/// # Examples
///
/// ```
/// use soloio::Error;
///
/// let no_number = "many".parse::<u16>().unwrap_err();
/// match Error::other(no_number) {
///     Error::Other(error) => assert!(error.is::<std::num::ParseIntError>()),
///     other => panic!("{other:?}"),
/// }
/// ```
pub struct OtherError(Box<Boxed>);

impl OtherError {
    pub(super) fn new(error: Boxed) -> Self {
        Self(Box::new(error))
    }

    /// Returns the error, for a downcast by value.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn StdError + Send + Sync> {
        *self.0
    }
}

impl Deref for OtherError {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &**self.0
    }
}

impl fmt::Display for OtherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for OtherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
