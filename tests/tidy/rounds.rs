//! Every public operation is cut by the cancel driver, in a round that names it and calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::Finding;
use crate::cancel::Operation;
use crate::source::{Source, block_after, ident, words};

/// Each operation is cut in at least one round. A round is a test that calls the driver; the line
/// `Covers:` of its documentation names the operations. Each has to be called in the argument of
/// `apply`, in the round itself or in a function that the round calls.
pub(crate) fn check_rounds(tests: &[Source], all: &BTreeMap<String, Operation>) -> Vec<Finding> {
    let (mut found, mut covered) = (Vec::new(), BTreeSet::new());
    let tests = || {
        tests
            .iter()
            .filter(|source| source.path.starts_with("tests/it"))
    };
    let files = Files(
        tests()
            .map(|s| (s.path.as_str(), (imports(s), bodies(s))))
            .collect(),
    );
    for source in tests() {
        for at in words(&source.code, "fn") {
            let body = block_after(&source.code, at).unwrap_or_default();
            let drives = ["everywhere", "everywhere_alone"];
            let drives = drives
                .iter()
                .any(|driver| words(&source.code[body.clone()], driver).next().is_some());
            let covers = covers(source.docs_above(at));
            let test = source.docs_above(at).contains("#[test]");
            if test && drives && covers.is_empty() {
                let remedy = "name the operations it cuts: `/// Covers: sleep, Event::wait`";
                found.push(source.finding(at, "a round without a `Covers:` line", remedy));
            }
            if covers.is_empty() {
                continue;
            }
            let cut = cut_in(&source.path, &source.code[body.clone()], &files);
            for name in covers {
                if !drives || !test || !all.contains_key(&name) || !is_cut(&name, &cut) {
                    let rule = format!("`{name}` is covered by name only, or is no operation");
                    let remedy = "hand it to `Cut::apply` in this round, or take the name out";
                    found.push(source.finding(at, rule, remedy));
                }
                covered.insert(name);
            }
        }
    }
    for (name, operation) in all.iter().filter(|(name, _)| !covered.contains(*name)) {
        found.push(Finding {
            file: operation.file.clone(),
            line: operation.line,
            rule: format!("`{name}` is never cancelled by a test"),
            remedy: "give it a round of the driver (tests/it/cut.rs), named in its `Covers:` line",
        });
    }
    found
}

/// The functions and macros of a file, by name; functions of one name together.
type Bodies<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn bodies(source: &Source) -> Bodies<'_> {
    let code = source.code.as_str();
    let mut bodies = Bodies::new();
    for word in ["fn", "macro_rules!"] {
        for at in words(code, word) {
            let name = ident(code[at + word.len()..].trim_start());
            if let Some(block) = block_after(code, at).filter(|_| !name.is_empty()) {
                bodies.entry(name).or_default().push(&code[block]);
            }
        }
    }
    bodies
}

/// Returns the imports of a file from other files of the tests.
fn imports(source: &Source) -> String {
    let code = source.code.as_str();
    let ours = ["use crate::", "use super::"];
    let starts = ours.iter().flat_map(|start| code.match_indices(start));
    let ends = |at: usize| code[at..].find(';').map_or(code.len(), |end| at + end);
    starts.map(|(at, _)| &code[at..ends(at)]).collect()
}

/// The files of the tests: their imports, and their functions.
struct Files<'a>(BTreeMap<&'a str, (String, Bodies<'a>)>);

impl<'a> Files<'a> {
    /// Returns the bodies that a call in the file at `path` runs, with their paths.
    fn find(&self, path: &str, name: &str) -> Vec<(&'a str, &'a str)> {
        let of = |(path, (_, bodies)): (&&'a str, &(String, Bodies<'a>))| {
            let bodies = bodies.get(name).into_iter().flatten();
            bodies.map(|body| (*path, *body)).collect::<Vec<_>>()
        };
        let own = self.0.get_key_value(path).map(of).unwrap_or_default();
        let imported = || {
            let imports = self.0.get(path).map_or("", |(imports, _)| imports);
            words(imports, name).next().is_some()
        };
        match own.is_empty() && imported() {
            true => self.0.iter().flat_map(of).collect(),
            false => own,
        }
    }
}

