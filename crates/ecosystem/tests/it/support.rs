//! The parts that the tests share: a guard, a pair of connected streams.

use std::error::Error;
use std::time::Duration;

use soloio::{TcpStream, block_on, connect_tcp, create_tcp_listener, fail_after, try_join};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Everything is done long before; what is not, hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// Runs a test on soloio, and expects that it ends well.
pub(crate) fn run(test: impl Future<Output = Outcome>) {
    block_on(fail_after(GUARD, test)).expect("it runs on soloio");
}

/// Two ends of a TCP connection.
pub(crate) async fn pair() -> soloio::Result<(TcpStream, TcpStream)> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let connect = connect_tcp("127.0.0.1", listener.local_addr().port());
    try_join((connect.into_future(), listener.accept())).await
}

/// Bytes that no compression and no framing makes small.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(step).collect()
}
