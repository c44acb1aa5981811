//! Checks the documents: one row for each file, all layers named, no line twice, no dead link.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Finding;
use crate::rules::ROWS;
use crate::source::{Source, words};

/// The folders with documents.
const FOLDERS: &[&str] = &[
    "",
    "docs",
    "examples",
    "benches",
    "fuzz",
    "crates/soloio-hyper",
    "crates/soloio-sim",
    "crates/soloio-streams",
    "crates/soloio-tokio-io",
];
/// The README is read to its end if it is short.
const README_LINES: usize = 150;
/// Shorter lines may stand twice by chance.
const CHANCE: usize = 25;

fn finding(document: &str, line: usize, rule: String, remedy: &'static str) -> Finding {
    Finding {
        file: document.to_owned(),
        line,
        rule,
        remedy,
    }
}

/// Runs all checks on the tree below `root`.
pub(crate) fn check_documents(root: &Path, library: &[Source], others: &[Source]) -> Vec<Finding> {
    let document = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let files = below(library, "src/");
    let architecture = document("ARCHITECTURE.md");
    let mut found = check_rows("ARCHITECTURE.md", &architecture, &files);
    found.extend(check_headings("ARCHITECTURE.md", &architecture));
    let mut examples = below(others, "examples/");
    examples.retain(|path| !path.contains('/'));
    let name = "examples/README.md";
    found.extend(check_rows(name, &document(name), &examples));
    found.extend(library.iter().flat_map(|source| check_head(source, &files)));

    let layers = between(&architecture, "## Layers", "## ");
    found.extend(check_layers_named("ARCHITECTURE.md", layers));
    let contributing = document("CONTRIBUTING.md");
    let rule = between(&contributing, "1. **One direction.**", "2. ");
    found.extend(check_layers_named("CONTRIBUTING.md", rule));

    found.extend(check_changelog(&document("CHANGELOG.md")));
    for name in markdown(root) {
        let text = document(&name);
        found.extend(check_doubled(&name, &text));
        found.extend(check_links(&name, &text, |path| root.join(path).exists()));
    }
    found.extend(check_length(&document("README.md")));
    found
}

/// Returns the paths of the files in a folder, relative to it.
fn below(sources: &[Source], folder: &str) -> Vec<String> {
    let paths = sources.iter().map(|source| source.path.as_str());
    let inside = paths.filter_map(|path| path.strip_prefix(folder));
    // A file of tests has no row: it belongs to the file that it tests.
    let inside = inside.filter(|path| !path.ends_with("/tests.rs"));
    inside.map(str::to_owned).collect()
}

fn markdown(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).expect("a folder that can be read");
        for entry in entries {
            let name = entry.expect("a readable folder").file_name();
            let path = Path::new(folder).join(name);
            let path = path.to_str().expect("UTF-8");
            if path.ends_with(".md") {
                names.push(path.to_owned());
            }
        }
    }
    names
}

/// Returns the part that begins with `start`, up to the next line that begins with `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.find(start).map_or("", |at| &text[at..]);
    let end = rest.find(&format!("\n{end}")).unwrap_or(rest.len());
    &rest[..end]
}

/// Returns the files that the first cell of a table's row names.
fn files(line: &str) -> Vec<&str> {
    let Some(row) = line.strip_prefix("| `") else {
        return Vec::new();
    };
    let cell = row.split(" |").next().unwrap_or(row);
    let names = cell.split(", ").map(|name| name.trim_matches('`'));
    let is_file = |name: &&str| name.ends_with(".rs") || name.ends_with('/');
    names.filter(is_file).collect()
}

/// Each file has one row, and no other has any.
pub(crate) fn check_rows(document: &str, text: &str, paths: &[String]) -> Vec<Finding> {
    const ADD: &str = "add it, with its one responsibility";
    const TAKE: &str = "take the row out that is no longer true";
    let (mut found, mut seen) = (Vec::new(), BTreeMap::new());
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        for name in files(line) {
            if let Some(first) = seen.insert(name, number) {
                let rule = format!("`{name}` has a row already, in line {first}");
                found.push(finding(document, number, rule, TAKE));
            }
            if !paths.iter().any(|path| path == name) {
                let rule = format!("`{name}` is no file");
                found.push(finding(document, number, rule, TAKE));
            }
        }
    }
    for path in paths
        .iter()
        .filter(|path| !seen.contains_key(path.as_str()))
    {
        found.push(finding(document, 1, format!("`{path}` has no row"), ADD));
    }
    found
}

