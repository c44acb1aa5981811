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

/// Escapes what could control a terminal, in a name that a program or its peer has chosen.
#[cold]
pub(crate) fn printed(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => printed.extend(c.escape_debug()),
            false => printed.push(c),
        }
    }
    printed
}
