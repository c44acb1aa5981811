//! Tests the examples that speak TLS, against each other and against peers that break the protocol.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;

use soloio::tls::rustls::{ServerConnection, StreamOwned};
use soloio::tls::server_config;

use crate::certs::Ca;
use crate::noise;
use crate::running::{Running, TempDir, start, start_with};

/// A folder with a CA and certificates that it has issued.
pub(crate) struct Made {
    dir: TempDir,
}

impl Made {
    pub(crate) fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let ca = Ca::new("a CA");
        ca.write(&dir.0, "ca");
        Ca::new("a stranger").write(&dir.0, "stranger");
        ca.server(&["localhost", "127.0.0.1"])
            .write(&dir.0, "server");
        ca.server(&["example.org"]).write(&dir.0, "other");
        ca.expired(&["localhost", "127.0.0.1"])
            .write(&dir.0, "expired");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.dir.0.join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Starts `echo` with one of the certificates; returns its address too.
    fn echo(&self, name: &str) -> (Running, SocketAddr) {
        let (cert, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        let args = ["--tls", "127.0.0.1:0", "--cert", &cert, "--key", &key];
        let mut echo = start("echo", &args);
        let address = echo.address("tls");
        (echo, address)
    }

    /// Starts `nc --tls` with these options.
    fn nc(&self, address: SocketAddr, options: &[&str]) -> Running {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut args = vec!["--tls"];
        args.extend(options);
        args.extend([&*host, &*port]);
        start("nc", &args)
    }
}

#[test]
fn a_file_goes_round_over_tls() {
    let made = Made::new("tls-file");
    let file = made.path("file");
    let data = noise(4 << 20);
    fs::write(&file, &data).expect("a file");
    let (echo, address) = made.echo("server");
    let (ca, port) = (made.path("ca.pem"), address.port().to_string());
    let input = fs::File::open(&file).expect("the file");
    let nc = start_with(
        "nc",
        &["--tls", "--ca", &ca, "127.0.0.1", &port],
        input.into(),
    );
    assert!(nc.ended().well() == data, "something else came back");
    let mut nc = made.nc(address, &["--name", "localhost", "--ca", &ca]);
    nc.feed(b"");
    assert_eq!(nc.ended().well(), b"");
    echo.terminated();
}

#[test]
fn nc_says_in_one_line_whom_it_does_not_trust() {
    let made = Made::new("tls-lines");
    let (ca, stranger) = (made.path("ca.pem"), made.path("stranger.pem"));
    let line = |server: &str, options: &[&str]| {
        let (echo, address) = made.echo(server);
        let mut nc = made.nc(address, options);
        nc.feed(b"secret");
        let line = nc.ended().with_one_line(1);
        let named = format!("127.0.0.1 port {}: ", address.port());
        drop(echo);
        // Once, be it by nc or in the error.
        let pieces: Vec<&str> = line.split(&named).collect();
        match pieces[..] {
            ["nc: " | "nc: TLS with ", text] => text.trim_end().to_owned(),
            _ => panic!("{line}"),
        }
    };
    let text = line("server", &["--ca", &stranger]);
    assert!(
        text.starts_with("the server's certificate is not trusted, since its issuer is not"),
        "{text}"
    );
    let text = line("other", &["--ca", &ca]);
    assert!(
        text.contains("is not for that name, but for example.org: connect to"),
        "{text}"
    );
    let text = line("server", &["--ca", &ca, "--name", "example.org"]);
    assert!(
        text.contains("but for localhost, 127.0.0.1: connect to"),
        "{text}"
    );
    let text = line("expired", &["--ca", &ca]);
    assert!(
        text.starts_with("the server's certificate has expired "),
        "{text}"
    );
    assert!(text.contains(" days ago: it must be renewed"), "{text}");
    let text = line("server", &["--ca", &ca, "--name", "not a name"]);
    assert!(
        text.starts_with("\"not a name\" cannot be a server's name"),
        "{text}"
    );
    let text = line("server", &["--ca", &made.path("missing.pem")]);
    assert!(
        text.contains("missing.pem cannot be read: No such file"),
        "{text}"
    );
    let text = line("server", &["--ca", &made.path("server.key")]);
    assert!(
        text.contains("holds a private key and no certificate"),
        "{text}"
    );
}

/// Starts a server that sends something over TLS and closes without close_notify; or one without
/// TLS.
fn rude(made: &Made, plain: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let config = server_config()
        .certificate_files(made.path("server.pem"), made.path("server.key"))
        .build()
        .expect("a certificate");
    thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("nc connects");
        if plain {
            let mut hello = [0; 16];
            tcp.read_exact(&mut hello).expect("a ClientHello");
            tcp.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                .expect("nc reads");
            // Waits until nc has read it: closing with unread bytes would reset the connection.
            drop(tcp.read_to_end(&mut Vec::new()));
            return;
        }
        let tls = ServerConnection::new(config).expect("a server");
        let mut tls = StreamOwned::new(tls, tcp);
        tls.write_all(b"half of it").expect("nc reads");
        tls.flush().expect("nc reads");
    });
    address
}

#[test]
fn nc_sees_that_it_was_cut_off() {
    let made = Made::new("tls-cut");
    let ca = made.path("ca.pem");
    let nc = made.nc(rude(&made, false), &["--ca", &ca]);
    let ended = nc.ended();
    assert!(
        ended
            .stderr
            .contains("without TLS's close_notify: data may be missing")
    );
    assert_eq!(ended.stdout, b"half of it");
    ended.with_one_line(1);
    let nc = made.nc(
        rude(&made, false),
        &["--ca", &ca, "--insecure-no-close-notify"],
    );
    assert_eq!(nc.ended().well(), b"half of it");

    let nc = made.nc(rude(&made, true), &["--ca", &ca]);
    let line = nc.ended().with_one_line(1);
    assert!(
        line.contains("what came is not TLS: is this the right port"),
        "{line}"
    );
}

#[test]
fn echo_says_what_is_wrong_with_its_files() {
    let made = Made::new("tls-echo");
    let (cert, key) = (made.path("server.pem"), made.path("server.key"));
    let other = made.path("other.key");
    for (cert, key, said) in [
        (&cert, &other, "is not the key of the certificate in"),
        (&key, &cert, "were the two files swapped?"),
        (&other, &other, "holds a private key and no certificate"),
    ] {
        let args = ["--tls", "127.0.0.1:0", "--cert", cert, "--key", key];
        let line = start("echo", &args).ended().with_one_line(1);
        assert!(line.starts_with("echo: /") && line.contains(said), "{line}");
    }
}

#[test]
fn hello_over_tls() {
    let made = Made::new("tls-hello");
    let (cert, key, ca) = (
        made.path("server.pem"),
        made.path("server.key"),
        made.path("ca.pem"),
    );
    let mut server = start("hello_tls_server", &[&*cert, &key, "0"]);
    let port = server.address("tls").port().to_string();
    for host in ["127.0.0.1", "localhost"] {
        let client = start("hello_tls_client", &[&*ca, host, &port]);
        assert_eq!(client.ended().well(), b"Hello, Client\n");
    }
}

#[test]
fn starttls_tells_where_plain_text_ends() {
    let none: [&str; 0] = [];
    let said = start("starttls", &none).ended().said();
    let expected = [
        "plain  <  220 at your service",
        "plain  >  STARTTLS",
        "plain  <  220 go ahead",
        "TLS    >  Ada",
        "TLS    <  250 hello, Ada",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
