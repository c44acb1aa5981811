//! Connections that are accepted, were served once, and then stay silent.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{MESSAGE, PATIENCE, message, wrong_answer};

/// Open connections; closed when dropped.
pub struct Idle {
    connections: Vec<TcpStream>,
    server: SocketAddr,
}

impl Idle {
    pub fn open(server: SocketAddr) -> Self {
        Self {
            connections: Vec::new(),
            server,
        }
    }

    /// Adds `count` connections. One exchange on each shows that the server has accepted it and
    /// waits for the next message.
    pub fn add(&mut self, count: u64) -> io::Result<()> {
        for number in 0..count {
            let mut stream = TcpStream::connect(self.server)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let sent = message(number);
            stream.write_all(&sent)?;
            let mut answer = [0; MESSAGE];
            stream.read_exact(&mut answer)?;
            if answer != sent {
                return Err(wrong_answer());
            }
            self.connections.push(stream);
        }
        Ok(())
    }
}
