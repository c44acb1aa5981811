//! `Content`: what an error holds beside its kind, behind one pointer.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// An error of any type.
type Foreign = dyn StdError + Send + Sync + 'static;

/// The contents of an [`Error`](crate::Error), to which it dereferences.
///
/// # Examples
///
/// ```
/// use soloio::{Error, block_on, connect_tcp};
///
/// match block_on(async { connect_tcp("127.0.0.1", 1).await }) {
///     Err(Error::ConnectFailed(failed)) => println!("{} tries", failed.attempts.len()),
///     other => println!("{}", other.is_ok()),
/// }
/// ```
///
/// That of [`Error::Other`](crate::Error::Other) is an error of another crate, to be downcast:
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
//
// The pointer is of one type, whatever is behind it, and an `Arc`, which is never shared, is
// dropped by a function: so a place that drops an error has a few instructions for all kinds of it.
// One for each kind were 16 KB of an echo server (`python3 benches/footprint.py`). The pointer is
// one word, where a box of a trait object is two, so each result of each operation is smaller.
pub struct Content<T: ?Sized> {
    held: Arc<Box<Foreign>>,
    /// So that it is `Unpin` and `Send` whatever is in it.
    of: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Content<T> {
    pub(super) fn of(held: Box<Foreign>) -> Self {
        let (held, of) = (Arc::new(held), PhantomData);
        Self { held, of }
    }

    /// Returns it as an error of any type.
    pub(super) fn any(&self) -> &Foreign {
        &**self.held
    }

    fn into_any(self) -> Box<Foreign> {
        Arc::into_inner(self.held).expect("it is not shared")
    }
}

impl<T: StdError + Send + Sync + 'static> Content<T> {
    #[cold]
    pub(crate) fn new(value: T) -> Self {
        Self::of(Box::new(value))
    }

    /// Returns the contents.
    #[must_use]
    pub fn into_inner(self) -> T {
        let value = self.into_any().downcast().ok();
        *value.expect("it was made of this type")
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.held)?.downcast_mut()
    }
}

impl Content<Foreign> {
    /// Returns the error, for a downcast by value.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn StdError + Send + Sync> {
        self.into_any()
    }
}

impl<T: StdError + 'static> Deref for Content<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.any().downcast_ref().expect("it was made of this type")
    }
}

impl Deref for Content<Foreign> {
    type Target = Foreign;

    fn deref(&self) -> &Foreign {
        self.any()
    }
}

/// A panic leaves it as it was: it is made whole, and only looked at.
impl<T: ?Sized> UnwindSafe for Content<T> {}
impl<T: ?Sized> RefUnwindSafe for Content<T> {}

impl<T: ?Sized> StdError for Content<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.any().source()
    }
}

impl<T: ?Sized> fmt::Display for Content<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.any(), f)
    }
}

impl<T: ?Sized> fmt::Debug for Content<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.any(), f)
    }
}
