//! TLS in TLS, over streams that take very little at once: data of a cut send that lies in the
//! lower layer is passed on by the next operation.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    AnyByteStream, Buffered, ByteStream, block_on, create_memory_byte_stream, fail_after,
};

use crate::support::{deadline, poll_once};
use crate::tls_support::tls_over;

/// Far longer than it takes.
const HUNG: Duration = Duration::from_secs(10);

/// Polls a send `polls` times and drops it; then sends the rest, and perhaps the end, which is cut
/// once as well.
async fn cut<S: ByteStream>((ours, theirs): (S, S), polls: usize, end: bool) {
    let data: Vec<u8> = (0..100).collect();
    let mut rest = &data[..];
    {
        let mut sending = pin!(ours.send_from(&mut rest));
        for _ in 0..polls {
            assert!(poll_once(sending.as_mut()).await.is_pending());
        }
    }
    let finish = async {
        ours.send_from(&mut rest).await?;
        if end {
            let cut = poll_once(pin!(ours.send_eof())).await;
            assert!(cut.is_pending());
            ours.send_eof().await?;
        }
        Ok::<_, soloio::Error>(())
    };
    let receive = async {
        let mut got = Vec::new();
        while got.len() < data.len() {
            got.extend(theirs.receive_max(1000).await?);
        }
        if end {
            let after = theirs.receive_max(1000).await;
            assert!(
                matches!(after, Err(soloio::Error::EndOfStream)),
                "{after:?}"
            );
        }
        Ok::<_, soloio::Error>(got)
    };
    let both = fail_after(HUNG, async {
        let (sent, got) = join(finish, receive).await;
        sent?;
        got
    });
    assert_eq!(both.await.expect("all arrives"), data);
}

#[test]
fn a_cut_send_is_handed_over_by_the_next_operation() {
    let _guard = deadline();
    block_on(async {
        for (polls, end) in [(1, false), (1, true), (2, false), (2, true)] {
            let memory = || create_memory_byte_stream(16);
            let two = tls_over(tls_over(memory(), true).await, true).await;
            cut(two, polls, end).await;
            let two = tls_over(tls_over(memory(), true).await, true).await;
            cut(tls_over(two, true).await, polls, end).await;

            let (a, b) = tls_over(memory(), true).await;
            let buffered = (Buffered::new(a), Buffered::new(b));
            cut(tls_over(buffered, true).await, polls, end).await;
            let (a, b) = tls_over(memory(), true).await;
            let any = (AnyByteStream::new(a), AnyByteStream::new(b));
            cut(tls_over(any, true).await, polls, end).await;
        }
    });
}
