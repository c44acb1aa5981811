//! Echo over connections that stay open: one message in flight on each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{MESSAGE, PATIENCE, message, stuck, wrong_answer};
use crate::sys::epoll::Epoll;

/// Connections to an echo server.
pub struct TcpEcho {
    connections: Vec<Connection>,
    epoll: Epoll,
    ready: Vec<usize>,
    sent: u64,
}

struct Connection {
    stream: TcpStream,
    /// The last message, and the number of its bytes that came back.
    expected: [u8; MESSAGE],
    received: usize,
}

impl TcpEcho {
    pub fn open(server: SocketAddr, count: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, number)?;
            connections.push(Connection {
                stream,
                expected: [0; MESSAGE],
                received: 0,
            });
        }
        Ok(Self {
            connections,
            epoll,
            ready: Vec::new(),
            sent: 0,
        })
    }

    pub fn run(&mut self, count: u64) -> io::Result<()> {
        let last = self.sent + count;
        let mut open = 0_u64;
        for connection in &mut self.connections {
            if self.sent < last {
                connection.send(self.sent)?;
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
                if self.sent < last {
                    connection.send(self.sent)?;
                    self.sent += 1;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    fn send(&mut self, number: u64) -> io::Result<()> {
        self.expected = message(number);
        self.received = 0;
        // One message per connection is in flight, so the kernel's buffer has room for it.
        self.stream.write_all(&self.expected)
    }

    /// Returns true if the answer is complete now.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; MESSAGE + 1];
        let count = self.stream.read(&mut buffer)?;
        let end = self.received + count;
        if count == 0 || self.expected.get(self.received..end) != Some(&buffer[..count]) {
            return Err(wrong_answer());
        }
        self.received = end;
        Ok(end == MESSAGE)
    }
}
