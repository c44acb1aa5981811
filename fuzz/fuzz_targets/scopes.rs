//! A tree of scopes beside a twin. `cargo test` runs the same body, with generated inputs.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/scopes.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::run(input));
