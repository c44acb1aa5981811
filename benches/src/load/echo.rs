//! Echo over connections that stay open: one message in flight on each.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{IN_FLIGHT, LINES, PATIENCE, message, stuck, wrong_answer};
use crate::server;
use crate::sys::epoll::Epoll;

/// Connections to an echo server.
pub struct Echo<S> {
    connections: Vec<Connection<S>>,
    epoll: Epoll,
    ready: Vec<usize>,
    sent: u64,
    message: fn(u64) -> Vec<u8>,
}

struct Connection<S> {
    stream: S,
    /// The last message, and the number of its bytes that came back.
    expected: Vec<u8>,
    received: usize,
}

impl Echo<TcpStream> {
    pub fn tcp(server: SocketAddr, count: usize) -> io::Result<Self> {
        Self::open(tcp(server), count, |number| message(number).to_vec())
    }

    /// Each message has many lines.
    pub fn lines(server: SocketAddr) -> io::Result<Self> {
        Self::open(tcp(server), IN_FLIGHT, |number| {
            format!("{number:031}\n").repeat(LINES).into_bytes()
        })
    }
}

impl Echo<UnixStream> {
    pub fn unix(server: SocketAddr) -> io::Result<Self> {
        let path = server::unix_path(server);
        let connect = || {
            let stream = UnixStream::connect(&path)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let opened = Self::open(connect, IN_FLIGHT, |number| message(number).to_vec());
        fs::remove_file(&path)?;
        opened
    }
}

fn tcp(server: SocketAddr) -> impl Fn() -> io::Result<TcpStream> {
    move || {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl<S: Read + Write + AsFd> Echo<S> {
    fn open(
        connect: impl Fn() -> io::Result<S>,
        count: usize,
        message: fn(u64) -> Vec<u8>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let stream = connect()?;
            epoll.add(&stream, number)?;
            connections.push(Connection {
                stream,
                expected: Vec::new(),
                received: 0,
            });
        }
        Ok(Self {
            connections,
            epoll,
            ready: Vec::new(),
            sent: 0,
            message,
        })
    }

    pub fn run(&mut self, count: u64) -> io::Result<()> {
        self.run_part(&AtomicU64::new(count))
    }

    /// Runs operations until none of `left`, which loads may share, is left.
    pub fn run_part(&mut self, left: &AtomicU64) -> io::Result<()> {
        let more = || {
            let one_less = |left: u64| left.checked_sub(1);
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                .is_ok()
        };
        let mut open = 0_u64;
        for connection in &mut self.connections {
            if more() {
                connection.send((self.message)(self.sent))?;
                self.sent += 1;
                open += 1;
            }
        }
        while open > 0 {
            self.epoll.wait(PATIENCE, &mut self.ready)?;
            if self.ready.is_empty() {
                return Err(stuck());
            }
            for &number in &self.ready {
                let connection = &mut self.connections[number];
                if !connection.receive()? {
                    continue;
                }
                if more() {
                    connection.send((self.message)(self.sent))?;
                    self.sent += 1;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(())
    }
}

impl<S: Read + Write> Connection<S> {
    fn send(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.expected = message;
        self.received = 0;
        // One message per connection is in flight, so the kernel's buffer has room for it.
        self.stream.write_all(&self.expected)
    }

    /// Returns true if the answer is complete now.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        let count = self.stream.read(&mut buffer)?;
        let end = self.received + count;
        if count == 0 || self.expected.get(self.received..end) != Some(&buffer[..count]) {
            return Err(wrong_answer());
        }
        self.received = end;
        Ok(end == self.expected.len())
    }
}
