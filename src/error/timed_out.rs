//! `TimedOut`: the limit that has passed, and what was under way.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::{Content, Error, shown_by_message};

/// A time limit that has passed, and what was under way: the first operation that it has ended.
///
/// # Examples
///
/// ```
/// use soloio::{Error, Event, block_on, fail_after};
/// use std::time::Duration;
///
/// let limit = Duration::from_millis(5);
/// let late = block_on(fail_after(limit, Event::new().wait())).unwrap_err();
/// assert_eq!(late.to_string(), "timed out after 5 ms, while waiting for an event");
/// match late {
///     Error::TimedOut(late) => assert_eq!(late.limit(), Some(limit)),
///     other => panic!("{other}"),
/// }
/// ```
pub struct TimedOut {
    /// `None` if it was a point in time.
    limit: Option<Duration>,
    /// Empty if no operation has waited.
    doing: String,
}

impl Error {
    /// Makes the error of a time limit, for a stream that has limits of its own: its length, and
    /// what takes too long, as in `waiting for the answer to a ping`.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::Error;
    /// use std::time::Duration;
    ///
    /// let late = Error::timed_out(Duration::from_secs(20), "waiting for the answer to a ping");
    /// let text = "timed out after 20 s, while waiting for the answer to a ping";
    /// assert_eq!(late.to_string(), text);
    /// ```
    pub fn timed_out(limit: Duration, doing: impl Into<String>) -> Self {
        Self::TimedOut(TimedOut::new(Some(limit), doing.into()))
    }
}

impl TimedOut {
    pub(crate) fn new(limit: Option<Duration>, doing: String) -> Content<Self> {
        Content::new(Self { limit, doing })
    }

    /// Returns the length of the limit; `None` if the limit was a point in time.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Describes what was under way, with its address, as in `waiting to receive from
    /// 192.0.2.1:443`. For a person: the words may change. `None` if no operation of this crate
    /// was waiting.
    #[must_use]
    pub fn doing(&self) -> Option<&str> {
        Some(&*self.doing).filter(|doing| !doing.is_empty())
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")?;
        if let Some(limit) = self.limit() {
            let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
            let (mut count, mut unit) = (nanos, 0);
            while unit < 3 && count % 1_000 == 0 {
                (count, unit) = (count / 1_000, unit + 1);
            }
            write!(f, " after {count} {}", ["ns", "µs", "ms", "s"][unit])?;
        }
        let doing = self.doing();
        doing.map_or(Ok(()), |doing| write!(f, ", while {doing}"))
    }
}

impl Content<TimedOut> {
    /// Returns the description.
    pub(crate) fn doing_mut(&mut self) -> Option<&mut String> {
        Some(&mut self.get_mut()?.doing)
    }
}

shown_by_message!(TimedOut);

impl StdError for TimedOut {}
