//! Cancels connects that race, and accepts on several listeners, at each of their waits.

use std::time::Duration;

use futures_util::future::join;
use soloio::{
    AnyByteStream, MultiListener, connect_tcp, connect_unix, create_tcp_listener,
    create_unix_listener,
};

use crate::cancel_everywhere::{Cut, everywhere};
use crate::names::{Fixed, Hole, refusing};
use crate::net_support::{TempDir, tcp_listener, turns};

/// Connects to an address that refuses, one that never answers and one that accepts. The connection
/// of a connect that was cut is closed.
async fn cancelled_race(cut: Cut) -> bool {
    let (listener, port, mut others) = loop {
        let listener = create_tcp_listener().local_host("127.0.0.4").await;
        let listener = listener.expect("listens");
        let port = listener.local_addr().port();
        if let Ok(others) = refusing(&["127.0.0.2", "127.0.0.3"], port) {
            break (listener, port, others);
        }
    };
    let _hole = Hole::over(others.pop().expect("two"));
    let connect = || {
        let host = Fixed::host(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
        connect_tcp(host, port).happy_eyeballs_delay(Duration::from_micros(100))
    };
    let connected = cut.apply(connect()).await;
    let done = connected.is_some();
    let client = match connected {
        Some(client) => client,
        None => connect().await,
    };
    let client = client.expect("the last one listens");
    loop {
        let server = listener.accept().await.expect("accepts");
        if server.peer_addr() == client.local_addr() {
            return done;
        }
        let ended = server.next().await.expect("closed in order");
        assert!(ended.is_none());
    }
}

/// Covers: connect_tcp.
#[test]
fn a_race_of_connects() {
    everywhere("cancel_names::a_race_of_connects", cancelled_race);
}

/// Covers: MultiListener::accept.
#[test]
fn an_accept_on_several_listeners() {
    let test = "cancel_names::an_accept_on_several_listeners";
    everywhere(test, async |cut| {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let tcp = tcp_listener().await;
        let port = tcp.local_addr().port();
        let unix = create_unix_listener(&path).await.expect("listens");
        let listener = MultiListener::new().with(tcp).with(unix);
        let connect = async {
            turns(2).await;
            let unix = connect_unix(&path).await.expect("connects");
            turns(2).await;
            let tcp = connect_tcp("127.0.0.1", port).await.expect("connects");
            [AnyByteStream::new(unix), AnyByteStream::new(tcp)]
        };
        let (accepted, clients) = join(cut.apply(listener.accept()), connect).await;
        let done = accepted.is_some();
        let mut servers: Vec<_> = accepted.into_iter().collect();
        while servers.len() < 2 {
            servers.push(listener.accept().await);
        }
        for client in clients {
            client.send(b"x").await.expect("sent");
        }
        for server in servers {
            let server = server.expect("none of the two is lost");
            assert_eq!(server.receive().await.expect("sent"), b"x");
        }
        done
    });
}
