//! Tests of soloio-tokio-io, in one binary: the traits over every kind of stream, and the example.

mod example;

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{join, join3};
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::tls::{TlsStream, client_config, rustls, server_config};
use soloio::{
    AnyByteStream, Buffered, ByteStream, Error, Result, TcpStream, block_on, connect_tcp,
    create_memory_byte_stream, create_tcp_listener, fail_after, move_on_after, unix_socket_pair,
};
use soloio_tokio_io::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Runs a test's future, a minute at most.
fn run(test: impl AsyncFnOnce() -> Result<()>) {
    let limited = block_on(fail_after(Duration::from_secs(60), test()));
    limited.expect("all went well");
}

async fn tcp_pair() -> Result<(TcpStream, TcpStream)> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    Ok((client, listener.accept().await?))
}

async fn tls_pair<S: ByteStream>((a, b): (S, S)) -> Result<(TlsStream<S>, TlsStream<S>)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(Error::other)?;
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let server = server_config().certificate(vec![made.cert.der().clone()], key);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).map_err(Error::other)?;
    let client = client_config().roots(roots).build()?;
    let client = TlsStream::client(a, "localhost", client);
    let server = TlsStream::server(b, server.build()?);
    let (client, server) = join(client.into_future(), server.into_future()).await;
    Ok((client?, server?))
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Writes all of it in pieces of odd lengths.
async fn write(io: &mut (impl AsyncWrite + Unpin), mut data: &[u8]) -> io::Result<()> {
    assert!(io.is_write_vectored());
    while !data.is_empty() {
        let (first, rest) = data.split_at(data.len().min(13));
        let parts = [first, &[], &rest[..rest.len().min(5_003)]].map(IoSlice::new);
        let sent = io.write_vectored(&parts).await?;
        assert!(sent > 0);
        data = &data[sent..];
    }
    io.flush().await
}

/// The traits over one kind: all comes back, in order, and then the end, on each side.
async fn echoes<S: ByteStream>((a, b): (S, S)) -> Result<()> {
    let data = noise(300_000);
    let (mut reading, mut writing) = (TokioIo::new(&a), TokioIo::new(&a));
    let send = async {
        write(&mut writing, &data).await?;
        writing.shutdown().await?;
        writing.shutdown().await?;
        let refused = writing.write_all(b"x").await.expect_err("it has ended");
        assert!(matches!(Error::from(refused), Error::Closed));
        Ok::<_, Error>(())
    };
    let echo = async {
        let mut io = TokioIo::new(&b);
        let mut some = vec![0; 7_001];
        loop {
            let got = io.read(&mut some).await?;
            if got == 0 {
                break;
            }
            write(&mut io, &some[..got]).await?;
        }
        io.shutdown().await?;
        Ok::<_, Error>(())
    };
    let receive = async {
        let mut got = Vec::new();
        reading.read_to_end(&mut got).await?;
        assert!(got == data);
        Ok::<_, Error>(())
    };
    let (sent, echoed, received) = join3(send, echo, receive).await;
    sent.and(echoed).and(received)
}

#[test]
fn all_comes_back_over_every_kind() {
    run(async || {
        echoes(tcp_pair().await?).await?;
        echoes(unix_socket_pair()?).await?;
        for size in [100, 65_536] {
            echoes(create_memory_byte_stream(size)).await?;
        }
        let (a, b) = tcp_pair().await?;
        echoes((Rc::new(a), Rc::new(b))).await?;
        let (a, b) = tcp_pair().await?;
        echoes((Arc::new(a), Arc::new(b))).await?;
        let (a, b) = tcp_pair().await?;
        echoes((AnyByteStream::new(a), AnyByteStream::new(b))).await?;
        let (a, b) = tcp_pair().await?;
        echoes((Buffered::new(a), Buffered::new(b))).await?;
        echoes(tls_pair(tcp_pair().await?).await?).await?;
        let (a, b) = tls_pair(create_memory_byte_stream(1_000)).await?;
        echoes((AnyByteStream::new(a), AnyByteStream::new(b))).await
    });
}

