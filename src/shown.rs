//! The `Debug` of a type by a few values, where its fields cannot be shown or would say too much;
//! names as they can be printed.

/// `shown!([parameters] Type, "Name", this => field: value, ..)`; the two dots say that the type
/// has more than that.
macro_rules! shown {
    (
        [$($parameters:tt)*] $type:ty, $name:literal,
        $this:pat_param => $($field:ident: $value:expr,)* ..
    ) => {
        impl<$($parameters)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                let mut shown = f.debug_struct($name);
                $(shown.field(stringify!($field), &$value);)*
                shown.finish_non_exhaustive()
            }
        }
    };
    (
        [$($parameters:tt)*] $type:ty, $name:literal,
        $this:pat_param => $($field:ident: $value:expr),*
    ) => {
        impl<$($parameters)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                let mut shown = f.debug_struct($name);
                $(shown.field(stringify!($field), &$value);)*
                shown.finish()
            }
        }
    };
}

pub(crate) use shown;

/// Quotes a name that holds what could control a terminal: a program or its peer has chosen it.
#[cold]
pub(crate) fn printed(name: String) -> String {
    match name.chars().any(char::is_control) {
        true => format!("{name:?}"),
        false => name,
    }
}
