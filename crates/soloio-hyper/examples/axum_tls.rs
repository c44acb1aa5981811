//! A service of axum over TLS, which ends as a service should: `axum_tls ADDRESS [CERT KEY]`.
//!
//! HTTP/2 and HTTP/1 by ALPN. Without files it makes a certificate of its own for `localhost`. On
//! ctrl-c and SIGTERM it stops to accept, ends idle connections at once, lets requests that run
//! have their answers for 10 s, and says how many it has served.
//!
//!     curl --insecure https://localhost:8443/slow & kill -TERM ...

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper_util::service::TowerToHyperService;
use soloio::tls::{TlsListener, server_config};
use soloio::{Signal, block_on, create_tcp_listener, open_signal_receiver, sleep};
use soloio_hyper::Http;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// An answer that takes a while: a stop waits for it.
async fn slow() -> &'static str {
    match sleep(Duration::from_secs(1)).await {
        Ok(()) => "It took a second.\n",
        Err(_) => "The server could not wait any longer.\n",
    }
}

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8443".into());
    let address: SocketAddr = address.parse()?;
    let config = match (args.next(), args.next()) {
        (Some(chain), Some(key)) => server_config().certificate_files(chain, key),
        _ => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let key = made.signing_key.serialize_der();
            let key = key.try_into()?;
            server_config().certificate(vec![made.cert.der().clone()], key)
        }
    };
    let config = config.alpn(["h2", "http/1.1"]).build()?;
    let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
    let router = Router::new()
        .route("/", get(async || "Hello over TLS!\n"))
        .route("/slow", get(slow));
    block_on(async {
        let tcp = create_tcp_listener()
            .local_host(address.ip())
            .local_port(address.port())
            .await?;
        println!("https {}", tcp.local_addr());
        let listener = TlsListener::new(tcp, config);
        let (http, service) = (Http::new(), TowerToHyperService::new(router));
        let serve = listener
            .serve(async |stream| http.serve_connection(stream, &service).await)
            .max_connections(10_000);
        let counters = serve.counters();
        serve
            .shutdown(signals.receive())
            .drain(Duration::from_secs(10))
            .await?;
        println!("served {} connections", counters.accepted());
        Ok(())
    })
}
