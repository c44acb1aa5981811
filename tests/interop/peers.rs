//! Runs each item with each other program. Long because every program has its own options.

use std::net::TcpListener;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::sides::{Connections, Manner, client, connect, judge, rounds, serve};
use crate::tools::Tool;
use crate::{Files, VERSIONS};

type Verdict = Result<(), String>;

/// A tool in one of its roles.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) tool: &'static str,
    /// Tries an item with a version; `None` if the tool has no way to do it.
    pub(crate) run: fn(&str, &str, &Files) -> Option<Verdict>,
}

pub(crate) const PEERS: [Peer; 7] = [
    Peer {
        name: "openssl s_client",
        tool: "openssl",
        run: s_client,
    },
    Peer {
        name: "openssl s_server",
        tool: "openssl",
        run: s_server,
    },
    Peer {
        name: "Python ssl, client",
        tool: "python3",
        run: python_client,
    },
    Peer {
        name: "Python ssl, server",
        tool: "python3",
        run: python_server,
    },
    Peer {
        name: "curl",
        tool: "curl",
        run: curl,
    },
    Peer {
        name: "gnutls-cli",
        tool: "gnutls-cli",
        run: gnutls_cli,
    },
    Peer {
        name: "gnutls-serv",
        tool: "gnutls-serv",
        run: gnutls_serv,
    },
];

/// The start of our server's error when a client refuses its certificate.
const REFUSED: &str = "the client ended the connection: ";

fn our_words(item: &str) -> &'static str {
    match item {
        "wrong name" => "is not for that name, but for localhost",
        "expired" => "has expired",
        _ => "is not trusted",
    }
}

/// The name that a client asks for, and the CA that it trusts.
fn asked_for(item: &str) -> &'static str {
    if item == "wrong name" {
        return "other.example";
    }
    "localhost"
}

fn ca_of(item: &str, files: &Files) -> String {
    if item == "unknown CA" {
        return files.path("stranger.pem");
    }
    files.path("ca.pem")
}

/// The certificate that the server presents.
fn shown_by_server(item: &str) -> &'static str {
    if item == "expired" {
        return "expired";
    }
    "server"
}

fn refuses(item: &str) -> bool {
    ["wrong name", "expired", "unknown CA"].contains(&item)
}

/// KeyUpdate exists in TLS 1.3 only.
fn unknown(item: &str, version: &str) -> bool {
    item == "KeyUpdate" && version == VERSIONS[0]
}

fn says(printed: &str, words: &[&str]) -> Verdict {
    match words.iter().any(|word| printed.contains(word)) {
        true => Ok(()),
        false => Err(format!("none of {words:?} in: {printed}")),
    }
}

fn s_client(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    if unknown(item, version) || item == "half-close" {
        return None;
    }
    let (port, ours) = serve(item, files, Manner::Echo);
    let told =
        (0..rounds(item)).try_for_each(|round| s_client_once(item, version, files, port, round));
    let seen = ours.join().expect("our side does not panic");
    Some(told.and_then(|()| judge(item, &seen, REFUSED)))
}

