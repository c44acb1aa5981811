//! The laws of byte streams, object streams and listeners, to run over your own streams.
//!
//! Each function makes fresh streams for each law and panics with the law's name if one is broken.
//! They run in a world and outside of it; in a world nothing waits for real time, and a law that
//! makes a stream hang is an error at once.
//!
//! # Examples
//!
//! ```
//! use soloio::{create_memory_byte_stream, create_memory_object_stream};
//! use soloio_sim::{conformance, run};
//!
//! run(async {
//!     conformance::byte_streams(async || create_memory_byte_stream(7)).await;
//!     conformance::object_streams(async || create_memory_object_stream(2)).await;
//! });
//! ```

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use soloio::{
    ByteReceiveStream, ByteStream, Error, Listener, ObjectReceiver, ObjectSender, Result, join,
    yield_now,
};

/// Bytes of a transfer: more than small buffers hold.
const LOT: usize = 20_000;

/// Returns a byte that is determined by its position.
fn numbered(count: usize) -> Vec<u8> {
    let at = |at: usize| u8::try_from(at % 251).expect("less than 251");
    (0..count).map(at).collect()
}

/// Polls a future once, and drops it if it waits.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let future: Pin<&mut F> = future.as_mut();
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await.expect("no scope is cancelled");
    }
}

/// Receives everything up to the end, which has to be orderly.
async fn receive_all<S: ByteStream>(stream: &S) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await.expect("an orderly end") {
        assert!(!bytes.is_empty(), "a receive brings at least one byte");
        all.extend(bytes);
    }
    all
}

/// The laws of a byte stream, over connected pairs of them.
///
/// # Panics
///
/// If a law is broken.
///
/// # Cancel safety
///
/// A dropped run leaves nothing but its streams, which are dropped with it.
pub async fn byte_streams<S: ByteStream>(make: impl AsyncFn() -> (S, S)) {
    let (a, b) = make().await;
    bytes_arrive_in_order_both_ways(&a, &b).await;
    let (a, b) = make().await;
    a_small_receive_leaves_the_rest_at_hand(&a, &b).await;
    let (a, b) = make().await;
    the_end_comes_after_the_data_and_stays(&a, &b).await;
    let (a, b) = make().await;
    an_end_is_of_one_direction(&a, &b).await;
    let (a, b) = make().await;
    a_dropped_receive_loses_nothing(&a, &b).await;
    let (a, b) = make().await;
    nothing_is_refused_and_empty_sends_are_nothing(&a, &b).await;
    let (a, b) = make().await;
    after_an_abort_nothing_works(&a).await;
    drop(b);
    let (a, b) = make().await;
    a_close_delivers_everything(a, b).await;
}

async fn bytes_arrive_in_order_both_ways<S: ByteStream>(a: &S, b: &S) {
    let data = numbered(LOT);
    let send = async |stream: &S| {
        stream.send(&data).await.expect("sent");
        stream.send_eof().await.expect("ended");
    };
    let (((), to_a), ((), to_b)) = join((async { join((send(a), receive_all(a))).await }, async {
        join((send(b), receive_all(b))).await
    }))
    .await;
    assert!(
        to_a == data && to_b == data,
        "bytes arrive in order, both ways"
    );
}

/// A stream that forgets what it has left would wait for more, which never comes.
async fn a_small_receive_leaves_the_rest_at_hand<S: ByteStream>(a: &S, b: &S) {
    let receive = async {
        for byte in b"0123456789" {
            assert_eq!(a.receive_max(1).await.expect("received"), [*byte]);
        }
    };
    join((
        async { b.send(b"0123456789").await.expect("sent") },
        receive,
    ))
    .await;
}

async fn the_end_comes_after_the_data_and_stays<S: ByteStream>(a: &S, b: &S) {
    let send = async {
        b.send(b"data").await.expect("sent");
        b.send_eof().await.expect("ended");
        b.send_eof().await.expect("may be called again");
    };
    let ((), got) = join((send, receive_all(a))).await;
    assert_eq!(got, b"data", "the end comes after the data");
    for _ in 0..3 {
        let again = a.receive().await;
        assert!(matches!(again, Err(Error::EndOfStream)), "the end stays");
    }
}

async fn an_end_is_of_one_direction<S: ByteStream>(a: &S, b: &S) {
    a.send_eof().await.expect("ended");
    let sent = a.send(b"x").await;
    assert!(matches!(sent, Err(Error::Closed)), "no send after the end");
    assert!(receive_all(b).await.is_empty(), "the peer sees the end");
    let (sent, got) = join((b.send(b"y"), a.receive())).await;
    sent.expect("the other direction goes on");
    assert_eq!(got.expect("a byte"), b"y", "the other direction goes on");
}

