//! Builders of sockets, and what they listen on and connect to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use soloio::net::{Resolver, Resolving, connect_unix_seqpacket};
use soloio::{
    CloseLimits, Error, Family, Host, Result, block_on, connect_tcp, connect_unix,
    create_connected_udp_socket, create_connected_unix_datagram_socket, create_tcp_listener,
    create_udp_socket, create_unix_datagram_socket, create_unix_listener, unix_socket_pair,
};

use super::{TIMES, ended, message, names, texts};
use crate::net_support::{TempDir, run, tcp_listener, tcp_pair};
use crate::support::{alone, fds};

/// Has no address for any name: no name leaves this host.
struct Nothing;

impl Resolver for Nothing {
    fn resolve<'a>(&'a self, _name: &'a str, _port: u16) -> Resolving<'a> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::NotFound).into()) })
    }
}

fn host(text: &str) -> Host {
    Host::from(text).resolved_by(Arc::new(Nothing))
}

/// Checks an error of a host: it names the text, unless the text is fine and something else is not.
fn names_host<T: std::fmt::Debug>(made: Result<T>, text: &str) {
    let Err(error) = &made else {
        assert!(text.parse::<std::net::IpAddr>().is_ok(), "{text:?} is made");
        return;
    };
    let is_kind = matches!(
        error,
        Error::Resolve(_) | Error::Io(_) | Error::ConnectFailed(_)
    );
    assert!(is_kind, "{error:?}");
    let message = message(made);
    assert!(names(&message, text), "{message} of {text:?}");
    assert!(!message.contains(char::is_control), "{message:?}");
}

#[test]
fn hosts() {
    run(async {
        for text in texts() {
            names_host(ended(connect_tcp(host(&text), 1)).await, &text);
            let made = connect_tcp("127.0.0.1", 1).local_host(host(&text));
            let failed = message(ended(made).await);
            assert!(!failed.is_empty());
            let made = create_tcp_listener().local_host(host(&text));
            names_host(ended(made).await, &text);
            let made = create_udp_socket().local_host(host(&text));
            names_host(ended(made).await, &text);
            let made = create_connected_udp_socket(host(&text), 9);
            names_host(ended(made).await, &text);
            let udp = create_udp_socket().family(Family::V4).await.expect("bound");
            if text != "::1" {
                names_host(ended(udp.send_to_host(b"", host(&text), 9)).await, &text);
            }
            #[cfg(feature = "options")]
            {
                let message = message(soloio::Interface::named(&text));
                assert!(names(&message, &text), "{message}");
            }
        }
    });
}

/// Paths in a folder, and texts that are no path in any.
fn paths(dir: &TempDir) -> Vec<PathBuf> {
    let inside = |text: &String| dir.path(text);
    let wrong = |text: &String| text.is_empty() || text.contains('\0') || text.len() > 107;
    let texts = texts();
    let mut paths: Vec<_> = texts.iter().map(inside).collect();
    // A NUL at the front is an abstract name.
    let wrong = texts.iter().filter(|text| wrong(text) && *text != "\0");
    paths.extend(wrong.map(PathBuf::from));
    paths.push(dir.path("none").join("there"));
    paths
}

/// Checks that an error names the path.
fn names_path<T: std::fmt::Debug>(made: Result<T>, path: &std::path::Path) {
    let message = message(made);
    assert!(!message.contains(char::is_control), "{message:?}");
    let named = names(&message, &path.to_string_lossy());
    assert!(named, "{message} of {}", path.display());
}

