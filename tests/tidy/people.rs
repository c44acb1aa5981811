//! Comments speak of tasks, wakers and threads as things: words for persons are counted.

use std::collections::BTreeMap;

use crate::Finding;
use crate::source::{Source, words};

const PERSONS: [&str; 6] = ["who", "whom", "whose", "nobody", "somebody", "everybody"];
/// The most of them in 1,000 comment lines of a folder.
const BOUND: usize = 3;

/// Returns the folder that a file counts for: one below `src` has its own bound.
fn folder(path: &str) -> &str {
    let depth = if path.starts_with("src/") { 2 } else { 1 };
    let parts: Vec<_> = path.match_indices('/').collect();
    parts
        .get(..depth.min(parts.len()))
        .and_then(<[_]>::last)
        .map_or(path, |(at, _)| &path[..*at])
}

/// Counts the words in the comment lines of each folder; the finding names the last place.
pub(crate) fn check_persons<'a>(sources: impl Iterator<Item = &'a Source>) -> Vec<Finding> {
    let mut folders: BTreeMap<&str, (usize, usize, &str, usize)> = BTreeMap::new();
    for source in sources {
        let (lines, count, file, last) = folders.entry(folder(&source.path)).or_default();
        for (number, line) in source.text.lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else {
                continue;
            };
            let comment = comment.to_lowercase();
            let found: usize = PERSONS
                .iter()
                .map(|word| words(&comment, word).count())
                .sum();
            *lines += 1;
            *count += found;
            if found > 0 {
                (*file, *last) = (&source.path, number + 1);
            }
        }
    }
    let over = folders
        .iter()
        .filter(|(_, (lines, count, ..))| count * 1_000 > BOUND * lines);
    over.map(|(folder, (lines, count, file, last))| Finding {
        file: (*file).to_owned(),
        line: *last,
        rule: format!(
            "{count} words for persons in {lines} comment lines of `{folder}`, \
             over {BOUND} in 1,000"
        ),
        remedy: "name the thing (the task, the waiter, the caller), or write `it`",
    })
    .collect()
}
