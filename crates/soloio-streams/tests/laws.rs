//! The laws of soloio-sim for the streams of this crate: those that a byte stream and an object
//! stream of soloio's own keep.

use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Error, MemoryStream, Result,
    create_memory_byte_stream, create_memory_object_stream,
};
use soloio_sim::conformance::{self, ReceiveObjects, SendObjects};
use soloio_sim::run;
use soloio_streams::{
    Lines, ObjectByteStream, ObjectReceiveStream, ObjectSendStream, StapledByteStream,
    StapledObjectStream,
};

#[test]
fn stapled_streams_are_byte_streams() {
    for capacity in [1, 7, 100_000] {
        run(conformance::byte_streams(async || {
            let (to_b, from_a) = create_memory_byte_stream(capacity);
            let (to_a, from_b) = create_memory_byte_stream(capacity);
            (
                StapledByteStream::new(to_b, from_b),
                StapledByteStream::new(to_a, from_a),
            )
        }));
    }
}

/// Objects in memory, of bytes, both ways.
fn objects(capacity: usize) -> [impl ByteStream; 2] {
    let (to_b, from_a) = create_memory_object_stream(capacity);
    let (to_a, from_b) = create_memory_object_stream(capacity);
    [(to_b, from_b), (to_a, from_a)]
        .map(|(to, from)| ObjectByteStream::new(StapledObjectStream::new(to, from)))
}

#[test]
fn objects_of_bytes_are_byte_streams() {
    for capacity in [0, 1, 100] {
        run(conformance::byte_streams(async || objects(capacity).into()));
    }
}

/// Buffers over them, too.
#[test]
fn buffers_over_objects_are_byte_streams() {
    run(conformance::byte_streams(async || {
        let [a, b] = objects(1).map(soloio::Buffered::new);
        (a, b)
    }));
}

/// Numbers by any object stream of this crate.
struct Numbers<T>(T);

impl<T: ObjectSendStream<Item = String>> SendObjects for Numbers<T> {
    async fn send_object(&self, object: u32) -> Result<()> {
        self.0.send(object.to_string()).await
    }
}

impl<T: ObjectReceiveStream<Item = String>> ReceiveObjects for Numbers<T> {
    async fn next_object(&self) -> Result<Option<u32>> {
        let next = self.0.next().await?;
        Ok(next.map(|number| number.parse().expect("a number")))
    }
}

/// Objects over byte streams keep the laws of objects in memory.
async fn over_bytes<T>(capacity: usize, layer: impl Fn(MemoryStream) -> T)
where
    T: ObjectReceiveStream<Item = String> + ObjectSendStream<Item = String>,
{
    conformance::object_streams(async || {
        let (ours, theirs) = create_memory_byte_stream(capacity);
        (Numbers(layer(ours)), Numbers(layer(theirs)))
    })
    .await;
}

#[test]
fn lines_are_an_object_stream() {
    for capacity in [1, 3, 1_000] {
        run(over_bytes(capacity, |stream| Lines::new(stream, 10)));
    }
}

#[cfg(feature = "json")]
#[test]
fn json_lines_are_an_object_stream() {
    for capacity in [1, 3, 1_000] {
        run(over_bytes(capacity, |stream| {
            soloio_streams::JsonLines::<_, String>::new(stream, 10)
        }));
    }
}

#[cfg(feature = "threads")]
#[test]
fn a_channel_is_an_object_stream() {
    /// Numbers by a channel.
    struct Ends<T>(T);

    impl SendObjects for Ends<soloio_streams::ThreadSender<u32>> {
        async fn send_object(&self, object: u32) -> Result<()> {
            self.0.send(object).await
        }
    }

    impl ReceiveObjects for Ends<soloio_streams::ThreadReceiver<u32>> {
        async fn next_object(&self) -> Result<Option<u32>> {
            self.0.next().await
        }
    }

    for capacity in [1, 3, 1_000] {
        run(conformance::object_streams(async || {
            let (sender, receiver) = soloio_streams::channel(capacity);
            (Ends(sender), Ends(receiver))
        }));
    }
}

/// A cut send is gone on with: its object arrives once.
#[test]
fn a_send_that_is_cut_arrives_once() {
    run(async {
        let [a, b] = objects(0);
        let mut rest = &b"once"[..];
        let cut = soloio::move_on_after(std::time::Duration::from_secs(1), a.send_from(&mut rest));
        assert!(cut.await?.is_none());
        let (sent, got) = soloio::join((a.send(b", twice"), async {
            let mut got = Vec::new();
            while got.len() < b"once, twice".len() {
                got.extend(b.receive().await?);
            }
            Ok::<_, Error>(got)
        }))
        .await;
        sent?;
        assert_eq!((rest, &got?[..]), (&b""[..], &b"once, twice"[..]));
        b.abort();
        assert!(matches!(a.receive().await, Err(Error::EndOfStream)));
        Ok::<_, Error>(())
    })
    .expect("all went well");
}
