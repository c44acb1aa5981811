//! Connects standard input and output with a TCP, TLS, UNIX or UDP peer.
//!
//! ```text
//! cargo run --example nc -- HOST PORT | --unix PATH | --udp HOST PORT
//!     | --tls [--ca PEM] [--name NAME] [--insecure-no-close-notify] HOST PORT
//! ```
//!
//! The end of the input ends our direction of the connection; received data is printed until the
//! peer ends its own. Then the exit code is 0; for anything else it is 1, with one line on standard
//! error. UDP has no end: it stops after a second without an answer, counted from the end of the
//! input.
//!
//! Over TLS the certificate is verified with the system's roots, or the given CA, and for the host,
//! or the given name. A connection that ends without close_notify may have been cut off: that is an
//! error, unless `--insecure-no-close-notify` allows it.

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use std::{env, thread};

use soloio::net::ConnectTls;
use soloio::tls::client_config;
use soloio::{
    ByteStream, ConnectedUdpSocket, Error, Result, block_on, connect_tcp, connect_unix,
    create_connected_udp_socket, sleep, task_group,
};

const USAGE: &str = "usage: nc HOST PORT | nc --unix PATH | nc --udp HOST PORT | \
    nc --tls [--ca PEM] [--name NAME] [--insecure-no-close-notify] HOST PORT";

/// The size of one read from standard input; a datagram of 1,200 bytes fits any network.
const STREAM_CHUNK: usize = 64 * 1024;
const UDP_CHUNK: usize = 1200;
const UDP_SILENCE: Duration = Duration::from_secs(1);

/// The number of chunks that may wait between the loop and a thread; then the faster side waits.
const QUEUED: usize = 4;

fn main() -> ExitCode {
    let Some(peer) = Peer::from_arguments(env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (output, written) = Output::start();
    let talked = block_on(talk(&peer, &output));
    // Data that came before an error is still printed. No task waits for this thread any more.
    drop(output);
    let written = written
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    match (talked, written) {
        (Ok(()), Ok(())) => return ExitCode::SUCCESS,
        (_, Err(error)) => eprintln!("nc: standard output: {error}"),
        (Err(error), _) => {
            let (error, peer) = (error.to_string(), peer.to_string());
            // Those of a connect name it themselves.
            match error.contains(&peer) {
                true => eprintln!("nc: {error}"),
                false => eprintln!("nc: {peer}: {error}"),
            }
        }
    }
    ExitCode::FAILURE
}

enum Peer {
    Tcp(String, u16),
    Tls(Secured),
    Unix(OsString),
    Udp(String, u16),
}

/// A peer over TLS, and the settings to verify it.
#[derive(Default)]
struct Secured {
    host: String,
    port: u16,
    ca: Option<OsString>,
    name: Option<String>,
    no_goodbye: bool,
}

impl Secured {
    /// Parses the arguments after `--tls`.
    fn from_arguments(mut args: &[OsString]) -> Option<Self> {
        let mut peer = Self::default();
        loop {
            match args {
                [ca, path, rest @ ..] if ca == "--ca" => {
                    peer.ca = Some(path.clone());
                    args = rest;
                }
                [option, name, rest @ ..] if option == "--name" => {
                    peer.name = Some(name.to_str()?.to_owned());
                    args = rest;
                }
                [option, rest @ ..] if option == "--insecure-no-close-notify" => {
                    peer.no_goodbye = true;
                    args = rest;
                }
                [host, port] => {
                    peer.host = host.to_str()?.to_owned();
                    peer.port = port.to_str()?.parse().ok()?;
                    return Some(peer);
                }
                _ => return None,
            }
        }
    }

    /// Reads the CA's file, and returns the connect operation.
    fn connect(&self) -> Result<ConnectTls> {
        let mut connect = connect_tcp(&*self.host, self.port).tls();
        if let Some(ca) = &self.ca {
            connect = connect.tls_config(client_config().ca_file(ca).build()?);
        }
        if let Some(name) = &self.name {
            connect = connect.tls_hostname(name);
        }
        Ok(connect.tls_standard_compatible(!self.no_goodbye))
    }
}

impl Peer {
    fn from_arguments(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let args: Vec<OsString> = args.collect();
        let host = |host: &OsString| host.to_str().map(str::to_owned);
        let port = |port: &OsString| port.to_str()?.parse().ok();
        match &args[..] {
            [tls, rest @ ..] if tls == "--tls" => Some(Self::Tls(Secured::from_arguments(rest)?)),
            [unix, path] if unix == "--unix" => Some(Self::Unix(path.clone())),
            [udp, h, p] if udp == "--udp" => Some(Self::Udp(host(h)?, port(p)?)),
            [h, p] => Some(Self::Tcp(host(h)?, port(p)?)),
            _ => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host} port {port}"),
            Self::Tls(peer) => write!(f, "{} port {}", peer.host, peer.port),
            Self::Udp(host, port) => write!(f, "{host} UDP port {port}"),
            Self::Unix(path) => write!(f, "{}", path.to_string_lossy()),
        }
    }
}

