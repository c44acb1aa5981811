//! The limits of a relay count each byte that moves, however slowly.

use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{ByteStream, Error, TcpStream, Winner, create_memory_byte_stream, race, relay, sleep};

use crate::net_support::{clog, run, tcp_pair};

/// What was received at once may take many times the limit to send.
#[test]
fn a_slow_receiver_is_not_idle() {
    run(async {
        let (client, a) = create_memory_byte_stream(64);
        let (b, server) = create_memory_byte_stream(1);
        client.send(&[7; 64]).await.expect("room");
        client.send_eof().await.expect("ended");
        let (limit, mut longest) = (Duration::from_millis(200), Duration::ZERO);
        let hear = async {
            let mut last = Instant::now();
            while server.next().await?.is_some() {
                longest = longest.max(last.elapsed());
                last = Instant::now();
                sleep(limit / 40).await?;
            }
            server.send_eof().await
        };
        // By value: its end is also that of `hear`.
        let relayed = async { relay(a, b).idle_limit(limit).await };
        let (relayed, _cut) = join(relayed, hear).await;
        // In a turn of a machine that stood still it may be right.
        assert!(relayed.is_ok() || longest > limit / 2, "{relayed:?}");
    });
}

/// A pair whose second stream has a small buffer.
async fn small_pair() -> (TcpStream, TcpStream) {
    let (near, far) = tcp_pair().await;
    far.set_receive_buffer_size(65_536).expect("set");
    (near, far)
}

/// The kernel takes no more from the relay until a third of its queue has gone.
#[test]
fn a_slow_peer_behind_a_full_queue_is_not_idle() {
    run(async {
        for splice in [true, false] {
            slow_peer(small_pair().await, splice).await;
        }
    });
}

/// What the peer acknowledges is counted below TLS as well, and below layers over that.
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn a_slow_peer_behind_tls_is_not_idle() {
    use soloio::{AnyByteStream, Buffered};

    use crate::tls_support::{tls, tls_over};

    run(async {
        slow_peer(tls(small_pair()).await, true).await;
        let (b, server) = tls(small_pair()).await;
        let layers = |stream| Buffered::new(AnyByteStream::new(stream));
        slow_peer((layers(b), layers(server)), true).await;
        slow_peer(tls_over(tls(small_pair()).await, true).await, true).await;
    });
}

/// The peer of the relay's stream `b` receives a quarter of a full queue, with a pause after each
/// receive.
async fn slow_peer<B: ByteStream>((b, server): (B, B), splice: bool) {
    let (client, a) = tcp_pair().await;
    let queued = clog(&b, 0).await;
    client.send(b"the rest").await.expect("room");
    let (limit, mut longest) = (Duration::from_millis(200), Duration::ZERO);
    let (mut got, mut last) = (0, Instant::now());
    let hear = async {
        while got < queued / 4 {
            // The kernel acknowledges in steps of about 64 KiB: five of them in a limit.
            let mut step = 0;
            while step < 65_536 {
                step += server.receive_max(65_536 - step).await?.len();
            }
            got += step;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            sleep(limit / 5).await?;
        }
        Ok::<_, Error>(())
    };
    let mut relay = relay(&a, &b).idle_limit(limit).splice(splice);
    let first = race((relay.run(), hear)).await;
    let heard = matches!(first, Winner::Second(Ok(())));
    // The last step may be the one that took so long.
    let slow = longest.max(last.elapsed()) > limit / 3;
    assert!(heard || slow, "{first:?}");
}