fn s_client_once(item: &str, version: &str, files: &Files, port: u16, round: usize) -> Verdict {
    let (address, session) = (format!("127.0.0.1:{port}"), files.path("session"));
    let ca = ca_of(item, files);
    let name = asked_for(item);
    let (cert, key) = (files.path("client.pem"), files.path("client.key"));
    let mut args = vec!["s_client", "-connect", &address, "-servername", "localhost"];
    args.extend([
        "-CAfile",
        &ca,
        "-verify_hostname",
        name,
        "-verify_return_error",
    ]);
    args.push(if version == "1.2" {
        "-tls1_2"
    } else {
        "-tls1_3"
    });
    match item {
        "client certificate" => args.extend(["-cert", &cert, "-key", &key]),
        "ALPN" => args.extend(["-alpn", "x,h2"]),
        "resumption" if round == 0 => args.extend(["-sess_out", &session]),
        "resumption" => args.extend(["-sess_in", &session]),
        _ => {}
    }
    let mut tool = Tool::start("openssl", &args);
    if refuses(item) {
        let (well, printed) = tool.ended()?;
        says(&printed, &["verify error"])?;
        return if well {
            Err("it ended well".into())
        } else {
            Ok(())
        };
    }
    if item == "KeyUpdate" {
        tool.wait_for("Verify return code", 1)?;
        tool.type_in("K\n");
        tool.wait_for("KEYUPDATE", 1)?;
    }
    tool.type_in("hello\n");
    let printed = tool.wait_for("hello", 1)?;
    match item {
        "ALPN" => says(&printed, &["ALPN protocol: h2"])?,
        "resumption" => says(
            &printed,
            &[if round == 0 {
                "New, TLS"
            } else {
                "Reused, TLS"
            }],
        )?,
        _ => {}
    }
    if item == "truncation" {
        tool.kill();
        return Ok(());
    }
    tool.type_in("Q\n");
    tool.ended().map(drop)
}

/// Connects our client `rounds(item)` times, one after the other; `during` drives the tool
/// meanwhile.
fn our_clients(
    item: &str,
    version: &str,
    files: &Files,
    port: u16,
    manner: Manner,
    mut during: impl FnMut(usize, &Receiver<()>) -> Verdict,
) -> Result<Connections, String> {
    let config = client(item, version, files);
    let mut seen = Vec::new();
    for round in 0..rounds(item) {
        let (ours, met) = connect(item, port, config.clone(), manner);
        let told = if refuses(item) {
            Ok(())
        } else {
            during(round, &met)
        };
        seen.push(ours.join().expect("our side does not panic"));
        told.map_err(|why| format!("{why}; our side: {seen:?}"))?;
    }
    Ok(seen)
}

fn s_server(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    if unknown(item, version) || item == "half-close" {
        return None;
    }
    Some(s_server_run(item, version, files))
}

fn s_server_run(item: &str, version: &str, files: &Files) -> Verdict {
    let name = shown_by_server(item);
    let (cert, key) = (
        files.path(&format!("{name}.pem")),
        files.path(&format!("{name}.key")),
    );
    let ca = files.path("ca.pem");
    let mut args = vec![
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        &cert,
        "-key",
        &key,
    ];
    args.push(if version == "1.2" {
        "-tls1_2"
    } else {
        "-tls1_3"
    });
    match item {
        "client certificate" => {
            args.extend(["-Verify", "1", "-CAfile", &ca, "-verify_return_error"]);
        }
        "ALPN" => args.extend(["-alpn", "h2"]),
        _ => {}
    }
    if item != "KeyUpdate" {
        // Sends lines back, last letter first. The other mode, with commands, sends no
        // close_notify.
        args.push("-rev");
    }
    let tool = Tool::start("openssl", &args);
    let printed = tool.wait_for("ACCEPT 127.0.0.1:", 1)?;
    let port = number_after(&printed, "ACCEPT 127.0.0.1:")?;
    let mut tool = Some(tool);
    let manner = match item {
        "KeyUpdate" => Manner::Echo,
        "truncation" => Manner::Ask,
        _ => Manner::AskFirst,
    };
    let seen = our_clients(item, version, files, port, manner, |_, met| {
        match item {
            "KeyUpdate" => return update_key(tool.take().expect("it runs")),
            "truncation" => {
                met.recv()
                    .map_err(|_| "our side got nothing back".to_owned())?;
                tool.take().expect("it runs").kill();
            }
            _ => {}
        }
        Ok(())
    })?;
    judge(item, &seen, our_words(item))?;
    match tool {
        Some(tool) if refuses(item) => tool.wait_for("alert", 1).map(drop),
        _ => Ok(()),
    }
}

