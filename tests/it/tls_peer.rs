//! TLS streams against rustls itself, with messages that no peer of ours would send.

use futures_util::future::join;
use soloio::tls::TlsStream;
use soloio::tls::rustls::ServerConnection;
use soloio::{Error, MemoryStream, create_memory_byte_stream};

use crate::net_support::{numbered, polled, receive_numbered, refused, run, turns};
use crate::tls_support::{NAME, client_config, server_config, tls};

async fn memory() -> (MemoryStream, MemoryStream) {
    create_memory_byte_stream(100_000)
}

/// rustls itself as the peer, over a memory stream.
struct Raw {
    session: ServerConnection,
    stream: MemoryStream,
}

impl Raw {
    /// Sends pending data, and processes received data.
    async fn pump(&mut self) {
        while self.session.wants_write() {
            let mut out = Vec::new();
            self.session.write_tls(&mut out).expect("into memory");
            self.stream.send(&out).await.expect("sent");
        }
        if let Some(bytes) = polled(1, self.stream.receive()).await {
            let bytes = bytes.expect("bytes");
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                self.session.read_tls(&mut rest).expect("from memory");
                self.session.process_new_packets().expect("good records");
            }
        }
        turns(1).await;
    }

    fn plaintext(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let read = std::io::Read::read_to_end(&mut self.session.reader(), &mut all);
        drop(read);
        all
    }
}

async fn raw_pair() -> (TlsStream<MemoryStream>, Raw) {
    let (a, b) = memory().await;
    let mut raw = Raw {
        session: ServerConnection::new(server_config()).expect("a good configuration"),
        stream: b,
    };
    let client = TlsStream::client(a, NAME, client_config()).into_future();
    let serve = async {
        while raw.session.is_handshaking() {
            raw.pump().await;
        }
        raw.pump().await;
    };
    let (client, ()) = join(client, serve).await;
    (client.expect("a handshake"), raw)
}

#[test]
fn key_updates_are_answered_and_lose_nothing() {
    run(async {
        // L7: a receive has to send an answer.
        let (client, mut raw) = raw_pair().await;
        let mut expected = [0; 32];
        expected = raw
            .session
            .export_keying_material(expected, b"EXPORTER-test", Some(b"context"))
            .expect("rustls exports");
        let mut ours = [0; 32];
        client
            .export_keying_material(&mut ours, b"EXPORTER-test", b"context")
            .expect("TLS 1.3");
        assert_eq!(ours, expected, "as rustls does it");
        for round in 0..5 {
            let data = numbered(0, 1000);
            std::io::Write::write_all(&mut raw.session.writer(), &data).expect("room");
            raw.session.refresh_traffic_keys().expect("TLS 1.3");
            std::io::Write::write_all(&mut raw.session.writer(), b"after").expect("room");
            raw.pump().await;
            receive_numbered(&client, 0, 1000).await;
            let mut after = Vec::new();
            while after.len() < 5 {
                after.extend(client.receive().await.expect("sent"));
            }
            assert_eq!(after, b"after");
            let answer = [b"round ", &[b'0' + round][..]].concat();
            client.send(&answer).await.expect("sent");
            raw.pump().await;
            assert_eq!(raw.plaintext(), answer);
        }
    });
}

/// A peer that requests new keys all the time and reads nothing must not make us store an answer to
/// each.
#[test]
fn a_flood_of_key_updates_leaves_little_to_be_sent() {
    const ROUNDS: usize = 5_000;
    run(async {
        let (client, mut raw) = raw_pair().await;
        // Earlier data does not count.
        assert!(polled(1, raw.stream.receive()).await.is_none());
        for round in 0..ROUNDS {
            raw.session.refresh_traffic_keys().expect("TLS 1.3");
            std::io::Write::write_all(&mut raw.session.writer(), b"x").expect("room");
            let mut out = Vec::new();
            while raw.session.wants_write() {
                raw.session.write_tls(&mut out).expect("into memory");
            }
            raw.stream.send(&out).await.expect("sent");
            assert_eq!(client.receive().await.expect("sent"), b"x", "{round}");
        }
        client.send(b"still there").await.expect("sent");
        let mut answered = 0;
        while let Some(bytes) = polled(1, raw.stream.receive()).await {
            let bytes = bytes.expect("sent");
            answered += bytes.len();
            raw.session.read_tls(&mut &bytes[..]).expect("from memory");
            raw.session.process_new_packets().expect("good records");
        }
        assert!(answered < 1_000, "{answered} bytes for {ROUNDS} requests");
        assert_eq!(raw.plaintext(), b"still there");
    });
}

