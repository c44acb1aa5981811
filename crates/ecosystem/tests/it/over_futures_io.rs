//! Crates over the traits of futures-io: soloio's feature `futures-io`, `Io::new(stream)`.

use async_compression::futures::bufread::GzipDecoder;
use async_compression::futures::write::GzipEncoder;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::{accept_async, client_async};
use asynchronous_codec::{Framed, LinesCodec};
use futures_util::io::BufReader;
use futures_util::{AsyncReadExt, AsyncWriteExt, SinkExt, StreamExt, TryStreamExt, future};
use soloio::Io;

use crate::support::{Outcome, noise, pair, run};

/// Texts, large messages, pings and the goodbye, between two ends of it.
#[test]
fn async_tungstenite() {
    run(async {
        let (ours, theirs) = pair().await?;
        let server = async {
            let mut socket = accept_async(Io::new(theirs)).await?;
            while let Some(message) = socket.try_next().await? {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await?;
                }
            }
            Outcome::Ok(())
        };
        let client = async {
            let (mut socket, _) = client_async("ws://localhost/", Io::new(ours)).await?;
            for message in [Message::text("hello"), Message::binary(noise(1_000_000))] {
                socket.send(message.clone()).await?;
                assert!(socket.next().await.expect("an echo")? == message);
            }
            socket.send(Message::Ping("are you there?".into())).await?;
            let pong = socket.next().await.expect("an answer")?;
            assert_eq!(pong, Message::Pong("are you there?".into()));
            socket.close(None).await?;
            assert!(socket.next().await.expect("a goodbye")?.is_close());
            assert!(socket.next().await.is_none());
            Ok(())
        };
        future::try_join(server, client).await?;
        Ok(())
    });
}

#[test]
fn async_compression() {
    run(async {
        let (ours, theirs) = pair().await?;
        let bytes = noise(100_000).repeat(3);
        let send = async {
            let mut encoder = GzipEncoder::new(Io::new(ours));
            encoder.write_all(&bytes).await?;
            encoder.close().await?;
            Outcome::Ok(())
        };
        let receive = async {
            let mut got = Vec::new();
            let mut decoder = GzipDecoder::new(BufReader::new(Io::new(theirs)));
            decoder.read_to_end(&mut got).await?;
            Ok(got)
        };
        let ((), got) = future::try_join(send, receive).await?;
        assert!(got == bytes);
        Ok(())
    });
}

#[test]
fn asynchronous_codec() {
    run(async {
        let (ours, theirs) = pair().await?;
        let mut ours = Framed::new(Io::new(ours), LinesCodec);
        let mut theirs = Framed::new(Io::new(theirs), LinesCodec);
        ours.send("one\n".into()).await?;
        ours.send("two\n".into()).await?;
        ours.close().await?;
        let lines: Vec<String> = theirs.by_ref().try_collect().await?;
        assert_eq!(lines, ["one\n", "two\n"]);
        Ok(())
    });
}
