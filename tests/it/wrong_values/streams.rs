//! Buffers, memory streams, files, relays, servers.

use std::fs::File;

use soloio::net::adopt_listeners;
use soloio::{
    Buffered, ByteStream, Error, MultiListener, Result, SendBuffer, TcpListener, connect_tcp,
    create_memory_byte_stream, create_memory_object_stream, fail_after, join, relay, task_group,
};

use super::{LONG, SHORT, SIZES, TIMES, ended, message};
use crate::net_support::{refused, run, tcp_listener, tcp_pair};

#[test]
fn capacities_of_memory_streams() {
    run(async {
        for capacity in SIZES {
            let (a, b) = create_memory_byte_stream(capacity);
            let (sent, received) = join((a.send(b"abc"), async {
                let mut all = Vec::new();
                while all.len() < 3 {
                    all.extend(fail_after(LONG, b.receive()).await.expect("bytes"));
                }
                all
            }))
            .await;
            sent.expect("sent");
            assert_eq!(received, b"abc");

            let (sender, receiver) = create_memory_object_stream(capacity);
            let (sent, received) = join((sender.send(7), receiver.receive())).await;
            sent.expect("sent");
            assert_eq!(received.expect("sent"), 7);
            assert_eq!(sender.statistics().max_buffer_size, capacity);
        }
    });
}

async fn numbers_of_receives<S: ByteStream>((a, b): (S, S)) -> Result<()> {
    let ours = Buffered::new(a);
    b.send(b"abc\ndef\n").await?;
    assert!(message(ours.receive_max(0).await).contains('0'));
    assert_eq!(ours.receive_exactly(0).await?, b"");
    assert_eq!(ours.receive_array::<0>().await?, []);
    message(ours.receive_until(b"", usize::MAX).await);
    message(ours.receive_until_into(&mut Vec::new(), b"", 0).await);
    message(ours.receive_each(b"", 9, |_| panic!("no item")).await);
    for max in [0, 1, 2] {
        let number = max.to_string();
        assert!(message(ours.receive_until(b"\n", max).await).contains(&number));
        assert!(message(ours.next_line(&mut Vec::new(), max).await).contains(&number));
        let none = ours.receive_each(b"\n", max, |_| panic!("no item")).await;
        assert!(message(none).contains(&number));
        let none = ours.receive_with(max, |_| None::<(usize, ())>).await;
        assert!(message(none).contains(&number));
    }
    assert_eq!(ours.receive_until(b"\n", usize::MAX).await?, b"abc");
    let mut line = Vec::new();
    assert!(ours.next_line(&mut line, usize::MAX).await?);
    assert_eq!(line, b"def", "nothing was lost");

    b.send(b"xyz").await?;
    b.send_eof().await?;
    for count in [usize::MAX, usize::MAX - 1, usize::MAX / 2] {
        refused!(ours.receive_exactly(count).await, Error::IncompleteRead(3));
    }
    refused!(
        ours.receive_with(usize::MAX, |_| None::<(usize, ())>).await,
        Error::IncompleteRead(3)
    );
    assert_eq!(
        ours.receive_max(usize::MAX).await?,
        b"xyz",
        "nothing was lost"
    );
    ours.send(b"").await?;
    ours.send_from(&mut &[][..]).await?;
    ours.send_vectored(&mut &mut [][..]).await?;
    let mut buffer = SendBuffer::new(&ours);
    buffer.write(b"");
    buffer.flush().await
}

#[test]
fn numbers_of_buffers() {
    run(async {
        let ended = numbers_of_receives(create_memory_byte_stream(100)).await;
        ended.expect("nothing else is an error");
        let ended = numbers_of_receives(tcp_pair().await).await;
        ended.expect("nothing else is an error");
    });
}

#[test]
fn parts_of_files_that_are_not_there() {
    run(async {
        let file = File::open("Cargo.toml").expect("it is there");
        let size = file.metadata().expect("it is open").len();
        for tcp in [true, false] {
            for (offset, length) in [
                (0, 0),
                (size, 0),
                (u64::MAX, 0),
                (size, 1),
                (0, u64::MAX),
                (1, u64::MAX),
                (u64::MAX, 1),
                (u64::MAX, u64::MAX),
                (1 << 63, 1 << 62),
            ] {
                let send = async |send: Result<()>| match length {
                    0 => send.expect("nothing to send"),
                    _ => drop(message(send)),
                };
                // Room for the file: nothing receives.
                if tcp {
                    let (a, _b) = tcp_pair().await;
                    send(ended(a.send_file(&file, offset, length)).await).await;
                } else {
                    let (a, _b) = create_memory_byte_stream(1 << 20);
                    send(ended(a.send_file(&file, offset, length)).await).await;
                }
            }
        }
    });
}

#[test]
fn limits_of_a_relay() {
    run(async {
        for (n, half) in TIMES.into_iter().enumerate() {
            for (m, idle) in TIMES.into_iter().enumerate() {
                let (client, a) = tcp_pair().await;
                let (b, server) = tcp_pair().await;
                let relay = relay(a, b)
                    .half_open_limit(half)
                    .idle_limit(idle)
                    .splice(n % 2 == 0);
                let talk = async {
                    client.send(b"question").await?;
                    client.send_eof().await?;
                    let asked = server.receive().await?;
                    server.send(&asked).await?;
                    server.send_eof().await?;
                    client.receive().await
                };
                let (relayed, talked) = join((ended_or_late(relay), talk)).await;
                if n >= SHORT && m >= SHORT {
                    assert!(relayed, "no limit");
                    assert_eq!(talked.expect("an answer"), b"question");
                }
            }
        }
    });
}

#[test]
fn none_of_something() {
    run(async {
        let none = MultiListener::new();
        assert!(message(ended(none.accept()).await).contains("no listener"));
        assert!(message(ended(none.serve(async |_| Ok(()))).await).contains("no listener"));
        let none = adopt_listeners([]).expect("none");
        assert!(message(ended(none.accept()).await).contains("no listener"));
        message(TcpListener::try_from(Vec::new()));
        let none: [std::future::Ready<u8>; 0] = [];
        assert_eq!(join(none).await, []);
        assert_eq!(join(Vec::<std::future::Ready<u8>>::new()).await, []);
    });
}

/// Returns true for a success, false for an end by a limit.
async fn ended_or_late<T>(future: impl IntoFuture<Output = Result<T>>) -> bool {
    match fail_after(LONG, future).await {
        Ok(_) => true,
        Err(Error::TimedOut(late)) => {
            assert_ne!(late.limit(), Some(LONG), "it hangs");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn limits_of_a_server() {
    run(async {
        for max in SIZES {
            for drain in TIMES {
                let listener = tcp_listener().await;
                let port = listener.local_addr().port();
                let talked = async {
                    let client = connect_tcp("127.0.0.1", port).await?;
                    client.send(b"hello").await?;
                    let answer = client.receive().await?;
                    assert_eq!(answer, b"hello");
                    client.close().await
                };
                let server = listener
                    .serve(async |client| {
                        let data = client.receive().await?;
                        client.send(&data).await?;
                        client.close().await
                    })
                    .max_connections(max)
                    .shutdown(talked)
                    .drain(drain);
                ended(server).await.expect("an orderly end");
            }
        }
        let listener = tcp_listener().await;
        let group = task_group(async |group| {
            let server = listener.serve(async |_| Ok(()));
            ended(server.max_connections(0).shutdown(async {}).in_group(group)).await
        });
        group.await.expect("an orderly end");
    });
}
