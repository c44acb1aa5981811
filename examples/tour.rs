//! A tour of the crate in one process: TCP, TLS, UNIX and UDP services, and a client for each.
//!
//! ```text
//! cargo run --release --example tour
//! ```

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, io, process};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use soloio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use soloio::tls::{TlsListener, client_config, private_key_from_pem, server_config};
use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Family, Listener, Result, TaskHandle,
    TcpListener, UdpSocket, UnixListener, block_on, connect_tcp, connect_unix,
    create_connected_udp_socket, create_tcp_listener, create_udp_socket, create_unix_listener,
    fail_after, task_group,
};

/// Nothing here takes this long, so a step that does has failed.
const LIMIT: Duration = Duration::from_secs(5);
const LOCALHOST: &str = "127.0.0.1";
const CROWD: usize = 100;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match block_on(tour()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tour() -> Result<()> {
    let begin = Instant::now();
    let dir = TempDir::new()?;
    let greeting = String::from("Hello, "); // every handler borrows it
    let tcp = create_tcp_listener().local_host(LOCALHOST).await?;
    let unix = create_unix_listener(dir.0.join("hello"))
        .mode(0o600)
        .await?;
    let (trusting, certified) = configurations()?;
    let tcp_of_tls = create_tcp_listener().local_host(LOCALHOST).await?;
    let tls_address = tcp_of_tls.local_addr();
    let tls = TlsListener::new(tcp_of_tls, certified);
    let udp = create_udp_socket()
        .family(Family::V4)
        .local_host(LOCALHOST)
        .await?;

    println!("Four hello services and their clients, on one thread:\n");
    println!("  tcp   {}", tcp.local_addr());
    println!("  tls   {tls_address}");
    println!("  unix  {}", unix.local_name());
    println!("  udp   {}\n", udp.local_addr());

    task_group(async |group| {
        let services = [
            group.spawn(serve(&tcp, &greeting)),
            group.spawn(serve(&tls, &greeting)),
            group.spawn(serve(&unix, &greeting)),
            group.spawn(serve_udp(&udp, &greeting)),
        ];
        fail_after(LIMIT, visit(&tcp, &unix, &udp)).await?;
        fail_after(LIMIT, visit_tls(tls_address.port(), trusting)).await?;
        services.iter().for_each(TaskHandle::cancel);
        Ok(())
    })
    .await?;

    drop((tcp, tls, unix, udp));
    dir.remove()?;
    println!("\nAll stopped and cleaned up after {}.", time(begin).trim());
    Ok(())
}

/// Serves every kind of byte stream.
async fn serve<L: Listener<Stream: ByteStream>>(listener: &L, greeting: &str) -> Result<()> {
    let server = listener.serve(async |client| {
        let name = client.receive_max(1024).await?;
        client.send(&[greeting.as_bytes(), &name].concat()).await?;
        client.close().await
    });
    server.await
}

async fn serve_udp(udp: &UdpSocket, greeting: &str) -> Result<()> {
    while let Some((packet, from)) = udp.next().await? {
        let answer = [greeting.as_bytes(), &packet].concat();
        udp.send_to(&answer, from).await?;
    }
    Ok(())
}

/// Runs the clients, one after the other.
async fn visit(tcp: &TcpListener, unix: &UnixListener, udp: &UdpSocket) -> Result<()> {
    let (tcp_port, udp_port) = (tcp.local_addr().port(), udp.local_addr().port());
    let path = unix.local_name().as_path().unwrap_or_else(|| Path::new(""));

    for name in ["Ada", "Grace"] {
        let begin = Instant::now();
        let answer = hello_tcp(tcp_port, name).await?;
        told("tcp", name, &answer, begin);
    }
    for name in ["Barbara", "Frances"] {
        let begin = Instant::now();
        let client = connect_unix(path).await?;
        client.send(name.as_bytes()).await?;
        told("unix", name, &client.receive().await?, begin);
    }
    let client = create_connected_udp_socket(LOCALHOST, udp_port).await?;
    for name in ["Margaret", "Radia"] {
        let begin = Instant::now();
        client.send(name.as_bytes()).await?;
        told("udp", name, &client.receive().await?, begin);
    }

    let begin = Instant::now();
    let crowd: Vec<String> = (1..=CROWD).map(|n| format!("client {n}")).collect();
    let answers = task_group(async |group| {
        let clients = crowd
            .iter()
            .map(|name| group.spawn(hello_tcp(tcp_port, name)));
        let mut answers = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            answers.push(client.await?);
        }
        Ok(answers)
    });
    let answers = answers.await?;
    let last = answers.last().map_or(&b""[..], Vec::as_slice);
    told("tcp", &format!("{CROWD} clients at once"), last, begin);
    Ok(())
}

/// Over TLS: the second connection resumes the session of the first.
async fn visit_tls(port: u16, config: Arc<ClientConfig>) -> Result<()> {
    for name in ["Hedy", "Joan"] {
        let begin = Instant::now();
        let client = connect_tcp(LOCALHOST, port)
            .tls_config(config.clone())
            .await?;
        client.send(name.as_bytes()).await?;
        told("tls", name, &client.receive().await?, begin);
        client.close().await?;
    }
    Ok(())
}

/// Makes a certificate at run time, and a client configuration that trusts only this one.
fn configurations() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), AnyError> {
    let made = generate_simple_self_signed([LOCALHOST.to_owned()])?;
    let CertifiedKey { cert, signing_key } = made;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let key = private_key_from_pem(signing_key.serialize_pem())?;
    let server = server_config().certificate(vec![cert.der().clone()], key);
    Ok((client_config().roots(roots).build()?, server.build()?))
}

async fn hello_tcp(port: u16, name: &str) -> Result<Vec<u8>> {
    let client = connect_tcp(LOCALHOST, port).await?;
    client.send(name.as_bytes()).await?;
    client.receive().await
}

/// Prints one line of the transcript.
fn told(kind: &str, said: &str, answer: &[u8], begin: Instant) {
    let answer = String::from_utf8_lossy(answer);
    println!("  {kind:4}  {said:>22}  ->  {answer:18} {}", time(begin));
}

fn time(begin: Instant) -> String {
    format!("{:7.3} ms", begin.elapsed().as_secs_f64() * 1000.0)
}

/// A new directory that only this user may enter; removed with all its contents.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> io::Result<Self> {
        let name = |n| format!("soloio-tour-{}-{n}", process::id());
        for path in (0..100).map(|n| env::temp_dir().join(name(n))) {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.0)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Reached with a directory only after an error; otherwise `remove` has removed it.
        drop(fs::remove_dir_all(&self.0));
    }
}
