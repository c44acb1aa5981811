//! Making a runtime, using it for one trivial future, and dropping it. Nanoseconds each.
//!
//! soloio has two ways: `block_on`, which makes only the parts that the future needs, and
//! `Runtime::new`, which another loop can drive. tokio has one.

use std::hint::black_box;
use std::io;

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

pub fn by_block_on(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => repeat(count, |number| Ok(soloio::block_on(async { number }))),
        Side::TokioCurrent | Side::TokioLocal => as_value(side, count),
    }
}

pub fn as_value(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => repeat(count, |number| {
            let mut runtime = soloio::Runtime::new()?;
            Ok(runtime.block_on(async { number }))
        }),
        Side::TokioCurrent => repeat(count, tokio::<CurrentThread>),
        Side::TokioLocal => repeat(count, tokio::<Local>),
    }
}

fn tokio<F: Flavour>(number: u64) -> io::Result<u64> {
    Ok(F::block_on(&F::runtime()?, async { number }))
}

fn repeat(count: u64, once: impl Fn(u64) -> io::Result<u64>) -> io::Result<f64> {
    let watch = Stopwatch::start();
    for number in 0..count {
        assert_eq!(once(black_box(number))?, number);
    }
    Ok(nanos_each(watch.read(), count))
}
