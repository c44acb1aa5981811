//! A Rust file for the rules: comments and literals blanked out, searched by word and brace.
//!
//! Nothing is parsed. That is enough for code that rustfmt has laid out, and needs no dependency.

use std::ops::Range;

use crate::Finding;

/// One Rust file: as written, and with comments and literals blanked out byte by byte.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let mut tests: Vec<_> = words(&code, "#[cfg(test)]")
            .map(|at| at..block_after(&code, at).map_or(at, |block| block.end))
            .collect();
        if path.starts_with("src/") && path.ends_with("/tests.rs") {
            tests.push(0..code.len());
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            tests,
        }
    }

    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    pub(crate) fn finding(
        &self,
        at: usize,
        rule: impl Into<String>,
        remedy: &'static str,
    ) -> Finding {
        Finding {
            file: self.path.clone(),
            line: self.line_of(at),
            rule: rule.into(),
            remedy,
        }
    }

    /// True if the place lies in an inline `#[cfg(test)]` item, or in a file of tests.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Returns the module path below the crate root: `["net", "tcp"]` for `src/net/tcp.rs`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/')
            .filter(|part| !matches!(*part, "mod" | "lib"))
            .collect()
    }

    /// Returns the comments and attributes right above the line of `at`.
    pub(crate) fn docs_above(&self, at: usize) -> &str {
        let end = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let mut start = end;
        while start > 0 {
            let above = self.text[..start - 1]
                .rfind('\n')
                .map_or(0, |newline| newline + 1);
            let line = self.text[above..start].trim();
            if !["//", "#[", "$(#["]
                .iter()
                .any(|start| line.starts_with(start))
            {
                break;
            }
            start = above;
        }
        &self.text[start..end]
    }
}

/// Replaces comments and the insides of literals by spaces; lines and offsets stay the same.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(text, at);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole comments and literals were replaced by ASCII")
}

/// Returns the end of the comment or literal that starts at `at`, or `at` itself.
pub(crate) fn skip(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let after = |from: usize, what: &str| {
        text.get(from..)
            .and_then(|rest| rest.find(what))
            .map_or(text.len(), |i| from + i)
    };
    match (bytes[at], bytes.get(at + 1)) {
        (b'/', Some(b'/')) => after(at, "\n"),
        (b'/', Some(b'*')) => {
            let (mut depth, mut end) = (1, at + 2);
            while depth > 0 && end < bytes.len() {
                match (bytes[end], bytes.get(end + 1)) {
                    (b'/', Some(b'*')) => (depth, end) = (depth + 1, end + 2),
                    (b'*', Some(b'/')) => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
            }
            end
        }
        (b'r', Some(b'"' | b'#')) => {
            let hashes = bytes[at + 1..]
                .iter()
                .take_while(|byte| **byte == b'#')
                .count();
            if bytes.get(at + 1 + hashes) != Some(&b'"') {
                return at; // a raw identifier
            }
            let close = format!("\"{}", "#".repeat(hashes));
            (after(at + 2 + hashes, &close) + close.len()).min(text.len())
        }
        (b'"', _) => quoted(bytes, at + 1, b'"'),
        (b'\'', Some(b'\\')) => quoted(bytes, at + 1, b'\''),
        (b'\'', Some(_)) => {
            // A character is closed right after it; otherwise this is a lifetime.
            let width = text[at + 1..].chars().next().map_or(0, char::len_utf8);
            if bytes.get(at + 1 + width) == Some(&b'\'') {
                at + 2 + width
            } else {
                at
            }
        }
        _ => at,
    }
}

/// Returns the place after the closing quote, with backslashes considered.
pub(crate) fn quoted(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns the leading identifier of `text`.
pub(crate) fn ident(text: &str) -> &str {
    &text[..text
        .bytes()
        .position(|byte| !is_word(byte))
        .unwrap_or(text.len())]
}

/// Returns the places of `word` where it is not part of a longer word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let end = at + word.len();
            let free = |this: u8, neighbour: Option<&u8>| {
                !is_word(this) || neighbour.is_none_or(|byte| !is_word(*byte))
            };
            let before = at.checked_sub(1).map(|i| &bytes[i]);
            free(bytes[at], before) && free(bytes[end - 1], bytes.get(end))
        })
}

/// Returns the braces that open after `at`, unless a semicolon ends the item first.
pub(crate) fn block_after(code: &str, at: usize) -> Option<Range<usize>> {
    let (mut nested, mut start, mut braces) = (0_i32, None, 0_i32);
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b';' if nested == 0 && start.is_none() => return None,
            b'{' => {
                start.get_or_insert(offset);
                braces += 1;
            }
            b'}' if start.is_some() => {
                braces -= 1;
                if braces == 0 {
                    return start.map(|start| start..offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the first names of the path, or of the braced list of paths, that starts at `at`.
pub(crate) fn first_names(code: &str, at: usize) -> Vec<(usize, &str)> {
    let Some(list) = code[at..]
        .starts_with('{')
        .then(|| block_after(code, at))
        .flatten()
    else {
        let name = if code[at..].starts_with('*') {
            "*"
        } else {
            ident(&code[at..])
        };
        return vec![(at, name)];
    };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (offset, byte) in code[..list.end - 1]
        .bytes()
        .enumerate()
        .skip(list.start + 1)
    {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => fresh = true,
            _ if fresh && (is_word(byte) || byte == b'*') => {
                fresh = false;
                names.push((
                    offset,
                    if byte == b'*' {
                        "*"
                    } else {
                        ident(&code[offset..])
                    },
                ));
            }
            _ => {}
        }
    }
    names
}

/// Returns every name this file takes from the crate root, by `crate::` or enough `super::`.
pub(crate) fn root_names(source: &Source) -> Vec<(usize, &str)> {
    let code = source.code.as_str();
    let mut names: Vec<(usize, &str)> = words(code, "crate::")
        .flat_map(|at| first_names(code, at + "crate::".len()))
        .collect();
    let inline: Vec<Range<usize>> = words(code, "mod")
        .filter_map(|at| block_after(code, at).map(|block| at..block.end))
        .collect();
    for at in words(code, "super::").filter(|at| !code[..*at].ends_with("super::")) {
        let supers = code[at..]
            .split("super::")
            .take_while(|part| part.is_empty())
            .count();
        let depth = inline.iter().filter(|range| range.contains(&at)).count();
        if supers == source.module().len() + depth {
            names.extend(first_names(code, at + supers * "super::".len()));
        }
    }
    names
}
