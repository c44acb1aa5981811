//! The floor: echo servers as one epoll loop, with nothing but the calls.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::{BUFFER, announce, not_here, unix_address};
use crate::sys::epoll::Epoll;
use crate::work::Kind;

/// A loop without work wakes up this often.
const LONG: Duration = Duration::from_secs(3600);

pub fn run(kind: Kind) -> io::Result<()> {
    match kind {
        Kind::TcpEcho => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            announce(listener.local_addr()?)?;
            echo(&listener, || {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
        }
        Kind::UnixEcho => {
            let (path, address) = unix_address()?;
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            announce(address)?;
            echo(&listener, || {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
        }
        Kind::UdpEcho => udp_echo(),
        _ => Err(not_here(kind)),
    }
}

/// A message is small and its peer takes it: a send that would block ends the connection.
fn echo<S: Read + Write + AsFd>(
    listener: &impl AsFd,
    accept: impl Fn() -> io::Result<S>,
) -> io::Result<()> {
    let (mut epoll, mut ready) = (Epoll::new()?, Vec::new());
    epoll.add(listener, 0)?;
    let mut streams: Vec<Option<S>> = vec![None];
    let mut buffer = [0; BUFFER];
    loop {
        epoll.wait(LONG, &mut ready)?;
        for &number in &ready {
            if number == 0 {
                let stream = accept()?;
                epoll.add(&stream, streams.len())?;
                streams.push(Some(stream));
            } else if let Some(stream) = &mut streams[number] {
                let open = match stream.read(&mut buffer) {
                    Ok(count @ 1..) => stream.write_all(&buffer[..count]).is_ok(),
                    _ => false,
                };
                if !open {
                    streams[number] = None;
                }
            }
        }
    }
}

fn udp_echo() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    announce(socket.local_addr()?)?;
    let (mut epoll, mut ready) = (Epoll::new()?, Vec::new());
    epoll.add(&socket, 0)?;
    let mut buffer = [0; BUFFER];
    loop {
        epoll.wait(LONG, &mut ready)?;
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((count, from)) => socket.send_to(&buffer[..count], from)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
        }
    }
}
