//! Every builder and every function with numbers, with every wrong or extreme value of each: an
//! error that names the value, or an object that works; never a panic or a hang, nothing lost.

mod sockets;
mod streams;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls;
mod waits;

use std::fmt::Debug;
use std::fs;
use std::future::IntoFuture;
use std::path::Path;
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

/// Adds the text of all files below a folder.
fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => read_all(&path, text),
            false => text.push_str(&fs::read_to_string(&path).expect("text")),
        }
    }
}

/// The methods of builders that take a value.
fn settings() -> Vec<String> {
    let mut source = String::new();
    read_all(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut source,
    );
    let declared = source.split("pub fn ").skip(1).filter_map(|rest| {
        let head = rest.split('{').next()?;
        let head = head.split("where").next()?;
        let takes = head.contains("self,") && head.trim_end().ends_with("-> Self");
        takes.then(|| head.split(['(', '<']).next().unwrap_or_default().to_owned())
    });
    declared.collect()
}

#[test]
fn every_setting_is_tried() {
    /// Those that take a function, a bool, or a value that its type has checked.
    const CHECKED: &[&str] = &[
        "client_roots",
        "on_error",
        "on_handshake_error",
        "prepare",
        "provider",
        "roots",
        "standard_compatible",
        "ticketer",
        "tls_standard_compatible",
        "with",
    ];
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wrong_values");
    let mut tried = String::new();
    read_all(&tests, &mut tried);
    let settings = settings();
    assert!(settings.len() > 40, "{settings:?}");
    let is_known =
        |name: &String| tried.contains(&format!(".{name}(")) || CHECKED.contains(&&**name);
    let missing: Vec<_> = settings.iter().filter(|name| !is_known(name)).collect();
    assert!(
        missing.is_empty(),
        "without a wrong value in a test: {missing:?}"
    );
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
