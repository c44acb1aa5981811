//! Bad code for each rule, and good code similar to it: a check that cannot fail protects nothing.

use std::path::Path;

use crate::cancel::operations;
use crate::documents::{
    check_changelog, check_doubled, check_head, check_headings, check_layers_named, check_length,
    check_links, check_rows,
};
use crate::figures::{check_misses, check_ratios, check_sizes};
use crate::people::check_persons;
use crate::rounds::check_rounds;
use crate::rules::{
    ROWS, builders, check_cancel_docs, check_counts, check_foreign_errors, check_form,
    check_layers, check_strangers, check_words,
};
use crate::source::Source;

/// The file below src, its code below a valid head line (`~` ends a line), the one rule it breaks.
const CASES: &str = r##"
reactor/mod.rs | use crate::executor::Slots; | `reactor` imports `executor`
executor/mod.rs | fn f() { crate::reactor::g() } | `executor` imports `reactor`
sys/mod.rs | use crate::{error::Error, time}; | `sys` imports `time`
error.rs | pub(crate) use crate::sys::errno; | `error` imports `sys`
time.rs | use super::net::TcpStream; | `time` imports `net`
task/group.rs | use super::super::stream::X; | `task` imports `stream`
task/mod.rs | mod m { use super::super::stream::X; } | `task` imports `stream`
net/tcp.rs | use crate::{net::core, sys::{self, net}, error::*}; |
net/tcp.rs | mod m { use super::super::connect; } use super::udp; |
net/tcp.rs | /// See crate::Error and [`x`](crate::connect_tcp). |
net/tcp.rs | use crate::Error; | `crate::Error` names no layer
net/tcp.rs | use crate::*; | `crate::*` names no layer
other.rs | | module `other` is in no layer
net/tcp.rs | fn f() { libc::close(1); } | `libc` is named above sys
runtime/mod.rs | use mio; | `mio` is named above sys
sys/socket.rs | use socket2::Socket; unsafe fn f() {} |
time.rs | fn f() { Instant::now(); } | the time is read above sys
net/tcp.rs | unsafe fn f() {} | `unsafe` outside its three places
net/tcp.rs | #![deny(unsafe_code)] // unsafe~const A: &str = "unsafe \" unsafe"; |
net/tcp.rs | fn f() { x.unwrap(); } | `.unwrap()` in library code
net/tcp.rs | #[cfg(test)]~mod tests { fn f() { x.unwrap(); } } |
net/tcp.rs | #[cfg(test)]~mod tests { }~fn f() { x.unwrap(); } | `.unwrap()` in library code
net/tcp.rs | const A: &str = r#"" x.unwrap() "#; /* /* */ dbg!(1) */ |
net/tcp.rs | fn f<'a>(c: char) { c == '"' && c == '\'' && c == 'é'; dbg!(c) } | `dbg!` is left
net/tcp.rs | fn f() { todo!() } | `todo!` is left
net/tcp.rs | fn f() { unimplemented!() } | `unimplemented!` is left
net/tcp.rs | #[ignore = "slow"] | `#[ignore` is left
net/tcp.rs | fn f() {~    let _ = g();~} | `let _ =` drops a value
net/tcp.rs | fn f() {~    // The peer has gone.~    let _ = g();~} |
net/tcp.rs | /// Waits.~pub async fn f() {} | `f` suspends
net/tcp.rs | m! {~    /// Waits.~    pub async fn f() {}~} | `f` suspends
net/tcp.rs | pub trait T {~    async fn f(&self);~} | `f` suspends
net/tcp.rs | pub fn f(a: [u8; 2]) -> impl Future<Output = ()> {} | `f` suspends
net/tcp.rs | impl IntoFuture for B {}~pub fn f() -> B<'_> where F: Fn() -> u8 {} | `f` suspends
net/tcp.rs | /// # Cancel safety~/// No.~#[inline]~pub async fn f() {} |
net/tcp.rs | pub(crate) async fn f() {}~pub fn g() -> u8 {} |
"##;

/// Returns the rules that one file breaks.
fn broken(path: &str, text: &str) -> Vec<String> {
    let sources = [Source::new(path, text)];
    let source = &sources[0];
    let checks = [
        check_form(source),
        check_layers(source),
        check_words(source),
    ];
    let docs = check_cancel_docs(source, &builders(&sources));
    checks
        .into_iter()
        .flatten()
        .chain(docs)
        .map(|finding| finding.rule)
        .collect()
}

#[test]
fn each_check_can_fail() {
    for case in CASES.lines().filter(|case| !case.is_empty()) {
        let parts: Vec<&str> = case.split('|').map(str::trim).collect();
        let [path, code, rule] = parts[..] else {
            panic!("three parts: {case}")
        };
        let text = format!("//! Head.\n{}", code.replace('~', "\n"));
        let rules = broken(&format!("src/{path}"), &text);
        let right = match rule {
            "" => rules.is_empty(),
            rule => rules.len() == 1 && rules[0].contains(rule),
        };
        assert!(right, "{case}\nfound {rules:?}");
    }
}

#[test]
fn sizes_have_limits() {
    let of = |text: String| broken("src/net/tcp.rs", &text);
    let lines = |count: usize| "\n".repeat(count);
    assert_eq!(of(format!("//! Head.{}", lines(400))), Vec::<String>::new());
    assert_eq!(
        of(format!("//! Head.{}x", lines(400))),
        ["the file has 401 lines, more than 400"]
    );
    assert_eq!(
        of(format!("//! It is long because of x.{}", lines(600))),
        Vec::<String>::new()
    );
    let rules = of(format!("//! It is long because of x.{}x", lines(600)));
    assert_eq!(rules, ["the file has 601 lines, more than 600"]);
    let tests = format!(
        "//! Head.{}#[cfg(test)]\nmod tests {{}}{}",
        lines(400),
        lines(400)
    );
    assert_eq!(of(tests), Vec::<String>::new());

    let function = |count: usize| {
        let body = "    work(); // why\n\n".repeat(count);
        format!("//! Long because: x.\npub(crate) fn long() {{\n{body}}}\n")
    };
    assert_eq!(of(function(70)), Vec::<String>::new());
    assert_eq!(of(function(71)), ["`long` has 71 lines, more than 70"]);

    assert_eq!(of(format!("//! {}", "é".repeat(96))), Vec::<String>::new());
    assert_eq!(
        of(format!("//! {}", "é".repeat(97))),
        ["the line has more than 100 columns"]
    );
    assert_eq!(
        of("use std::fmt;\n".to_owned()),
        ["the first line is not a `//!` comment"]
    );
}

#[test]
fn checks_over_files_can_fail() {
    let file = |path: &str, name: &str| Source::new(path, &format!("use crate::{name}::X;"));
    let stream = [
        file("src/stream/a.rs", "reactor"),
        file("src/stream/b.rs", "executor"),
    ];
    assert_eq!(check_strangers(&stream).len(), 1);
    let runtime = [
        file("src/runtime/mod.rs", "reactor"),
        file("src/runtime/b.rs", "executor"),
    ];
    assert!(check_strangers(&runtime).is_empty());
}

#[test]
fn checks_of_documents_can_fail() {
    let paths = ["time.rs", "net/udp.rs", "net/mod.rs"].map(str::to_owned);
    let rules = |text: &str| {
        let found = check_rows("D.md", text, &paths);
        found
            .into_iter()
            .map(|finding| finding.rule)
            .collect::<Vec<_>>()
    };
    let all = "| `time.rs` | sleep |\n| `net/udp.rs`, `net/mod.rs` | as `net/tcp.rs` |\n";
    assert_eq!(rules(all), Vec::<String>::new());
    let twice = format!("{all}| `net/udp.rs` | UDP |");
    assert_eq!(rules(&twice), ["`net/udp.rs` has a row already, in line 2"]);
    let gone = format!("{all}| `net/tcp.rs` | TCP |");
    assert_eq!(rules(&gone), ["`net/tcp.rs` is no file"]);
    let missing = "| `time.rs` | |\n| `net/mod.rs` | not `net/udp.rs` |";
    assert_eq!(rules(missing), ["`net/udp.rs` has no row"]);

    let headings = |text: &str| check_headings("D.md", text).len();
    assert_eq!(headings("| **net** | |\n| `net/a.rs` | |\n| `b.rs` | |"), 0);
    assert_eq!(headings("| **net** | |\n| `sys/a.rs` | |"), 1);

    let head = |rows: &str| {
        let text = format!("//! Net.\n//!\n//! | file | what |\n{rows}\n\nmod udp;\n");
        check_head(&Source::new("src/net/mod.rs", &text), &paths).len()
    };
    assert_eq!(head("//! | `udp.rs` | UDP |"), 0);
    assert_eq!(head("//! | `tcp.rs` | TCP |"), 2);

    let modules: Vec<&str> = ROWS.iter().copied().flatten().copied().collect();
    assert!(check_layers_named("D.md", &modules.join("/ ")).is_empty());
    assert_eq!(
        check_layers_named("D.md", &modules[1..].join(" | ")).len(),
        1
    );

    let links = |text: &str| check_links("d/D.md", text, |path| path == Path::new("d/../A.md"));
    assert!(links("[a](../A.md), [b](../A.md#b), [c](https://d.example/), [d](#e)").is_empty());
    assert_eq!(links("[a](A.md) and [b](../A.md)").len(), 1);
    assert!(check_length(&"line\n".repeat(150)).is_none());
    assert!(check_length(&"line\n".repeat(151)).is_some());

    let line = "- what is too long to stand here twice by chance";
    let doubled = |text: String| check_doubled("D.md", &text).len();
    assert_eq!(doubled(format!("{line}\nand another\n{line}")), 1);
    assert_eq!(doubled(format!("{line}\n```text\n{line}\n{line}\n```")), 0);
    let row = "| `the first cell` | and the second one |";
    assert_eq!(doubled(format!("{row}\n{row}")), 1);
    assert_eq!(doubled(format!("{row}\n\n## Next\n\n{row}")), 0);

    assert!(check_changelog("# Changelog\n## [1.0.0]\nUnreleased").is_some());
    assert!(check_changelog("# Changelog\n\n## [Unreleased]\n").is_none());
}

#[test]
fn ratios_come_from_a_table() {
    let tables = "a row   ns   9.2   32.2 local   0.29   0.27..0.30   0.50  ok\n\
                  b        B   470   1024 local   1.46   1.46..1.50   0.35  MISS\n";
    let wrong = |text: &str| check_ratios("D.md", text, "## Speed", tables).len();
    assert_eq!(wrong("## Speed\n(0.29, 1.46), 10 to 20, in 0.29."), 0);
    assert_eq!(wrong("## Speed\n0.27 and 1.50 are ends, 0.50 a goal."), 3);
    assert_eq!(wrong("## Size\n0.27\n## Speed\n0.29\n## Size\n0.27"), 0);
    let says = |text: &str| check_misses("D.md", text, tables).is_none();
    assert!(says("targets, 1 of\n2 of which are missed"));
    assert!(!says("targets, 2 of 2 of which are missed"));
    let cost = "| 9.99 |\n<!-- footprint: sizes -->\n| echo | 5 | 4 | 1.25 |\n\
                | one | 3 | 4 | 0.75 |\n| more | 8 | 4 |  |\n<!-- end -->\n| 9.99 |\n";
    assert!(check_sizes("D.md", "are up to 25 % larger", cost).is_none());
    assert!(check_sizes("D.md", "are up to 23 % larger", cost).is_some());
}

/// The argument of the driver in a round, and whether that is `sleep` (`~` ends a line).
const ROUNDS: &str = r"
cut.apply(sleep(1)).await | yes
let slept = sleep(1);~join(cut.apply(slept), other()).await | yes
let both = async { sleep(1).await };~cut.apply(both).await | yes
helped(cut).await~}~async fn helped(cut: Cut) {~cut.apply(time::sleep(1)).await | yes
helped!(cut)~}~macro_rules! helped {~($cut:expr) => { $cut.apply(sleep(1)) } | yes
cut.apply(other()).await;~sleep(1).await | no
let other = other(sleep(1).await);~cut.apply(other).await | no
cut.apply(other(sleepless(), sleep.a)).await | no
other(cut).await~}~async fn helped(cut: Cut) {~cut.apply(sleep(1)).await | no
";

#[test]
fn a_round_cuts_what_it_covers() {
    let library = [Source::new(
        "src/time.rs",
        "/// # Cancel safety\npub async fn sleep() {}",
    )];
    let Ok(all) = operations(&library, &[]) else {
        panic!("it is declared once")
    };
    let found = |docs: &str, body: &str| {
        let body = format!("{docs}#[test]\nfn t() {{\neverywhere(async |cut| {body});\n}}\n");
        let rounds = [Source::new("tests/it/r.rs", &body)];
        let found = check_rounds(&rounds, &all).into_iter();
        found.map(|finding| finding.rule).collect::<Vec<_>>()
    };
    for case in ROUNDS.lines().filter(|case| !case.is_empty()) {
        let (body, cut) = case.rsplit_once(" | ").expect("two parts");
        // The closure's brace ends before the functions that the round calls.
        let (body, more) = body.split_once("~}~").unwrap_or((body, ""));
        let after = if more.is_empty() {
            String::new()
        } else {
            format!("{more}\n}}")
        };
        let text = format!("{{\n{body}\n}});\n}}\n{after}").replace('~', "\n");
        let rules = found("/// Covers: sleep.\n", &text);
        assert_eq!(rules.is_empty(), cut == "yes", "{case}\n{rules:?}");
    }
    let cut = "{ cut.apply(sleep(1)) }";
    assert_eq!(
        found("", cut),
        [
            "a round without a `Covers:` line",
            "`sleep` is never cancelled by a test"
        ]
    );
}

#[test]
fn comments_have_few_words_for_persons() {
    let lines = "// It waits.\n".repeat(332);
    let rules = |path: &str, last: &str| {
        let source = Source::new(path, &format!("//! Head.\n{lines}{last}"));
        let found = check_persons([&source].into_iter());
        found.iter().map(|it| it.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        rules("tests/it/x.rs", "let who = \"nobody\"; /// Whose."),
        [""; 0]
    );
    assert_eq!(
        rules("tests/it/x.rs", "// Whoever waits for whom."),
        [""; 0]
    );
    let over = rules("tests/it/x.rs", "/// Nobody.\n    // Somebody\n");
    assert_eq!(over.len(), 1);
    assert!(over[0].starts_with("tests/it/x.rs:335: 2 words for persons in 335 comment lines"));
}

#[test]
fn a_finding_names_file_line_rule_and_remedy() {
    let found = check_words(&Source::new(
        "src/net/tcp.rs",
        "//! Head.\n\nunsafe fn f() {}\n",
    ));
    assert_eq!(
        found[0].to_string(),
        "src/net/tcp.rs:3: `unsafe` outside its three places\n    \
         do without, or put it into src/sys behind a safe function"
    );
}

#[test]
fn what_may_only_become_rarer_is_counted() {
    let text = "unsafe { f() }\nunsafe fn f() {}\nfn g(&self) -> RefMut<'_, X> { x }\n\
        fn h(&self) -> X { self.x.borrow().clone() }\n#[cfg(test)]\nmod tests { unsafe { f() } }\n";
    let found = check_counts(&[Source::new("src/sys/a.rs", text)]);
    let rules: Vec<&str> = found.iter().map(|finding| finding.rule.as_str()).collect();
    assert!(
        rules[0].starts_with("there are 1 `unsafe` blocks"),
        "{rules:?}"
    );
    assert!(rules[1].starts_with("there are 1 functions"), "{rules:?}");
}

#[test]
fn examples_pass_foreign_errors_on() {
    let bad = "x.parse().map_err(soloio::Error::other)?;";
    let shown = format!("/// {bad}");
    let found = |path, text: &str| check_foreign_errors(path, text).len();
    assert_eq!(found("examples/a.rs", bad), 1);
    assert_eq!(found("crates/c/examples/a.rs", bad), 1);
    assert_eq!(found("docs/a.md", bad), 1);
    assert_eq!(found("src/a.rs", &shown), 1);
    assert_eq!(found("src/a.rs", bad), 0, "code of the library's");
    assert_eq!(found("docs/a.md", "no `.map_err(Error::other)` is left"), 0);
    assert_eq!(found("examples/a.rs", "x.parse()?;"), 0);
}
