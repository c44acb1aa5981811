//! The example `websocket_echo`, against a client of Python's standard library.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn websocket_echo_gives_back_and_says_goodbye() {
    let tests = std::env::current_exe().expect("the path of this test");
    let target = tests.ancestors().nth(2).expect("target/debug/deps");
    let mut server = Command::new(target.join("examples/websocket_echo"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("`cargo test` builds the examples");
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    let port = line.trim().rsplit(':').next().expect("a port");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/websocket.py");
    let python = Command::new("python3")
        .args([script, port])
        .stdout(Stdio::piped())
        .spawn();
    let kill = |id: u32| {
        Command::new("kill")
            .arg(id.to_string())
            .status()
            .expect("kill")
    };
    match python {
        Ok(mut python) => {
            let mut said = BufReader::new(python.stdout.take().expect("piped"));
            let mut line = String::new();
            said.read_line(&mut line).expect("a line");
            assert_eq!(line, "waiting\n");
            kill(server.id());
            said.read_to_string(&mut line).expect("text");
            assert_eq!(line, "waiting\ntold\n");
            assert!(python.wait().expect("it ends").success());
        }
        Err(_) => {
            eprintln!("there is no python3: not tested against it");
            kill(server.id());
        }
    }
    assert!(server.wait().expect("it ends").success());
}
