//! Pipes.

use std::collections::VecDeque;

use super::descriptors::{Fd, Id, Object};
use super::readiness::bits::{ALL, CAME, ERR, HUP, READABLE, ROOM, WRITABLE, when};
use super::{Result, World};

/// The capacity of a pipe in bytes.
const SIZE: usize = 65_536;

/// One end of a pipe; the bytes are at the reading end.
#[derive(Debug)]
pub(crate) struct Pipe {
    reads: bool,
    other: Option<Id>,
    bytes: VecDeque<u8>,
}

impl World {
    /// pipe2(2): the reading end, and the writing end.
    pub(crate) fn pipe(&mut self, flags: i32) -> Result<(Fd, Fd)> {
        let (nonblocking, cloexec) = (flags & libc::O_NONBLOCK != 0, flags & libc::O_CLOEXEC != 0);
        self.may_open()?;
        let end = |reads| {
            Object::Pipe(Box::new(Pipe {
                reads,
                other: None,
                bytes: VecDeque::new(),
            }))
        };
        let reader = self.open(end(true), nonblocking, cloexec)?;
        let writer = match self.open(end(false), nonblocking, cloexec) {
            Ok(writer) => writer,
            Err(errno) => {
                self.close(reader)?;
                return Err(errno);
            }
        };
        let (a, b) = (self.descriptors.id(reader)?, self.descriptors.id(writer)?);
        for (own, other) in [(a, b), (b, a)] {
            if let Some(pipe) = self.pipe_end(own) {
                pipe.other = Some(other);
            }
        }
        Ok((reader, writer))
    }

    fn pipe_end(&mut self, id: Id) -> Option<&mut Pipe> {
        match self.descriptors.get_mut(id) {
            Some(Object::Pipe(pipe)) => Some(pipe),
            _ => None,
        }
    }

    /// `pipe_poll` of Linux.
    pub(super) fn pipe_ready(&mut self, id: Id) -> u32 {
        let Some(pipe) = self.pipe_end(id) else {
            return 0;
        };
        let (reads, other) = (pipe.reads, pipe.other);
        if reads {
            let readable = when(!pipe.bytes.is_empty(), READABLE);
            return readable | when(other.is_none(), HUP);
        }
        let full = self.pipe_fill(id) == SIZE;
        when(!full, WRITABLE) | when(other.is_none(), ERR)
    }

    pub(super) fn pipe_unread(&mut self, id: Id) -> usize {
        self.pipe_end(id).map_or(0, |pipe| pipe.bytes.len())
    }

    /// Returns the number of bytes in a pipe, from either end.
    pub(super) fn pipe_fill(&mut self, id: Id) -> usize {
        let Some(pipe) = self.pipe_end(id) else {
            return 0;
        };
        match (pipe.reads, pipe.other) {
            (true, _) => pipe.bytes.len(),
            (false, None) => pipe.bytes.len(),
            (false, Some(reader)) => self.pipe_unread(reader),
        }
    }

    /// read(2) of a pipe.
    pub(crate) fn pipe_read(&mut self, id: Id, most: usize) -> Result<Vec<u8>> {
        let pipe = self.pipe_end(id).ok_or(libc::EBADF)?;
        let other = pipe.other;
        if !pipe.reads {
            return Err(libc::EBADF);
        }
        if pipe.bytes.is_empty() && most > 0 {
            return match other {
                None => Ok(Vec::new()),
                Some(_) => Err(libc::EAGAIN),
            };
        }
        let count = pipe.bytes.len().min(most);
        let bytes = pipe.bytes.drain(..count).collect();
        if let Some(writer) = other {
            self.wake(writer, ROOM);
        }
        Ok(bytes)
    }

    /// write(2) of a pipe: as much as fits; a small write whole or not at all.
    pub(crate) fn pipe_write(&mut self, id: Id, data: &[u8]) -> Result<usize> {
        let pipe = self.pipe_end(id).ok_or(libc::EBADF)?;
        if pipe.reads {
            return Err(libc::EBADF);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let reader = pipe.other.ok_or(libc::EPIPE)?;
        let room = SIZE - self.pipe_unread(reader);
        // PIPE_BUF: so many bytes are written together or not at all.
        if room == 0 || data.len() <= 4096 && data.len() > room {
            return Err(libc::EAGAIN);
        }
        self.pipe_put(id, &data[..data.len().min(room)])
    }

    /// Returns the number of bytes that fit into a pipe, from its writing end.
    pub(super) fn pipe_room(&mut self, id: Id) -> Result<usize> {
        let pipe = self.pipe_end(id).ok_or(libc::EBADF)?;
        if pipe.reads {
            return Err(libc::EBADF);
        }
        let reader = pipe.other.ok_or(libc::EPIPE)?;
        Ok(SIZE - self.pipe_unread(reader))
    }

    /// Writes bytes for which there is room.
    pub(super) fn pipe_put(&mut self, id: Id, data: &[u8]) -> Result<usize> {
        let reader = self.pipe_end(id).and_then(|pipe| pipe.other);
        let reader = reader.ok_or(libc::EPIPE)?;
        if let Some(pipe) = self.pipe_end(reader) {
            pipe.bytes.extend(data);
        }
        self.wake(reader, CAME);
        Ok(data.len())
    }

    pub(super) fn end_pipe(&mut self, id: Id) {
        let Some(pipe) = self.pipe_end(id) else {
            return;
        };
        // Unread bytes stay in the pipe as long as the writing end does.
        let (other, bytes) = (pipe.other, std::mem::take(&mut pipe.bytes));
        self.descriptors.objects.remove(&id);
        if let Some(pipe) = other.and_then(|other| self.pipe_end(other)) {
            pipe.other = None;
            pipe.bytes.extend(bytes);
        }
        if let Some(other) = other {
            self.wake(other, ALL);
        }
    }
}
