//! The current value of a thread: borrowed for the length of a call, without a reference count.

use std::cell::Cell;
use std::ptr::NonNull;
use std::thread::LocalKey;

/// Holds the value of the innermost [`set`](Self::set) that has not returned.
///
/// It is like a thread-local `RefCell<Option<Rc<T>>>`, without changing a count and a flag on each
/// access, which happens in every poll of every operation.
#[derive(Debug)]
pub(crate) struct Current<T>(Cell<Option<NonNull<T>>>);

impl<T> Current<T> {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Calls `f` with `value` as the current one of this thread; afterwards the previous one is
    /// current again, also after a panic. As in [`with`](Self::with), not inside the closure for
    /// the thread-local.
    #[inline]
    pub(crate) fn set<R>(here: &'static LocalKey<Self>, value: &T, f: impl FnOnce() -> R) -> R
    where
        T: 'static,
    {
        struct Restore<T: 'static>(&'static LocalKey<Current<T>>, Option<NonNull<T>>);
        impl<T> Drop for Restore<T> {
            #[inline]
            fn drop(&mut self) {
                self.0.with(|current| current.0.set(self.1));
            }
        }
        let before = here.with(|current| current.0.replace(Some(NonNull::from(value))));
        let _restore = Restore(here, before);
        f()
    }

    /// Calls `f` with the current value of this thread, if there is one. Not inside the closure for
    /// the thread-local: as a part of that `f` is not inlined (80 instructions of a TCP echo).
    #[inline(always)]
    pub(crate) fn with<R>(here: &'static LocalKey<Self>, f: impl FnOnce(&T) -> R) -> Option<R>
    where
        T: 'static,
    {
        let value = here.with(|current| current.0.get())?;
        // SAFETY: only `set` stores a pointer, made from a reference that its caller holds until
        // `set` returns, which first takes the pointer away. Since `here` is of one thread, that
        // `set` is further down this thread's stack, so `f` returns before it does.
        Some(f(unsafe { value.as_ref() }))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    thread_local! {
        static CURRENT: Current<String> = const { Current::new() };
    }

    #[test]
    fn the_innermost_is_current_and_what_was_before_comes_back() {
        let now = || Current::with(&CURRENT, String::clone);
        let set = |value: &String, f: &dyn Fn()| Current::set(&CURRENT, value, f);
        let [outer, inner] = ["outer", "inner"].map(String::from);
        assert_eq!(now(), None);
        set(&outer, &|| {
            assert_eq!(now().as_deref(), Some("outer"));
            // Set again while it is borrowed.
            Current::with(&CURRENT, |before| {
                set(&inner, &|| assert_eq!(now().as_deref(), Some("inner")));
                assert_eq!(before, "outer");
            })
            .expect("it is set");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                set(&inner, &|| panic!("{:?}", now()));
            }));
            assert!(panicked.is_err());
            assert_eq!(now().as_deref(), Some("outer"));
        });
        assert_eq!(now(), None);
    }
}
