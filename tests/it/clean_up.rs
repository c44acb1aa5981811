//! Errors of clean-up: a scope changes or drops only an error that is the cancel's own, whatever
//! the type of the errors is. Long because the table is one.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::time::Duration;

use soloio::{
    CancelScope, Error, Failure, Ready, TaskGroup, block_on, create_memory_byte_stream, fail_after,
    fail_at, move_on_after, move_on_at, shield, sleep, task_group_with, yield_now,
};

pub(crate) const SOON: Duration = Duration::from_millis(5);
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) type AnyError = Box<dyn StdError + Send + Sync>;

/// An error enum as programs define it.
#[derive(Debug)]
pub(crate) enum OwnError {
    Net(Error),
    DiskFull,
}

impl From<Error> for OwnError {
    fn from(error: Error) -> Self {
        Self::Net(error)
    }
}

impl Failure for OwnError {
    fn is_cancelled(&self) -> bool {
        matches!(self, Self::Net(error) if error.is_cancelled())
    }
}

impl std::fmt::Display for OwnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net(error) => std::fmt::Display::fmt(error, f),
            Self::DiskFull => f.write_str("disk full"),
        }
    }
}

impl StdError for OwnError {}

/// A type of error that the table is run with.
pub(crate) trait Kind: Failure + Debug + Send + 'static {
    fn disk_full() -> Self;
    /// Returns the error as text, by which the tests tell errors apart.
    fn text(&self) -> String;
}

