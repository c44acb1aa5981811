//! The rules themselves: functions from files to findings; `snippets.rs` tests them.

use std::ops::Range;

use crate::Finding;
use crate::source::{Source, block_after, ident, root_names, words};

/// The modules of the crate, lowest row first. A row imports only from rows before it.
pub(crate) const ROWS: &[&[&str]] = &[
    &["shown"],
    &["error"],
    &["records"],
    &["sys", "room"],
    &["executor", "reactor"],
    &["runtime"],
    &["time", "sync"],
    &["task"],
    &["signal", "threads"],
    &["stream"],
    &["tls"],
    &["net"],
];
/// The only places where `unsafe` may stand; a prefix that ends in `/` is a folder.
pub(crate) const UNSAFE_HERE: &[&str] =
    &["src/sys/", "src/executor/waker.rs", "src/task/children.rs"];
/// The number of `unsafe` blocks in src, without those of tests. It may only fall.
pub(crate) const UNSAFE_BLOCKS: usize = 73;
/// The number of functions in src that hand out a borrow of a `RefCell`: what their callers call
/// meanwhile may borrow twice. It may only fall.
pub(crate) const BORROWING_GETTERS: usize = 7;
pub(crate) const LINE_COLUMNS: usize = 100;
pub(crate) const FUNCTION_LINES: usize = 70;
pub(crate) const FILE_LINES: usize = 400;
pub(crate) const LONG_FILE_LINES: usize = 600;

pub(crate) fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// Returns the layer of a file of src; `lib.rs` stands above all.
pub(crate) fn layer(source: &Source) -> Option<&str> {
    source.module().first().copied()
}

pub(crate) fn check_layers(source: &Source) -> Vec<Finding> {
    const DOWN: &str = "move the code down, or hand what it needs over as an argument";
    let mut found = Vec::new();
    let Some(own) = layer(source) else {
        return found;
    };
    let Some(own_row) = row(own) else {
        let remedy = "give it a row in ROWS of tests/tidy/rules.rs and in ARCHITECTURE.md";
        return vec![source.finding(0, format!("module `{own}` is in no layer"), remedy)];
    };
    for (at, name) in root_names(source) {
        let Some(row) = row(name) else {
            let remedy = "import it from the module that defines it: lib.rs is above all layers";
            found.push(source.finding(at, format!("`crate::{name}` names no layer"), remedy));
            continue;
        };
        if name != own && row >= own_row {
            let rule = format!("`{own}` imports `{name}`, which is not below it");
            found.push(source.finding(at, rule, DOWN));
        }
    }
    if own != "sys" {
        for package in ["libc", "mio", "socket2"] {
            let uses = words(&source.code, package).filter(|at| {
                source.code[at + package.len()..].starts_with("::")
                    || source.code[..*at].ends_with("use ")
            });
            found.extend(uses.map(|at| {
                let remedy = "give src/sys a function for it, in terms of this crate's types";
                source.finding(at, format!("`{package}` is named above sys"), remedy)
            }));
        }
        found.extend(
            words(&source.code, "Instant::now")
                .filter(|at| !source.is_test(*at))
                .map(|at| {
                    source.finding(at, "the time is read above sys", "use the clock of src/sys")
                }),
        );
    }
    found
}

/// Only `runtime` may name both the reactor and the executor.
pub(crate) fn check_strangers(sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    for module in ROWS
        .iter()
        .copied()
        .flatten()
        .filter(|module| **module != "runtime")
    {
        let files = sources
            .iter()
            .filter(|source| layer(source) == Some(module));
        let names: Vec<_> = files
            .flat_map(|s| {
                root_names(s)
                    .into_iter()
                    .map(move |(at, name)| (s, at, name))
            })
            .collect();
        let first = |wanted: &str| names.iter().find(|(_, _, name)| *name == wanted);
        if let (Some((source, at, _)), Some(_)) = (first("reactor"), first("executor")) {
            let rule = format!("`{module}` names both reactor and executor");
            found.push(source.finding(*at, rule, "go through `runtime`, which joins the two"));
        }
    }
    found
}

