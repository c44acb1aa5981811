//! Object streams of bytes as byte streams: TLS over them, empty objects, errors. Their laws are in
//! `tests/laws.rs`.

use std::cell::Cell;
use std::rc::Rc;

use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Error, Result, create_memory_object_stream, join,
};
use soloio_streams::{
    ObjectByteStream, ObjectReceiveStream, ObjectSendStream, StapledObjectStream,
};

use crate::support::{cut, run};

#[test]
fn empty_objects_are_skipped_and_errors_come_through() {
    run(async || {
        let (sender, ours) = create_memory_object_stream(9);
        let (to_them, theirs) = create_memory_object_stream(1);
        let stream = ObjectByteStream::new(StapledObjectStream::new(to_them, ours));
        for object in [&b""[..], b"abc", b"", b"d"] {
            sender.send(object.to_vec()).await?;
        }
        assert_eq!(stream.receive_max(2).await?, b"ab");
        assert_eq!(stream.receive_max(2).await?, b"c");
        assert_eq!(stream.receive_max(2).await?, b"d");
        assert!(cut(1, stream.receive()).await.is_none());

        // The first of them fits, the second waits, the third is not accepted.
        let data = vec![1; 200_000];
        let mut rest = &data[..];
        assert!(cut(3, stream.send_from(&mut rest)).await.is_none());
        assert_eq!(rest.len(), data.len() - 2 * 65_536);
        assert_eq!(theirs.receive().await?.len(), 65_536);
        drop(theirs);
        for _ in 0..2 {
            assert!(matches!(stream.send(b"x").await, Err(Error::Broken(_))));
        }
        drop(sender);
        assert!(matches!(stream.receive().await, Err(Error::EndOfStream)));
        Ok(())
    });
}

/// An abort ends what waits, and drops the object stream.
#[test]
fn an_abort_ends_both_directions() {
    run(async || {
        let (sender, ours) = create_memory_object_stream::<Vec<u8>>(0);
        let (to_them, theirs) = create_memory_object_stream(0);
        let stream = ObjectByteStream::new(StapledObjectStream::new(to_them, ours));
        let abort = async {
            soloio::yield_now().await?;
            stream.abort();
            Ok::<_, Error>(())
        };
        let (received, sent, aborted) = join((stream.receive(), stream.send(b"x"), abort)).await;
        aborted?;
        assert!(matches!(
            (received, sent),
            (Err(Error::Closed), Err(Error::Closed))
        ));
        assert!(matches!(theirs.receive().await, Err(Error::EndOfStream)));
        assert!(matches!(
            sender.send(Vec::new()).await,
            Err(Error::Broken(_))
        ));
        Ok(())
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_over_messages() {
    use soloio::tls::TlsStream;
    run(async || {
        let (client, server) = crate::support::tls_configs()?;
        let (to_b, from_a) = create_memory_object_stream(2);
        let (to_a, from_b) = create_memory_object_stream(2);
        let a = ObjectByteStream::new(StapledObjectStream::new(to_b, from_b));
        let b = ObjectByteStream::new(StapledObjectStream::new(to_a, from_a));
        let client = TlsStream::client(a, "test.example", client);
        let server = TlsStream::server(b, server);
        let (client, server) = join((client.into_future(), server.into_future())).await;
        let (client, server) = (client?, server?);
        let (sent, got) = join((client.send(b"secret"), server.receive())).await;
        sent?;
        assert_eq!(got?, b"secret");
        let (closed, end) = join((client.close(), server.next())).await;
        closed?;
        assert_eq!(end?, None);
        Ok(())
    });
}

/// Has an empty object at any time, and says that it has sent what it has left where it was.
#[derive(Default)]
struct Lawless {
    calls: Cell<u32>,
    sent: Cell<bool>,
}

impl Lawless {
    fn count(&self) {
        self.calls.set(self.calls.get() + 1);
        assert!(self.calls.get() < 10_000, "it is called again and again");
    }
}

impl ObjectReceiveStream for Lawless {
    type Item = Vec<u8>;

    async fn receive(&self) -> Result<Vec<u8>> {
        self.count();
        Ok(Vec::new())
    }
}

impl ObjectSendStream for Lawless {
    type Item = Vec<u8>;

    async fn send_from(&self, item: &mut Option<Vec<u8>>) -> Result<()> {
        self.count();
        if self.sent.get() {
            *item = None;
        }
        Ok(())
    }

    async fn send_eof(&self) -> Result<()> {
        Ok(())
    }
}

/// It kept the loop for ever.
#[test]
fn empty_objects_without_end_let_other_tasks_run() {
    run(async || {
        let stream = ObjectByteStream::new(Rc::new(Lawless::default()));
        assert!(cut(5, stream.receive()).await.is_none());
        Ok(())
    });
}

/// The object was lost, and the next one, or the end, took its place.
#[test]
fn an_object_that_is_left_without_an_error_is_an_error_and_is_sent_later() {
    run(async || {
        for ends in [true, false] {
            let lawless = Rc::new(Lawless::default());
            let stream = ObjectByteStream::new(Rc::clone(&lawless));
            for _ in 0..2 {
                let refused = match ends {
                    true => stream.send(b"").await.and(stream.send(b"x").await),
                    false => stream.send(b"x").await,
                };
                assert!(matches!(refused, Err(Error::Other(_))), "{refused:?}");
                let refused = stream.send_eof().await;
                assert!(matches!(refused, Err(Error::Other(_))), "{refused:?}");
            }
            lawless.sent.set(true);
            stream.send_eof().await?;
        }
        Ok(())
    });
}