impl Kind for Error {
    fn disk_full() -> Self {
        Self::other("disk full")
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Kind for AnyError {
    fn disk_full() -> Self {
        "disk full".into()
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Kind for OwnError {
    fn disk_full() -> Self {
        Self::DiskFull
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Kind for io::Error {
    fn disk_full() -> Self {
        Self::other("disk full")
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// Waits, is cancelled, and fails in its clean-up with another error.
pub(crate) async fn fails_in_clean_up<E: Kind>() -> Result<(), E> {
    let told = sleep(LONG).await;
    assert!(matches!(told, Err(Error::Cancelled)), "{told:?}");
    shield(LONG, yield_now()).await?;
    Err(E::disk_full())
}

/// Passes the cancel's error on.
async fn passes_on<E: Kind>() -> Result<(), E> {
    sleep(LONG).await?;
    Ok(())
}

fn text<T: Debug, E: Kind>(ended: Result<T, E>) -> String {
    let text = ended.expect_err("it failed").text();
    text.split(", while ").next().unwrap_or_default().to_owned()
}

/// The description of what was under way is left out.
const TIMED_OUT: &str = "timed out after 5 ms";
const DISK_FULL: &str = "disk full";

#[cfg(feature = "anyhow")]
impl Kind for anyhow::Error {
    fn disk_full() -> Self {
        Self::msg("disk full")
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// The table, for one type of errors.
macro_rules! table {
    ($($name:ident: $type:ty,)+) => {$(
        mod $name {
            use super::*;

            #[test]
            fn limits() {
                limits_end_with_it::<$type>();
            }

            #[test]
            fn groups() {
                groups_end_with_it::<$type>();
            }

            #[test]
            fn handles() {
                handles_end_with_it::<$type>();
            }

            #[test]
            fn starts() {
                starts_end_with_it::<$type>();
            }

            #[test]
            fn around() {
                what_is_around_ends_with_it::<$type>();
            }

            #[test]
            fn others() {
                later_errors_are_kept::<$type>();
            }

            #[test]
            fn passed_on() {
                what_is_only_passed_on_is_turned::<$type>();
            }
        }
    )+};
}

table! {
    own_of_the_crate: Error,
    boxed: AnyError,
    own_enum: OwnError,
    of_std: io::Error,
}

#[cfg(feature = "anyhow")]
table! { of_anyhow: anyhow::Error, }

#[cfg(feature = "anyhow")]
#[test]
fn a_cancel_with_a_remark_is_known_in_anyhow() {
    let told = anyhow::Error::from(Error::Cancelled).context("while saving");
    assert!(told.is_cancelled());
    assert!(!anyhow::Error::msg("cancelled").is_cancelled());
}

fn limits_end_with_it<E: Kind>() {
    block_on(async {
        let at = || std::time::Instant::now() + SOON;
        let failed = fail_after(SOON, fails_in_clean_up::<E>()).await;
        assert_eq!(text(failed), DISK_FULL);
        let failed = fail_at(at(), fails_in_clean_up::<E>()).await;
        assert_eq!(text(failed), DISK_FULL);
        let moved_on = move_on_after(SOON, fails_in_clean_up::<E>()).await;
        assert_eq!(text(moved_on), DISK_FULL);
        let moved_on = move_on_at(at(), fails_in_clean_up::<E>()).await;
        assert_eq!(text(moved_on), DISK_FULL);
        // Nested limits, and a shield between them.
        let nested = fail_after(SOON, move_on_after(LONG, fails_in_clean_up::<E>())).await;
        assert_eq!(text(nested), DISK_FULL);
        let shielded = async {
            let told = sleep(LONG).await;
            shield(LONG, fail_after(SOON, fails_in_clean_up::<E>())).await?;
            Ok::<(), E>(told?)
        };
        assert_eq!(text(fail_after(SOON, shielded).await), DISK_FULL);
    });
}

async fn cancelled_group<E: Kind, F: Future<Output = Result<(), E>>>(
    child: impl Fn() -> F,
) -> Result<(), E> {
    task_group_with(async |group: &TaskGroup<'_, '_, E>| {
        group.spawn(child());
        group.spawn(passes_on::<E>());
        yield_now().await?;
        group.cancel();
        Ok(())
    })
    .await
}

fn groups_end_with_it<E: Kind>() {
    block_on(async {
        let ended = cancelled_group(fails_in_clean_up::<E>).await;
        assert_eq!(text(ended), DISK_FULL, "by its child");
        let shielded = async || shield(LONG, cancelled_group(fails_in_clean_up::<E>)).await;
        assert_eq!(text(shielded().await), DISK_FULL, "in a shield");
        let nested = cancelled_group(async || cancelled_group(fails_in_clean_up::<E>).await).await;
        assert_eq!(text(nested), DISK_FULL, "a group in a group");

        // A body that passes the cancel on ends first; its error does not count.
        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| -> Result<(), E> {
            group.spawn(fails_in_clean_up::<E>());
            yield_now().await?;
            group.cancel();
            sleep(LONG).await?;
            Ok(())
        });
        assert_eq!(text(ended.await), DISK_FULL, "with a body that was told");

        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            group.spawn(async {
                yield_now().await?;
                group.cancel();
                Ok(())
            });
            fails_in_clean_up::<E>().await
        });
        assert_eq!(text(ended.await), DISK_FULL, "by its body");
    });
}

fn handles_end_with_it<E: Kind>() {
    block_on(async {
        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            let task = group.spawn(fails_in_clean_up::<E>());
            yield_now().await?;
            task.cancel();
            let ended = shield(LONG, task).await;
            assert!(matches!(ended, Err(Error::TaskFailed(_))), "{ended:?}");
            Ok(())
        });
        assert_eq!(text(ended.await), DISK_FULL);

        // The task cancels itself, and ends in the same poll.
        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            let (a, b) = create_memory_byte_stream(1);
            let task = group.spawn(async move {
                a.receive().await?;
                Ok(())
            });
            b.send(b".").await?;
            task.await?;
            Ok(())
        });
        assert!(ended.await.is_ok());

        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            let task = group.spawn(passes_on::<E>());
            yield_now().await?;
            task.cancel();
            let ended = task.await;
            assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
            Ok(())
        });
        assert!(
            ended.await.is_ok(),
            "the cancel's error is none of the group's"
        );
    });
}

/// A child whose clean-up fails before it was ready.
async fn fails_unready<E: Kind>(_ready: Ready<(), E>) -> Result<(), E> {
    fails_in_clean_up().await
}

fn starts_end_with_it<E: Kind>() {
    block_on(async {
        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            group.spawn(async {
                yield_now().await?;
                group.cancel();
                Ok(())
            });
            group.start(fails_unready::<E>).await
        });
        assert_eq!(text(ended.await), DISK_FULL, "the group is cancelled");

        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            let started = fail_after(SOON, group.start(fails_unready::<E>)).await;
            assert_eq!(text(started), TIMED_OUT, "the starter's own limit");
            Ok(())
        });
        assert_eq!(text(ended.await), DISK_FULL, "the starter has left");

        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            let limited = async |ready: Ready<(), E>| fail_after(SOON, fails_unready(ready)).await;
            assert_eq!(text(group.start(limited).await), DISK_FULL, "the starter's");
            Ok(())
        });
        assert!(ended.await.is_ok(), "it was the starter's");

        let ended = task_group_with(async |group: &TaskGroup<'_, '_, E>| {
            let told = async |_ready: Ready<(), E>| passes_on::<E>().await;
            let started = fail_after(SOON, group.start(told)).await;
            assert_eq!(text(started), TIMED_OUT);
            Ok(())
        });
        assert!(ended.await.is_ok(), "a child that passes the cancel on");
    });
}