/// Below a heading of the codemap, `| **net** | |`, all rows are of files in that folder.
pub(crate) fn check_headings(document: &str, text: &str) -> Vec<Finding> {
    let (mut found, mut heading) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        if let Some(row) = line.strip_prefix("| **") {
            heading = row.split("**").next();
        }
        for name in files(line) {
            let folder = name.split_once('/').map(|(folder, _)| folder);
            if heading.is_some() && folder.is_some() && folder != heading {
                let rule = format!("`{name}` stands below another heading than its folder's");
                found.push(finding(document, number + 1, rule, "move the row"));
            }
        }
    }
    found
}

/// A table of files at the head of a `mod.rs` has a row for each file and folder beside it.
pub(crate) fn check_head(source: &Source, paths: &[String]) -> Vec<Finding> {
    let head = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"));
    let head: Vec<&str> = head.map(str::trim_start).collect();
    let path = source.path.trim_start_matches("src/");
    let Some(folder) = path.strip_suffix("mod.rs") else {
        return Vec::new();
    };
    if !head.iter().any(|line| line.starts_with("| file |")) {
        return Vec::new();
    }
    let inside = paths.iter().filter_map(|path| path.strip_prefix(folder));
    let mut beside: Vec<String> = inside
        .filter(|path| *path != "mod.rs")
        .map(|path| path.split_inclusive('/').next().unwrap_or(path).to_owned())
        .collect();
    beside.dedup();
    check_rows(&source.path, &head.join("\n"), &beside)
}

/// A description of the layers names each module.
pub(crate) fn check_layers_named(document: &str, text: &str) -> Vec<Finding> {
    let modules = ROWS.iter().copied().flatten();
    let missing = modules.filter(|module| words(text, module).next().is_none());
    missing
        .map(|module| {
            let rule = format!("the layers are told without `{module}`");
            finding(document, 1, rule, "add it where its row is")
        })
        .collect()
}

/// A line of prose must be unique in its document, a row unique in its table: merges double them.
pub(crate) fn check_doubled(document: &str, text: &str) -> Vec<Finding> {
    let (mut found, mut code) = (Vec::new(), false);
    let (mut prose, mut table) = (BTreeMap::new(), BTreeMap::new());
    for (number, line) in text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
    {
        code ^= line.starts_with("```");
        let row = line.starts_with('|');
        if !row {
            table.clear();
        }
        let rule_of_table = line.chars().all(|c| "|-: ".contains(c));
        if code || line.chars().count() < CHANCE || rule_of_table {
            continue;
        }
        let seen = if row { &mut table } else { &mut prose };
        if let Some(first) = seen.insert(line, number) {
            let rule = format!("the line stands in line {first} already");
            found.push(finding(document, number, rule, "take one of them out"));
        }
    }
    found
}

pub(crate) fn check_changelog(text: &str) -> Option<Finding> {
    let heading = |line: &str| line.starts_with("## ") && line.contains("Unreleased");
    let rule = "there is no `## [Unreleased]` section".to_owned();
    let remedy = "add it above the newest release";
    (!text.lines().any(heading)).then(|| finding("CHANGELOG.md", 1, rule, remedy))
}

/// A link to a file leads to one; those of other sites are not looked at.
pub(crate) fn check_links(
    document: &str,
    text: &str,
    exists: impl Fn(&Path) -> bool,
) -> Vec<Finding> {
    let folder = Path::new(document)
        .parent()
        .unwrap_or_else(|| Path::new(""));
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for after in line.split("](").skip(1) {
            let target = after.split([')', '#']).next().unwrap_or(after);
            let is_file = !target.is_empty() && !target.contains("://");
            if is_file && !exists(&folder.join(target)) {
                let rule = format!("`{target}` is no file");
                found.push(finding(document, number + 1, rule, "correct the link"));
            }
        }
    }
    found
}

pub(crate) fn check_length(readme: &str) -> Option<Finding> {
    let lines = readme.lines().count();
    let rule = format!("{lines} lines, more than {README_LINES}");
    let remedy = "move what a newcomer does not need at first to docs/";
    (lines > README_LINES).then(|| finding("README.md", README_LINES, rule, remedy))
}