/// Checks sizes, head line and forbidden words of a Rust file.
pub(crate) fn check_form(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let text = source.text.as_str();
    if !text.starts_with("//! ") {
        let remedy = "say the one thing this file is responsible for in its first line";
        found.push(source.finding(0, "the first line is not a `//!` comment", remedy));
    }
    let mut head = text.lines().take_while(|line| line.starts_with("//!"));
    let reason = head.any(|line| line.to_lowercase().contains("long because"));
    let limit = if reason { LONG_FILE_LINES } else { FILE_LINES };
    // Inline tests do not count: they stand at the end and are read on their own.
    let is_code =
        |line: &&str| !line.starts_with("#[cfg(test") && !line.starts_with("#[cfg(all(test");
    let lines = text.lines().take_while(is_code).count();
    if lines > limit {
        let rule = format!("the file has {lines} lines, more than {limit}");
        let remedy = "split it by responsibility; up to 600 need a head comment `long because ..`";
        found.push(source.finding(text.len() - 1, rule, remedy));
    }
    for (number, line) in text.lines().enumerate() {
        if line.chars().count() > LINE_COLUMNS {
            let rule = format!("the line has more than {LINE_COLUMNS} columns");
            let (file, line) = (source.path.clone(), number + 1);
            found.push(Finding {
                file,
                line,
                rule,
                remedy: "break it",
            });
        }
    }
    for word in ["dbg!", "todo!", "unimplemented!", "#[ignore"] {
        found.extend(source.code.match_indices(word).map(|(at, _)| {
            let remedy = "finish it, or leave it out and open an issue";
            source.finding(at, format!("`{word}` is left in the code"), remedy)
        }));
    }
    found.extend(check_functions(source));
    found
}

pub(crate) fn check_functions(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in words(&source.code, "fn") {
        let name = source.code[at + 2..].trim_start();
        let named = name.starts_with(|first: char| first.is_alphabetic() || "_$".contains(first));
        let Some(block) = named.then(|| block_after(&source.code, at)).flatten() else {
            continue;
        };
        // Counts as clippy does: without the lines of the braces, comments and empty lines.
        let body = &source.code[block.start + 1..block.end - 1];
        let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > FUNCTION_LINES {
            let name = name.split(['(', '<']).next().unwrap_or(name);
            let rule = format!("`{name}` has {lines} lines, more than {FUNCTION_LINES}");
            found.push(source.finding(at, rule, "take out the parts that have a name"));
        }
    }
    found
}

/// Checks for words that library code must not have.
pub(crate) fn check_words(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices(".unwrap()") {
        if !source.is_test(at) {
            let remedy = "return an Error, or say in `expect` why this cannot happen";
            found.push(source.finding(at, "`.unwrap()` in library code", remedy));
        }
    }
    for at in words(&source.code, "let _ =").filter(|at| !source.is_test(*at)) {
        let line = source.line_of(at);
        let mut near = source
            .text
            .lines()
            .skip(line.saturating_sub(2))
            .take(line.min(2));
        if !near.any(|line| line.contains("//")) {
            let remedy = "handle it, or say in a comment here why it may be dropped";
            found.push(source.finding(at, "`let _ =` drops a value silently", remedy));
        }
    }
    if !UNSAFE_HERE
        .iter()
        .any(|place| source.path.starts_with(place))
    {
        found.extend(words(&source.code, "unsafe").map(|at| {
            let remedy = "do without, or put it into src/sys behind a safe function";
            source.finding(at, "`unsafe` outside its three places", remedy)
        }));
    }
    found
}

/// Holds the numbers of what may only become rarer.
pub(crate) fn check_counts(sources: &[Source]) -> Vec<Finding> {
    let in_code = |find: fn(&str) -> Vec<usize>| -> usize {
        let counts = sources.iter().map(|source| {
            let found = find(&source.code).into_iter();
            found.filter(|at| !source.is_test(*at)).count()
        });
        counts.sum()
    };
    let mut found = Vec::new();
    for (what, count, held) in [
        ("`unsafe` blocks", in_code(unsafe_blocks), UNSAFE_BLOCKS),
        (
            "functions that return a `Ref` or `RefMut`",
            in_code(borrowing),
            BORROWING_GETTERS,
        ),
    ] {
        if count != held {
            found.push(Finding {
                file: "src".to_owned(),
                line: 0,
                rule: format!("there are {count} {what}, and not {held}"),
                remedy: "do without the new one; if there are fewer, lower the number in rules.rs",
            });
        }
    }
    found
}