async fn talk(peer: &Peer, output: &Output) -> Result<()> {
    match peer {
        Peer::Tcp(host, port) => talk_bytes(connect_tcp(&**host, *port).await?, output).await,
        Peer::Tls(peer) => talk_bytes(peer.connect()?.await?, output).await,
        Peer::Unix(path) => talk_bytes(connect_unix(path).await?, output).await,
        Peer::Udp(host, port) => {
            let udp = create_connected_udp_socket(&**host, *port).await?;
            talk_datagrams(&udp, output).await
        }
    }
}

async fn talk_bytes(stream: impl ByteStream, output: &Output) -> Result<()> {
    let input = Input::start(STREAM_CHUNK);
    task_group(async |group| {
        let sending = group.spawn(async {
            while let Some(data) = input.next().await? {
                match stream.send(&data).await {
                    // The peer receives no more. The receive returns how the connection ended.
                    Err(Error::Broken(_)) => return Ok(()),
                    sent => sent?,
                }
            }
            stream.send_eof().await
        });
        while let Some(data) = stream.next().await? {
            output.write(data).await?;
        }
        sending.cancel();
        Ok(())
    })
    .await?;
    stream.close().await
}

async fn talk_datagrams(udp: &ConnectedUdpSocket, output: &Output) -> Result<()> {
    let input = Input::start(UDP_CHUNK);
    let heard = Cell::new(Instant::now());
    task_group(async |group| {
        let receiving = group.spawn(async {
            while let Some(packet) = udp.next().await? {
                output.write(packet).await?;
                heard.set(Instant::now());
            }
            Ok(())
        });
        while let Some(data) = input.next().await? {
            udp.send(&data).await?;
        }
        heard.set(Instant::now());
        while let Some(left) = UDP_SILENCE.checked_sub(heard.get().elapsed()) {
            sleep(left).await?;
        }
        receiving.cancel();
        Ok(())
    })
    .await
}

/// Standard input, read by a thread: a file, a pipe or a terminal blocks only that thread. It is
/// not waited for; it ends with the process.
struct Input(Receiver<io::Result<Vec<u8>>>);

static INPUT: Bell = Bell(Mutex::new(None));

impl Input {
    fn start(chunk: usize) -> Self {
        let (sender, receiver) = sync_channel(QUEUED);
        thread::spawn(move || {
            read(chunk, &sender);
            drop(sender);
            INPUT.ring();
        });
        Self(receiver)
    }

    /// Returns the next chunk, `None` at the end.
    async fn next(&self) -> Result<Option<Vec<u8>>> {
        let chunk = poll_fn(|cx| {
            INPUT.listen(cx);
            match self.0.try_recv() {
                Ok(chunk) => Poll::Ready(Some(chunk)),
                Err(TryRecvError::Disconnected) => Poll::Ready(None),
                Err(TryRecvError::Empty) => Poll::Pending,
            }
        });
        let failed = |error| Error::other(format!("standard input: {error}"));
        chunk.await.transpose().map_err(failed)
    }
}

fn read(chunk: usize, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buf = vec![0; chunk];
    loop {
        let chunk = match io::stdin().lock().read(&mut buf) {
            Ok(0) => return,
            Ok(got) => Ok(buf[..got].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if sender.send(chunk).is_err() || failed {
            return;
        }
        INPUT.ring();
    }
}

/// Standard output, written by a thread.
struct Output(SyncSender<Vec<u8>>);

static OUTPUT: Bell = Bell(Mutex::new(None));

impl Output {
    fn start() -> (Self, thread::JoinHandle<io::Result<()>>) {
        let (sender, receiver) = sync_channel::<Vec<u8>>(QUEUED);
        let thread = thread::spawn(move || {
            let written = write(&receiver);
            drop(receiver);
            OUTPUT.ring();
            written
        });
        (Self(sender), thread)
    }

    /// Passes a chunk to the thread; waits while the queue is full.
    async fn write(&self, data: Vec<u8>) -> Result<()> {
        let mut data = Some(data);
        poll_fn(|cx| {
            OUTPUT.listen(cx);
            match data.take().map_or(Ok(()), |data| self.0.try_send(data)) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(TrySendError::Full(back)) => {
                    data = Some(back);
                    Poll::Pending
                }
                // The thread returns its own error, which is the one printed.
                Err(TrySendError::Disconnected(_)) => Poll::Ready(Err(Error::Closed)),
            }
        })
        .await
    }
}

fn write(receiver: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for chunk in receiver {
        OUTPUT.ring();
        out.write_all(&chunk)?;
        out.flush()?;
    }
    Ok(())
}

/// Wakes the task that waits for the thread at the other end of a channel.
struct Bell(Mutex<Option<Waker>>);

impl Bell {
    /// Called before the channel is checked, so that no change of it is missed.
    fn listen(&self, cx: &Context<'_>) {
        let waker = Some(cx.waker().clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    fn ring(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
