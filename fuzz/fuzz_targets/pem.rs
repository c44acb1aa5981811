//! Text that is read as PEM. `cargo test` runs the same body, with generated inputs.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/pem.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::run(input));
