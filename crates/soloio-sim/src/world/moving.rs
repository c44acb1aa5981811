//! Bytes between objects of the world, for splice(2) and sendfile(2).

use super::descriptors::{Id, Object};
use super::{Result, World};

impl World {
    /// Returns the number of bytes that a write would take; an error if none.
    pub(crate) fn write_room(&mut self, id: Id) -> Result<usize> {
        let room = match self.descriptors.get(id) {
            Some(Object::Tcp(_)) => return self.tcp_write_room(id),
            Some(Object::Unix(_)) => self.unix_write_room(id)?,
            Some(Object::Pipe(_)) => self.pipe_room(id)?,
            _ => return Err(libc::EINVAL),
        };
        if room == 0 {
            return Err(libc::EAGAIN);
        }
        Ok(room)
    }

    /// Takes some bytes out of a stream.
    pub(crate) fn read_some(&mut self, id: Id, most: usize) -> Result<Vec<u8>> {
        match self.descriptors.get(id) {
            Some(Object::Tcp(_)) => {
                let mut bytes = vec![0; most];
                let count = self.tcp_recv(id, &mut [&mut bytes], false)?;
                bytes.truncate(count);
                Ok(bytes)
            }
            Some(Object::Unix(_)) => {
                let message = self.unix_recv(id, most, false)?;
                self.drop_rights(message.rights);
                Ok(message.data.into())
            }
            Some(Object::Pipe(_)) => self.pipe_read(id, most),
            _ => Err(libc::EINVAL),
        }
    }

    /// Puts bytes into a stream that has room for them.
    pub(crate) fn write_some(&mut self, id: Id, bytes: &[u8]) -> Result<usize> {
        match self.descriptors.get(id) {
            Some(Object::Tcp(_)) => self.tcp_put(id, bytes),
            Some(Object::Unix(_)) => self.unix_put(id, bytes),
            Some(Object::Pipe(_)) => self.pipe_put(id, bytes),
            _ => Err(libc::EINVAL),
        }
    }
}
