//! Compares `docs/ecosystem.md` with the tests and with the versions that they were built with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect("a file of the repository")
}

/// The versions of each package in a lock.
fn versions(lock: &str) -> BTreeMap<String, Vec<String>> {
    let mut versions = BTreeMap::<_, Vec<String>>::new();
    let mut name = "";
    let lock = read(lock);
    for line in lock.lines() {
        let value = |key| Some(line.strip_prefix(key)?.trim_matches('"'));
        if let Some(its) = value("name = ") {
            name = its;
        } else if let Some(version) = value("version = ") {
            versions
                .entry(name.to_owned())
                .or_default()
                .push(version.to_owned());
        }
    }
    versions
}

/// The tests in a folder's files.
fn tests_in(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of tests") {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file of tests");
            let pieces = text.split("#[test]\n").skip(1);
            let names = pieces.filter_map(|piece| piece.strip_prefix("fn ")?.split_once('('));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
}

/// A row says "tried" by a version and a test: `| name | how | needs | 1.2.3 | test |`.
#[test]
fn each_row_that_was_tried_has_its_test_and_its_version() {
    let (mut tests, mut tried) = (Vec::new(), 0);
    for folder in [
        "crates/ecosystem",
        "crates/soloio-hyper",
        "crates/soloio-streams",
        "crates/soloio-tokio-io",
    ] {
        tests_in(&Path::new(ROOT).join(folder).join("tests/it"), &mut tests);
    }
    tests_in(&Path::new(ROOT).join("tests"), &mut tests);
    let (here, companions) = (
        versions("crates/ecosystem/Cargo.lock"),
        versions("Cargo.lock"),
    );
    let document = read("docs/ecosystem.md");
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, _, version, test] = cells[..] else {
            continue;
        };
        if !version.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        tried += 1;
        let test = test.trim_matches('`');
        assert!(
            tests.iter().any(|name| name == test),
            "there is no test of that name: {row}"
        );
        // Behind the name stands which part of it.
        let name = name.split(' ').next().unwrap_or(name);
        let locks = [&here, &companions];
        let mut built = locks
            .into_iter()
            .filter_map(|lock| lock.get(name))
            .flatten();
        // `1.2` says no more than that.
        let is_it = |full: &String| full == version || full.starts_with(&format!("{version}."));
        assert!(built.any(is_it), "no lock has {name} {version}: {row}");
    }
    assert!(tried >= 20, "only {tried} rows: is the table still read?");
}
