//! The types that a task may end with: `()` or a `Result`.

use crate::error::Result;

/// The end of a child of a task group, or of a connection's handler: `()` or `Result<T, E>`.
///
/// There is one implementation for each, so that an unannotated `Ok(())` infers its error type.
#[diagnostic::on_unimplemented(
    message = "a task ends with `()` or `Result<_, {E}>`, not `{Self}`",
    note = "a plain value: end with `Ok(value)`",
    note = "another error type: `serve_with`, `task_group_with`, `per_core_with`, and \
            `-> Result<_, E>` written out; a boxed one with `+ Send + Sync`",
    note = "an endless loop: annotate it, `async |c| -> Result<()> {{ loop {{ .. }} }}`"
)]
pub trait Outcome<E>: sealed::Sealed {
    /// The value of a success.
    type Value;

    /// Converts it to a result.
    fn into_result(self) -> Result<Self::Value, E>;
}

impl<E> Outcome<E> for () {
    type Value = ();

    fn into_result(self) -> Result<(), E> {
        Ok(())
    }
}

impl<T, E> Outcome<E> for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Self {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<T, E> Sealed for Result<T, E> {}
}
