//! An example: a proxy between clients and a server, under every fault there is, and a planted bug
//! that seeds find.
//!
//! What a proxy has to keep: no byte is lost, doubled or changed, and the end of a stream is one
//! that its peer has sent. If a side breaks, the other side must not take that for an end: it would
//! keep half of a file. The planted bug is a proxy that does not tell the two apart.

use std::time::Duration;

use soloio::{
    ByteStream, Error, Result, TcpListener, TcpStream, connect_tcp, create_tcp_listener,
    fail_after, relay, sleep,
};
use soloio_sim::{Fault, Faults, Sim, check, sometimes};

const QUESTION: u32 = 3000;
const ANSWER: u32 = 20_000;

fn numbered(count: u32) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

/// Returns a listener, after any number of failures.
async fn listen(port: u16) -> Result<TcpListener> {
    loop {
        let listener = create_tcp_listener().local_host("0.0.0.0").local_port(port);
        match listener.await {
            Ok(listener) => return Ok(listener),
            Err(_) => sleep(Duration::from_millis(1)).await?,
        }
    }
}

/// Sends everything, and an end.
async fn send_all(stream: &TcpStream, count: u32) -> Result<()> {
    stream.send(&numbered(count)).await?;
    stream.send_eof().await
}

/// Receives up to the end, with a pause after each part: an end means that all is there.
async fn receive_all(stream: &TcpStream, count: u32, pause: Duration) -> Result<()> {
    let (expected, mut got) = (numbered(count), Vec::new());
    while let Some(bytes) = stream.next().await? {
        got.extend(bytes);
        assert!(expected.starts_with(&got), "a byte is lost, or another one");
        sleep(pause).await?;
    }
    assert_eq!(got.len(), expected.len(), "a break is told as an end");
    Ok(())
}

async fn server(pause: Duration) -> Result<()> {
    let listener = listen(1).await?;
    let serve = listener.serve_with(async |stream| {
        let served = async {
            receive_all(&stream, QUESTION, pause).await?;
            send_all(&stream, ANSWER).await
        }
        .await;
        end(stream, served).await
    });
    // A break is to be expected, a panic is what this test has found.
    serve
        .on_error(|error, _| assert!(!matches!(error, Error::Panicked(_)), "{error}"))
        .await
}

/// Closes a stream that is done; one that is not must not end in order.
async fn end(stream: TcpStream, result: Result<()>) -> Result<()> {
    match &result {
        Ok(()) => stream.close().await,
        Err(_) => stream.reset().await.and(result),
    }
}

async fn proxy(pass_on: impl AsyncFn(TcpStream, TcpStream) -> Result<()>) -> Result<()> {
    let listener = listen(1).await?;
    let serve = listener.serve_with(async |client| {
        match fail_after(Duration::from_secs(10), connect_tcp("server", 1)).await {
            Ok(server) => pass_on(client, server).await,
            failed => end(client, failed.map(drop)).await,
        }
    });
    serve.on_error(|_, _| {}).await
}

/// The planted bug: the error of one side is the end of the other.
async fn pass_on_wrongly(client: TcpStream, server: TcpStream) -> Result<()> {
    let way = async |from: &TcpStream, to: &TcpStream| {
        while let Ok(Some(bytes)) = from.next().await {
            to.send(&bytes).await?;
        }
        to.send_eof().await
    };
    let both = soloio::try_join((way(&client, &server), way(&server, &client)));
    both.await.map(drop)
}

/// Asks until an answer comes in full.
async fn client() -> Result<()> {
    for _ in 0..100 {
        let connected = fail_after(Duration::from_secs(20), connect_tcp("proxy", 1)).await;
        sometimes(connected.is_err(), "the proxy cannot be reached");
        let asked = match connected {
            Ok(stream) => {
                let asked = fail_after(Duration::from_secs(600), async {
                    send_all(&stream, QUESTION).await?;
                    receive_all(&stream, ANSWER, Duration::ZERO).await
                })
                .await;
                end(stream, asked).await
            }
            Err(error) => Err(error),
        };
        let breaks = matches!(asked, Err(Error::Broken(_)));
        sometimes(breaks, "a break is passed on");
        if asked.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await?;
    }
    Err(Error::other("no answer gets through"))
}

fn explore(pass_on: impl AsyncFn(TcpStream, TcpStream) -> Result<()> + Copy + Sync + 'static) {
    check(60, |seed| {
        // An answer takes hundreds of sends, so few of them may fail.
        let faults = Faults::swarm(seed)
            .with(Fault::Reset, 0.001)
            .with(Fault::NoBuffers, 0.001)
            .with_buffer([1000, 5000, 65_536][usize::try_from(seed % 3).expect("small")])
            .with_segment(1460)
            // Too few for three connections with the pipes of a relay.
            .with_descriptors(16);
        let mut sim = Sim::new(seed, faults);
        let pause = Duration::from_millis(if seed % 4 == 0 { 300 } else { 0 });
        sim.host("server", move || server(pause));
        sim.host("proxy", move || proxy(pass_on));
        for number in 0..3 {
            sim.client(format!("client{number}"), client);
        }
        if seed % 2 == 0 {
            sim.at(Duration::from_millis(50 + seed), |net| {
                net.partition("proxy", "server")
            });
            sim.at(Duration::from_secs(40), |net| net.heal());
        }
        if seed % 3 == 0 {
            sim.at(Duration::from_millis(70 + seed), |net| net.crash("server"));
            sim.at(Duration::from_secs(3), |net| net.restart("server"));
        }
        sim.run_until_done(Duration::from_secs(1_000_000))
    });
}

#[test]
fn a_relay_keeps_every_byte_and_tells_no_break_as_an_end() {
    explore(async |client, server| relay(client, server).await.map(drop));
}

#[test]
#[should_panic(expected = "a break is told as an end")]
fn a_proxy_that_takes_a_break_for_an_end_is_found() {
    explore(pass_on_wrongly);
}
