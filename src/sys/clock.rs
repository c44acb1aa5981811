//! Reads the one clock: monotonic nanoseconds, which never go back.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds of the monotonic clock; [`NEVER`] is later than every deadline.
pub(crate) type Nanos = u64;

/// A deadline that does not come.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// No time, as the kernel writes it.
pub(super) const NO_TIME: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Returns the current time.
pub(crate) fn now() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

#[inline]
fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = NO_TIME;
    // SAFETY: `time` is a valid place for one timespec; the clocks named in this file exist
    // everywhere we run, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    #[allow(
        clippy::cast_sign_loss,
        reason = "the monotonic clock starts near 0 and grows"
    )]
    let (seconds, nanos) = (time.tv_sec as u64, time.tv_nsec as u64);
    seconds * 1_000_000_000 + nanos
}

/// Returns milliseconds, which may be a few too small on a system with a cheaper clock; they wrap
/// around after 49 days. They are for showing the age of a wait, never for deadlines.
#[cfg(feature = "dump")]
pub(crate) fn coarse_millis() -> u32 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    #[allow(clippy::cast_possible_truncation, reason = "it comes round")]
    let millis = (read(CLOCK) / 1_000_000) as u32;
    millis
}

/// Returns the deadline `wait` from now; [`NEVER`] if that is after the clock's end.
pub(crate) fn after(wait: Duration) -> Nanos {
    now().saturating_add(nanos(wait))
}

/// Returns a duration in nanoseconds; one that does not fit (584 years) is [`NEVER`].
#[inline]
pub(crate) fn nanos(duration: Duration) -> Nanos {
    let seconds = duration.as_secs().checked_mul(1_000_000_000);
    let nanos = seconds.and_then(|it| it.checked_add(duration.subsec_nanos().into()));
    nanos.unwrap_or(NEVER)
}

/// Returns the deadline for an [`Instant`]; for a past one it is now.
pub(crate) fn at(instant: Instant) -> Nanos {
    // On Linux both are CLOCK_MONOTONIC, so the distance is measured once; on other systems the two
    // may differ in their behaviour while the machine sleeps.
    if cfg!(any(target_os = "linux", target_os = "android")) {
        static ANCHOR: OnceLock<(Instant, Nanos)> = OnceLock::new();
        // In this order, so that the deadline may be slightly late but never early.
        let (anchor, then) = ANCHOR.get_or_init(|| (Instant::now(), now()));
        return then.saturating_add(nanos(instant.saturating_duration_since(*anchor)));
    }
    after(instant.saturating_duration_since(Instant::now()))
}

/// Returns the [`Instant`] of a deadline, relative to now.
pub(crate) fn instant(deadline: Nanos) -> Instant {
    let (now, nanos) = (Instant::now(), now());
    let later = Duration::from_nanos(deadline.saturating_sub(nanos));
    now.checked_add(later).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_saturate() {
        assert_eq!(after(Duration::MAX), NEVER);
        let before = now();
        assert!(after(Duration::ZERO) >= before);
        assert!(at(Instant::now()) >= before);
        assert!(at(Instant::now() + Duration::from_secs(9)) >= before + 9_000_000_000);
    }
}
