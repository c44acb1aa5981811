//! Reports of a server: to its hook, or to standard error, in limited numbers.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Panicked};
use crate::sys::addr::UnixName;
use crate::sys::clock::{self, Nanos};

/// The length of a window, and the number of lines that a server writes in each.
const WINDOW: Nanos = 1_000_000_000;
const LINES: u64 = 10;

/// The other end of a connection, for reports: unknown if its listener does not have it.
///
/// It displays as `127.0.0.1:50000`, as the name of a UNIX socket, or as a description.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// Its address and port.
    Inet(SocketAddr),
    /// The name of its UNIX socket; most clients have none.
    Unix(UnixName),
    /// The listener does not provide it: see
    /// [`Listener::accept_from`](crate::Listener::accept_from).
    Unknown,
    /// There is no connection: the accept failed.
    None,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(name) => name.fmt(f),
            Self::Unknown => f.write_str("an unknown peer"),
            Self::None => f.write_str("no connection"),
        }
    }
}

/// The hook of a server.
pub(super) type Hook<'a> = Box<dyn Fn(&Error, &Peer) + 'a>;

/// The target of the reports of one server.
pub(super) struct Reports<'a> {
    hook: Option<Hook<'a>>,
    /// The start of the window, and the number of reports since.
    window: Cell<(Nanos, u64)>,
}

impl<'a> Reports<'a> {
    pub(super) fn new(hook: Option<Hook<'a>>) -> Self {
        Self {
            hook,
            window: Cell::new((0, 0)),
        }
    }

    /// Calls the hook; without one, or if it panics, writes a line if the window has room for it.
    #[inline]
    pub(super) fn report(&self, error: &Error, peer: &Peer) {
        let call = |hook: &Hook<'_>| catch_unwind(AssertUnwindSafe(|| hook(error, peer)));
        let called = self.hook.as_ref().map(call);
        if matches!(called, Some(Ok(()))) {
            return;
        }
        // It is not given to the hook, which would panic again.
        let panicked = called.and_then(Result::err).map(Panicked::new);
        if let Some(left_out) = self.count(clock::now()) {
            write(&line(error, peer, panicked.as_ref(), left_out));
        }
    }

    /// Returns the number of reports that were left out since the last line.
    fn left_out(&self) -> u64 {
        self.window.get().1.saturating_sub(LINES)
    }

    /// Counts a report. Returns the number of reports that were left out before it; `None` if it is
    /// to be left out, too.
    fn count(&self, now: Nanos) -> Option<u64> {
        let (began, count) = self.window.get();
        if count == 0 || now - began >= WINDOW {
            let left_out = self.left_out();
            self.window.set((now, 1));
            return Some(left_out);
        }
        self.window.set((began, count + 1));
        (count < LINES).then_some(0)
    }
}

/// No further line has the number of those left out.
impl Drop for Reports<'_> {
    fn drop(&mut self) {
        let left_out = self.left_out();
        if left_out > 0 {
            write(&format!("soloio: {left_out} more reports were left out\n"));
        }
    }
}

fn write(line: &str) {
    // If standard error is closed, no other place is left for a report.
    drop(io::stderr().write_all(line.as_bytes()));
}

/// `str::contains`, without its two kilobytes of code.
fn holds(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|piece| piece == part)
}

/// Makes one line, whatever characters the error and its causes contain.
#[inline]
fn line(error: &Error, peer: &Peer, panicked: Option<&Panicked>, left_out: u64) -> String {
    let mut text = format!("soloio: {peer}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = format!(": {cause}");
        if !holds(text.as_bytes(), &cause_text.as_bytes()[2..]) {
            text += &cause_text;
        }
        source = cause.source();
    }
    if let Some(panicked) = panicked {
        text += &format!(" (`on_error`: {panicked})");
    }
    if left_out > 0 {
        text += &format!(" ({left_out} reports before it were left out)");
    }
    let printed = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printed).chain(['\n']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_room_for_ten_and_the_next_counts_the_rest() {
        let reports = Reports::new(None);
        let mut now = WINDOW;
        for _ in 0..LINES {
            assert_eq!(reports.count(now), Some(0));
            now += 1;
        }
        for _ in 0..7 {
            assert_eq!(reports.count(now), None);
        }
        assert_eq!(
            reports.left_out(),
            7,
            "told at the end, or by the next line"
        );
        assert_eq!(reports.count(2 * WINDOW), Some(7));
        assert_eq!(reports.left_out(), 0);
        assert_eq!(reports.count(2 * WINDOW), Some(0));
        assert_eq!(reports.count(9 * WINDOW), Some(0), "none was left out");
    }

    #[test]
    fn a_report_is_one_line_with_the_causes() {
        let peer = Peer::Inet(SocketAddr::from(([192, 0, 2, 1], 7)));
        let error = Error::other("it said\n\x1b[31mmore");
        let text = line(&error, &peer, None, 3);
        let expected =
            "soloio: 192.0.2.1:7: it said  [31mmore (3 reports before it were left out)\n";
        assert_eq!(text, expected);
        let refused = io::Error::other(Error::other("the disk is full"));
        let error = Error::io("write", "/tmp/log", refused);
        let text = line(&error, &Peer::None, None, 0);
        assert_eq!(
            text,
            "soloio: no connection: write /tmp/log: the disk is full\n"
        );
    }
}
