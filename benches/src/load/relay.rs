//! Bulk data through a proxy: one thread sends, this one receives and checks every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::{io, thread};

use super::PATIENCE;

/// Bytes in one operation, and the period of the data.
pub const BLOCK: usize = 65_536;

/// Two connections that the proxy joins: the first it accepts with the second.
pub struct Relay {
    client: TcpStream,
    server: TcpStream,
    pattern: Vec<u8>,
}

impl Relay {
    pub fn open(proxy: SocketAddr) -> io::Result<Self> {
        let client = TcpStream::connect(proxy)?;
        let server = TcpStream::connect(proxy)?;
        server.set_read_timeout(Some(PATIENCE))?;
        let byte = |n: usize| (n.wrapping_mul(2_654_435_761) >> 13) as u8;
        Ok(Self {
            client,
            server,
            pattern: (0..BLOCK).map(byte).collect(),
        })
    }

    /// Sends `count` blocks through.
    pub fn run(&mut self, count: u64) -> io::Result<()> {
        let (mut client, pattern) = (&self.client, &self.pattern);
        thread::scope(|scope| {
            let sender =
                scope.spawn(move || (0..count).try_for_each(|_| client.write_all(pattern)));
            let received = receive(&mut self.server, pattern, count * BLOCK as u64);
            if received.is_err() {
                // No block is received any more.
                self.client.shutdown(std::net::Shutdown::Both).ok();
            }
            let sent = sender.join().expect("it does not panic");
            received.and(sent)
        })
    }
}

fn receive(server: &mut TcpStream, pattern: &[u8], length: u64) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut at = 0;
    while at < length {
        let place = (at % BLOCK as u64) as usize;
        let count = server.read(&mut buffer[..BLOCK - place])?;
        if count == 0 || buffer[..count] != pattern[place..place + count] {
            return Err(super::wrong_answer());
        }
        at += count as u64;
    }
    Ok(())
}