#[test]
fn names_of_unix_sockets() {
    run(async {
        let dir = TempDir::new();
        for path in paths(&dir) {
            names_path(ended(connect_unix(&path)).await, &path);
            names_path(ended(connect_unix_seqpacket(&path)).await, &path);
            let made = create_connected_unix_datagram_socket(&path);
            names_path(ended(made).await, &path);
            match ended(create_unix_listener(&path)).await {
                Ok(_) => std::fs::remove_file(&path).expect("its file"),
                refused => names_path(refused, &path),
            }
            match ended(create_unix_listener(&path).seqpacket()).await {
                Ok(_) => std::fs::remove_file(&path).expect("its file"),
                refused => names_path(refused, &path),
            }
            match ended(create_unix_datagram_socket().local_path(&path)).await {
                Ok(socket) => {
                    let refused = socket.send_to(b"x", "").await;
                    message(refused);
                    std::fs::remove_file(&path).expect("its file");
                }
                refused => names_path(refused, &path),
            }
            let socket = create_unix_datagram_socket().await.expect("no name");
            names_path(ended(socket.send_to(b"x", &path)).await, &path);
        }
        assert_eq!(std::fs::read_dir(dir.all()).expect("a folder").count(), 0);
    });
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0, 1, u16::MAX])
}

fn host_text() -> impl Strategy<Value = Option<&'static str>> {
    let texts = vec![
        None,
        Some("127.0.0.1"),
        Some("::1"),
        Some("0.0.0.0"),
        Some("255.255.255.255"),
        Some("224.0.0.1"),
        Some("192.0.2.1"),
        Some("fe80::1%lo"),
        Some(""),
        Some("no.example"),
    ];
    prop::sample::select(texts)
}

fn family() -> impl Strategy<Value = Option<Family>> {
    prop::sample::select(vec![None, Some(Family::V4), Some(Family::V6)])
}

fn time() -> impl Strategy<Value = Duration> {
    prop::sample::select(TIMES.to_vec())
}

