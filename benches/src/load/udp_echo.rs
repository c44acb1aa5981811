//! Datagram echo: one datagram in flight from each of the client sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::{IN_FLIGHT, MESSAGE, PATIENCE, message, stuck, wrong_answer};
use crate::sys::epoll::Epoll;

/// Connected client sockets and the last datagram of each.
pub struct UdpEcho {
    sockets: Vec<(UdpSocket, [u8; MESSAGE])>,
    epoll: Epoll,
    ready: Vec<usize>,
    sent: u64,
}

impl UdpEcho {
    pub fn open(server: SocketAddr) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mut sockets = Vec::with_capacity(IN_FLIGHT);
        for number in 0..IN_FLIGHT {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            epoll.add(&socket, number)?;
            sockets.push((socket, [0; MESSAGE]));
        }
        Ok(Self {
            sockets,
            epoll,
            ready: Vec::new(),
            sent: 0,
        })
    }

    pub fn run(&mut self, count: u64) -> io::Result<()> {
        let last = self.sent + count;
        let mut open = 0_u64;
        for (socket, expected) in &mut self.sockets {
            if self.sent < last {
                send(socket, expected, self.sent)?;
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
                let (socket, expected) = &mut self.sockets[number];
                let mut buffer = [0; MESSAGE + 1];
                let received = socket.recv(&mut buffer)?;
                if buffer[..received] != *expected {
                    return Err(wrong_answer());
                }
                if self.sent < last {
                    send(socket, expected, self.sent)?;
                    self.sent += 1;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(())
    }
}

fn send(socket: &UdpSocket, expected: &mut [u8; MESSAGE], number: u64) -> io::Result<()> {
    *expected = message(number);
    if socket.send(expected)? == MESSAGE {
        Ok(())
    } else {
        Err(wrong_answer())
    }
}
