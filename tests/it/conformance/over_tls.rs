//! The laws over TLS on every kind of stream.

use super::*;
use crate::tls_support::{loose_tls, old_tls, tls, trickle as trickling};

/// Stands for the three laws of an owner that TLS cannot keep: its end is a message that has to be
/// sent, and encrypted data may wait for room when no task is left to send it.
///
/// * a dropped peer is the end: here it is a broken connection, for data may be missing;
/// * what was sent before a drop arrives: here only the data of sends that returned arrives, not
///   what a cancelled one had given to the stream;
/// * a close may be dropped midway: here the peer gets a part, and then a broken connection.
macro_rules! laws_of_owners {
    ($kind:ident, $pair:expr) => {
        mod $kind {
            use super::*;
            law!(owned, $pair, a_dropped_peer_is_a_broken_end);
            law!(owned, $pair, what_sends_that_returned_sent_arrives);
            law!(owned, $pair, a_close_dropped_midway_is_a_broken_end);
        }
    };
}

async fn a_dropped_peer_is_a_broken_end(a: impl ByteStream, b: impl ByteStream) {
    let receive = async {
        refused!(a.receive().await, Error::Broken(_));
        refused!(a.receive().await, Error::Broken(_));
        sends_break(&a).await;
    };
    let leave = async move {
        turns(5).await;
        drop(b);
    };
    join(receive, leave).await;
}

async fn what_sends_that_returned_sent_arrives(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, 100_000);
    let send = async move {
        a.send(&data[..70_000]).await.expect("sent");
        a.send(&data[70_000..]).await.expect("sent");
    };
    let receive = async {
        receive_numbered(&b, 0, 100_000).await;
        refused!(b.receive().await, Error::Broken(_));
    };
    join(send, receive).await;
}

async fn a_close_dropped_midway_is_a_broken_end(a: impl ByteStream, b: impl ByteStream) {
    let taken = clog(&a, 0).await;
    {
        let mut close = pin!(a.close());
        assert!(poll_once(close.as_mut()).await.is_pending());
    }
    let mut got = 0;
    let end = loop {
        match b.receive().await {
            Ok(data) => {
                check_numbered(got, &data);
                got += data.len();
            }
            Err(end) => break end,
        }
    };
    assert!(matches!(end, Error::Broken(_)), "{end:?}");
    assert!(
        (taken.saturating_sub(32_768)..=taken).contains(&got),
        "{got} of {taken}"
    );
}

/// The laws of a layer: it may hold some bytes back until the stream below has room for them, and
/// an end without close_notify does not show that the peer is gone.
macro_rules! laws_of_layers {
    ($kind:ident, $pair:expr) => {
        mod $kind {
            use super::*;
            shared_laws!(owned, $pair);
            law!(owned, $pair, a_dropped_peer_breaks_a_waiting_send);
        }
    };
}

laws_of_owners!(owners_of_tcp, tls(tcp_pair()));
laws_of_owners!(owners_of_tcp_turned, turned(tls(tcp_pair())));
laws_of_owners!(owners_of_1_2, old_tls(tcp_pair()));
laws_of_owners!(owners_of_unix, tls(unix_pair()));
laws_of_owners!(owners_of_memory, tls(memory_pair(300)));
laws_of_owners!(owners_of_trickle, tls(trickling(65_536)));
laws_of_owners!(owners_within_tls, tls(tls(tcp_pair())));

laws_of_layers!(tcp, tls(tcp_pair()));
laws_of_layers!(tcp_turned, turned(tls(tcp_pair())));
laws_of_layers!(tcp_of_1_2, old_tls(tcp_pair()));
laws_of_layers!(unix, tls(unix_pair()));
laws_of_layers!(memory, tls(memory_pair(300)));
laws_of_layers!(trickle, tls(trickling(65_536)));
laws_of_layers!(within_tls, tls(tls(tcp_pair())));
laws_of_layers!(counted_tcp, counted(tls(tcp_pair())));
laws_of_layers!(loose_tcp, loose_tls(tcp_pair()));
laws_of_layers!(loose_trickle, loose_tls(trickling(65_536)));

mod loose {
    use super::*;
    law!(owned, loose_tls(tcp_pair()), a_dropped_peer_is_the_end);
}

mod loose_trickling {
    use super::*;
    law!(
        owned,
        loose_tls(trickling(65_536)),
        a_dropped_peer_is_the_end
    );
}
