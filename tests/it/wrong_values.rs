//! Every builder and every function with numbers, with every wrong or extreme value of each: an
//! error that names the value, or an object that works; never a panic or a hang, nothing lost.

mod sockets;
mod streams;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls;
mod waits;

use std::fmt::Debug;
use std::future::IntoFuture;
use std::time::Duration;

use soloio::{Error, Result, fail_after};

/// Numbers at the ends of their type, and beside them.
const SIZES: [usize; 5] = [0, 1, 2, usize::MAX - 1, usize::MAX];

/// Limits at the ends of their type, and beside them; the clock overflows from the third on.
const TIMES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(u64::MAX / 2),
    Duration::from_secs(u64::MAX),
    Duration::MAX,
];

/// The limits after which a wait has to end.
const SHORT: usize = 2;

/// A time that nothing here needs.
const LONG: Duration = Duration::from_secs(20);

/// Texts that are no host, no path, or no name of TLS, and some that are.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        ".",
        "..",
        "a\0b",
        "\0",
        "\u{1b}[31m",
        "a\nb",
        "\u{202e}",
        "ä",
        "%",
        "::1%",
        "[::1",
        "http://a/",
        "a:80",
        "1.2.3.4.5",
        "256.0.0.1",
        "-",
        "*",
        "127.0.0.1",
        "::1",
    ]
    .map(str::to_owned)
    .into();
    texts.extend([64, 108, 254, 70_000].map(|length| "x".repeat(length)));
    texts.push("x.".repeat(200));
    texts
}

/// Awaits it, under a limit that nothing here needs.
async fn ended<F, T>(made: F) -> Result<T>
where
    F: IntoFuture<Output = Result<T>>,
{
    let ended = fail_after(LONG, made).await;
    assert!(!matches!(ended, Err(Error::TimedOut(_))), "it hangs");
    ended
}

/// Returns an error's message.
fn message<T: Debug>(refused: Result<T>) -> String {
    let message = refused.expect_err("an error").to_string();
    assert!(!message.is_empty());
    message
}

/// Returns true if the message has the beginning of the text, as it is or with escapes.
fn names(message: &str, text: &str) -> bool {
    let start: String = text.chars().take(40).collect();
    message.contains(&start) || message.contains(&start.escape_debug().to_string())
}
