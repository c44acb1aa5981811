//! The example `daemon`: what service managers and operators do with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::running::{GUARD, Running, TempDir, start, start_in};

/// The address and the number of the process that listens now.
fn listening(daemon: &mut Running) -> (SocketAddr, String) {
    let line = daemon.line();
    let mut words = line.split(' ').skip(1);
    let address = words.next().expect("an address");
    let number = words.next().expect("a number").to_owned();
    (address.parse().expect("an address"), number)
}

fn kill(signal: &str, process: &str) {
    let done = Command::new("kill").args([signal, process]).status();
    assert!(done.expect("kill").success());
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(GUARD))?;
    client.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn counters_and_waits_are_shown() {
    let mut daemon = start("daemon", &["127.0.0.1:0"]);
    let (address, number) = listening(&mut daemon);
    let hello = get(address, "/").expect("an answer");
    assert!(
        hello.ends_with(&format!("hello from {number}\n")),
        "{hello}"
    );
    let metrics = get(address, "/metrics").expect("an answer");
    assert!(
        metrics.contains("\ndaemon_connections_accepted_total 2\n"),
        "{metrics}"
    );
    kill("-USR1", &number);
    let mut shown = daemon.error_line();
    while !shown.contains("accept") {
        shown = daemon.error_line();
    }
    daemon.terminate();
    assert_eq!(daemon.ended().code, Some(0));
}

/// The new process takes over while clients come: each one gets an answer.
#[test]
fn a_restart_refuses_and_resets_nobody() {
    const RESTARTS: usize = 3;
    // By hand: SOLOIO_TEST_ROUNDS=100000.
    let rounds =
        std::env::var("SOLOIO_TEST_ROUNDS").map_or(400, |text| text.parse().expect("a number"));
    let mut daemon = start("daemon", &["127.0.0.1:0"]);
    let (address, mut number) = listening(&mut daemon);
    let (asked, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(SeqCst) || asked.load(SeqCst) < rounds {
                    let answer = get(address, "/").expect("neither refused nor reset");
                    assert!(answer.contains("hello from "), "{answer}");
                    asked.fetch_add(1, SeqCst);
                }
            });
        }
        for restart in 1..=RESTARTS {
            while asked.load(SeqCst) < rounds * restart / (RESTARTS + 1) {
                thread::yield_now();
            }
            kill("-USR2", &number);
            let newer = listening(&mut daemon);
            assert!(newer.0 == address && newer.1 != number);
            number = newer.1;
        }
        done.store(true, SeqCst);
    });
    kill("-TERM", &number);
    let ended = daemon.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn the_service_manager_is_told() {
    let folder = TempDir::new("notify");
    let path = folder.0.join("socket");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(GUARD)).expect("a timeout");
    let told = || {
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let path = path.to_str().expect("UTF-8");
    let environment = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "20000")];
    let mut daemon = start_in("daemon", &["127.0.0.1:0"], &environment);
    let (_, number) = listening(&mut daemon);
    let mut all = Vec::new();
    while all.iter().filter(|text| *text == "WATCHDOG=1").count() < 3 {
        all.push(told());
    }
    assert!(
        all.contains(&format!("READY=1\nMAINPID={number}")),
        "{all:?}"
    );
    daemon.terminate();
    while told() != "STOPPING=1" {}
    daemon.ended().well();
}

#[test]
fn a_service_manager_that_is_gone_ends_nothing() {
    let environment = [("NOTIFY_SOCKET", "/nowhere/socket")];
    let mut daemon = start_in("daemon", &["127.0.0.1:0"], &environment);
    let (address, _) = listening(&mut daemon);
    assert!(daemon.error_line().contains("/nowhere/socket"));
    assert!(get(address, "/").expect("an answer").contains("hello"));
    daemon.terminate();
    assert_eq!(daemon.ended().code, Some(0));
}
