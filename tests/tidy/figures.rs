//! Checks the ratios in the prose of the documents: each is one of a table that a command printed.

use std::fs;
use std::path::Path;

use crate::Finding;

/// The tables, as `soloio-benches` prints them.
const TABLES: [&str; 3] = [
    "docs/performance.txt",
    "docs/instructions.txt",
    "docs/peers.txt",
];
/// Documents with ratios, and the headings of the sections that have them.
const SECTIONS: [(&str, &str); 3] = [
    ("README.md", "## When to take it, and when not"),
    ("README.md", "## What it costs"),
    ("docs/cost.md", "## Performance"),
];

pub(crate) fn check_figures(root: &Path) -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a readable document");
    let tables = TABLES.map(read);
    let mut found = Vec::new();
    for (path, heading) in SECTIONS {
        found.extend(check_ratios(path, &read(path), heading, &tables.join("\n")));
    }
    let cost = read("docs/cost.md");
    found.extend(check_misses("docs/cost.md", &cost, &tables[0]));
    found.extend(check_sizes("README.md", &read("README.md"), &cost));
    found
}

/// Returns the words of a text that look like a ratio: `0.95`, `1.5`.
fn ratios(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_ascii_digit() && c != '.');
    let words = words.map(|word| word.trim_end_matches('.'));
    words.filter(|word| {
        word.split_once('.')
            .is_some_and(|(whole, _)| whole.len() == 1)
    })
}

/// Returns the ratios of a row: the column before each `min..max`.
fn ratios_of(row: &str) -> Vec<&str> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    let pairs = columns.windows(2).filter(|pair| pair[1].contains(".."));
    pairs.map(|pair| pair[0]).collect()
}

/// Each ratio of a section is that of a row.
pub(crate) fn check_ratios(
    document: &str,
    text: &str,
    heading: &str,
    tables: &str,
) -> Vec<Finding> {
    let known: Vec<&str> = tables.lines().flat_map(ratios_of).collect();
    let (mut found, mut inside) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("## ") {
            inside = line == heading;
        }
        for ratio in ratios(line).filter(|ratio| inside && !known.contains(ratio)) {
            found.push(Finding {
                file: document.to_owned(),
                line: at + 1,
                rule: format!("{ratio} is the ratio of no row"),
                remedy: "take it from one of the tables in docs/*.txt",
            });
        }
    }
    found
}

/// The number of targets that are missed is that of the table.
pub(crate) fn check_misses(document: &str, text: &str, table: &str) -> Option<Finding> {
    let ends = |end: &str| table.lines().filter(|row| row.ends_with(end)).count();
    let (missed, met) = (ends("MISS"), ends("ok"));
    let says = format!("{missed} of {} of which are missed", missed + met);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!flat.contains(&says)).then(|| Finding {
        file: document.to_owned(),
        line: 1,
        rule: format!("does not say \"{says}\""),
        remedy: "count the targets in docs/performance.txt",
    })
}

/// The largest ratio of bytes is that of the table of sizes.
pub(crate) fn check_sizes(document: &str, text: &str, cost: &str) -> Option<Finding> {
    let (_, table) = cost.split_once("footprint: sizes -->").expect("a table");
    let (table, _) = table.split_once("<!-- end -->").expect("its end");
    let ratio = |row: &str| row.rsplit('|').nth(1)?.trim().parse().ok();
    let largest = table.lines().filter_map(ratio).fold(0.0, f64::max);
    let says = format!("up to {:.0} % larger", (largest - 1.0) * 100.0);
    (!text.contains(&says)).then(|| Finding {
        file: document.to_owned(),
        line: 1,
        rule: format!("does not say \"{says}\""),
        remedy: "take it from the table of sizes in docs/cost.md",
    })
}
