//! A service of axum: `axum_server [ADDRESS]`.
//!
//! axum without its `tokio` feature is a router and nothing else; soloio serves it. What runs on
//! tokio's runtime (`axum::serve`, `ws`, tower's timeout) does not work here; soloio's own sleeps,
//! limits and streams do, as below.
//!
//!     curl http://127.0.0.1:8080/hello/Ada
//!     curl --json '{"numbers": [1, 2, 3]}' http://127.0.0.1:8080/sum

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use soloio::{
    Signal, block_on, connect_tcp, create_tcp_listener, fail_after, open_signal_receiver, sleep,
};
use soloio_hyper::Http;

async fn hello(State(greeted): State<Arc<AtomicU64>>, Path(name): Path<String>) -> String {
    let number = greeted.fetch_add(1, Ordering::Relaxed) + 1;
    format!("Hello, {name}! You are number {number}.\n")
}

async fn sum(Json(given): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let numbers = given["numbers"].as_array().ok_or(StatusCode::BAD_REQUEST)?;
    let sum: i64 = numbers.iter().filter_map(Value::as_i64).sum();
    Ok(Json(json!({ "sum": sum })))
}

async fn slow() -> Result<&'static str, StatusCode> {
    let slept = sleep(Duration::from_millis(50)).await;
    slept.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok("slept\n")
}

/// Asks another server, within a second.
async fn upstream(Path(port): Path<u16>) -> Result<String, StatusCode> {
    let ask = async {
        let upstream = connect_tcp("127.0.0.1", port).await?;
        upstream.send(b"Who are you?\n").await?;
        upstream.receive_max(1024).await
    };
    let answer = fail_after(Duration::from_secs(1), ask).await;
    let answer = answer.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let address: SocketAddr = address.parse()?;
    let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
    let router = Router::new()
        .route("/hello/{name}", get(hello))
        .route("/sum", post(sum))
        .route("/slow", get(slow))
        .route("/upstream/{port}", get(upstream))
        .with_state(Arc::new(AtomicU64::new(0)));
    block_on(async {
        let listener = create_tcp_listener()
            .local_host(address.ip())
            .local_port(address.port())
            .await?;
        println!("http {}", listener.local_addr());
        let (http, service) = (Http::new(), TowerToHyperService::new(router));
        listener
            .serve(async |stream| http.serve_connection(stream, &service).await)
            .shutdown(signals.receive())
            .drain(Duration::from_secs(10))
            .await?;
        Ok(())
    })
}
