//! Bursts of datagrams from one socket: many that are acknowledged, many that are requested.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::{MESSAGE, PATIENCE, message, wrong_answer};
use crate::sys::socket_option;

/// The kind of a burst.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// `BURST` messages by one call (UDP_SEGMENT); `BURSTS` of them are acknowledged together.
    Sink,
    /// `BURST` datagrams of `BULK` bytes that the server sends on request.
    Bulk,
}

/// Datagrams in a long burst: as many as one call may send on any kernel with UDP_SEGMENT.
pub const BURST: usize = 64;
/// Long bursts that are acknowledged together; twice as many are in flight.
pub const BURSTS: usize = 3;
/// Bytes of a requested datagram.
pub const BULK: usize = 1_200;

/// A client socket.
pub struct UdpBursts {
    socket: UdpSocket,
    shape: Shape,
    sent: u64,
}

impl UdpBursts {
    pub fn open(server: SocketAddr, shape: Shape) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        match shape {
            Shape::Sink => socket_option::cut_datagrams(&socket, MESSAGE)?,
            // Like a network card that splits and joins: on loopback the sender would pay for
            // splitting that only the receiver needs.
            Shape::Bulk => socket_option::join_datagrams(&socket)?,
        }
        Ok(Self {
            socket,
            shape,
            sent: 0,
        })
    }

    /// Runs `count` datagrams, rounded up to whole bursts.
    pub fn run(&mut self, count: u64) -> io::Result<()> {
        match self.shape {
            Shape::Sink => self.sink(count.div_ceil((BURST * BURSTS) as u64)),
            Shape::Bulk => (0..count.div_ceil(BURST as u64)).try_for_each(|_| self.bulk()),
        }
    }

    fn next(&mut self) -> [u8; MESSAGE] {
        self.sent += 1;
        message(self.sent)
    }

    fn sink(&mut self, rounds: u64) -> io::Result<()> {
        let mut open = 0;
        for _ in 0..rounds {
            for _ in 0..BURSTS {
                let burst: Vec<u8> = (0..BURST).flat_map(|_| self.next()).collect();
                self.socket.send(&burst)?;
            }
            open += 1;
            if open == 2 {
                self.acknowledged()?;
                open -= 1;
            }
        }
        (0..open).try_for_each(|_| self.acknowledged())
    }

    fn acknowledged(&self) -> io::Result<()> {
        let mut buffer = [0; 2];
        match self.socket.recv(&mut buffer)? {
            1 => Ok(()),
            _ => Err(wrong_answer()),
        }
    }

    fn bulk(&mut self) -> io::Result<()> {
        self.socket.send(b"more")?;
        let mut buffer = [0; 65_535];
        let mut left = BURST * BULK;
        while left > 0 {
            let length = self.socket.recv(&mut buffer)?;
            if length % BULK != 0 || length > left {
                return Err(wrong_answer());
            }
            left -= length;
        }
        Ok(())
    }
}