/// Makes the tool send a KeyUpdate that asks for one of ours; then a hello, which our side sends
/// back.
fn update_key(mut tool: Tool) -> Verdict {
    tool.wait_for("CIPHER is", 1)?;
    tool.type_in("K\n");
    // Input that it reads together with the command is lost, and it does not say so: try again.
    let mut tries = 0..20;
    while tries.next().is_some() && !tool.prints("hello", Duration::from_millis(500)) {
        tool.type_in("hello\n");
    }
    tool.wait_for("hello", 1)?;
    tool.type_in("Q\n");
    let (_, printed) = tool.ended()?;
    says(&printed, &["SSL_do_handshake -> 1"])
}

fn script() -> String {
    format!("{}/tests/interop/peer.py", env!("CARGO_MANIFEST_DIR"))
}

fn python_client(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    if item == "KeyUpdate" {
        return None;
    }
    let manner = if item == "half-close" {
        Manner::EndFirst
    } else {
        Manner::Echo
    };
    let (port, ours) = serve(item, files, manner);
    let (folder, port) = (files.path(""), port.to_string());
    let tool = Tool::start(
        "python3",
        &[&script(), "client", version, item, &folder, &port],
    );
    let told = tool.ended().and_then(|(_, printed)| match printed.trim() {
        said if refuses(item) => says(said, &["certificate verify failed"]),
        "ok" => Ok(()),
        said => Err(said.to_owned()),
    });
    let seen = ours.join().expect("our side does not panic");
    Some(told.and_then(|()| judge(item, &seen, REFUSED)))
}

fn python_server(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    (item != "KeyUpdate").then(|| {
        let folder = files.path("");
        let tool = Tool::start("python3", &[&script(), "server", version, item, &folder]);
        let port = number_after(&tool.wait_for("port ", 1)?, "port ")?;
        let manner = if item == "half-close" {
            Manner::EndFirst
        } else {
            Manner::Echo
        };
        let seen = our_clients(item, version, files, port, manner, |_, _| Ok(()))?;
        judge(item, &seen, our_words(item))?;
        let (_, printed) = tool.ended()?;
        says(&printed, &[if refuses(item) { "ALERT" } else { "\nok" }])
    })
}

fn curl(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    // curl takes a cut for the end of the body, and reports no error.
    if ["half-close", "KeyUpdate", "truncation"].contains(&item) {
        return None;
    }
    let (port, ours) = serve(item, files, Manner::Http);
    let name = asked_for(item);
    let (url, resolve) = (
        format!("https://{name}:{port}/"),
        format!("{name}:{port}:127.0.0.1"),
    );
    let ca = ca_of(item, files);
    let (cert, key) = (files.path("client.pem"), files.path("client.key"));
    let minimum = format!("--tlsv{version}");
    let mut args = vec!["-sS", "--noproxy", "*", "--http1.1", "--resolve", &resolve];
    args.extend(["--cacert", &ca, &minimum, "--tls-max", version, &url]);
    if item == "client certificate" {
        args.extend(["--cert", &cert, "--key", &key]);
    }
    if rounds(item) == 2 {
        args.push(&url);
    }
    let told = Tool::start("curl", &args)
        .ended()
        .and_then(|(well, printed)| {
            if refuses(item) {
                return says(&printed, &["curl: (60)"]);
            }
            says(&printed, &["hello\n"])?;
            well.then_some(()).ok_or(printed)
        });
    let seen = ours.join().expect("our side does not panic");
    // curl checks the name after the handshake: it sends close_notify in place of an alert.
    let refused = if item == "wrong name" {
        "the peer has finished sending"
    } else {
        REFUSED
    };
    Some(told.and_then(|()| judge(item, &seen, refused)))
}

fn priority(version: &str) -> String {
    format!("--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}")
}

fn gnutls_cli(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    if unknown(item, version) {
        return None;
    }
    let more = item == "half-close";
    let (port, ours) = serve(
        item,
        files,
        if more {
            Manner::EchoAndMore
        } else {
            Manner::Echo
        },
    );
    let told = gnutls_cli_run(item, version, files, port);
    let seen = ours.join().expect("our side does not panic");
    Some(told.and_then(|()| judge(item, &seen, REFUSED)))
}

