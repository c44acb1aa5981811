//! Connectables: of each kind, by text, with TLS, with a retry.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Error, Result, TcpListener, connect_tcp,
    create_memory_byte_stream, create_tcp_listener, create_unix_listener, fail_after, join,
};
use soloio_streams::{
    AnyConnectable, Connectable, Retry, TcpConnectable, UnixConnectable, as_connectable,
};

use crate::support::{cut, run};

pub(crate) async fn listener() -> Result<TcpListener> {
    create_tcp_listener().local_host("127.0.0.1").await
}

/// Answers one connection with what came, and an exclamation mark.
pub(crate) async fn answer(client: impl ByteStream) -> Result<()> {
    let got = client.receive().await?;
    client.send(&[&got[..], b"!"].concat()).await?;
    client.close().await
}

/// Connects, sends a word and receives the answer.
pub(crate) async fn speak(place: &impl Connectable) -> Result<Vec<u8>> {
    let stream = place.connect().await?;
    stream.send(b"word").await?;
    let answer = stream.receive().await?;
    stream.close().await?;
    Ok(answer)
}

#[test]
fn each_kind_connects_often() {
    run(async || {
        let tcp = listener().await?;
        let port = tcp.local_addr().port();
        let path = std::env::temp_dir().join(format!("soloio-connect-{}", std::process::id()));
        let unix = create_unix_listener(&path).unlink_on_close(true).await?;
        let text = path.to_str().expect("UTF-8");
        let tcp_places = [
            as_connectable(&format!("127.0.0.1:{port}"))?,
            AnyConnectable::new(TcpConnectable::new("127.0.0.1", port)),
            AnyConnectable::new(TcpConnectable::from(
                connect_tcp("127.0.0.1", port).local_host("127.0.0.2"),
            )),
        ];
        let unix_places = [
            as_connectable(text)?,
            as_connectable(&format!("unix:{text}"))?,
            AnyConnectable::new(UnixConnectable::new(&path)),
        ];
        for _ in 0..2 {
            for place in &tcp_places {
                let serve = async { answer(tcp.accept().await?).await };
                let (spoke, served) = join((speak(place), serve)).await;
                served?;
                assert_eq!(spoke?, b"word!");
            }
            for place in &unix_places {
                let serve = async { answer(unix.accept().await?).await };
                let (spoke, served) = join((speak(place), serve)).await;
                served?;
                assert_eq!(spoke?, b"word!");
            }
        }
        Ok(())
    });
}

#[test]
fn text_that_is_no_place_says_why() {
    for bad in [
        "",
        "localhost",
        "::1:80",
        "http://localhost/",
        "localhost:70000",
        "a:b:1",
    ] {
        let error = as_connectable(bad).expect_err(bad);
        assert!(matches!(error, Error::Resolve(_)), "{bad}: {error:?}");
    }
}

/// Fails so often, and then connects.
struct Fails(Cell<u32>, fn() -> Error);

impl Connectable for Fails {
    type Stream = soloio::MemoryStream;

    async fn connect(&self) -> Result<Self::Stream> {
        match self.0.get() {
            0 => Ok(create_memory_byte_stream(1).0),
            left => {
                self.0.set(left - 1);
                Err((self.1)())
            }
        }
    }
}

#[test]
fn a_retry_tries_what_may_pass() {
    run(async || {
        let refused = || Error::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        let quick = |left, error| Retry::new(Fails(Cell::new(left), error)).pause(Duration::ZERO);
        quick(20, refused).connect().await?;
        quick(2, || Error::timed_out(Duration::ZERO, "waiting"))
            .attempts(3)
            .connect()
            .await?;
        let last = quick(3, || Error::EndOfStream).attempts(3).connect().await;
        assert!(matches!(last, Err(Error::EndOfStream)));
        for permanent in [
            (|| Error::Cancelled) as fn() -> Error,
            || Error::other("no"),
            || Error::from(io::Error::from(io::ErrorKind::InvalidInput)),
        ] {
            let place = quick(2, permanent);
            let ended = place.connect().await.expect_err("at once");
            assert_eq!(ended.to_string(), permanent().to_string());
            assert!(
                matches!(cut(0, place.connect()).await, Some(Err(_))),
                "the second of two"
            );
        }
        // A pause is a wait: a limit ends it.
        let slow = Retry::new(Fails(Cell::new(9), refused)).pause(Duration::MAX);
        let slow = slow.longest_pause(Duration::from_secs(1_000));
        let late = fail_after(Duration::from_millis(1), slow.connect()).await;
        assert!(matches!(late, Err(Error::TimedOut(_))));
        Ok(())
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_over_whatever_connects() {
    use soloio::tls::TlsListener;
    use soloio_streams::TlsConnectable;
    run(async || {
        let (config, server) = crate::support::tls_configs()?;
        let below = listener().await?;
        let place = as_connectable(&below.local_addr().to_string())?;
        let listener = TlsListener::new(below, server);
        let tls = TlsConnectable::new(place, "test.example", config);
        let serve = async { answer(listener.accept().await?).await };
        let (spoke, served) = join((speak(&tls), serve)).await;
        served?;
        assert_eq!(spoke?, b"word!");
        Ok(())
    });
}
