//! Wrong arguments and refusals of the system: each is a clear error that names the address, and
//! nothing is left behind.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener as StdListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::Duration;

use soloio::{
    Error, Family, Result, Runtime, connect_tcp, connect_unix, create_connected_udp_socket,
    create_tcp_listener, create_udp_socket, create_unix_listener, sleep,
};

use crate::kernel;
use crate::net_support::{TempDir, polled, run, shown, tcp_pair, unix_pair};
use crate::nobody;
use crate::support::{alone, deadline, fds};

/// Returns the kind of an [`Error::Io`]; its message has to contain all `parts`.
fn kind<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) -> ErrorKind {
    match result {
        Err(Error::Io(error)) => {
            says(&error.to_string(), parts);
            error.kind()
        }
        other => panic!("{}", shown(&other)),
    }
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// Expects a failed lookup, and the host in its message.
fn unresolved<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    match result {
        Err(Error::Resolve(error)) => says(&error.to_string(), parts),
        other => panic!("{}", shown(&other)),
    }
}

#[test]
fn port_0_cannot_be_connected_to() {
    run(async {
        let refused = connect_tcp("some.host", 0).await;
        assert_eq!(
            kind(refused, &["some.host", "port 0"]),
            ErrorKind::InvalidInput
        );
        let refused = create_connected_udp_socket("some.host", 0).await;
        assert_eq!(
            kind(refused, &["some.host", "port 0"]),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn hosts_that_cannot_be_are_refused() {
    run(async {
        let long = "x".repeat(256);
        for (host, why) in [("", "empty"), ("a\0b", "NUL"), (&*long, "longer")] {
            unresolved(connect_tcp(host, 9).await, &["look up", why]);
            unresolved(connect_tcp("127.0.0.1", 9).local_host(host).await, &[why]);
            unresolved(create_tcp_listener().local_host(host).await, &[why]);
            unresolved(create_udp_socket().local_host(host).await, &[why]);
            unresolved(create_connected_udp_socket(host, 9).await, &[why]);
        }
        // The name does not exist, whatever error the resolver reports (RFC 6761).
        unresolved(
            connect_tcp("nothing.invalid", 9).await,
            &["nothing.invalid"],
        );
        unresolved(connect_tcp("127.0.0.1:80", 9).await, &["127.0.0.1:80"]);
        unresolved(connect_tcp("256.1.1.1", 9).await, &["256.1.1.1"]);
    });
}

#[test]
fn families_that_do_not_fit_are_refused() {
    run(async {
        let refused = create_tcp_listener()
            .local_host("127.0.0.1")
            .family(Family::V6)
            .await;
        assert_eq!(kind(refused, &["family"]), ErrorKind::InvalidInput);
        let refused = create_udp_socket()
            .local_host("::1")
            .family(Family::V4)
            .await;
        assert_eq!(kind(refused, &["family"]), ErrorKind::InvalidInput);
        let refused = create_connected_udp_socket("127.0.0.1", 9)
            .family(Family::V6)
            .await;
        assert_eq!(kind(refused, &["family"]), ErrorKind::InvalidInput);
        let refused = create_udp_socket().await;
        assert_eq!(
            kind(refused, &["family", "local_host"]),
            ErrorKind::InvalidInput
        );
        let listener = StdListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let refused = connect_tcp("127.0.0.1", port).local_host("::1").await;
        assert!(refused.is_err(), "{refused:?}");
    });
}

#[test]
fn paths_that_cannot_be_are_refused() {
    run(async {
        let long = format!("/tmp/{}", "x".repeat(103));
        let cases = [("", "empty"), ("/tmp/a\0b", "NUL"), (&*long, "too long")];
        for (path, why) in cases {
            assert_eq!(
                kind(connect_unix(path).await, &[why]),
                ErrorKind::InvalidInput
            );
            assert_eq!(
                kind(create_unix_listener(path).await, &[why]),
                ErrorKind::InvalidInput
            );
        }
        let name = format!("\0{}", "x".repeat(108));
        assert_eq!(
            kind(connect_unix(&name).await, &["longer"]),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn nothing_is_received_into_nothing() {
    run(async {
        let (tcp, _tcp_peer) = tcp_pair().await;
        let (unix, _unix_peer) = unix_pair().await;
        for _ in 0..2 {
            assert_eq!(
                kind(tcp.receive_max(0).await, &["receive"]),
                ErrorKind::InvalidInput
            );
            assert_eq!(
                kind(tcp.receive_into(&mut []).await, &[]),
                ErrorKind::InvalidInput
            );
            assert_eq!(
                kind(unix.receive_max(0).await, &["receive"]),
                ErrorKind::InvalidInput
            );
            assert_eq!(
                kind(unix.receive_into(&mut []).await, &[]),
                ErrorKind::InvalidInput
            );
        }
    });
}

#[test]
fn an_address_in_use_is_named() {
    run(async {
        let taken = StdListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("bound");
        let refused = create_tcp_listener()
            .local_host("127.0.0.1")
            .local_port(address.port())
            .await;
        assert_eq!(
            kind(refused, &["listen on", &address.to_string()]),
            ErrorKind::AddrInUse
        );
        let refused = create_tcp_listener().local_port(address.port()).await;
        assert_eq!(
            kind(refused, &[&address.port().to_string()]),
            ErrorKind::AddrInUse
        );
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("bound");
        let refused = create_udp_socket()
            .local_host("127.0.0.1")
            .local_port(address.port())
            .await;
        assert_eq!(
            kind(refused, &["bind to", &address.to_string()]),
            ErrorKind::AddrInUse
        );
        let elsewhere = create_tcp_listener().local_host("192.0.2.1").await;
        assert_eq!(kind(elsewhere, &["192.0.2.1"]), ErrorKind::AddrNotAvailable);
        let elsewhere = create_udp_socket().local_host("192.0.2.1").await;
        assert_eq!(kind(elsewhere, &["192.0.2.1"]), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn paths_that_are_taken_are_left_alone() {
    run(async {
        let dir = TempDir::new();
        let (folder, file, live) = (dir.path("folder"), dir.path("file"), dir.path("live"));
        fs::create_dir(&folder).expect("a folder");
        fs::write(&file, "precious").expect("a file");
        let owner = StdUnixListener::bind(&live).expect("listens");
        for path in [&folder, &file, &live] {
            let text = path.to_string_lossy();
            let refused = create_unix_listener(path).await;
            assert_eq!(kind(refused, &["listen on", &text]), ErrorKind::AddrInUse);
            assert!(path.exists());
        }
        assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
        drop(owner);
        for path in [&folder, &file, &live, &dir.path("nothing")] {
            let text = path.to_string_lossy();
            let refused = connect_unix(path).await;
            let kind = kind(refused, &["connect to", &text]);
            assert!(
                matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::NotFound),
                "{kind:?}"
            );
        }
        let nowhere = dir.path("missing").join("socket");
        let text = nowhere.to_string_lossy();
        assert_eq!(
            kind(create_unix_listener(&nowhere).await, &[&text]),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(connect_unix(&nowhere).await, &[&text]),
            ErrorKind::NotFound
        );
        // A link is not followed, so its target is not removed.
        let link = dir.path("link");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(
            kind(create_unix_listener(&link).await, &[]),
            ErrorKind::AddrInUse
        );
        assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
    });
}

#[test]
fn a_peer_that_refuses_is_named_with_host_and_port() {
    run(async {
        let (_nobody, port) = nobody::tcp("127.0.0.1");
        for host in ["127.0.0.1", "localhost"] {
            match connect_tcp(host, port).await {
                Err(Error::ConnectFailed(failed)) => {
                    assert_eq!((&*failed.host, failed.port), (host, port));
                    let text = failed.to_string();
                    says(&text, &[host, &port.to_string(), "refused"]);
                    says(&text, &[&failed.attempts[0].address.to_string()]);
                    let error = std::io::Error::from(Error::ConnectFailed(failed));
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

fn is_out(error: &std::io::Error) {
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
}

/// Expects an error of every verb when there is no descriptor left.
async fn all_are_refused(dir: &TempDir, port: u16) {
    let text = port.to_string();
    match connect_tcp("127.0.0.1", port).await {
        Err(Error::ConnectFailed(failed)) => {
            is_out(&failed.attempts[0].cause);
            says(&failed.to_string(), &["127.0.0.1", &text]);
        }
        other => panic!("{other:?}"),
    }
    let (old, new) = (dir.path("socket"), dir.path("new"));
    let tcp = create_tcp_listener().local_host("127.0.0.1").await;
    let udp = create_udp_socket().local_host("127.0.0.1").await;
    let connected = create_connected_udp_socket("127.0.0.1", 9).await;
    let tried = [
        (connect_unix(&old).await.err(), "socket"),
        (create_unix_listener(&new).await.err(), "new"),
        (tcp.err(), "127.0.0.1"),
        (create_tcp_listener().await.err(), "listen on"),
        (udp.err(), "127.0.0.1"),
        (connected.err(), "bind to"),
    ];
    for (error, part) in tried {
        match error {
            Some(Error::Io(error)) => {
                is_out(&error);
                says(&error.to_string(), &[part]);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!new.exists(), "nothing is left");
}

fn without_descriptors() {
    let _guard = deadline();
    let dir = TempDir::new();
    let _unix = StdUnixListener::bind(dir.path("socket")).expect("listens");
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut runtime = Runtime::new().expect("a runtime");
    let stream = runtime.block_on(async {
        // The first sleep opens the loop's own descriptors.
        sleep(Duration::from_micros(10)).await.expect("slept");
        let stream = connect_tcp("127.0.0.1", port).await.expect("connects");
        assert!(polled(2, stream.receive()).await.is_none());
        stream
    });
    let before = fds();
    let fillers = kernel::use_up_descriptors();
    runtime.block_on(async {
        all_are_refused(&dir, port).await;
        // An abort finds no free descriptor, and ends the stream nevertheless.
        stream.abort();
        assert!(matches!(stream.receive().await, Err(Error::Closed)));
    });
    match Runtime::new() {
        Err(Error::Io(error)) => is_out(&error),
        other => panic!("{other:?}"),
    }
    drop(fillers);
    assert_eq!(fds(), before);
    let (mut peer, _) = listener.accept().expect("the first connection");
    let end = std::io::Read::read(&mut peer, &mut [0; 1]);
    assert_eq!(end.expect("the end"), 0);
    let again = runtime.block_on(async { connect_tcp("127.0.0.1", port).await });
    again.expect("there is room again");
}

#[test]
fn running_out_of_descriptors_is_an_error_of_each_verb() {
    let test = "bad_input::running_out_of_descriptors_is_an_error_of_each_verb";
    alone(test, without_descriptors);
}
