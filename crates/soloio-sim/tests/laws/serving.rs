//! The laws of servers: places for connections, and the ends of those that are not read to theirs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use soloio::{Error, Result, TcpStream, connect_tcp, create_tcp_listener, join, sleep, task_group};
use soloio_sim::run;

use super::tcp;

const SECOND: Duration = Duration::from_secs(1);

/// Serves `count` clients that come at once, for a second each and `most` at a time; after
/// `stopped`, if given, no more are accepted than have come. Returns the time that it took.
async fn serve(count: usize, most: usize, stopped: Option<Duration>) -> Duration {
    let listener = create_tcp_listener().local_host("127.0.0.1").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().port();
    let running = Cell::new(0);
    let serve = listener.serve(async |client| {
        running.set(running.get() + 1);
        assert!(running.get() <= most, "no more than places");
        sleep(SECOND).await?;
        running.set(running.get() - 1);
        client.send(b"served").await
    });
    let serve = serve
        .max_connections(most)
        .on_error(|error, _| panic!("{error}"));
    let serve = match stopped {
        Some(after) => serve.shutdown(sleep(after)),
        None => serve,
    };
    let start = Instant::now();
    let clients = task_group(async |group| {
        let server = group.spawn(serve);
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(group.spawn(async {
                let stream = connect_tcp("127.0.0.1", port).await?;
                assert_eq!(stream.receive().await?, b"served");
                Ok::<_, Error>(())
            }));
        }
        for client in clients {
            client.await?;
        }
        match stopped {
            Some(_) => server.await?,
            None => server.cancel(),
        }
        Ok::<_, Error>(())
    });
    clients.await.expect("each client is served");
    start.elapsed()
}

#[test]
fn a_full_server_serves_everybody_as_places_become_free() {
    run(async {
        assert_eq!(serve(7, 2, None).await, 4 * SECOND);
        assert_eq!(serve(3, 1, None).await, 3 * SECOND);
        assert_eq!(serve(3, 10, None).await, SECOND);
        // Those that have come before the stop are accepted, and wait for their places.
        assert_eq!(serve(7, 2, Some(SECOND / 2)).await, 4 * SECOND);
    });
}

/// Asks for more than fits into the buffers, with a question that nobody reads to its end.
async fn ask(stream: &TcpStream, answer: usize) {
    stream.send(&[1; 30_000]).await.expect("the question fits");
    let mut got = 0;
    loop {
        match stream.receive().await {
            Ok(bytes) => got += bytes.len(),
            Err(Error::EndOfStream) => break,
            Err(error) => panic!("{got} bytes, then no end but: {error}"),
        }
        sleep(Duration::from_millis(1)).await.expect("a sleep");
    }
    assert_eq!(got, answer);
}

#[test]
fn a_close_with_unread_data_delivers_everything_and_an_end() {
    run(async {
        for answer in [1000, 300_000] {
            let (client, server) = tcp().await;
            let serve = async {
                server.receive_max(1).await?;
                server.send(&vec![2; answer]).await?;
                server.close().await
            };
            let ask = async {
                ask(&client, answer).await;
                client.close().await
            };
            let (served, asked) = join((serve, ask)).await;
            served.expect("everything has arrived");
            asked.expect("closed");
        }
    });
}

/// A peer that is not done gets no reset.
#[test]
fn a_close_waits_for_a_peer_that_still_sends() {
    run(async {
        let (client, server) = tcp().await;
        let talk = async {
            for _ in 0..20 {
                client.send(&[1; 1000]).await.expect("it is not reset");
                sleep(Duration::from_millis(1)).await.expect("a sleep");
            }
            assert_eq!(client.receive().await.expect("an answer"), b"done");
            let end = client.receive().await;
            assert!(matches!(end, Err(Error::EndOfStream)), "{end:?}");
            client.close().await
        };
        let serve = async {
            server.receive().await?;
            server.send(b"done").await?;
            server.close().await
        };
        let (talked, served) = join((talk, serve)).await;
        talked.expect("closed");
        served.expect("closed");
    });
}

#[test]
fn a_handler_that_drops_its_stream_unread_still_ends_in_order() {
    run(async {
        for answer in [1000, 300_000] {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let listener = listener.expect("a port");
            let port = listener.local_addr().port();
            let handler = async |stream: TcpStream| -> Result<()> {
                stream.receive_max(1).await?;
                stream.send(&vec![2; answer]).await
            };
            let asked = task_group(async |group| {
                let server = group.spawn(listener.serve(handler));
                let client = connect_tcp("127.0.0.1", port).await?;
                ask(&client, answer).await;
                drop(client);
                server.cancel();
                Ok::<_, Error>(())
            });
            asked.await.expect("asked");
        }
    });
}