/// Returns the arguments of `apply` in a body, and in the functions it calls.
fn cut_in<'a>(path: &'a str, body: &'a str, files: &Files<'a>) -> Vec<&'a str> {
    let (mut cut, mut seen, mut open) = (Vec::new(), BTreeSet::new(), vec![(path, body)]);
    while let Some((path, body)) = open.pop() {
        for at in words(body, "apply") {
            let handed = arguments(body, at + "apply".len());
            cut.push(&body[handed.clone()]);
            cut.extend(made_of(body, &body[handed]));
        }
        for name in called(body) {
            if seen.insert((path, name)) {
                open.extend(files.find(path, name));
            }
        }
    }
    cut
}

/// Returns the expressions that made the futures in `handed`: `let job = run_in_thread(..);`. A
/// result that was awaited there is not part of them.
fn made_of<'a>(body: &'a str, handed: &'a str) -> Vec<&'a str> {
    let (mut made, mut seen, mut open) = (Vec::new(), BTreeSet::new(), vec![handed]);
    while let Some(code) = open.pop() {
        for name in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if name.is_empty() || !seen.insert(name) {
                continue;
            }
            let lets = [format!("let {name} = "), format!("let mut {name} = ")];
            for start in lets
                .iter()
                .flat_map(|made| body.match_indices(made.as_str()))
            {
                let (statement, waits) = statement(&body[start.0 + start.1.len()..]);
                if !waits {
                    made.push(statement);
                    open.push(statement);
                }
            }
        }
    }
    made
}

/// Returns the rest of a statement, and true if it awaits something outside of braces.
fn statement(code: &str) -> (&str, bool) {
    let (mut depth, mut braces, mut waits) = (0, 0, false);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            b'.' if braces == 0 => waits |= code[at..].starts_with(".await"),
            b';' if depth + braces == 0 => return (&code[..at], waits),
            _ => {}
        }
    }
    (code, waits)
}

/// Returns the names of functions that a body may call or pass on; methods are left out.
fn called(body: &str) -> impl Iterator<Item = &str> {
    let calls = body
        .match_indices(['(', '!', ':', ')', ','])
        .map(|(at, _)| at);
    calls.filter_map(move |end| {
        let start = body[..end].rfind(|c: char| !c.is_alphanumeric() && c != '_');
        let start = start.map_or(0, |before| before + 1);
        let method = body[..start].ends_with('.');
        (start < end && !method).then_some(&body[start..end])
    })
}

/// Returns the parentheses that open at `at`.
fn arguments(code: &str, at: usize) -> Range<usize> {
    let mut depth = 0;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return at..offset;
        }
    }
    at..at
}

/// True if the operation is called in one of these. A type that is awaited itself has no call.
fn is_cut(name: &str, cut: &[&str]) -> bool {
    let called = name.rsplit("::").next().unwrap_or(name);
    if name == called && name.starts_with(char::is_uppercase) {
        return !cut.is_empty();
    }
    let is_call = |code: &str, at: usize| {
        let rest = &code[at + called.len()..];
        rest.starts_with(['(', ',', ')', ';']) || rest.starts_with("::<")
    };
    cut.iter()
        .any(|code| words(code, called).any(|at| is_call(code, at)))
}

/// Returns the names after `Covers:`, to the end of the paragraph.
fn covers(docs: &str) -> Vec<String> {
    let lines = docs
        .lines()
        .map(|line| line.trim_start().trim_start_matches("///").trim());
    let mut lines = lines.skip_while(|line| !line.starts_with("Covers:"));
    let Some(first) = lines.next() else {
        return Vec::new();
    };
    let more = lines.take_while(|line| !line.is_empty() && !line.starts_with("#["));
    let text: Vec<&str> = [first.trim_start_matches("Covers:")]
        .into_iter()
        .chain(more)
        .collect();
    let text = text.join(" ");
    let names = text.trim_end_matches('.').split(',');
    names
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}
