//! Records for the crate `log`: of tasks and of servers. Without the feature `log` there are none,
//! and their arguments are not evaluated.
//!
//! A logger is code of the user's, so no cell is borrowed where one is made.

/// Makes a record with this level and target.
#[cfg(feature = "log")]
macro_rules! record {
    ($level:ident, $target:literal, $($message:tt)+) => {
        log::log!(target: $target, log::Level::$level, $($message)+)
    };
}

#[cfg(not(feature = "log"))]
macro_rules! record {
    ($level:ident, $target:literal, $($message:tt)+) => {};
}

pub(crate) use record;