#[test]
fn a_key_update_behind_our_end_is_followed_and_not_answered() {
    run(async {
        let (client, mut raw) = raw_pair().await;
        client.send_eof().await.expect("ended");
        assert!(!raw.stream.receive().await.expect("an end").is_empty());
        raw.session.refresh_traffic_keys().expect("TLS 1.3");
        std::io::Write::write_all(&mut raw.session.writer(), b"after").expect("room");
        raw.session.send_close_notify();
        while raw.session.wants_write() {
            let mut out = Vec::new();
            raw.session.write_tls(&mut out).expect("into memory");
            raw.stream.send(&out).await.expect("sent");
        }
        assert_eq!(client.receive().await.expect("sent"), b"after");
        refused!(client.receive().await, Error::EndOfStream);
        client.close().await.expect("closed");
        refused!(raw.stream.receive().await, Error::EndOfStream);
    });
}

#[test]
fn a_bad_record_is_an_error_for_good_and_answered_by_an_alert() {
    run(async {
        let (client, mut raw) = raw_pair().await;
        raw.stream
            .send(&[
                23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0,
            ])
            .await
            .expect("sent");
        for _ in 0..3 {
            refused!(client.receive().await, Error::Tls(_));
        }
        refused!(client.send(b"x").await, Error::Tls(_));
        let alert = raw.stream.receive().await.expect("an alert");
        let mut rest = &alert[..];
        raw.session.read_tls(&mut rest).expect("from memory");
        let heard = raw.session.process_new_packets().expect_err("an alert");
        assert!(heard.to_string().contains("BadRecordMac"), "{heard}");
        refused!(client.close().await, Error::Tls(_));
    });
}

#[test]
fn a_servers_alert_does_not_wait_for_data_as_its_tickets_do() {
    run(async {
        let (client, server) = tls(memory()).await;
        let bad = [
            23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0,
        ];
        client.inner().send(&bad).await.expect("sent below");
        refused!(server.receive().await, Error::Tls(_));
        refused!(client.receive().await, Error::Tls(_));
    });
}

#[test]
fn plaintext_that_came_before_is_received_before_an_error() {
    run(async {
        let (client, mut raw) = raw_pair().await;
        std::io::Write::write_all(&mut raw.session.writer(), b"good").expect("room");
        let mut out = Vec::new();
        raw.session.write_tls(&mut out).expect("into memory");
        out.extend([99; 50]);
        raw.stream.send(&out).await.expect("sent");
        assert_eq!(client.receive().await.expect("good"), b"good");
        refused!(client.receive().await, Error::Tls(_));
    });
}

/// A send processes what has come first: it must not lose what comes of that.
#[test]
fn what_a_send_meets_is_received_in_its_order() {
    run(async {
        let (client, mut raw) = raw_pair().await;
        std::io::Write::write_all(&mut raw.session.writer(), b"one").expect("room");
        raw.session.refresh_traffic_keys().expect("TLS 1.3");
        std::io::Write::write_all(&mut raw.session.writer(), b"two").expect("room");
        raw.pump().await;
        assert_eq!(client.receive_max(1).await.expect("sent"), b"o");
        // The new keys are answered before the data, which has new keys itself.
        client.send(b"data").await.expect("sent");
        raw.pump().await;
        assert_eq!(raw.plaintext(), b"data");

        std::io::Write::write_all(&mut raw.session.writer(), b"three").expect("room");
        let mut out = Vec::new();
        raw.session.write_tls(&mut out).expect("into memory");
        out.extend([99; 50]);
        raw.stream.send(&out).await.expect("sent");
        let mut got = Vec::new();
        while !got.ends_with(b"two") {
            got.extend(client.receive_max(1).await.expect("sent"));
        }
        assert_eq!(client.receive_max(1).await.expect("sent"), b"t");
        refused!(client.send(b"never").await, Error::Tls(_));
        assert_eq!(client.receive().await.expect("sent"), b"hree");
        refused!(client.receive().await, Error::Tls(_));
        let alert = raw.stream.receive().await.expect("an alert");
        let mut rest = &alert[..];
        raw.session.read_tls(&mut rest).expect("from memory");
        let heard = raw.session.process_new_packets().expect_err("an alert");
        assert!(heard.to_string().contains("DecodeError"), "{heard}");
        assert_eq!(raw.plaintext(), b"");
    });
}