fn gnutls_cli_run(item: &str, version: &str, files: &Files, port: u16) -> Verdict {
    let ca = ca_of(item, files);
    let name = asked_for(item);
    let name = format!("--verify-hostname={name}");
    let (port, ca) = (format!("--port={port}"), format!("--x509cafile={ca}"));
    let (cert, key) = (files.path("client.pem"), files.path("client.key"));
    let priority = priority(version);
    let mut args = vec![&*port, &ca, &priority, "--sni-hostname=localhost", &name];
    match item {
        "client certificate" => args.extend(["--x509certfile", &cert, "--x509keyfile", &key]),
        "ALPN" => args.extend(["--alpn=x", "--alpn=h2"]),

        "KeyUpdate" | "resumption" => args.push("--inline-commands"),
        _ => {}
    }
    args.push("127.0.0.1");
    let mut tool = Tool::start("gnutls-cli", &args);
    if refuses(item) {
        let (well, printed) = tool.ended()?;
        return if well {
            Err(printed)
        } else {
            says(&printed, &["Error in the certificate"])
        };
    }
    tool.wait_for("Simple Client Mode", 1)?;
    if item == "KeyUpdate" {
        tool.type_in("^rekey^\n");
        tool.wait_for("Rekey was completed", 1)?;
    }
    tool.type_in("hello\n");
    let printed = tool.wait_for("hello", 1)?;
    match item {
        "ALPN" => says(&printed, &["Application protocol: h2"])?,
        "resumption" => {
            // `^resume^` ends this connection and makes another.
            tool.type_in("^resume^\n");
            tool.wait_for("This is a resumed session", 1)?;
            tool.type_in("hello\n");
            tool.wait_for("hello", 2)?;
        }
        "truncation" => {
            tool.kill();
            return Ok(());
        }
        _ => {}
    }
    tool.end_input();
    let (_, printed) = tool.ended()?;
    if item == "half-close" {
        says(&printed, &["after your end"])
    } else {
        Ok(())
    }
}

fn gnutls_serv(item: &str, version: &str, files: &Files) -> Option<Verdict> {
    if ["half-close", "KeyUpdate"].contains(&item) {
        return None;
    }
    Some(gnutls_serv_run(item, version, files))
}

fn gnutls_serv_run(item: &str, version: &str, files: &Files) -> Verdict {
    let name = shown_by_server(item);
    let cert = format!("--x509certfile={}", files.path(&format!("{name}.pem")));
    let key = format!("--x509keyfile={}", files.path(&format!("{name}.key")));
    let ca = format!("--x509cafile={}", files.path("ca.pem"));
    // It does not print a port that the system chose, so the test chooses one.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let number = free.map_err(|error| error.to_string())?.port();
    let (port, priority) = (format!("--port={number}"), priority(version));
    let mut args = vec!["--echo", &*port, &cert, &key, &priority];
    match item {
        "client certificate" => args.extend([&*ca, "--require-client-cert"]),
        "ALPN" => args.push("--alpn=h2"),
        _ => args.push("--disable-client-cert"),
    }
    let tool = Tool::start("gnutls-serv", &args);
    tool.wait_for("...done", 1)?;
    let manner = if item == "truncation" {
        Manner::Ask
    } else {
        Manner::AskFirst
    };
    let mut tool = Some(tool);
    let seen = our_clients(item, version, files, number, manner, |_, met| {
        if item == "truncation" {
            met.recv()
                .map_err(|_| "our side has not got its hello back".to_owned())?;
            tool.take().expect("it runs").kill();
        }
        Ok(())
    })?;
    judge(item, &seen, our_words(item))?;
    match tool {
        Some(tool) if refuses(item) => tool.wait_for("alert", 1).map(drop),
        _ => Ok(()),
    }
}

/// The number that follows some words.
fn number_after(text: &str, words: &str) -> Result<u16, String> {
    let rest = text.split_once(words).map_or("", |(_, rest)| rest);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .map_err(|_| format!("no number after {words:?} in: {text}"))
}
