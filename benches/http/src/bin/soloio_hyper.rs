//! The service by soloio-hyper, with all that `Http` does.

use hyper::service::service_fn;
use soloio::tls::TlsListener;
use soloio::{Result, Signal, block_on, create_tcp_listener, open_signal_receiver};
use soloio_http_benches::{hello, tls};
use soloio_hyper::Http;

fn main() -> Result<()> {
    let signals = open_signal_receiver(&[Signal::Terminate])?;
    block_on(async {
        let listener = create_tcp_listener()
            .local_host("127.0.0.1")
            .backlog(4096)
            .await?;
        println!("{}", listener.local_addr().port());
        let http = Http::new();
        let Some(config) = tls() else {
            return listener
                .serve(async |stream| http.serve_connection(stream, service_fn(hello)).await)
                .on_error(|_, _| {})
                .shutdown(signals.receive())
                .await;
        };
        TlsListener::new(listener, config)
            .serve(async |stream| http.serve_connection(stream, service_fn(hello)).await)
            .on_error(|_, _| {})
            .shutdown(signals.receive())
            .await
    })
}
