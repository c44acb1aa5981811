//! Bytes into and out of TCP sockets, in Linux's order of checks.

use super::descriptors::Id;
use super::readiness::bits::ALL;
use super::tcp::{Progress, State};
use super::{Result, World};
use crate::faults::Fault;

impl World {
    /// recv(2) that does not wait.
    pub(crate) fn tcp_recv(
        &mut self,
        id: Id,
        parts: &mut [&mut [u8]],
        peek: bool,
    ) -> Result<usize> {
        let tcp = self.tcp(id).ok_or(libc::ENOTSOCK)?;
        if tcp.state == State::Listening {
            return Err(libc::ENOTCONN);
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if wanted == 0 && !tcp.inbox.is_empty() {
            return Ok(0);
        }
        if tcp.inbox.is_empty() {
            return match tcp {
                tcp if tcp.peer_ended => Ok(0),
                tcp if tcp.error != 0 => Err(tcp.take_error()),
                tcp if tcp.receive_shut => Ok(0),
                tcp if tcp.state == State::Closed => Err(libc::ENOTCONN),
                _ => Err(libc::EAGAIN),
            };
        }
        let mut count = 0;
        for part in parts {
            let available = tcp.inbox.iter().skip(if peek { count } else { 0 });
            let mut copied = 0;
            for (place, byte) in part.iter_mut().zip(available) {
                *place = *byte;
                copied += 1;
            }
            if !peek {
                tcp.inbox.drain(..copied);
            }
            count += copied;
        }
        if !peek {
            self.tell_window(id);
        }
        Ok(count)
    }

    /// Returns the number of bytes that a send would take now, or its error if it takes none.
    pub(super) fn tcp_write_room(&mut self, id: Id) -> Result<usize> {
        let tcp = self.tcp(id).ok_or(libc::ENOTSOCK)?;
        let waits = matches!(tcp.state, State::Connecting | State::Arriving);
        if waits && tcp.error == 0 {
            return Err(libc::EAGAIN);
        }
        if tcp.state != State::Open || tcp.error != 0 || tcp.send_shut {
            return Err(match tcp.take_error() {
                0 => libc::EPIPE,
                error => error,
            });
        }
        let room = tcp.room();
        if room == 0 {
            tcp.wants_room = true;
            return Err(libc::EAGAIN);
        }
        Ok(room)
    }

    /// Sends bytes for which there is room.
    pub(super) fn tcp_put(&mut self, id: Id, bytes: &[u8]) -> Result<usize> {
        let tcp = self.tcp(id).ok_or(libc::ENOTSOCK)?;
        tcp.wire.unsent.extend(bytes);
        self.push(id);
        Ok(bytes.len())
    }

    /// send(2) that does not wait.
    pub(crate) fn tcp_send(&mut self, id: Id, data: &[u8]) -> Result<usize> {
        let room = match self.tcp_write_room(id) {
            // An empty send needs no room.
            Err(libc::EAGAIN) if data.is_empty() && self.is_open(id) => 0,
            room => room?,
        };
        if self.strikes(Fault::NoBuffers) {
            return Err(libc::ENOBUFS);
        }
        let mut count = data.len().min(room);
        if count > 1 && self.strikes(Fault::ShortSend) {
            count = 1 + self.dice.detail(Fault::ShortSend, count - 1);
        }
        if count > 0 && self.strikes(Fault::Reset) {
            self.break_both(id, libc::ECONNRESET);
            return Err(libc::ECONNRESET);
        }
        if count < data.len() {
            self.tcp(id).ok_or(libc::ENOTSOCK)?.wants_room = true;
        }
        self.tcp_put(id, &data[..count])
    }

    fn is_open(&mut self, id: Id) -> bool {
        self.tcp(id).is_some_and(|tcp| tcp.state == State::Open)
    }

    /// shutdown(2).
    pub(crate) fn tcp_shutdown(&mut self, id: Id, receive: bool, send: bool) -> Result<()> {
        let tcp = self.tcp(id).ok_or(libc::ENOTSOCK)?;
        if tcp.progress == Progress::Connecting {
            tcp.progress = match tcp.state {
                State::Open => Progress::Connected,
                _ => Progress::Disconnecting,
            };
        }
        let result = match tcp.state {
            State::Listening if !receive => Ok(()),
            State::Listening => {
                self.stop_listening(id);
                Ok(())
            }
            State::Connecting => {
                self.tcp_disconnect(id)?;
                if let Some(tcp) = self.tcp(id) {
                    tcp.error = libc::ECONNRESET;
                }
                Ok(())
            }
            state => {
                tcp.receive_shut |= receive;
                tcp.send_shut |= send;
                if state == State::Closed {
                    Err(libc::ENOTCONN)
                } else {
                    if send {
                        self.send_fin(id);
                    }
                    Ok(())
                }
            }
        };
        self.wake(id, ALL);
        result
    }
}
