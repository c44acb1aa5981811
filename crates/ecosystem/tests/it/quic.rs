//! QUIC by quinn, over the companion soloio-quinn.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use futures_util::future;
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::PrivateKeyDer;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig};
use soloio::{Error, task_group};
use soloio_quinn::SoloRuntime;

use crate::support::{Outcome, noise, run};

/// An endpoint on a free port, and the configuration of clients that trust the server.
fn endpoints(runtime: &SoloRuntime) -> Outcome<(Endpoint, Endpoint)> {
    let made = rcgen::generate_simple_self_signed(["localhost".into()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let endpoint = |server| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let runtime = Arc::new(runtime.clone());
        Endpoint::new(EndpointConfig::default(), server, socket, runtime)
    };
    let (server, mut client) = (endpoint(Some(server))?, endpoint(None)?);
    client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
    Ok((server, client))
}

/// Gives back what each stream of a connection says.
async fn echo(connection: Connection) -> Outcome<()> {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
            send.write_chunk(chunk.bytes).await?;
        }
        send.finish()?;
    }
    Ok(())
}

async fn ask(connection: &Connection, size: usize) -> Outcome<()> {
    let data = noise(size);
    let (mut send, mut receive) = connection.open_bi().await?;
    let sent = async {
        send.write_all(&data).await?;
        send.finish()?;
        Outcome::Ok(())
    };
    let received = async { Outcome::Ok(receive.read_to_end(size + 1).await?) };
    let ((), got) = future::try_join(sent, received).await?;
    assert!(got == data);
    Ok(())
}

/// Several connections of one endpoint, several streams of each, and an end that is told.
#[test]
fn quinn() {
    run(async {
        let runtime = SoloRuntime::new();
        let (server, client) = endpoints(&runtime)?;
        let to = server.local_addr()?;
        let ran: Result<(), Error> = task_group(async |group| {
            let running = group.spawn(runtime.clone().run());
            let serving = async {
                for _ in 0..3 {
                    let incoming = server.accept().await.expect("a connection");
                    let connection = incoming.await.map_err(Error::other)?;
                    group.spawn(async { echo(connection).await.map_err(Error::other) });
                }
                Ok::<_, Error>(())
            };
            let asking = async {
                for _ in 0..3 {
                    let connecting = client.connect(to, "localhost").map_err(Error::other)?;
                    let connection = connecting.await.map_err(Error::other)?;
                    let sizes = [0, 1, 1_200, 100_000, 5 << 20];
                    let asked = sizes.map(|size| ask(&connection, size));
                    let asked = future::try_join_all(asked).await;
                    asked.map_err(Error::other)?;
                    connection.close(0_u8.into(), b"done");
                }
                client.wait_idle().await;
                Ok::<_, Error>(())
            };
            future::try_join(serving, asking).await?;
            server.close(0_u8.into(), b"done");
            server.wait_idle().await;
            running.cancel();
            Ok(())
        })
        .await;
        Ok(ran?)
    });
}
