//! A slow reader that writes late gets all bytes: over each kind of stream, and of a server's
//! handler that drops its stream. (`close.rs` has TCP and TLS.)

use std::time::Duration;

use futures_util::future::{join, join_all};
use soloio::{
    AnyByteStream, Buffered, ByteStream, Error, Listener, MultiListener, Result, TcpListener,
    TcpStream, unix_socket_pair,
};

use crate::close::read_slowly;
use crate::net_support::{numbered, run, tcp_listener, tcp_pair};
use crate::serve_ends::client_of;

/// More than the buffers of a connection have room for.
const LENGTH: usize = 3 << 20;

/// The clients read for this time, and write when 70 % of it is over.
const TIME: Duration = Duration::from_millis(1500);

async fn reads_it_all<S: ByteStream>(client: S) {
    let (got, end) = read_slowly(&client, LENGTH, TIME).await;
    assert_eq!(got, LENGTH, "{end:?}");
    assert!(matches!(end, Error::EndOfStream), "{end:?}");
}

async fn closes<S: ByteStream>(client: S, server: S) {
    let serve = async {
        server.send(&numbered(0, LENGTH)).await?;
        server.close().await
    };
    join(serve, reads_it_all(client))
        .await
        .0
        .expect("all of it arrived");
}

fn small(client: TcpStream) -> TcpStream {
    client.set_receive_buffer_size(65_536).expect("set");
    client
}

#[test]
fn a_close_over_each_kind_of_stream() {
    run(async {
        let pair = async || {
            let (client, server) = tcp_pair().await;
            (small(client), server)
        };
        let (client, server) = pair().await;
        let buffered = closes(Buffered::new(client), Buffered::new(server));
        let (client, server) = pair().await;
        let any = closes(AnyByteStream::new(client), AnyByteStream::new(server));
        let (client, server) = pair().await;
        let both = |stream| Buffered::new(AnyByteStream::new(stream));
        let both = closes(both(client), both(server));
        let (client, server) = unix_socket_pair().expect("two descriptors");
        let unix = closes(client, server);
        join(join(buffered, any), join(both, unix)).await;
    });
}

/// Serves two clients, beside each other, with a handler that drops its stream after it has sent.
async fn serves<L, C, F>(listener: &L, handler: impl AsyncFn(L::Stream) -> Result<()>, clients: C)
where
    L: Listener,
    C: IntoIterator<Item = F>,
    F: Future<Output = ()>,
{
    let serve = Listener::serve(listener, handler);
    let counters = serve.counters();
    let clients = join_all(clients);
    serve.shutdown(clients).await.expect("as it was told");
    assert_eq!(counters.failed(), 0);
}

async fn sends_and_drops<S: ByteStream>(client: S) -> Result<()> {
    client.send(&numbered(0, LENGTH)).await
}

async fn clients(listener: &TcpListener) -> [TcpStream; 2] {
    [client_of(listener).await, client_of(listener).await].map(small)
}

#[test]
fn the_end_of_a_handler_for_each_kind_of_stream() {
    run(async {
        let tcp = tcp_listener().await;
        let readers = clients(&tcp).await.map(reads_it_all);
        let plain = serves(&tcp, sends_and_drops, readers);

        let other = tcp_listener().await;
        let readers = clients(&other).await.map(reads_it_all);
        let handler = async |client| sends_and_drops(Buffered::new(client)).await;
        let buffered = serves(&other, handler, readers);

        let third = tcp_listener().await;
        let readers = clients(&third).await.map(reads_it_all);
        let third = MultiListener::new().with(third);
        let handler = async |client: AnyByteStream<'_>| sends_and_drops(client).await;
        let any = serves::<MultiListener<'_>, _, _>(&third, handler, readers);
        join(join(plain, buffered), any).await;
    });
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[test]
fn the_end_of_a_handler_over_tls() {
    use crate::tls_support::{NAME, client_config, server_config};
    use soloio::tls::{TlsListener, TlsStream};

    run(async {
        let tcp = tcp_listener().await;
        let readers = clients(&tcp).await.map(async |client| {
            let client = TlsStream::client(client, NAME, client_config());
            // A drop sends no close_notify.
            let client = client.standard_compatible(false);
            reads_it_all(client.await.expect("a handshake")).await;
        });
        let listener = TlsListener::new(tcp, server_config());
        serves(&listener, sends_and_drops, readers).await;
    });
}
