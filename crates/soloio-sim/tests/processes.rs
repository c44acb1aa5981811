//! The seeds of a check in several processes: they find the same, and fail alike.

use std::env;
use std::process::{Command, Output};

use soloio_sim::{check, run, sometimes};

/// Set when a test here runs another one.
const FAILS: &str = "SOLOIO_SIM_FAILS";

/// Runs a test of this program with its seeds split among three processes.
fn split(test: &str) -> Output {
    begun_at(test, 0)
}

/// The same from another first seed on.
fn begun_at(test: &str, first: u64) -> Output {
    let program = env::current_exe().expect("this test's program");
    let split = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env("SOLOIO_PROCESSES", "3")
        .env("SOLOIO_FIRST", first.to_string())
        .env(FAILS, "1")
        .output();
    split.expect("it runs")
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

#[test]
fn each_is_met_once() {
    // Each of them in another process, and the last one in the first again.
    check(4, |seed| {
        run(async { (0..4).for_each(|n| sometimes(n == seed, &format!("seed {n}"))) });
    });
    check(2, |seed| {
        run(async { sometimes(seed == 1, "another check") })
    });
}

/// It fails only when another test runs it.
#[test]
fn the_eighth_fails() {
    if env::var_os(FAILS).is_none() {
        return;
    }
    check(10, |seed| run(async { assert!(seed != 8, "the eighth") }));
}

#[test]
#[should_panic(expected = "the eighth")]
fn the_eighth_fails_as_it_should() {
    check(10, |seed| run(async { assert!(seed != 8, "the eighth") }));
}

#[test]
fn what_is_met_in_any_process_is_met() {
    let output = split("each_is_met_once");
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("4 seeds hold"), "{}", text(&output));
}

#[test]
fn a_seed_that_fails_in_another_process_fails_the_check() {
    let output = split("the_eighth_fails");
    assert!(!output.status.success(), "{}", text(&output));
    let told = text(&output).contains("again: SOLOIO_SEED=8 cargo test the_eighth_fails");
    assert!(told, "{}", text(&output));
    let output = split("the_eighth_fails_as_it_should");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn seeds_begin_with_the_first_one() {
    assert!(!begun_at("the_eighth_fails", 8).status.success());
    let output = begun_at("the_eighth_fails", 9);
    assert!(output.status.success(), "{}", text(&output));
}
