//! The conformance suite over soloio's own streams, in the world and outside of it; the system
//! calls that they make.

mod buffered;
mod calls;
mod collected;
mod datagrams;
mod idle;
mod moved;
mod named;
mod own;
mod relaying;
mod serving;

use std::time::Duration;

use soloio::{
    AnyByteStream, block_on, connect_tcp, create_memory_byte_stream, create_memory_object_stream,
    create_tcp_listener, unix_socket_pair,
};
use soloio_sim::{Fault, Faults, Sim, check, conformance, run};

async fn tcp_on(host: &str) -> (soloio::TcpStream, soloio::TcpStream) {
    let listener = create_tcp_listener().local_host(host).await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().port();
    let (client, server) = soloio::join((connect_tcp(host, port), listener.accept())).await;
    (client.expect("connected"), server.expect("accepted"))
}

async fn tcp() -> (soloio::TcpStream, soloio::TcpStream) {
    tcp_on("127.0.0.1").await
}

async fn tcp6() -> (soloio::TcpStream, soloio::TcpStream) {
    tcp_on("::1").await
}

async fn all_laws() {
    for room in [1, 7, 65_536] {
        conformance::byte_streams(async || create_memory_byte_stream(room)).await;
    }
    conformance::byte_streams(async || own::pair()).await;
    conformance::byte_streams(async || unix_socket_pair().expect("a pair")).await;
    conformance::byte_streams(tcp).await;
    conformance::byte_streams(tcp6).await;
    conformance::byte_streams(async || {
        let (a, b) = tcp().await;
        (AnyByteStream::new(a), AnyByteStream::new(b))
    })
    .await;
    for room in [0, 1, 9] {
        conformance::object_streams(async || create_memory_object_stream(room)).await;
    }
    conformance::listeners(
        async || {
            create_tcp_listener()
                .local_host("127.0.0.1")
                .await
                .expect("a port")
        },
        async |listener| {
            let port = listener.local_addr().port();
            connect_tcp("127.0.0.1", port).await.expect("connected")
        },
    )
    .await;
}

#[test]
fn they_hold_on_the_real_kernel() {
    block_on(all_laws());
}

#[test]
fn they_hold_in_a_calm_world() {
    run(all_laws());
}

#[test]
fn they_hold_with_latency_small_buffers_and_needless_events() {
    check(20, |seed| {
        let faults = Faults::none()
            .with(Fault::Interrupt, 0.05)
            .with(Fault::ShortSend, 0.1)
            .with(Fault::Loss, 0.001)
            .with(Fault::SpuriousEvent, 0.05)
            .with(Fault::EventOrder, 0.2)
            .with(Fault::EarlyWake, 0.1)
            .with_latency(Duration::from_micros(10), Duration::from_millis(3))
            .with_buffer([100, 5000, 65_536][usize::try_from(seed % 3).expect("small")]);
        let mut sim = Sim::new(seed, faults);
        sim.client("laws", all_laws);
        sim.run_until_done(Duration::from_secs(100_000))
    });
}