/// Into memory that is not initialised, behind what is there already.
#[test]
fn a_read_fills_what_is_free_of_a_buffer() {
    run(async || {
        let (a, b) = create_memory_byte_stream(100);
        b.send(b"received").await?;
        let mut memory = [MaybeUninit::uninit(); 8];
        let mut buf = ReadBuf::uninit(&mut memory);
        buf.put_slice(b"I ");
        let mut io = TokioIo::new(a);
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await?;
        assert_eq!((buf.filled(), buf.remaining()), (&b"I receiv"[..], 0));
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await?;
        buf.clear();
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await?;
        assert_eq!(buf.filled(), b"ed");
        assert_eq!(io.into_inner().send(b"x").await.map_err(|_| ()), Ok(()));
        Ok(())
    });
}

/// With the task's waker, and with that of a combinator.
#[test]
fn a_cancel_is_an_io_error_with_ours_in_it() {
    run(async || {
        let (a, b) = tls_pair(tcp_pair().await?).await?;
        for inside in [false, true] {
            let mut told = None;
            let limit = Duration::from_millis(1);
            let ended = move_on_after(limit, async {
                let (mut io, mut some) = (TokioIo::new(&a), [0; 9]);
                told = Some(match inside {
                    false => io.read(&mut some).await,
                    true => {
                        let mut all: FuturesUnordered<_> =
                            [io.read(&mut some)].into_iter().collect();
                        all.next().await.expect("one")
                    }
                });
                Ok::<_, Error>(())
            });
            ended.await?;
            let error = told.expect("told, not dropped").expect_err("cancelled");
            let retried = [ErrorKind::Interrupted, ErrorKind::WouldBlock];
            assert!(!retried.contains(&error.kind()));
            assert!(matches!(Error::from(error), Error::Cancelled));
        }
        b.send(b"later").await?;
        assert_eq!(a.receive().await?, b"later");
        Ok(())
    });
}

#[test]
fn a_second_reader_is_told_that_the_stream_is_busy() {
    run(async || {
        let (a, b) = tcp_pair().await?;
        let (mut first, mut second) = (TokioIo::new(&a), TokioIo::new(&a));
        let mut some = [0; 9];
        {
            let mut read = pin!(first.read(&mut some));
            assert!(poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await);
        }
        let busy = second.read(&mut some).await.expect_err("another reads");
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        drop(first);
        b.send(b"free").await?;
        assert_eq!(second.read(&mut some).await?, 4);
        Ok(())
    });
}

#[test]
fn it_travels_if_its_stream_does() {
    fn travels<T: Send + Unpin>() {}
    travels::<TokioIo<TcpStream>>();
    travels::<TokioIo<TlsStream<TcpStream>>>();
    fn reads<T: AsyncRead + AsyncWrite>() {}
    reads::<TokioIo<AnyByteStream<'_>>>();
}

#[test]
fn a_websocket_client_speaks_with_its_server() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    run(async || {
        let (a, b) = tls_pair(tcp_pair().await?).await?;
        let server = async {
            let accepted = tokio_tungstenite::accept_async(TokioIo::new(b)).await;
            let mut socket = accepted.map_err(Error::other)?;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() {
                    socket.send(message).await.map_err(Error::other)?;
                }
            }
            Ok::<_, Error>(())
        };
        let client = async {
            let connected = tokio_tungstenite::client_async("ws://localhost/", TokioIo::new(a));
            let (mut socket, _) = connected.await.map_err(Error::other)?;
            for length in [0, 125, 65_536, 3_000_000] {
                let message = Message::binary(noise(length));
                socket.send(message.clone()).await.map_err(Error::other)?;
                let answer = socket.next().await.expect("an answer");
                assert!(answer.map_err(Error::other)? == message);
            }
            socket.close(None).await.map_err(Error::other)?;
            while socket.next().await.is_some() {}
            Ok::<_, Error>(())
        };
        let (served, spoken) = join(server, client).await;
        served.and(spoken)
    });
}
