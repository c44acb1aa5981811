//! Descriptors in messages, and files: on both kernels.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use soloio::{
    ByteStream, TcpListener, UnixStream, block_on, connect_tcp, create_tcp_listener, join,
    unix_socket_pair,
};
use soloio_sim::run;

use super::{tcp, tcp6};

/// Passes a stream and a listener through a stream, among its bytes.
async fn pass_descriptors() {
    let (near, far) = unix_socket_pair().expect("a pair");
    let (passed, other) = unix_socket_pair().expect("a pair");
    let listener = create_tcp_listener().local_host("::1").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().port();
    near.send(b"before").await.expect("sent");
    let both: Vec<BorrowedFd<'_>> = [passed.as_fd()]
        .into_iter()
        .chain(listener.as_fds())
        .collect();
    near.send_fds(b"with", &both).await.expect("sent");
    near.send(b"after").await.expect("sent");
    drop(both);
    drop((passed, listener));
    assert_eq!(far.receive_max(6).await.expect("received"), b"before");
    let (data, mut fds) = far.receive_fds(4, 2).await.expect("received");
    assert_eq!((&data[..], fds.len()), (&b"with"[..], 2));
    assert_eq!(far.receive().await.expect("received"), b"after");

    let listener = TcpListener::try_from(fds.remove(1)).expect("a listener");
    let ends = join((connect_tcp("::1", port), listener.accept())).await;
    let (client, server) = (ends.0.expect("connected"), ends.1.expect("accepted"));
    client.send(b"to the listener").await.expect("sent");
    assert_eq!(
        server.receive().await.expect("received"),
        b"to the listener"
    );
    let stream = UnixStream::try_from(fds.remove(0)).expect("a stream");
    stream.send(b"from the stream").await.expect("sent");
    assert_eq!(other.receive().await.expect("received"), b"from the stream");
    // It was the last of its descriptors: none is left in a message.
    drop(stream);
    assert!(other.next().await.expect("an end").is_none());
}

#[test]
fn descriptors_come_with_their_bytes() {
    block_on(pass_descriptors());
    run(pass_descriptors());
}

async fn send_a_file(file: &File) {
    let size = file.metadata().expect("known").len();
    macro_rules! sends {
        ($pair:expr) => {{
            let (near, far) = $pair;
            let send = async {
                near.send_file(file, 100, size - 100).await.expect("sent");
                near.send_eof().await.expect("ended");
            };
            let ((), got) = join((send, all(&far))).await;
            assert_eq!(got.len() as u64, size - 100);
            let expected = (100..size).map(|at| (at % 251) as u8);
            assert!(got.into_iter().eq(expected), "another byte");
        }};
    }
    sends!(tcp().await);
    sends!(tcp6().await);
    sends!(unix_socket_pair().expect("a pair"));
}

async fn all<S: ByteStream>(stream: &S) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await.expect("an orderly end") {
        all.extend(bytes);
    }
    all
}

#[test]
fn a_file_is_sent_whole() {
    let path = std::env::temp_dir().join(format!("soloio-sim-laws-{}", std::process::id()));
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, bytes).expect("written");
    let file = File::open(&path).expect("the file");
    std::fs::remove_file(&path).expect("removed");
    block_on(send_a_file(&file));
    run(send_a_file(&file));
}