fn what_is_around_ends_with_it<E: Kind>() {
    block_on(async {
        let group = async || {
            task_group_with(async |group: &TaskGroup<'_, '_, E>| {
                group.spawn(passes_on::<E>());
                group.spawn(fails_in_clean_up::<E>());
                group.spawn(passes_on::<E>());
                Ok(())
            })
            .await
        };
        assert_eq!(text(fail_after(SOON, group()).await), DISK_FULL, "limit");
        assert_eq!(text(move_on_after(SOON, group()).await), DISK_FULL);
        let scope = CancelScope::new();
        let (ended, ()) = futures_util::future::join(scope.run(group()), async {
            yield_now().await.expect("not cancelled");
            scope.cancel("it is time");
        })
        .await;
        assert_eq!(text(ended.expect("it was not dropped")), DISK_FULL, "scope");
    });
}

fn later_errors_are_kept<E: Kind>() {
    let others = RefCell::new(Vec::new());
    let ended = block_on(task_group_with(async |group: &TaskGroup<'_, '_, E>| {
        group.keep_errors_in(&others);
        group.spawn(fails_in_clean_up::<E>());
        group.spawn(passes_on::<E>());
        yield_now().await?;
        Err::<(), E>(Error::Closed.into())
    }));
    assert_eq!(text(ended), Error::Closed.to_string(), "the first one");
    let others: Vec<String> = others.take().iter().map(E::text).collect();
    assert_eq!(others, [DISK_FULL]);

    // In a cancelled group the first error is the group's result, the others are kept.
    let others = RefCell::new(Vec::new());
    let ended = block_on(task_group_with(async |group: &TaskGroup<'_, '_, E>| {
        group.keep_errors_in(&others);
        for _ in 0..3 {
            group.spawn(fails_in_clean_up::<E>());
        }
        yield_now().await?;
        group.cancel();
        sleep(LONG).await?;
        Ok(())
    }));
    assert_eq!(text(ended), DISK_FULL);
    let others: Vec<String> = others.take().iter().map(E::text).collect();
    assert_eq!(others, [DISK_FULL, DISK_FULL], "no cancel among them");
}

fn what_is_only_passed_on_is_turned<E: Kind>() {
    block_on(async {
        assert_eq!(text(fail_after(SOON, passes_on::<E>()).await), TIMED_OUT);
        let moved_on = move_on_after(SOON, passes_on::<E>()).await;
        assert!(matches!(moved_on, Ok(None)), "{moved_on:?}");
        assert!(cancelled_group(passes_on::<E>).await.is_ok());
        // A `Cancelled` of another cancel, kept meanwhile, changes nothing.
        let scope = CancelScope::new();
        scope.cancel("before it began");
        let kept = scope.run(sleep(LONG)).await;
        assert!(matches!(kept, Some(Err(Error::Cancelled))));
        assert_eq!(
            text(fail_after(SOON, fails_in_clean_up::<E>()).await),
            DISK_FULL
        );
        assert_eq!(text(fail_after(SOON, passes_on::<E>()).await), TIMED_OUT);
        drop(kept);
    });
}

#[test]
fn a_cancel_is_known_wherever_it_can_be_seen() {
    let boxed: AnyError = Error::Cancelled.into();
    assert!(boxed.is_cancelled(), "in a box");
    let local: Box<dyn StdError> = Error::Cancelled.into();
    assert!(local.is_cancelled(), "in a box that cannot be sent");
    let of_std = io::Error::from(Error::Cancelled);
    assert!(of_std.is_cancelled(), "in an `io::Error`");
    let boxed: AnyError = of_std.into();
    assert!(boxed.is_cancelled(), "in an `io::Error` in a box");
    assert!(
        Error::other(boxed).is_cancelled(),
        "in that in an error of ours"
    );

    #[derive(Debug)]
    struct Context(Error);
    impl std::fmt::Display for Context {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("while the greeting was sent")
        }
    }
    impl StdError for Context {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
    let told: AnyError = Context(Error::Cancelled).into();
    assert!(told.is_cancelled(), "as the source");
    assert!(Error::other(Context(Error::Cancelled)).is_cancelled());
    assert!(Error::from(io::Error::other(Context(Error::Cancelled))).is_cancelled());
    let failed: AnyError = Context(Error::Closed).into();
    assert!(!failed.is_cancelled());
    for other in [
        Error::Closed,
        Error::timed_out(SOON, "late"),
        Error::other("cancelled"),
    ] {
        assert!(!other.is_cancelled(), "{other:?}");
    }
}
