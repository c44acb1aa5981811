//! TLS with OpenSSL, Python's ssl, curl and GnuTLS: each does the items that `docs/tls-interop.md`
//! lists. The table is made here: `SOLOIO_WRITE_INTEROP=1 cargo test --test interop` writes it;
//! without that variable the test fails if its findings differ from the table.
//!
//! A tool that is not on the machine is left out of the comparison.

#[path = "../it/certs.rs"]
#[expect(dead_code, reason = "only files are needed here")]
mod certs;
mod peers;
mod sides;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::certs::Ca;
use crate::peers::{PEERS, Peer};

/// The items that are tried with each peer and version.
pub(crate) const ITEMS: [&str; 10] = [
    "clean close",
    "truncation",
    "half-close",
    "client certificate",
    "ALPN",
    "resumption",
    "wrong name",
    "expired",
    "unknown CA",
    "KeyUpdate",
];

pub(crate) const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// The certificates of a run, as files.
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
}

impl Files {
    fn make() -> Self {
        let dir = std::env::temp_dir().join(format!("soloio-interop-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary folder");
        let ca = Ca::new("interop CA");
        ca.write(&dir, "ca");
        Ca::new("interop stranger").write(&dir, "stranger");
        ca.server(&["localhost", "127.0.0.1"]).write(&dir, "server");
        ca.expired(&["localhost", "127.0.0.1"])
            .write(&dir, "expired");
        ca.client("interop client").write(&dir, "client");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A row of the table.
fn row(peer: &Peer, version: &str, files: &Files) -> Vec<String> {
    let cell = |item: &&str| match (peer.run)(item, version, files) {
        None => "-".to_owned(),
        Some(Ok(())) => "yes".to_owned(),
        Some(Err(why)) => {
            eprintln!("{}, TLS {version}, {item}: {why}", peer.name);
            "NO".to_owned()
        }
    };
    ITEMS.iter().map(cell).collect()
}

const HEAD: &str = "# TLS with others

Made by `SOLOIO_WRITE_INTEROP=1 cargo test --test interop`, which connects soloio with each of these
peers over loopback; `cargo test --test interop` fails if its findings differ.

`yes`: both sides behave as the column says. `-`: the tool has no way to do it or to report it; TLS
1.2 has no KeyUpdate; curl takes a cut for the end.

| column | meaning |
|---|---|
| clean close | data both ways; the peer's close_notify is `EndOfStream`, ours is an \
    orderly end to it |
| truncation | a connection that ends without close_notify is `Broken` |
| half-close | one side ends its direction, and receives what the other side sends after that |
| client certificate | one is required, and shown |
| ALPN | both sides name the same protocol |
| resumption | the second connection resumes the session of the first (a server of ours \
    gives TLS 1.3 tickets with its first data, not before) |
| wrong name, expired, unknown CA | the client refuses the certificate, and the server gets an \
    alert (from curl, which checks names last, close_notify) |
| KeyUpdate | data both ways after the peer's KeyUpdate, which asks for ours |

";

fn table(rows: &BTreeMap<(usize, &str), Vec<String>>) -> String {
    let mut text = HEAD.to_owned();
    text += &format!(
        "| peer | TLS | {} |\n|---|---|{}\n",
        ITEMS.join(" | "),
        "---|".repeat(10)
    );
    for ((peer, version), cells) in rows {
        let name = PEERS[*peer].name;
        text += &format!("| {name} | {version} | {} |\n", cells.join(" | "));
    }
    text
}

/// Compares with the committed table, without the rows of tools that are not installed.
fn is_right(committed: &str, found: &str, missing: &[&str]) -> bool {
    let rows = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::to_owned);
        let of_missing = |line: &String| {
            missing
                .iter()
                .any(|name| line.starts_with(&format!("| {name} |")))
        };
        lines.filter(|line| !of_missing(line)).collect()
    };
    rows(committed) == rows(found)
}

#[test]
fn the_table_is_right() {
    let files = Files::make();
    let (here, missing): (Vec<_>, Vec<_>) = PEERS
        .iter()
        .enumerate()
        .partition(|(_, peer)| tools::is_here(peer.tool));
    let missing: Vec<&str> = missing.iter().map(|(_, peer)| peer.name).collect();
    for name in &missing {
        eprintln!("{name} is not on this machine: not tried");
    }
    let mut rows = BTreeMap::new();
    for (number, peer) in here {
        for version in VERSIONS {
            rows.insert((number, version), row(peer, version, &files));
        }
    }
    let found = table(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls-interop.md");
    if std::env::var_os("SOLOIO_WRITE_INTEROP").is_some() {
        assert!(
            missing.is_empty(),
            "a table without {missing:?} would be wrong"
        );
        fs::write(&path, &found).expect("a writable docs folder");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        is_right(&committed, &found, &missing),
        "docs/tls-interop.md says something else; found:\n{found}"
    );
    assert!(!found.contains("| NO |"), "{found}");
}

#[test]
fn a_wrong_table_is_seen() {
    let text = "| a | 1.2 | yes |\n| b | 1.2 | yes |\n";
    assert!(is_right(text, text, &[]));
    assert!(is_right(text, "| a | 1.2 | yes |\n", &["b"]));
    assert!(!is_right(text, "| a | 1.2 | - |\n", &["b"]));
    assert!(!is_right(text, "| a | 1.2 | yes |\n", &[]));
}
