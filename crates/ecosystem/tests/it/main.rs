//! Runs crates of others on soloio: a test for each row of `docs/ecosystem.md` that says "tried".

mod cannot;
mod databases;
mod examples;
mod over_futures_io;
mod over_tokio_io;
mod pure;
mod quic;
#[path = "../../../soloio-hyper/tests/it/running.rs"]
mod running;
mod support;
mod table;
mod threads;
