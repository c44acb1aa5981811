//! Echoes on any number of TCP, TLS, UNIX and UDP endpoints until SIGTERM or ctrl-c.
//!
//! ```text
//! cargo run --example echo -- --tcp 127.0.0.1:0 --unix /tmp/echo --udp 127.0.0.1:0
//! cargo run --example echo -- --tls 127.0.0.1:0 --cert cert.pem --key key.pem
//! ```
//!
//! Prints a line for each endpoint when it is ready. A signal stops accepting immediately; open
//! connections have 5 seconds to finish. A second signal ends the process immediately.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use soloio::tls::{TlsListener, server_config};
use soloio::{
    ByteStream, Error, Host, Listener, Result, Signal, SignalReceiver, TaskGroup, TcpListener,
    UdpSocket, UnixListener, block_on, create_tcp_listener, create_udp_socket,
    create_unix_listener, move_on_after, open_signal_receiver, task_group,
};

const DRAIN: Duration = Duration::from_secs(5);
const USAGE: &str = "usage: echo [--tcp HOST:PORT] [--unix PATH] [--udp HOST:PORT]
            [--tls HOST:PORT --cert PEM --key PEM]
each may be given several times, at least one must be; port 0 is any free port";

fn main() -> ExitCode {
    let Some(wanted) = arguments(env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // Before everything else, so that an early signal is received, too.
    let signals = open_signal_receiver(&[Signal::Terminate, Signal::Interrupt]);
    match signals.and_then(|signals| block_on(run(&wanted, signals))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Endpoint {
    Tcp(Host, u16),
    Tls(Host, u16),
    Unix(OsString),
    Udp(Host, u16),
}

/// The endpoints to listen on, and the certificate for TLS.
#[derive(Default)]
struct Wanted {
    endpoints: Vec<Endpoint>,
    cert: Option<OsString>,
    key: Option<OsString>,
}

/// Parses the arguments; returns `None` if they are not valid.
fn arguments(mut args: impl Iterator<Item = OsString>) -> Option<Wanted> {
    let mut wanted = Wanted::default();
    while let Some(option) = args.next() {
        let value = args.next()?;
        let address = || Host::with_port(value.to_str()?).ok();
        let endpoint = match (option.to_str()?, address()) {
            ("--cert", _) => {
                wanted.cert = Some(value);
                continue;
            }
            ("--key", _) => {
                wanted.key = Some(value);
                continue;
            }
            ("--tcp", Some((host, port))) => Endpoint::Tcp(host, port),
            ("--tls", Some((host, port))) => Endpoint::Tls(host, port),
            ("--udp", Some((host, port))) => Endpoint::Udp(host, port),
            ("--unix", _) => Endpoint::Unix(value),
            _ => return None,
        };
        wanted.endpoints.push(endpoint);
    }
    let tls = wanted
        .endpoints
        .iter()
        .any(|endpoint| matches!(endpoint, Endpoint::Tls(..)));
    let whole = wanted.cert.is_some() == tls && wanted.key.is_some() == tls;
    (whole && !wanted.endpoints.is_empty()).then_some(wanted)
}

/// All listeners and sockets.
#[derive(Default)]
struct Endpoints {
    tcp: Vec<TcpListener>,
    tls: Vec<TlsListener<'static, TcpListener>>,
    unix: Vec<UnixListener>,
    udp: Vec<UdpSocket>,
}

impl Endpoints {
    async fn open(&mut self, wanted: &Wanted) -> Result<()> {
        let mut out = io::stdout();
        let config = match (&wanted.cert, &wanted.key) {
            (Some(cert), Some(key)) => Some(server_config().certificate_files(cert, key).build()?),
            _ => None,
        };
        for endpoint in &wanted.endpoints {
            match endpoint {
                Endpoint::Tcp(host, port) => {
                    let make = create_tcp_listener()
                        .local_host(host.clone())
                        .local_port(*port);
                    let listener = make.await?;
                    for address in listener.local_addrs() {
                        writeln!(out, "tcp {address}")?;
                    }
                    self.tcp.push(listener);
                }
                Endpoint::Tls(host, port) => {
                    let make = create_tcp_listener()
                        .local_host(host.clone())
                        .local_port(*port);
                    let listener = make.await?;
                    for address in listener.local_addrs() {
                        writeln!(out, "tls {address}")?;
                    }
                    let config = config.clone().expect("arguments() has looked");
                    self.tls.push(TlsListener::new(listener, config));
                }
                Endpoint::Unix(path) => {
                    let listener = create_unix_listener(path).await?;
                    writeln!(out, "unix {}", listener.local_name())?;
                    self.unix.push(listener);
                }
                Endpoint::Udp(host, port) => {
                    let make = create_udp_socket()
                        .local_host(host.clone())
                        .local_port(*port);
                    let socket = make.await?;
                    writeln!(out, "udp {}", socket.local_addr())?;
                    self.udp.push(socket);
                }
            }
            out.flush()?;
        }
        Ok(())
    }

    /// Refuses new connections; the open ones stay.
    fn close(&self) {
        self.tcp.iter().for_each(Listener::abort);
        self.tls.iter().for_each(Listener::abort);
        self.unix.iter().for_each(Listener::abort);
        self.udp.iter().for_each(UdpSocket::abort);
        for path in self.unix.iter().filter_map(|l| l.local_name().as_path()) {
            if let Err(error) = fs::remove_file(path) {
                eprintln!("echo: remove {}: {error}", path.display());
            }
        }
    }
}

async fn run(wanted: &Wanted, signals: SignalReceiver) -> Result<()> {
    let mut endpoints = Endpoints::default();
    endpoints.open(wanted).await?;
    task_group(async |group| {
        let mut serving = group.spawn(serve(&endpoints));
        signals.receive().await?;
        // Restores the signals' former action: the next one ends the process.
        drop(signals);
        endpoints.close();
        if move_on_after(DRAIN, &mut serving).await?.is_none() {
            eprintln!("echo: connections cut off after {} s", DRAIN.as_secs());
            serving.cancel();
        }
        Ok(())
    })
    .await
}

/// Ends when the endpoints are closed and the last connection has ended.
async fn serve(endpoints: &Endpoints) -> Result<()> {
    task_group(async |group| {
        for listener in &endpoints.tcp {
            group.spawn(accept(listener, group));
        }
        for listener in &endpoints.tls {
            group.spawn(accept(listener, group));
        }
        for listener in &endpoints.unix {
            group.spawn(accept(listener, group));
        }
        for socket in &endpoints.udp {
            group.spawn(echo_datagrams(socket));
        }
    })
    .await
}

/// Spawns every connection into `group`, so that it outlives the listener.
async fn accept<'s, L>(listener: &'s L, group: &'s TaskGroup<'s, '_>) -> Result<()>
where
    L: Listener<Stream: ByteStream>,
{
    let server = listener.serve(async |client| {
        group.spawn(async {
            if let Err(error) = echo(client).await {
                eprintln!("echo: {error}");
            }
        });
    });
    until_closed(server.await)
}

async fn echo(client: impl ByteStream) -> Result<()> {
    while let Some(data) = client.next().await? {
        client.send(&data).await?;
    }
    client.close().await
}

async fn echo_datagrams(socket: &UdpSocket) -> Result<()> {
    loop {
        let (packet, from) = match socket.receive().await {
            Ok(received) => received,
            Err(error) => return until_closed(Err(error)),
        };
        if let Err(error) = socket.send_to(&packet, from).await {
            eprintln!("echo: {error}");
        }
    }
}

/// `Closed` is the regular end of a service: the endpoint was closed.
fn until_closed(ended: Result<()>) -> Result<()> {
    match ended {
        Err(Error::Closed) => Ok(()),
        other => other,
    }
}
