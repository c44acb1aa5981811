//! An echo over QUIC by quinn: each stream gives back what it is sent.
//!
//! ```text
//! quinn_echo serve ADDRESS CERTIFICATE    writes its certificate to that file
//! quinn_echo ask ADDRESS CERTIFICATE TEXT
//! ```
//!
//! ctrl-c and SIGTERM end the server: its clients are told.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::{env, fs, io};

use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, Incoming, ServerConfig};
use soloio::{
    Signal, SignalReceiver, Winner, block_on, open_signal_receiver, race, task_group_with,
};
use soloio_quinn::SoloRuntime;

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, AnyError>;

/// The largest answer that a client takes.
const LARGEST: usize = 1 << 20;

/// Runs quinn's tasks while `work` runs with their endpoint, and until its peers are told.
async fn with_endpoint(
    local: SocketAddr,
    server: Option<ServerConfig>,
    work: impl AsyncFnOnce(&Endpoint) -> Outcome<()>,
) -> Outcome<()> {
    let runtime = SoloRuntime::new();
    task_group_with(async |group| {
        let running = group.spawn(async { Ok(runtime.clone().run().await?) });
        let socket = UdpSocket::bind(local)?;
        let config = EndpointConfig::default();
        let endpoint = Endpoint::new(config, server, socket, Arc::new(runtime.clone()))?;
        let worked = work(&endpoint).await;
        endpoint.close(0_u8.into(), b"done");
        endpoint.wait_idle().await;
        running.cancel();
        worked
    })
    .await
}

async fn serve(endpoint: &Endpoint, signals: &SignalReceiver) -> Outcome<()> {
    println!("quic {}", endpoint.local_addr()?);
    task_group_with(async |group| {
        while let Winner::First(Some(incoming)) = race((endpoint.accept(), signals.receive())).await
        {
            group.spawn(async {
                // The error of one client ends no other.
                if let Err(error) = connection(incoming).await {
                    eprintln!("{error}");
                }
                Ok(())
            });
        }
        endpoint.close(0_u8.into(), b"the server stops");
        Ok(())
    })
    .await
}

async fn connection(incoming: Incoming) -> Outcome<()> {
    let connection: Connection = incoming.await?;
    // An error here is the end of the connection, by either side.
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
            send.write_chunk(chunk.bytes).await?;
        }
        send.finish()?;
    }
    Ok(())
}

async fn ask(endpoint: &Endpoint, server: SocketAddr, text: &str) -> Outcome<()> {
    let connection = endpoint.connect(server, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(text.as_bytes()).await?;
    send.finish()?;
    let answer = receive.read_to_end(LARGEST).await?;
    println!("{}", String::from_utf8(answer)?);
    Ok(())
}

fn main() -> Outcome<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", address, file] => {
            let made = rcgen::generate_simple_self_signed(["localhost".into()])?;
            let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            let config = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key)?;
            fs::write(file, made.cert.der())?;
            let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
            let serve = async |endpoint: &Endpoint| serve(endpoint, &signals).await;
            block_on(with_endpoint(address.parse()?, Some(config), serve))
        }
        ["ask", address, file, text] => {
            let server: SocketAddr = address.parse()?;
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(fs::read(file)?))?;
            let config = ClientConfig::with_root_certificates(Arc::new(roots))?;
            let local = if server.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let ask = async |endpoint: &Endpoint| {
                let mut endpoint = endpoint.clone();
                endpoint.set_default_client_config(config);
                ask(&endpoint, server, text).await
            };
            block_on(with_endpoint(local.parse()?, None, ask))
        }
        _ => Err(io::Error::other("quinn_echo serve|ask ADDRESS CERTIFICATE [TEXT]").into()),
    }
}
