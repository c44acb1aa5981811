//! The laws over TLS on every kind of stream.

use super::*;
use crate::tls_support::{loose_tls, old_tls, tls, trickle as trickling};

/// The laws of a layer, which may hold some bytes back until the stream below has room for them,
/// and does not know that a peer is gone from an end without a goodbye.
macro_rules! laws_of_layers {
    ($kind:ident, $pair:expr) => {
        mod $kind {
            use super::*;
            shared_laws!(owned, $pair);
            law!(owned, $pair, a_dropped_peer_breaks_a_waiting_send);
        }
    };
}

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
