//! The memory of an idle TLS connection.

use futures_util::future::join;

use crate::net_support::{TempDir, numbered, run};
use crate::support::{alone, resident, sanitized};
use crate::tls_support::tls;

#[test]
fn idle_streams_share_their_memory() {
    alone("tls_idle::idle_streams_share_their_memory", || run(idle()));
}

async fn idle() {
    // A stream that has moved much data and now waits holds very little.
    let dir = TempDir::new();
    let listener = soloio::create_unix_listener(dir.path("s"))
        .await
        .expect("listens");
    let mut pairs = Vec::new();
    let count = 200;
    let data = numbered(0, 40_000);
    let mut before = 0;
    for n in 0..count {
        if n == count / 2 {
            before = resident();
        }
        let pair = async {
            let client = soloio::connect_unix(dir.path("s")).await.expect("connects");
            (client, listener.accept().await.expect("accepts"))
        };
        let (a, b) = tls(pair).await;
        let receive = async {
            let mut got = 0;
            while got < data.len() {
                got += b.receive().await.expect("bytes").len();
            }
        };
        let (sent, ()) = join(a.send(&data), receive).await;
        sent.expect("sent");
        pairs.push((a, b));
    }
    let each = (resident() - before) / count;
    println!("{each} bytes for one end of an idle connection");
    // A sanitizer keeps freed memory for a while.
    assert!(
        each < 30_000 || sanitized(),
        "{each} bytes for one end of an idle connection"
    );
}