/// Awaits it in a runtime: it is made, or the error has a fine message.
fn tried<F, T: std::fmt::Debug>(made: F) -> Result<Option<T>, TestCaseError>
where
    F: IntoFuture<Output = Result<T>>,
{
    match block_on(ended(made)) {
        Ok(made) => Ok(Some(made)),
        refused => {
            let message = message(refused);
            prop_assert!(message.len() < 2000);
            Ok(None)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 200,
        ..Default::default()
    })]

    #[test]
    fn combinations_of_tcp(
        (local, to) in (host_text(), host_text()),
        (from, at) in (port(), port()),
        family in family(),
        backlog in prop::sample::select(vec![0, 1, i32::MAX as u32 + 1, u32::MAX]),
        shares: bool,
        delay in time(),
    ) {
        let mut builder = create_tcp_listener().local_port(from).backlog(backlog);
        builder = builder.reuse_port(shares);
        if let Some(text) = local {
            builder = builder.local_host(host(text));
        }
        if let Some(family) = family {
            builder = builder.family(family);
        }
        let listener = tried(builder)?;
        // Only to hosts that answer at once.
        let to = to.filter(|to| !matches!(*to, "192.0.2.1" | "255.255.255.255" | "224.0.0.1"));
        let to = to.unwrap_or("127.0.0.1");
        let at = listener.as_ref().map_or(at, |listener| listener.local_addr().port());
        let mut builder = connect_tcp(host(to), at).local_port(from).happy_eyeballs_delay(delay);
        if let Some(text) = local {
            builder = builder.local_host(host(text));
        }
        if let (Some(client), Some(listener)) = (tried(builder)?, listener) {
            if client.local_addr() != client.peer_addr() {
                let server = block_on(ended(listener.accept())).expect("a connection");
                block_on(client.send(b"x")).expect("sent");
                prop_assert_eq!(block_on(server.receive()).expect("received"), b"x");
            }
        }
    }

    #[test]
    fn combinations_of_udp(
        (local, to) in (host_text(), host_text()),
        (from, at) in (port(), port()),
        family in family(),
        (shares, again, alone) in any::<(bool, bool, bool)>(),
        tells: bool,
    ) {
        let mut builder = create_udp_socket()
            .local_port(from)
            .reuse_port(shares)
            .reuse_addr(again)
            .batching(!alone)
            .tell_destination(tells);
        let mut connected = create_connected_udp_socket(host(to.unwrap_or("127.0.0.1")), at)
            .local_port(from)
            .reuse_port(shares)
            .reuse_addr(again)
            .batching(!alone);
        if let Some(text) = local {
            builder = builder.local_host(host(text));
            connected = connected.local_host(host(text));
        }
        if let Some(family) = family {
            builder = builder.family(family);
            connected = connected.family(family);
        }
        if let Some(socket) = tried(builder)? {
            // Port 0, and an address that is perhaps of the other family: sent, or an error.
            for to in ["127.0.0.1:0", "[::1]:9", "127.0.0.1:9"] {
                tried(socket.send_to(b"", to.parse().expect("an address")))?;
            }
        }
        if let Some(socket) = tried(connected)? {
            tried(socket.send(&[]))?;
            for segment in super::SIZES {
                tried(socket.send_segments(&mut &[1, 2, 3][..], segment))?;
            }
        }
    }

    #[test]
    fn combinations_of_unix(
        mode in prop::sample::select(vec![0, 0o777, 0o7777, 0o10_000, u32::MAX]),
        backlog in prop::sample::select(vec![0, 1, i32::MAX as u32 + 1, u32::MAX]),
        unlinks: bool,
    ) {
        let dir = TempDir::new();
        let builder = create_unix_listener(dir.path("a"));
        let listener = tried(builder.mode(mode).backlog(backlog).unlink_on_close(unlinks))?;
        if let Some(listener) = listener {
            if let Some(client) = tried(connect_unix(dir.path("a")))? {
                block_on(ended(listener.accept())).expect("a connection");
                drop(client);
            }
            drop(listener);
            prop_assert_eq!(dir.path("a").exists(), !unlinks);
        }
        let builder = create_unix_datagram_socket().local_path(dir.path("b"));
        let socket = tried(builder.local_mode(mode).unlink_on_close(unlinks))?;
        prop_assert_eq!(socket.is_some(), dir.path("b").exists());
    }

    #[test]
    fn limits_of_a_close(total in time(), silence in time()) {
        let limits = CloseLimits { total, silence };
        block_on(async {
            let (client, server) = tcp_pair().await;
            client.set_close_limits(limits);
            client.send(b"last").await.expect("sent");
            let closing = async {
                ended(client.close()).await.expect("arrived");
            };
            let serving = async {
                assert_eq!(server.receive().await.expect("all of it"), b"last");
                assert_eq!(server.next().await.expect("an orderly end"), None);
                drop(server);
            };
            futures_util::future::join(closing, serving).await;
        });
    }
}

#[test]
fn nothing_is_left_of_what_was_refused() {
    alone(
        "wrong_values::sockets::nothing_is_left_of_what_was_refused",
        || {
            block_on(async {
                let listener = tcp_listener().await;
                let before = fds();
                for text in texts() {
                    drop(connect_tcp(host(&text), 0).await);
                    drop(connect_unix(&text).await);
                    drop(create_tcp_listener().local_host(host(&text)).await);
                    drop(create_udp_socket().local_host(host(&text)).await);
                }
                assert_eq!(fds(), before);
                drop(listener);
            });
        },
    );
}

#[test]
fn descriptors_and_bytes_of_unix() {
    run(async {
        let (a, b) = unix_socket_pair().expect("two descriptors");
        a.send(b"x").await.expect("sent");
        for (bytes, fds) in [(0, 0), (0, 1), (1, 0), (0, usize::MAX), (usize::MAX, 0)] {
            assert!(message(b.receive_fds(bytes, fds).await).contains(" 0 "));
        }
        assert!(message(b.receive_max(0).await).contains('0'));
        message(b.receive_into(&mut []).await.map(drop));
        let (data, none) = b.receive_fds(usize::MAX, usize::MAX).await.expect("bytes");
        assert_eq!((&data[..], none.len()), (&b"x"[..], 0), "nothing was lost");
    });
}
