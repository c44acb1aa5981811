//! The house rules as a test: layers, sizes, forbidden words, documents that keep up with the code.
//!
//! `house_rules_hold` reads the tree and fails with one paragraph per finding: file, line, rule,
//! remedy. `CONTRIBUTING.md` has the rules and their reasons.

mod cancel;
mod documents;
mod figures;
mod people;
mod rounds;
mod rules;
mod snippets;
mod source;

use std::fmt;
use std::fs;
use std::path::Path;

use crate::cancel::{GUIDE, check_guide, operations};
use crate::documents::check_documents;
use crate::figures::check_figures;
use crate::people::check_persons;
use crate::rounds::check_rounds;
use crate::rules::{
    builders, check_cancel_docs, check_counts, check_foreign_errors, check_form, check_layers,
    check_strangers, check_words,
};
use crate::source::Source;

/// One broken rule.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) rule: String,
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}\n    {}",
            self.file, self.line, self.rule, self.remedy
        )
    }
}

/// Reads the Rust files below a folder, except those that are meant not to compile.
fn read(root: &Path, folder: &str, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("a readable folder")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    for name in names
        .into_iter()
        .filter(|name| !matches!(&name[..], "compile_fail" | "target"))
    {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            read(root, &path, sources);
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(root.join(&path)).expect("a readable source file");
            sources.push(Source::new(&path, &text));
        }
    }
}

/// Returns the documents for users: those of the root and of `docs`.
fn documents(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs/"] {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let texts = names.filter(|name| name.ends_with(".md"));
        found.extend(texts.map(|name| format!("{folder}{name}")));
    }
    found.sort();
    found
}

#[test]
fn house_rules_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut library = Vec::new();
    read(root, "src", &mut library);
    assert!(
        library.iter().any(|source| source.path == "src/lib.rs"),
        "no src/lib.rs: no check"
    );
    let mut others = Vec::new();
    for folder in ["tests", "examples", "benches", "crates", "fuzz"] {
        read(root, folder, &mut others);
    }

    let builders = builders(&library);
    let mut found: Vec<Finding> = library.iter().chain(&others).flat_map(check_form).collect();
    for source in &library {
        found.extend(check_layers(source));
        found.extend(check_words(source));
        found.extend(check_cancel_docs(source, &builders));
    }
    found.extend(check_strangers(&library));
    found.extend(check_counts(&library));
    for source in library.iter().chain(&others) {
        found.extend(check_foreign_errors(&source.path, &source.text));
    }
    for path in documents(root) {
        let text = fs::read_to_string(root.join(&path)).expect("a readable document");
        found.extend(check_foreign_errors(&path, &text));
    }
    found.extend(check_persons(library.iter().chain(&others)));
    found.extend(check_documents(root, &library, &others));
    found.extend(check_figures(root));
    match operations(&library, &builders) {
        Ok(all) => {
            let guide = fs::read_to_string(root.join(GUIDE)).unwrap_or_default();
            found.extend(check_guide(&guide, &all));
            found.extend(check_rounds(&others, &all));
        }
        Err(twice) => found.extend(twice),
    }

    let report: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(
        report.is_empty(),
        "{} broken house rules:\n{}",
        report.len(),
        report.join("\n")
    );
}
