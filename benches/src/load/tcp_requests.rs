//! Connection per request: connect, one message, its answer, close.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};

use super::{IN_FLIGHT, MESSAGE, PATIENCE, message, stuck, wrong_answer};
use crate::sys::epoll::Epoll;
use crate::sys::socket_option;

/// Slots, each with a short-lived connection.
pub struct TcpRequests {
    server: SocketAddr,
    slots: Vec<Option<Request>>,
    epoll: Epoll,
    ready: Vec<usize>,
    sent: u64,
}

struct Request {
    stream: TcpStream,
    expected: [u8; MESSAGE],
    received: usize,
}

impl TcpRequests {
    pub fn open(server: SocketAddr) -> io::Result<Self> {
        let slots = (0..IN_FLIGHT).map(|_| None).collect();
        Ok(Self {
            server,
            slots,
            epoll: Epoll::new()?,
            ready: Vec::new(),
            sent: 0,
        })
    }

    pub fn run(&mut self, count: u64) -> io::Result<()> {
        let last = self.sent + count;
        let mut open = 0_u64;
        for slot in 0..self.slots.len() {
            if self.sent < last {
                self.start(slot)?;
                open += 1;
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        while open > 0 {
            self.epoll.wait(PATIENCE, &mut ready)?;
            if ready.is_empty() {
                return Err(stuck());
            }
            for &slot in &ready {
                let request = self.slots[slot].as_mut().ok_or_else(wrong_answer)?;
                if !request.receive()? {
                    continue;
                }
                // Closed here, before the next one takes its place.
                self.slots[slot] = None;
                if self.sent < last {
                    self.start(slot)?;
                } else {
                    open -= 1;
                }
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn start(&mut self, slot: usize) -> io::Result<()> {
        let request = Request::start(self.server, self.sent)?;
        self.epoll.add(&request.stream.as_fd(), slot)?;
        self.slots[slot] = Some(request);
        self.sent += 1;
        Ok(())
    }
}

impl Request {
    fn start(server: SocketAddr, number: u64) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // A side that closes first keeps its port in TIME_WAIT; one address has too few of them
        // for a long run, and loopback has a whole network.
        let last = u8::try_from(number % 32).map_err(io::Error::other)? + 2;
        socket_option::bind_address_only(&socket)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        socket.connect(&server.into())?;
        let mut stream = TcpStream::from(socket);
        let expected = message(number);
        stream.write_all(&expected)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            expected,
            received: 0,
        })
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
