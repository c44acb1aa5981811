//! Renewing a server's certificate while it runs: by a call, and through its files.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join;
use soloio::tls::rustls::ServerConfig;
use soloio::tls::{TlsListener, client_config, server_config};
use soloio::{block_on, connect_tcp, create_tcp_listener};

use crate::certs::{Ca, Issued};
use crate::net_support::TempDir;
use crate::support::deadline;
use crate::tls_config::{handshake, trusting};

#[test]
fn a_listener_takes_a_new_configuration() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let [before, after] = [(); 2].map(|()| ca.server(&["localhost"]));
    let config = |issued: &Issued| {
        let config = server_config().certificate(issued.chain.clone(), issued.key());
        config.build().expect("a server")
    };
    let client = client_config().roots(ca.roots()).build().expect("a client");
    block_on(async {
        let tcp = create_tcp_listener().local_host("127.0.0.1").await?;
        let port = tcp.local_addr().port();
        let listener = TlsListener::new(tcp, config(&before));
        let meet = async || {
            let connect = connect_tcp("127.0.0.1", port).tls_config(client.clone());
            let connect = connect.tls_hostname("localhost").into_future();
            let (client, server) = join(connect, listener.accept()).await;
            (client.expect("a handshake"), server.expect("a handshake"))
        };
        let (old, server) = meet().await;
        assert_eq!(old.peer_certificates().expect("shown"), before.chain);
        listener.set_config(config(&after));
        let (new, _server) = meet().await;
        assert_eq!(new.peer_certificates().expect("shown"), after.chain);
        // Existing connections continue.
        server.send(b"still here").await?;
        assert_eq!(old.receive().await?, b"still here");
        Ok::<_, soloio::Error>(())
    })
    .expect("it goes on");
}

#[test]
fn files_that_changed_are_read_again() {
    let dir = TempDir::new();
    let ca = Ca::new("a CA");
    let [first, second, third] = [(); 3].map(|()| ca.server(&["localhost"]));
    let [wild, renewed] = [(); 2].map(|()| ca.server(&["*.example.org"]));
    let (chain, key) = first.write(dir.all(), "server");
    let (wild_chain, wild_key) = wild.write(dir.all(), "wild");
    let said = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&said);
    let server = |every, hook: Arc<Mutex<Vec<String>>>| {
        server_config()
            .certificate_files(&chain, &key)
            .host_files("*.example.org", &wild_chain, &wild_key)
            .reload_files(every, move |error| {
                hook.lock().expect("whole").push(error.to_string());
            })
            .build()
            .expect("a server")
    };
    let (server, rare) = (
        server(Duration::ZERO, hook),
        server(Duration::MAX, Arc::default()),
    );
    let client = trusting(&ca).sessions(0).build().expect("a client");
    let shown = |server: &Arc<ServerConfig>, name| {
        let (client, _) = handshake(&client, name, server).expect(name);
        client.peer_certificates().expect("shown").to_vec()
    };
    assert_eq!(shown(&server, "localhost"), first.chain);
    second.write(dir.all(), "server");
    assert_eq!(shown(&server, "localhost"), second.chain);
    assert_eq!(shown(&server, "a.example.org"), wild.chain);
    assert_eq!(shown(&rare, "localhost"), first.chain);

    // Half of a change: the certificate without its key, then no key at all.
    fs::write(&chain, &third.chain_pem).expect("a file");
    assert_eq!(shown(&server, "localhost"), second.chain);
    assert_eq!(shown(&server, "localhost"), second.chain);
    fs::remove_file(&key).expect("a file");
    assert_eq!(shown(&server, "localhost"), second.chain);
    fs::write(&key, &third.key_pem).expect("a file");
    assert_eq!(shown(&server, "localhost"), third.chain);
    renewed.write(dir.all(), "wild");
    assert_eq!(shown(&server, "a.example.org"), renewed.chain);
    let said = said.lock().expect("whole");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("is not the key of the certificate in"),
        "{said:?}"
    );
    assert!(said[1].contains("server.key cannot be read"), "{said:?}");
}
