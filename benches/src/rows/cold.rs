//! A runtime from nothing: it connects, has one message echoed, and ends. Nanoseconds of CPU time
//! of its thread; the server is a thread on another core.

use std::hint;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use soloio::{block_on, connect_tcp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::load::{MESSAGE, message, wrong_answer};
use crate::side::Side;
use crate::sys::affinity;
use crate::sys::cpu_clock::Stopwatch;

type Message = [u8; MESSAGE];

pub fn measure(side: Side, count: u64) -> io::Result<f64> {
    let (server, address) = serve(count)?;
    let watch = Stopwatch::start();
    for number in 0..count {
        let sent = message(number);
        let answer = match side {
            Side::Soloio => block_on(soloio(address, &sent))?,
            Side::TokioCurrent => by::<CurrentThread>(address, &sent)?,
            Side::TokioLocal => by::<Local>(address, &sent)?,
        };
        if answer != sent {
            return Err(wrong_answer());
        }
    }
    let used = watch.read();
    server.join().expect("the thread ends well")?;
    Ok(nanos_each(used, count))
}

/// Echoes one message on each of `count` connections. It never sleeps: to wake a core that sleeps
/// is a large part of the cost, and depends on how soon the client sends after it has connected.
fn serve(count: u64) -> io::Result<(JoinHandle<io::Result<()>>, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || {
        affinity::pin(affinity::helper_core())?;
        for _ in 0..count {
            let (mut client, _) = until_ready(|| listener.accept())?;
            client.set_nonblocking(true)?;
            let mut message: Message = [0; MESSAGE];
            assert_eq!(until_ready(|| client.read(&mut message))?, MESSAGE);
            client.write_all(&message)?;
            // The client ends first, always: which side does is a part of the cost.
            assert_eq!(until_ready(|| client.read(&mut message))?, 0);
        }
        Ok(())
    });
    Ok((server, address))
}

fn until_ready<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => hint::spin_loop(),
            done => return done,
        }
    }
}

async fn soloio(server: SocketAddr, sent: &Message) -> io::Result<Message> {
    let stream = connect_tcp("127.0.0.1", server.port()).await?;
    stream.send(sent).await?;
    let (mut answer, mut there) = ([0; MESSAGE], 0);
    while there < MESSAGE {
        there += stream.receive_into(&mut answer[there..]).await?.len();
    }
    Ok(answer)
}

fn by<F: Flavour>(server: SocketAddr, sent: &Message) -> io::Result<Message> {
    F::block_on(&F::runtime()?, tokio(server, sent))
}

async fn tokio(server: SocketAddr, sent: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    stream.write_all(sent).await?;
    let mut answer = [0; MESSAGE];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
