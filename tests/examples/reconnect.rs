//! Tests the example of a client that connects again.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use crate::running::start;

#[test]
fn it_connects_again_until_it_is_stopped() {
    // Bound, so that no other program gets the port; nothing listens yet.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("bound");
    let address = socket.local_addr().expect("bound").as_socket();
    let address = address.expect("an address");
    let port = address.port().to_string();
    let mut client = start("reconnect", &["127.0.0.1", &port]);
    for _ in 0..2 {
        let line = client.line();
        assert!(
            line.contains("refused") && line.contains("; again in "),
            "{line}"
        );
    }

    socket.listen(9).expect("listens");
    let listener = TcpListener::from(socket);
    // An end between two lines, an end inside a line, and a line to end with.
    for (sent, shown, last) in [
        (
            "one\ntwo\n",
            &["one", "two"][..],
            "the peer has finished sending; ",
        ),
        ("three\nfo", &["three"], "the stream ended inside an item, "),
        ("four\n", &["four"], ""),
    ] {
        let mut server = loop {
            let line = client.line();
            if line == format!("connected to {address}") {
                break listener.accept().expect("a connection").0;
            }
            assert!(line.contains("; again in "), "{line}");
        };
        server.write_all(sent.as_bytes()).expect("sent");
        for line in shown {
            assert_eq!(client.line(), *line);
        }
        if last.is_empty() {
            return client.terminated();
        }
        drop(server);
        assert!(client.line().starts_with(last));
    }
}

#[test]
fn it_ends_where_another_try_is_of_no_use() {
    let ended = start("reconnect", &["127.0.0.1", "0"]).ended();
    assert!(ended.with_one_line(1).contains("port 0"));
}
