//! Memory to receive bytes into, which need not be initialised: [`Room`].
//!
//! Its only system call is a receive, and it has `unsafe`: the written bytes are counted here and
//! nowhere else, so that code that passes uninitialised memory may rely on the count.

use std::io;
use std::mem::MaybeUninit;
use std::ops::DerefMut;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::shown::shown;

/// Memory for bytes to be received, and the number of received bytes.
///
/// It is filled from the front. Code with uninitialised memory uses [`fill`](Self::fill), which
/// counts the initialised bytes for any stream that fills it.
///
/// # Examples
///
/// ```
/// let mut memory = [0; 4];
/// let mut room = soloio::Room::new(&mut memory);
/// assert_eq!(room.put(b"abc"), 3);
/// assert_eq!(room.put(b"def"), 1);
/// assert_eq!((room.len(), room.remaining()), (4, 0));
/// assert_eq!(room.filled(), b"abcd");
/// ```
pub struct Room<'a> {
    memory: Memory<'a>,
    filled: usize,
    /// It accepts no more than this in total: the size of the memory, or less.
    limit: usize,
}

enum Memory<'a> {
    Given(&'a mut [MaybeUninit<u8>]),
    /// A vector that gets exactly the size of the received bytes.
    Exact(&'a mut Vec<u8>),
}

impl<'a> Room<'a> {
    /// Makes a room of initialised memory.
    pub fn new(memory: &'a mut [u8]) -> Self {
        let memory = std::ptr::from_mut(memory) as *mut [MaybeUninit<u8>];
        // SAFETY: the same memory, borrowed as long. Nothing uninitialised is ever written to it:
        // `put` writes bytes, and recv(2) does.
        Self::uninit(unsafe { &mut *memory })
    }

    /// Lets `f` fill memory that need not be initialised. Returns the number of bytes at its front
    /// that are initialised afterwards, and the result of `f`.
    ///
    /// Unsafe code may rely on the number for any `f`, which may call streams of other crates.
    ///
    /// # Panics
    ///
    /// If `f` replaces the room that it gets by another one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::mem::MaybeUninit;
    ///
    /// let mut memory = [MaybeUninit::uninit(); 4];
    /// let (count, put) = soloio::Room::fill(&mut memory, |room| room.put(b"abc"));
    /// assert_eq!((count, put), (3, 3));
    /// ```
    pub fn fill<T>(
        memory: &mut [MaybeUninit<u8>],
        f: impl FnOnce(&mut Room<'_>) -> T,
    ) -> (usize, T) {
        let whole = &raw const *memory;
        let mut room = Room::uninit(memory);
        let done = f(&mut room);
        // Safe code can assign to a `&mut Room`. At the address of no bytes there may be others.
        let is_same = matches!(&room.memory, Memory::Given(it) if std::ptr::eq(&**it, whole));
        assert!(
            is_same,
            "a stream has exchanged the room that it was to fill"
        );
        (room.filled, done)
    }

    fn uninit(memory: &'a mut [MaybeUninit<u8>]) -> Self {
        let limit = memory.len();
        Self {
            memory: Memory::Given(memory),
            filled: 0,
            limit,
        }
    }

    /// Makes a room that allocates when the number of bytes is known, at most `limit` bytes.
    pub(crate) fn exact(bytes: &'a mut Vec<u8>, limit: usize) -> Self {
        bytes.clear();
        Self {
            memory: Memory::Exact(bytes),
            filled: 0,
            limit,
        }
    }

    /// Returns the number of received bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Returns true if no bytes were received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Returns the number of further bytes that it accepts.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.limit - self.filled
    }

    /// Returns the received bytes.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        match &self.memory {
            Memory::Given(memory) => {
                let filled = &raw const memory[..self.filled] as *const [u8];
                // SAFETY: the first `filled` bytes were written: only `put` and `receive` count.
                unsafe { &*filled }
            }
            Memory::Exact(bytes) => bytes,
        }
    }

    /// Appends as much of `data` as fits, and returns the number of bytes.
    pub fn put(&mut self, data: &[u8]) -> usize {
        self.put_before(data, 0)
    }

    /// The same; `more` bytes will probably follow immediately.
    pub(crate) fn put_before(&mut self, data: &[u8], more: usize) -> usize {
        let count = data.len().min(self.remaining());
        let data = &data[..count];
        let after = self.filled + count;
        match &mut self.memory {
            Memory::Given(memory) => {
                let to = &mut memory[self.filled..after];
                to.iter_mut().zip(data).for_each(|(to, byte)| {
                    to.write(*byte);
                });
            }
            Memory::Exact(bytes) => {
                if bytes.capacity() == 0 {
                    // Less work than to grow.
                    **bytes = Vec::with_capacity(count + more.min(self.limit - after));
                } else if bytes.capacity() - bytes.len() < count {
                    bytes.reserve_exact(count + more.min(self.limit - after));
                }
                bytes.extend_from_slice(data);
            }
        }
        self.filled = after;
        count
    }

    /// Calls `f`; during the call the room accepts no more than `count` further bytes.
    pub fn limited<T>(&mut self, count: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        let limit = self.limit;
        self.limit = limit.min(self.filled.saturating_add(count));
        let done = f(self);
        self.limit = limit;
        done
    }

    /// Receives from a stream socket, through `scratch` if no memory was given. Returns the number
    /// of bytes, 0 at its end, and whether more may be there now: the receive was not short, or
    /// has stopped at control data, for which only a UNIX stream is checked.
    #[inline]
    pub(crate) fn receive<S: DerefMut<Target = Vec<u8>>>(
        &mut self,
        fd: BorrowedFd<'_>,
        is_unix: bool,
        scratch: impl FnOnce() -> S,
    ) -> io::Result<(usize, bool)> {
        if let Memory::Given(memory) = &mut self.memory {
            let memory = &mut memory[self.filled..self.limit];
            let (got, stopped) = recv(fd.as_raw_fd(), memory, is_unix)?;
            let is_full = got == memory.len();
            self.filled += got;
            return Ok((got, stopped || is_full));
        }
        let mut scratch = scratch();
        let size = scratch.len().min(self.remaining());
        let mut given = Room::new(&mut scratch[..size]);
        let received = given.receive(fd, is_unix, no_scratch)?;
        self.put(given.filled());
        Ok(received)
    }
}

