//! Our side: a server or a client on its own thread, what it does, and its record of a connection.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use soloio::tls::rustls::ClientConfig;
use soloio::tls::{TlsListener, TlsStream, client_config, server_config};
use soloio::{Error, Result, TcpStream, block_on, connect_tcp, create_tcp_listener, fail_after};

use crate::Files;
use crate::tools::GUARD;

/// The behaviour of our side on a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// Sends back what comes; ends when the peer has ended.
    Echo,
    /// Like `Echo`, but sends something after the peer's end.
    EchoAndMore,
    /// Sends back the first data, then ends its direction and receives the rest.
    EndFirst,
    /// Sends hello first and expects it back, then ends its direction.
    AskFirst,
    /// Sends hello first and expects it back.
    Ask,
    /// Answers one request.
    Http,
}

/// Our side's record of a connection with a successful handshake.
#[derive(Debug)]
pub(crate) struct Seen {
    manner: Manner,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) resumed: bool,
    pub(crate) certificate: bool,
    pub(crate) received: Vec<u8>,
    /// True if the peer sent close_notify, false if the connection was cut.
    pub(crate) goodbye: bool,
}

/// One record or error for each connection.
pub(crate) type Connections = Vec<std::result::Result<Seen, String>>;

pub(crate) fn rounds(item: &str) -> usize {
    if item == "resumption" { 2 } else { 1 }
}

/// Starts a server for one item; returns its port.
pub(crate) fn serve(item: &str, files: &Files, manner: Manner) -> (u16, JoinHandle<Connections>) {
    let name = if item == "expired" {
        "expired"
    } else {
        "server"
    };
    let (chain, key) = (format!("{name}.pem"), format!("{name}.key"));
    let mut config = server_config().certificate_files(files.path(&chain), files.path(&key));
    if item == "client certificate" {
        config = config.client_ca_file(files.path("ca.pem"));
    }
    if item == "ALPN" {
        config = config.alpn(["h2", "http/1.1"]);
    }
    let config = config.build().expect("a good configuration");
    let (port_to, port) = channel();
    let rounds = rounds(item);
    let thread = thread::spawn(move || {
        block_on(async {
            let tcp = create_tcp_listener()
                .local_host("127.0.0.1")
                .await
                .expect("a port");
            port_to
                .send(tcp.local_addr().port())
                .expect("somebody waits");
            let listener = TlsListener::new(tcp, config);
            let mut connections = Vec::new();
            for _ in 0..rounds {
                let connection = async { talk(listener.accept().await?, manner, None).await };
                connections.push(told(fail_after(GUARD, connection).await));
            }
            connections
        })
    });
    (port.recv().expect("it listens"), thread)
}

/// Builds the configuration of a client for one item; one value serves all its connections.
pub(crate) fn client(item: &str, version: &str, files: &Files) -> Arc<ClientConfig> {
    use soloio::tls::rustls::version::{TLS12, TLS13};
    let ca = if item == "unknown CA" {
        "stranger.pem"
    } else {
        "ca.pem"
    };
    let mut config = client_config().ca_file(files.path(ca));
    if item == "client certificate" {
        config = config.certificate_files(files.path("client.pem"), files.path("client.key"));
    }
    if item == "ALPN" {
        config = config.alpn(["x", "h2"]);
    }
    let version = if version == "1.2" { &TLS12 } else { &TLS13 };
    config
        .versions([version])
        .build()
        .expect("a good configuration")
}

/// Starts one connection of a client. The channel reports that the hello came back, if it asks for
/// one.
pub(crate) fn connect(
    item: &str,
    port: u16,
    config: Arc<ClientConfig>,
    manner: Manner,
) -> (JoinHandle<std::result::Result<Seen, String>>, Receiver<()>) {
    let name = if item == "wrong name" {
        "other.example"
    } else {
        "localhost"
    };
    let (meet, met) = channel();
    let thread = thread::spawn(move || {
        block_on(async {
            let connection = async {
                let connect = connect_tcp("127.0.0.1", port).tls_config(config);
                talk(connect.tls_hostname(name).await?, manner, Some(meet)).await
            };
            told(fail_after(GUARD, connection).await)
        })
    });
    (thread, met)
}

fn told(result: Result<Seen>) -> std::result::Result<Seen, String> {
    result.map_err(|error| error.to_string())
}

async fn talk(
    stream: TlsStream<TcpStream>,
    manner: Manner,
    meet: Option<Sender<()>>,
) -> Result<Seen> {
    let mut seen = Seen {
        manner,
        alpn: stream.alpn_protocol(),
        resumed: stream.is_resumed(),
        certificate: stream.peer_certificates().is_some(),
        received: Vec::new(),
        goodbye: false,
    };
    match manner {
        Manner::Http => {
            while !seen.received.ends_with(b"\r\n\r\n") {
                seen.received.extend(stream.receive().await?);
            }
            stream.send(b"HTTP/1.0 200 OK\r\n\r\nhello\n").await?;
            stream.send_eof().await?;
        }
        Manner::Ask | Manner::AskFirst => {
            stream.send(b"hello\n").await?;
            while seen.received.len() < 6 {
                seen.received.extend(stream.receive().await?);
            }
            if let Some(meet) = &meet {
                meet.send(()).map_err(Error::other)?;
            }
            if manner == Manner::AskFirst {
                stream.send_eof().await?;
            }
        }
        Manner::EndFirst => {
            let first = stream.receive().await?;
            stream.send(&first).await?;
            stream.send_eof().await?;
            seen.received = first;
        }
        Manner::Echo | Manner::EchoAndMore => {}
    }
    loop {
        match stream.receive().await {
            Ok(data) => {
                if matches!(manner, Manner::Echo | Manner::EchoAndMore) {
                    stream.send(&data).await?;
                }
                seen.received.extend(data);
            }
            Err(Error::EndOfStream) => break,
            Err(Error::Broken(_)) => return Ok(seen),
            Err(error) => return Err(error),
        }
    }
    seen.goodbye = true;
    if manner == Manner::EchoAndMore {
        stream.send(b"after your end\n").await?;
    }
    stream.close().await?;
    Ok(seen)
}

/// Compares our side's record with the item. `refusal` is a part of the error that a failed
/// handshake must have.
pub(crate) fn judge(
    item: &str,
    connections: &Connections,
    refusal: &str,
) -> std::result::Result<(), String> {
    let wrong = || Err(format!("our side: {connections:?}"));
    if ["wrong name", "expired", "unknown CA"].contains(&item) {
        return match &connections[..] {
            [Err(said)] if said.contains(refusal) => Ok(()),
            _ => wrong(),
        };
    }
    let Some(Ok(last)) = connections.last() else {
        return wrong();
    };
    let right = match item {
        "truncation" => !last.goodbye,
        "client certificate" => last.certificate,
        "ALPN" => last.alpn.is_some(),
        "resumption" => {
            last.resumed
                && connections
                    .first()
                    .is_some_and(|c| c.as_ref().is_ok_and(|c| !c.resumed))
        }
        // Where the peer ends first, the peer itself checks what it has received after that.
        "half-close" if last.manner == Manner::EndFirst => last.received.ends_with(
            b"after your end
",
        ),
        _ => true,
    };
    // The one tool that updates its key on request (OpenSSL) ends without close_notify.
    let ended = item == "KeyUpdate" || last.goodbye != (item == "truncation");
    let data = [&b"hello\n"[..], b"olleh\n", b"GET / "];
    let hello = data.iter().any(|hello| last.received.starts_with(hello));
    if right && ended && hello {
        return Ok(());
    }
    wrong()
}
