//! Passes TCP connections on to another address, and prints a line for each.
//!
//! ```text
//! cargo run --example proxy 127.0.0.1:7001 127.0.0.1:7000
//! ```
//!
//! If one side breaks, the other gets a reset, never an end.
//!
//! Prints its address (`tcp 127.0.0.1:7001`), and a line for each connection at its end. A side
//! that has ended may still be answered for a minute.

use std::process::ExitCode;
use std::time::Duration;

use soloio::{
    ByteStream, Host, RelaySide, Result, TcpStream, block_on, connect_tcp, create_tcp_listener,
    fail_after, relay,
};

const CONNECT: Duration = Duration::from_secs(10);
const HALF_OPEN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target] = &arguments[..] else {
        eprintln!("usage: proxy LISTEN_ADDR TARGET_ADDR, each HOST:PORT");
        return ExitCode::from(2);
    };
    match block_on(serve(listen, target)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &str, target: &str) -> Result<()> {
    let ((host, port), target) = (Host::with_port(listen)?, Host::with_port(target)?);
    let listener = create_tcp_listener().local_host(host).local_port(port);
    let listener = listener.await?;
    println!("tcp {}", listener.local_addr());
    let server = listener.serve(async |client| pass_on(client, &target).await);
    // An error ends one connection only: the others continue.
    server
        .on_error(|error, peer| eprintln!("proxy: {peer}: {error}"))
        .await
}

async fn pass_on(client: TcpStream, (host, port): &(Host, u16)) -> Result<()> {
    let server = match fail_after(CONNECT, connect_tcp(host.clone(), *port)).await {
        Ok(server) => server,
        Err(error) => {
            // Dropped, it would look as if the other side had ended.
            client.reset().await?;
            return Err(error);
        }
    };
    let peer = client.peer_addr();
    // It owns the streams, so that the peer of one that has not got everything sees a reset, also
    // after a limit or a drop.
    let mut relay = relay(client, server).half_open_limit(HALF_OPEN);
    let ended = relay.run().await;
    let relayed = relay.relayed();
    let first = match relayed.ended_first {
        Some(RelaySide::A) => "client",
        Some(RelaySide::B) => "server",
        None => "nobody",
    };
    println!(
        "{peer}: {} bytes there, {} back, {first} ended first",
        relayed.a_to_b, relayed.b_to_a
    );
    ended.map(drop)
}
