//! The world against the real kernel: random scripts of system calls on both, over loopback, have
//! to give the same results, errors, counts, bytes and epoll bits.
//!
//! `SOLOIO_SCRIPTS=100000 cargo test --release -p soloio-sim --test differential` is the long form.
//!
//! `script.rs` lists the exceptions, with reasons.

#![allow(unsafe_code, reason = "it makes system calls")]

mod address;
mod answer;
mod datagrams;
mod kernel;
mod moved;
mod script;

use std::env;

use answer::Answer;
use kernel::Kernel;
use script::{Op, script};
use soloio_sim::{Rng, run};

/// How often a script with a difference runs again on the real kernel, which may be late under
/// load.
const AGAIN: u32 = 3;

fn in_world(ops: &[Op], family: i32) -> Vec<Answer> {
    run(async {
        let mut kernel = Kernel::new(family);
        ops.iter().map(|op| kernel.perform(*op)).collect()
    })
}

/// Runs a script on the real kernel; returns the first difference.
fn difference(ops: &[Op], family: i32, expected: &[Answer], patient: bool) -> Option<String> {
    let mut kernel = Kernel::new(family);
    for (at, (op, expected)) in ops.iter().zip(expected).enumerate() {
        let answer = kernel.perform_like(*op, expected, patient);
        if answer.met_another_socket(expected) {
            return None;
        }
        if answer != *expected {
            let before: Vec<String> = ops[..at].iter().map(|op| format!("  {op:?}")).collect();
            return Some(format!(
                "{}\nstep {at}, {op:?}: the kernel says {answer:?}, the world {expected:?}",
                before.join("\n")
            ));
        }
    }
    None
}

/// Makes a script.
type Script = fn(&mut Rng, i32) -> Vec<Op>;

fn compare(script: Script, seed: u64, family: i32) -> Result<(), String> {
    let ops = script(&mut Rng::new(seed), family);
    let expected = in_world(&ops, family);
    let mut found = difference(&ops, family, &expected, false);
    for _ in 0..AGAIN {
        match found {
            None => return Ok(()),
            Some(_) => found = difference(&ops, family, &expected, true),
        }
    }
    match found {
        None => Ok(()),
        Some(found) => Err(format!("script {seed}, family {family}:\n{found}")),
    }
}

fn compare_all(script: Script, count: u64) {
    let count = env::var("SOLOIO_SCRIPTS").map_or(count, |text| text.parse().expect("a number"));
    let first: u64 = env::var("SOLOIO_SEED").map_or(0, |text| text.parse().expect("a number"));
    let mut differences = Vec::new();
    for seed in first..first + count {
        // The same script with both families, in every fourth seed.
        for family in [libc::AF_INET, libc::AF_INET6] {
            if family == libc::AF_INET6 && seed % 4 != 0 {
                continue;
            }
            if let Err(found) = compare(script, seed, family) {
                differences.push(found);
            }
        }
        if differences.len() == 5 {
            break;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn the_world_does_what_the_kernel_does() {
    compare_all(script, 10_000);
}

#[test]
fn datagrams_in_segments_do_what_the_kernel_makes_of_them() {
    compare_all(datagrams::script, 4_000);
}
