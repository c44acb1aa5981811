//! The examples, run as they stand, against curl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use crate::running::Running;
use crate::support::curl;

#[test]
fn hyper_server_greets_and_echoes() {
    let mut server = Running::start("hyper_server", &["127.0.0.1:0"]);
    let url = format!("http://{}", server.address("http"));
    let big = "0123456789abcdef".repeat(200_000);
    let file = std::env::temp_dir().join(format!("soloio-hyper-{}", std::process::id()));
    std::fs::write(&file, &big).expect("a temporary file");
    let body = format!("@{}", file.display());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let Some(text) = curl(&[version, &url]) else {
            return;
        };
        assert_eq!(text, "Hello, world!\n");
        let echo = format!("{url}/echo");
        let echoed = curl(&[version, "--data-binary", &body, &echo]);
        assert!(echoed.expect("curl") == big);
        let (chunked, file) = ("Transfer-Encoding: chunked", &*file.to_string_lossy());
        let post = [version, "-X", "POST", "-H", chunked, "-T", file, &echo];
        assert!(version != "--http1.1" || curl(&post).expect("curl") == big);
        let code = ["-o", "/dev/null", "-w", "%{http_code}", "--no-fail"];
        let missing = format!("{url}/missing");
        let missing = curl(&[&[version], &code[..], &[&missing]].concat());
        assert_eq!(missing.expect("curl"), "404");
    }
    std::fs::remove_file(&file).expect("it is there");
    server.terminate();
    server.ended();
}

/// Runs a program that makes load; `None` if it is not installed.
fn load(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        eprintln!("there is no {program}: not tested against it");
        return None;
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn hyper_server_stands_load_of_both_versions() {
    let mut server = Running::start("hyper_server", &["127.0.0.1:0"]);
    let url = format!("http://{}/", server.address("http"));
    for version in [&["--h1"][..], &["-m", "10"]] {
        let args = [version, &["-n", "2000", "-c", "20", &url]].concat();
        let said = load("h2load", &args);
        assert!(
            said.is_none_or(|said| said.contains(" 2000 2xx")),
            "{args:?}"
        );
    }
    if let Some(said) = load("wrk", &["-t1", "-c50", "-d1s", &url]) {
        let fails = said.contains("Socket errors") || said.contains("Non-2xx");
        assert!(said.contains("requests in") && !fails, "{said}");
    }
    server.terminate();
    server.ended();
}

#[test]
fn axum_routes_parses_sleeps_and_asks_others() {
    let mut server = Running::start("axum_server", &["127.0.0.1:0"]);
    let url = format!("http://{}", server.address("http"));
    let Some(text) = curl(&[&format!("{url}/hello/Ada")]) else {
        return;
    };
    assert_eq!(text, "Hello, Ada! You are number 1.\n");
    let sum = format!("{url}/sum");
    let json = [
        "-H",
        "content-type: application/json",
        "-d",
        "{\"numbers\": [1, 2, 40]}",
    ];
    let text = curl(&[&json[..], &[&*sum]].concat());
    assert_eq!(text.expect("curl"), "{\"sum\":43}");
    let slow = curl(&["--http2-prior-knowledge", &format!("{url}/slow")]);
    assert_eq!(slow.expect("curl"), "slept\n");
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = upstream.local_addr().expect("bound").port();
    let upstream = thread::spawn(move || {
        let (mut asked, _) = upstream.accept().expect("it connects");
        let mut question = [0; 13];
        asked.read_exact(&mut question).expect("a question");
        asked.write_all(b"An upstream.").expect("sent");
        question
    });
    let text = curl(&[&format!("{url}/upstream/{port}")]);
    assert_eq!(text.expect("curl"), "An upstream.");
    assert_eq!(&upstream.join().expect("asked"), b"Who are you?\n");
    server.terminate();
    server.ended();
}

#[test]
fn axum_over_tls_lets_a_request_end_when_it_is_stopped() {
    let mut server = Running::start("axum_tls", &["127.0.0.1:0"]);
    let url = format!("https://{}", server.address("https"));
    let version = ["--insecure", "-w", "by %{http_version}"];
    for (option, expected) in [("--http2", "by 2"), ("--http1.1", "by 1.1")] {
        // Twice by one connection.
        let Some(text) = curl(&[&version[..], &[option, &url, &url]].concat()) else {
            return;
        };
        assert_eq!(text, format!("Hello over TLS!\n{expected}").repeat(2));
    }
    let slow = format!("{url}/slow");
    let mut asking = Command::new("curl")
        .args(["--silent", "--verbose", "--insecure", &slow])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl");
    let said = BufReader::new(asking.stderr.take().expect("piped"));
    let mut said = said.lines().map(|line| line.expect("a line"));
    assert!(said.any(|line| line.starts_with("> GET /slow")));
    server.terminate();
    // To its end, so that curl can say what it has to.
    said.for_each(drop);
    let answer = asking.wait_with_output().expect("it ends").stdout;
    assert_eq!(String::from_utf8_lossy(&answer), "It took a second.\n");
    assert_eq!(server.ended().trim(), "served 3 connections");
}

#[cfg(all(feature = "client", feature = "tls"))]
#[test]
fn hyper_client_fetches_all_at_once() {
    let mut server = Running::start("hyper_server", &["127.0.0.1:0"]);
    let url = format!("http://{}", server.address("http"));
    let client = Running::start("hyper_client", &[&url, &format!("{url}/"), &url]);
    let said = client.ended();
    assert_eq!(said.lines().count(), 3, "{said}");
    let fetched = |line: &str| line.ends_with("/: 200 OK by HTTP/1.1, 14 bytes");
    assert!(said.lines().all(fetched), "{said}");
    server.terminate();
    server.ended();
}