/// Stands for the scratch memory of a room that needs none.
pub(crate) fn no_scratch() -> std::cell::RefMut<'static, Vec<u8>> {
    unreachable!("memory was given")
}

/// Receives, and returns the number of bytes. Of a UNIX stream it also returns whether there was
/// control data: a receive stops behind a message with descriptors, and (`SO_PASSCRED`) between
/// two senders, even if more bytes wait. Linux reports that it dropped control data.
#[inline]
fn recv(fd: RawFd, memory: &mut [MaybeUninit<u8>], is_unix: bool) -> io::Result<(usize, bool)> {
    let (iov_base, iov_len) = (memory.as_mut_ptr().cast(), memory.len());
    let mut flags = 0;
    // SAFETY: pointer and length are those of one valid piece of memory, which the kernel writes
    // and does not read.
    let got = super::check(unsafe {
        if is_unix {
            let mut part = libc::iovec { iov_base, iov_len };
            let mut message = message(&mut part, &mut []);
            let got = libc::recvmsg(fd, &raw mut message, 0);
            flags = message.msg_flags;
            got
        } else {
            libc::recv(fd, iov_base, iov_len, 0)
        }
    })?;
    Ok((got, flags & libc::MSG_CTRUNC != 0))
}

/// A message of one part, with control data or room for it.
#[allow(
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    reason = "the types of lengths differ between systems; 4 KiB at most"
)]
pub(super) fn message(part: &mut libc::iovec, control: &mut [u8]) -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers, valid as zeros.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len() as _;
    message
}

// Shows no content.
shown!([] Room<'_>, "Room", this => len: this.len(), remaining: this.remaining());

#[cfg(test)]
mod tests {
    use super::*;

    /// Random operations on both kinds of memory, against a vector with a limit.
    #[test]
    fn it_behaves_like_a_vector_with_a_limit() {
        let mut seed = 0x5EED_u64;
        let mut random = |end: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % end as u64) as usize
        };
        for round in 0..500 {
            let size = random(40);
            let (mut given, mut exact) = (vec![MaybeUninit::uninit(); size], vec![1, 2, 3]);
            let mut rooms = [Room::uninit(&mut given), Room::exact(&mut exact, size)];
            let mut twin = Vec::new();
            for _ in 0..6 {
                let data: Vec<u8> = (0..random(12)).map(|n| (n + round) as u8).collect();
                let (most, more) = (random(12), random(20));
                let took = data.len().min(most).min(size - twin.len());
                twin.extend(&data[..took]);
                for room in &mut rooms {
                    let put = room.limited(most, |room| room.put_before(&data, more));
                    assert_eq!(put, took);
                    assert_eq!(room.filled(), twin);
                    assert_eq!(room.len(), twin.len());
                    assert_eq!(room.is_empty(), twin.is_empty());
                    assert_eq!(room.remaining(), size - twin.len());
                }
            }
        }
    }

    #[test]
    fn what_fills_it_is_counted_at_its_own_front() {
        let mut memory = [MaybeUninit::uninit(); 4];
        let (count, ()) = Room::fill(&mut memory, |room| {
            room.put(b"ab");
            room.limited(1, |room| assert_eq!(room.put(b"cd"), 1));
        });
        assert_eq!(count, 3);
        assert_eq!(Room::fill(&mut [], |room| room.put(b"x")), (0, 0));
    }

    /// The bytes of the replacing room were counted, so uninitialised bytes were shown.
    #[test]
    #[should_panic(expected = "exchanged the room")]
    fn a_room_that_is_exchanged_is_no_count_of_what_was_filled() {
        let mut memory = [MaybeUninit::uninit(); 4];
        Room::fill(&mut memory, |room| {
            *room = Room::new(&mut []);
        });
    }

    /// A count of more bytes than the memory has.
    #[test]
    #[should_panic(expected = "exchanged the room")]
    fn a_room_of_forgotten_memory_at_the_same_address_is_no_count_either() {
        #[repr(C)]
        struct Both {
            none: [MaybeUninit<u8>; 0],
            some: [u8; 4],
        }
        let both = vec![Both {
            none: [],
            some: [0; 4],
        }];
        let both = &mut both.leak()[0];
        Room::fill(&mut both.none, |room| {
            *room = Room::new(&mut both.some);
            room.put(b"some")
        });
    }

    #[test]
    fn it_shows_no_content() {
        let mut memory = *b"secret";
        let mut room = Room::new(&mut memory);
        room.put(b"hidden");
        assert_eq!(format!("{room:?}"), "Room { len: 6, remaining: 0 }");
    }
}
