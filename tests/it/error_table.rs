//! The table of all errors in `docs/guide.md`: its rows are the variants, and its last column is
//! what becomes of each as an `io::Error`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use soloio::net::{Resolver, Resolving};
use soloio::{
    Error, Host, Result, block_on, connect_tcp, create_memory_object_stream, run_in_thread,
    task_group,
};

use crate::net_support::run;
use crate::support::quiet_panic;

/// The names of the variants, in the order of the source.
fn variants() -> Vec<&'static str> {
    let source = include_str!("../../src/error.rs");
    let (_, body) = source.split_once("pub enum Error {").expect("the enum");
    let (body, _) = body.split_once("\n}").expect("its end");
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let name = line.split(['(', ',']).next()?;
        name.starts_with(char::is_uppercase).then_some(name)
    });
    names.collect()
}

/// The first and the last column of each row.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let guide = include_str!("../../docs/guide.md");
    let (_, table) = guide.split_once("| error | means |").expect("the table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let row = |line: &'static str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{line}");
        (cells[0].trim_matches('`'), cells[3])
    };
    rows.map(row).collect()
}

struct Nothing;

impl Resolver for Nothing {
    fn resolve<'a>(&'a self, _name: &'a str, _port: u16) -> Resolving<'a> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::NotFound).into()) })
    }
}

/// Returns one of each; `None` for a variant that this test does not know.
fn sample(name: &str) -> Option<Error> {
    let of_io = |kind| Error::from(io::Error::from(kind));
    let error = match name {
        "EndOfStream" => Error::EndOfStream,
        "Closed" => Error::Closed,
        "Broken" => {
            let (sender, _) = create_memory_object_stream(1);
            sender.send_nowait(()).expect_err("no receiver").into()
        }
        "Busy" => Error::Busy,
        "WouldBlock" => Error::WouldBlock,
        "Cancelled" => Error::Cancelled,
        "TimedOut" => Error::timed_out(Duration::from_secs(1), "testing"),
        "ConnectFailed" => run(async { connect_tcp("127.0.0.1", 1).await }).expect_err("refused"),
        "Resolve" => {
            let host = Host::from("nowhere.example").resolved_by(Arc::new(Nothing));
            run(async { connect_tcp(host, 1).await }).expect_err("no address")
        }
        "Tls" => {
            let connect = connect_tcp("127.0.0.1", 1).tls_hostname("");
            run(async { connect.await }).expect_err("no name")
        }
        "IncompleteRead" => Error::IncompleteRead(1),
        "DelimiterNotFound" => Error::DelimiterNotFound(1),
        "NoRuntime" => Error::NoRuntime,
        "OtherLoop" => Error::OtherLoop,
        "Panicked" => {
            let job = || quiet_panic("by the test");
            run(async { run_in_thread(job).await }).expect_err("a panic")
        }
        "TaskFailed" => {
            let started: Result<()> = block_on(task_group(async |group| {
                let started = group.start(async |_: soloio::Ready<()>| Ok(()));
                started.await.map(drop)
            }));
            started.expect_err("never ready")
        }
        "Io" => of_io(io::ErrorKind::AddrInUse),
        "Other" => Error::other("the program's own"),
        _ => return None,
    };
    Some(error)
}

#[test]
fn the_table_has_every_variant_and_its_kind() {
    let (variants, rows) = (variants(), rows());
    assert!(variants.len() > 15, "{variants:?}");
    let mut sorted = variants.clone();
    sorted.sort_unstable();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), sorted);
    for name in variants {
        let error = sample(name).unwrap_or_else(|| panic!("no sample of {name}"));
        let shown = format!("{error:?}");
        assert!(shown.starts_with(name), "{shown} is no {name}");
        let cause = match &error {
            Error::Io(cause) | Error::Broken(cause) => Some(cause.kind()),
            Error::ConnectFailed(_) => Some(io::ErrorKind::ConnectionRefused),
            _ => None,
        };
        let found = io::Error::from(error);
        match cause {
            Some(kind) => {
                assert!(rows[name].starts_with("that of the"), "{name}");
                assert_eq!(found.kind(), kind);
            }
            None => assert_eq!(rows[name], format!("`{:?}`", found.kind()), "{name}"),
        }
        let back = Error::from(found);
        assert_eq!(format!("{back:?}"), shown, "it comes back");
    }
    for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
        let again = io::Error::from(Error::from(io::Error::from(kind)));
        assert_eq!(again.kind(), io::ErrorKind::Other);
    }
}
