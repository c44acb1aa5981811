//! Bytes that are collected before they are sent.

use soloio::{Error, SendBuffer, connect_tcp, create_tcp_listener, join, unix_socket_pair};
use soloio_sim::{Fault, Faults, run, run_with};

/// Rounds of different lengths, so that the bytes wrap around in their memory.
#[test]
fn what_is_written_comes_whole_and_in_order() {
    let faults = Faults::none().with(Fault::ShortSend, 0.3).with_buffer(500);
    run_with(3, faults, async {
        let (ours, theirs) = unix_socket_pair().expect("a pair");
        let mut collected = SendBuffer::new(&ours);
        let mut expected = Vec::new();
        let mut number = 0_u8;
        for round in 1..40 {
            for length in [round % 7, 300, round * 11 % 200] {
                number = number.wrapping_add(1);
                collected.write(&vec![number; length]);
                expected.extend(vec![number; length]);
            }
            // A part is sent, the rest stays.
            let cut = soloio::move_on_after(std::time::Duration::ZERO, collected.flush());
            cut.await.expect("sent");
        }
        let send = async {
            collected.flush().await?;
            ours.send_eof().await
        };
        let receive = async {
            let mut got = Vec::new();
            while let Some(bytes) = theirs.next().await? {
                got.extend(bytes);
            }
            Ok::<_, Error>(got)
        };
        let (sent, got) = join((send, receive)).await;
        sent.expect("sent");
        assert!(got.expect("received") == expected);
    });
}

#[test]
fn bytes_that_are_dropped_unsent_end_in_a_reset() {
    run(async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().port();
        let (client, server) = join((connect_tcp("127.0.0.1", port), listener.accept())).await;
        let (client, server) = (client.expect("connected"), server.expect("accepted"));
        let mut collected = SendBuffer::new(&client);
        collected.write(b"never sent");
        drop(collected);
        drop(client);
        assert!(matches!(server.receive().await, Err(Error::Broken(_))));
    });
}