fn unsafe_blocks(code: &str) -> Vec<usize> {
    let is_block = |at: &usize| code[at + "unsafe".len()..].trim_start().starts_with('{');
    words(code, "unsafe").filter(is_block).collect()
}

fn borrowing(code: &str) -> Vec<usize> {
    let returns_one = |at: &usize| {
        let rest = &code[*at..];
        let head = &rest[..rest.find(['{', ';']).unwrap_or(rest.len())];
        let returned = head.rsplit_once("->").map_or("", |(_, returned)| returned);
        ["Ref", "RefMut"]
            .iter()
            .any(|one| words(returned, one).next().is_some())
    };
    words(code, "fn").filter(returns_one).collect()
}

/// Examples pass foreign errors on with `?`: in programs, in documentation comments, in documents.
pub(crate) fn check_foreign_errors(path: &str, text: &str) -> Vec<Finding> {
    let is_example = path.ends_with(".md") || path.contains("examples/");
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let shown = is_example || line.trim_start().starts_with("//");
        // A document may name it as what is not to be written.
        let written = line.contains(".map_err(") && line.contains("Error::other");
        if shown && written && !line.contains("`.map_err(Error::other)`") {
            found.push(Finding {
                file: path.to_owned(),
                line: number + 1,
                rule: "an example turns a foreign error into `Error::other` by hand".to_owned(),
                remedy: "use `?`, with `Box<dyn Error + Send + Sync>` or a type of its own",
            });
        }
    }
    found
}

/// Every public function that suspends documents the effect of a cancel.
pub(crate) fn check_cancel_docs(source: &Source, builders: &[String]) -> Vec<Finding> {
    let all = suspending(source, builders).into_iter();
    all.filter(|(at, _)| !source.docs_above(*at).contains("# Cancel safety"))
        .map(|(at, name)| {
            let rule = format!("public `{name}` suspends, its docs lack `# Cancel safety`");
            let remedy = "say what is lost, kept or undone when its future is dropped";
            source.finding(at, rule, remedy)
        })
        .collect()
}

/// Returns the public functions that suspend or have a `# Cancel safety` section, and the types
/// that are futures themselves.
pub(crate) fn suspending<'a>(source: &'a Source, builders: &[String]) -> Vec<(usize, &'a str)> {
    let code = source.code.as_str();
    let traits: Vec<Range<usize>> = words(code, "pub trait")
        .filter_map(|at| block_after(code, at))
        .collect();
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let line = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = code[line..at].trim_start();
        let of_trait = traits.iter().any(|range| range.contains(&at));
        let public = before.starts_with("pub ") || of_trait;
        let body = block_after(code, at).map(|block| block.start);
        let end = body.unwrap_or_else(|| code[at..].find(";\n").map_or(code.len(), |i| at + i));
        let end = words(&code[at..end], "where")
            .next()
            .map_or(end, |i| at + i);
        let returned = code[at..end]
            .rsplit_once("->")
            .map_or("", |(_, returned)| returned.trim());
        // A method that takes a builder by value and returns it is an option of it.
        let option = ["(self", "(mut self"]
            .iter()
            .any(|own| code[at..end].contains(own));
        let suspends = before.contains("async ")
            || returned.starts_with("impl Future")
            || returned.starts_with("impl IntoFuture")
            || !option && builders.iter().any(|builder| builder == ident(returned))
            || source.docs_above(at).contains("# Cancel safety");
        if public && suspends {
            found.push((at, ident(code[at + 2..].trim_start())));
        }
    }
    for at in words(code, "Future for") {
        let name = ident(code[at + "Future for".len()..].trim_start());
        let declared = words(code, "pub struct").find(|at| {
            let rest = code[at + "pub struct".len()..].trim_start();
            ident(rest) == name
        });
        if !name.is_empty() && !code[..at].ends_with("Into") {
            found.extend(declared.map(|at| (at, name)));
        }
    }
    found
}

/// Returns the types that are awaited through `IntoFuture`: a function that returns one suspends.
pub(crate) fn builders(sources: &[Source]) -> Vec<String> {
    let codes = sources.iter().map(|source| source.code.as_str());
    codes
        .flat_map(|code| words(code, "IntoFuture for").map(move |at| &code[at..]))
        .map(|rest| ident(rest["IntoFuture for".len()..].trim_start()).to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}
