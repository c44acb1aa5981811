//! The limits of a relay count each byte that moves, however slowly.

use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{Error, Winner, create_memory_byte_stream, race, relay, sleep};

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

/// The kernel takes no more from the relay until a third of its queue has gone.
#[test]
fn a_slow_peer_behind_a_full_queue_is_not_idle() {
    run(async {
        for splice in [true, false] {
            let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
            server.set_receive_buffer_size(65_536).expect("set");
            let queued = clog(&b, 0).await;
            client.send(b"the rest").await.expect("room");
            let (limit, mut longest) = (Duration::from_millis(100), Duration::ZERO);
            let (mut got, mut last) = (0, Instant::now());
            let hear = async {
                while got < queued / 6 {
                    got += server.receive().await?.len();
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    sleep(limit / 5).await?;
                }
                Ok::<_, Error>(())
            };
            let mut relay = relay(&a, &b).idle_limit(limit).splice(splice);
            let first = race((relay.run(), hear)).await;
            let heard = matches!(first, Winner::Second(Ok(())));
            assert!(heard || longest > limit / 2, "{first:?}");
        }
    });
}
