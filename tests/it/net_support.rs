//! Helpers of the socket tests: connected pairs, a stream of known bytes, temporary paths, limits
//! on the number of polls.

use std::fmt::Debug;
use std::future::{Future, IntoFuture, pending, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use soloio::{
    ByteReceiveStream, ByteSendStream, CancelScope, Error, Result, TcpListener, TcpStream,
    UdpSocket, UnixStream, block_on, connect_tcp, connect_unix, create_tcp_listener,
    create_udp_socket, create_unix_listener, shield, sleep,
};

use crate::support::{Random, deadline, poll_once};

/// Runs a test's future under the guard against hanging.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let _guard = deadline();
    block_on(future)
}

/// Runs a test twice. The second time a scope elsewhere is cancelled, and waits in a shield: then
/// no operation takes the short way of the usual case.
pub(crate) fn run_both<F: Future>(test: impl Fn() -> F) {
    run(test());
    run(async {
        let scope = CancelScope::new();
        scope.cancel("for operations elsewhere");
        let hour = Duration::from_secs(3_600);
        let mut waits = pin!(scope.run(shield(hour, pending::<()>())));
        assert!(poll_once(waits.as_mut()).await.is_pending());
        test().await;
    });
}

/// Asserts that a result is an error that matches the pattern.
macro_rules! refused {
    ($result:expr, $pattern:pat) => {
        match &$result {
            Err($pattern) => {}
            other => panic!(
                "{} instead of {}",
                crate::net_support::shown(other),
                stringify!($pattern)
            ),
        }
    };
}
pub(crate) use refused;

/// Formats a result for a message: long values are cut.
pub(crate) fn shown<T: Debug, E: Debug>(result: &Result<T, E>) -> String {
    let mut text = format!("{result:?}");
    text.truncate(300);
    text
}

pub(crate) async fn tcp_listener() -> TcpListener {
    let listener = create_tcp_listener().local_host("127.0.0.1").await;
    listener.expect("a listener on loopback")
}

/// Returns the connecting end and the accepted one.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = tcp_listener().await;
    let port = listener.local_addr().port();
    let client = connect_tcp("127.0.0.1", port).await.expect("connects");
    (client, listener.accept().await.expect("accepts"))
}

/// Returns the connecting end and the accepted one.
pub(crate) async fn unix_pair() -> (UnixStream, UnixStream) {
    let dir = TempDir::new();
    let path = dir.path("pair");
    let listener = create_unix_listener(&path).await.expect("listens");
    let client = connect_unix(&path).await.expect("connects");
    (client, listener.accept().await.expect("accepts"))
}

pub(crate) async fn udp() -> UdpSocket {
    let socket = create_udp_socket().local_host("127.0.0.1").await;
    socket.expect("a socket on loopback")
}

/// A temporary folder for one test, removed when dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        // A random number: the process is number 1 in each namespace.
        let name = format!("soloio-it-{:x}", RandomState::new().hash_one(0));
        // In memory where there is such a file system: some tests make a thousand folders, and each
        // can take tens of milliseconds on a busy disk.
        let in_memory = Path::new("/dev/shm").join(&name);
        if std::fs::create_dir(&in_memory).is_ok() {
            return Self(in_memory);
        }
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).expect("a temporary folder");
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn all(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let removed: io::Result<()> = std::fs::remove_dir_all(&self.0);
        drop(removed);
    }
}

/// The length after which the known bytes repeat: a prime, so that no buffer size hides a shift.
const PERIOD: usize = 65_521;

/// Returns `len` bytes, each determined by its position in the stream.
pub(crate) fn numbered(from: usize, len: usize) -> Vec<u8> {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut random = Random::new(0x5EED);
        (0..PERIOD).map(|_| (random.next() >> 24) as u8).collect()
    });
    let mut bytes = Vec::with_capacity(len + PERIOD);
    let mut at = from % PERIOD;
    while bytes.len() < len {
        bytes.extend_from_slice(&table[at..]);
        at = 0;
    }
    bytes.truncate(len);
    bytes
}

/// Asserts that `got` is the known stream from `from` on.
pub(crate) fn check_numbered(from: usize, got: &[u8]) {
    let good = numbered(from, got.len()) == got;
    assert!(
        good,
        "bytes {from} to {} are not those sent",
        from + got.len()
    );
}

/// Receives exactly the bytes `from..from + len` of the known stream.
pub(crate) async fn receive_numbered<S: ByteReceiveStream>(stream: &S, from: usize, len: usize) {
    let mut got = 0;
    while got < len {
        let bytes = stream.receive_max(len - got).await.expect("more bytes");
        check_numbered(from + got, &bytes);
        got += bytes.len();
    }
}

/// Polls at most `polls` times, with a turn of the loop in between whether woken or not.
pub(crate) async fn polled<F: IntoFuture>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future.into_future());
    for _ in 0..polls {
        let poll = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = poll {
            return Some(output);
        }
        turns(1).await;
    }
    None
}

/// Makes `count` turns of the loop, each with a poll of the kernel: a task that only yields may be
/// polled again before that.
pub(crate) async fn turns(count: usize) {
    for _ in 0..count {
        sleep(Duration::ZERO).await.expect("inside a runtime");
    }
}

/// Sends the known stream from `from` on until the peer takes no more; returns the number of bytes
/// sent.
pub(crate) async fn clog<S: ByteSendStream>(stream: &S, from: usize) -> usize {
    let mut sent = 0;
    loop {
        let chunk = numbered(from + sent, 65_536);
        let mut rest = &chunk[..];
        let done = polled(8, stream.send_from(&mut rest)).await;
        sent += chunk.len() - rest.len();
        match done {
            Some(result) => result.expect("sends"),
            None => return sent,
        }
    }
}

/// True for the error of a receive or send after a reset.
pub(crate) fn is_broken<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Broken(_)))
}

/// Waits until connects to the path are refused. A process that another test starts at this moment
/// holds all descriptors until it runs its program.
pub(crate) fn until_stale(path: &Path) {
    let connect = || std::os::unix::net::UnixStream::connect(path);
    while connect().map_err(|error| error.kind()).err() != Some(io::ErrorKind::ConnectionRefused) {
        std::thread::yield_now();
    }
}
