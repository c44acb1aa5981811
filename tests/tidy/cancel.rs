//! Every public operation that can wait, and its row in the guide.
//!
//! An operation is whatever has a `# Cancel safety` section or should have one. `names` gives each
//! the name that the table of `docs/cancellation.md` and the `Covers:` lines of the rounds use:
//! `sleep`, `TcpListener::accept`, and `TaskHandle` for a type that is awaited itself.

use std::collections::BTreeMap;

use crate::Finding;
use crate::rules::suspending;
use crate::source::{Source, block_after, ident, words};

pub(crate) const GUIDE: &str = "docs/cancellation.md";
/// The effect of a cut, in the words of the guide's head: nothing happened, progress is known, the
/// object is consumed, work goes on elsewhere, or the contents decide.
const LEVELS: &[&str] = &["A", "P", "C", "D", "A, C", "A, D", "C, D", "inside"];

/// One operation: where it is declared, and the first sentence of its section.
#[derive(Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) sentence: String,
}

/// Returns the public operations by name.
pub(crate) fn operations(
    sources: &[Source],
    builders: &[String],
) -> Result<BTreeMap<String, Operation>, Vec<Finding>> {
    let (mut all, mut twice) = (BTreeMap::new(), Vec::new());
    for source in sources {
        for (at, name) in suspending(source, builders) {
            if source.docs_above(at).contains("#[doc(hidden)]") {
                continue;
            }
            let operation = Operation {
                file: source.path.clone(),
                line: source.line_of(at),
                sentence: sentence(source.docs_above(at)),
            };
            for name in names(sources, source, at, name) {
                if let Some(other) = all.insert(name.clone(), operation_of(&operation)) {
                    let rule = format!("`{name}` is declared twice, also in {}", other.file);
                    let remedy = "the guide and the driver go by names: give each its own";
                    twice.push(source.finding(at, rule, remedy));
                }
            }
        }
    }
    let names: Vec<String> = all.keys().cloned().collect();
    for name in names {
        if let Some(sentence) = spelt_out(&name, &all) {
            all.entry(name)
                .and_modify(|of: &mut Operation| of.sentence = sentence);
        }
    }
    if twice.is_empty() {
        Ok(all)
    } else {
        Err(twice)
    }
}

/// Returns the sentence that "As `receive`." stands for.
fn spelt_out(name: &str, all: &BTreeMap<String, Operation>) -> Option<String> {
    let said = all.get(name)?.sentence.as_str();
    let (other, more) = said.strip_prefix("As `")?.split_once('`')?;
    let owner = name.rsplit_once("::").map(|(owner, _)| owner);
    let beside = owner.and_then(|owner| all.get(&format!("{owner}::{other}")));
    let other = &beside.or_else(|| all.get(other))?.sentence;
    Some(format!("{}{more}", other.trim_end_matches('.')))
}

fn operation_of(operation: &Operation) -> Operation {
    Operation {
        file: operation.file.clone(),
        sentence: operation.sentence.clone(),
        ..*operation
    }
}

/// Returns the names of the function declared at `at`: the type's name first, one for every type
/// that a macro declares it for.
fn names(sources: &[Source], source: &Source, at: usize, name: &str) -> Vec<String> {
    let code = source.code.as_str();
    let around = |word: &'static str| {
        let blocks = words(code, word).filter(|start| *start < at);
        let blocks = blocks.filter_map(|start| Some((start, block_after(code, start)?)));
        let around = blocks.filter(|(start, block)| {
            let line = code[..*start].rfind('\n').map_or(0, |newline| newline + 1);
            let item = code[line..*start].trim();
            matches!(item, "" | "pub" | "pub(crate)") && block.contains(&at)
        });
        around.last().map(|(start, _)| start)
    };
    let owner = match (around("impl"), around("trait")) {
        (None, None) => return vec![name.to_owned()],
        (Some(start), _) => after_generics(&code[start + "impl".len()..]),
        (None, Some(start)) => code[start + "trait".len()..].trim_start(),
    };
    let owners: Vec<&str> = if owner.starts_with('$') {
        let start = around("macro_rules!").expect("a `$type` stands in a macro");
        let name = ident(code[start + "macro_rules!".len()..].trim_start());
        let calls = sources.iter().flat_map(|source| {
            let calls = words(&source.code, name).map(|at| &source.code[at + name.len()..]);
            calls.filter_map(|rest| rest.strip_prefix("!("))
        });
        calls.map(|rest| ident(rest.trim_start())).collect()
    } else {
        vec![ident(owner)]
    };
    owners
        .iter()
        .map(|owner| format!("{owner}::{name}"))
        .collect()
}

/// Returns the code after the generic parameters of an `impl`.
fn after_generics(code: &str) -> &str {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' => depth -= 1,
            b' ' => {}
            _ if depth == 0 => return &code[at..],
            _ => {}
        }
    }
    code
}

/// Returns the first sentence of the section about cancelling, without links.
pub(crate) fn sentence(docs: &str) -> String {
    let lines = docs
        .lines()
        .map(|line| line.trim_start().trim_start_matches("///"));
    let section = lines.skip_while(|line| line.trim() != "# Cancel safety");
    let section = section
        .skip(1)
        .take_while(|line| !line.trim_start().starts_with('#'));
    let text: Vec<&str> = section.flat_map(str::split_whitespace).collect();
    let text = without_links(&text.join(" "));
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text[..end].to_owned()
}

fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['[', ']']) {
        plain.push_str(&rest[..at]);
        let closes = rest[at..].starts_with(']');
        rest = &rest[at + 1..];
        if closes && rest.starts_with('(') {
            rest = rest.find(')').map_or("", |end| &rest[end + 1..]);
        }
    }
    plain + rest
}

/// The guide's table has a row for each operation with the words of its section, and no other.
pub(crate) fn check_guide(text: &str, all: &BTreeMap<String, Operation>) -> Vec<Finding> {
    const ROW: &str = "the row has to say what the section says first; the level is of";
    let finding = |line: usize, rule: String, remedy| Finding {
        file: GUIDE.to_owned(),
        line,
        rule,
        remedy,
    };
    let (mut found, mut seen, mut levels) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", names, level, said, ""] = cells[..] else {
            continue;
        };
        if !names.starts_with('`') {
            continue;
        }
        if !LEVELS.contains(&level) {
            let rule = format!("`{level}` is no level");
            found.push(finding(number, rule, "A, P, C, D, or `inside`"));
        }
        if *levels.entry(said).or_insert(level) != level {
            let rule = format!("\"{said}\" stands at two levels");
            found.push(finding(number, rule, "one of the rows is wrong"));
        }
        for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
            let operation = all.get(name);
            if seen.insert(name, ()).is_some() || operation.is_none() {
                let rule = format!("`{name}` has two rows, or is no public operation");
                found.push(finding(number, rule, "take the row out"));
            }
            if let Some(Operation { sentence, .. }) = operation.filter(|of| of.sentence != said) {
                let rule = format!("of `{name}` the documentation says: {sentence}");
                found.push(finding(number, rule, ROW));
            }
        }
    }
    for (name, Operation { sentence, .. }) in all {
        if !seen.contains_key(name.as_str()) {
            let rule = format!("the table lacks | `{name}` | ? | {sentence} |");
            found.push(finding(1, rule, "add the row, with its level"));
        }
    }
    found
}