async fn a_dropped_receive_loses_nothing<S: ByteStream>(a: &S, b: &S) {
    let data = numbered(LOT);
    let send = async {
        b.send(&data).await.expect("sent");
        b.send_eof().await.expect("ended");
    };
    let receive = async {
        let mut got = Vec::new();
        loop {
            // Polled once and dropped if it waits; then one that is kept.
            let received = match poll_once(a.next()) {
                Some(received) => received,
                None => a.next().await,
            };
            match received.expect("an orderly end") {
                Some(bytes) => got.extend(bytes),
                None => return got,
            }
        }
    };
    let ((), got) = join((send, receive)).await;
    assert!(got == data, "a dropped receive loses nothing");
}

async fn nothing_is_refused_and_empty_sends_are_nothing<S: ByteStream>(a: &S, b: &S) {
    let refused = a.receive_into(&mut []).await;
    assert!(
        matches!(refused, Err(Error::Io(_))),
        "a receive into nothing is refused"
    );
    b.send(b"").await.expect("an empty send is nothing");
    turns(3).await;
    assert!(poll_once(a.receive()).is_none(), "an empty send is nothing");
}

async fn after_an_abort_nothing_works<S: ByteStream>(a: &S) {
    a.abort();
    let (sent, received) = (a.send(b"x").await, a.receive().await);
    assert!(matches!(sent, Err(Error::Closed)), "no send after an abort");
    assert!(
        matches!(received, Err(Error::Closed)),
        "no receive after an abort"
    );
}

async fn a_close_delivers_everything<S: ByteStream>(a: S, b: S) {
    let data = numbered(LOT);
    let send = async {
        a.send(&data).await.expect("sent");
        a.close().await
    };
    let receive = async {
        let got = receive_all(&b).await;
        drop(b);
        got
    };
    let (closed, got) = join((send, receive)).await;
    closed.expect("closed");
    assert!(got == data, "a close delivers everything");
}

/// The sending end of an object stream.
#[allow(async_fn_in_trait, reason = "soloio's futures stay on their thread")]
pub trait SendObjects {
    /// Sends a number, as soon as there is room.
    async fn send_object(&self, object: u32) -> Result<()>;
}

/// The receiving end of an object stream.
#[allow(async_fn_in_trait, reason = "soloio's futures stay on their thread")]
pub trait ReceiveObjects {
    /// The next number; `None` when every sender is gone.
    async fn next_object(&self) -> Result<Option<u32>>;
}

impl SendObjects for ObjectSender<u32> {
    async fn send_object(&self, object: u32) -> Result<()> {
        self.send(object).await
    }
}

impl ReceiveObjects for ObjectReceiver<u32> {
    async fn next_object(&self) -> Result<Option<u32>> {
        self.next().await
    }
}

/// The laws of an object stream.
///
/// # Panics
///
/// If a law is broken.
///
/// # Cancel safety
///
/// A dropped run leaves nothing but its streams, which are dropped with it.
pub async fn object_streams<S, R>(make: impl AsyncFn() -> (S, R))
where
    S: SendObjects,
    R: ReceiveObjects,
{
    let (sender, receiver) = make().await;
    let send = async move {
        for object in 0..500 {
            sender.send_object(object).await.expect("sent");
        }
    };
    let receive = async {
        let mut got = Vec::new();
        loop {
            // Polled once and dropped if it waits; then one that is kept.
            let received = match poll_once(receiver.next_object()) {
                Some(received) => received,
                None => receiver.next_object().await,
            };
            match received.expect("an orderly end") {
                Some(object) => got.push(object),
                None => return got,
            }
        }
    };
    let ((), got) = join((send, receive)).await;
    let all: Vec<u32> = (0..500).collect();
    assert_eq!(
        got, all,
        "objects arrive once each, in order, and then the end"
    );
    let again = receiver.next_object().await;
    assert!(matches!(again, Ok(None)), "the end stays");

    let (sender, receiver) = make().await;
    drop(receiver);
    let sent = sender.send_object(1).await;
    assert!(sent.is_err(), "no send without a receiver");
}

/// The laws of a listener: `make` returns one, and `connect` a client of it.
///
/// # Panics
///
/// If a law is broken.
///
/// # Cancel safety
///
/// A dropped run leaves nothing but its streams, which are dropped with it.
pub async fn listeners<L, C>(make: impl AsyncFn() -> L, connect: impl AsyncFn(&L) -> C)
where
    L: Listener<Stream: ByteStream>,
    C: ByteStream,
{
    let listener = make().await;
    // Dropped accepts lose no connection.
    turns(2).await;
    assert!(
        poll_once(listener.accept()).is_none(),
        "no accept without a client"
    );
    for round in 0..5_u8 {
        let (client, served) = join((connect(&listener), async {
            match poll_once(listener.accept()) {
                Some(early) => early,
                None => listener.accept().await,
            }
        }))
        .await;
        let served = served.expect("accepted");
        let (sent, got) = join((client.send(&[round]), served.receive())).await;
        sent.expect("sent");
        assert_eq!(
            got.expect("a byte"),
            [round],
            "a client is served, each once"
        );
    }
}
