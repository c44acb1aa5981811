//! soloio and tokio side by side; README.md explains each row.

mod cli;
mod counting;
mod flavour;
mod growth;
mod instructions;
mod load;
mod peers;
mod rounds;
mod rows;
mod server;
mod side;
mod sleeps;
mod sys;
mod table;
mod work;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, How, Mode};
use crate::counting::Counting;
use crate::instructions::Profiles;
use crate::side::Side;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many times the instructions of before are too many. Other compilers differ by less.
const MORE: f64 = 1.05;

/// The same for connections of one request each: how many of them share a turn of the loop, a
/// fifth of their cost, depends on what else the machine does (5,556 to 5,877 in runs of one
/// build).
const MORE_REQUESTS: f64 = 1.1;

fn main() -> ExitCode {
    let Arguments { command, how } = Arguments::parse();
    let result = match command {
        None => measure(&[], how),
        Some(Mode::Row { keys }) => measure(&keys, how),
        Some(Mode::List) => {
            list();
            Ok(true)
        }
        Some(Mode::Once { side, key }) => once(side, &key, how),
        Some(Mode::Instructions {
            keys,
            keep,
            against,
        }) => count(&keys, keep, against, how),
        Some(Mode::Peers) => peers::run(how.rounds(5), how.quick).map(|()| true),
        Some(Mode::Growth) => growth::run(how.rounds(5), how.quick).map(|()| true),
        Some(Mode::Sleeps) => sleeps::run(how.rounds(5), how.quick).map(|()| true),
        Some(Mode::Server { side, kind, core }) => server::run(side, kind, core).map(|()| true),
    };
    match result {
        Ok(reached) if reached || !how.strict => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soloio-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for row in rows::all() {
        println!("{:<18} {}", row.key, row.title);
    }
    println!("\ninstructions:");
    for counted in instructions::all() {
        println!("{:<18} {}", counted.key, counted.title);
    }
}

/// Measures the rows with these names, or all; returns true if all reached their targets.
fn measure(keys: &[String], how: How) -> io::Result<bool> {
    let rows = rows::all();
    reject_unknown(keys, &rows.iter().map(|row| row.key).collect::<Vec<_>>())?;
    table::head();
    let mut reached = true;
    for row in rows.iter().filter(|row| chosen(keys, row.key)) {
        let verdict = rounds::run(row, how.rounds(7), how.quick)?;
        table::line(row.title, row.unit, row.target, &verdict);
        reached &= verdict.reached;
    }
    Ok(reached)
}

/// Measures one side of the row with this name, and nothing else.
fn once(side: Side, key: &str, how: How) -> io::Result<bool> {
    let all = rows::all();
    let row = all
        .iter()
        .find(|row| row.key == key)
        .ok_or_else(|| unknown(key))?;
    println!("{:.1} {}", row.measure(side, how.quick)?, row.unit);
    Ok(true)
}

/// Counts the instructions of the servers with these names, or all; compares them with a table.
fn count(
    keys: &[String],
    keep: Option<PathBuf>,
    against: Option<PathBuf>,
    how: How,
) -> io::Result<bool> {
    let all = instructions::all();
    reject_unknown(keys, &all.each_ref().map(|counted| counted.key))?;
    if !instructions::available() {
        println!("valgrind is not installed: no instructions counted");
        return Ok(true);
    }
    let before = against.map(fs::read_to_string).transpose()?;
    let profiles = Profiles::new(keep)?;
    table::head();
    let (mut reached, mut more) = (true, Vec::new());
    for counted in all.iter().filter(|counted| chosen(keys, counted.key)) {
        let verdict = instructions::run(counted, &profiles, how.rounds(3), how.quick)?;
        table::line(counted.title, "ins", counted.target, &verdict);
        reached &= verdict.reached;
        let before = before
            .as_deref()
            .and_then(|before| table::before(before, counted.title));
        // Another processor changes the counts of both sides, another tokio the ratio.
        if let Some((ours, ratio)) = before {
            let most = match counted.key {
                "tcp-request" => MORE_REQUESTS,
                _ => MORE,
            };
            if verdict.soloio > ours * most && verdict.ratio.median > ratio * most {
                more.push(counted.key);
            }
        }
    }
    match more.is_empty() {
        true => Ok(reached),
        false => Err(io::Error::other(format!("more than before: {more:?}"))),
    }
}

fn chosen(keys: &[String], key: &str) -> bool {
    keys.is_empty() || keys.iter().any(|wanted| wanted == key)
}

fn reject_unknown(keys: &[String], known: &[&str]) -> io::Result<()> {
    match keys.iter().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(unknown(key)),
        None => Ok(()),
    }
}

fn unknown(key: &str) -> io::Error {
    io::Error::other(format!("no row {key:?}; try `list`"))
}
