//! Performs the steps of a script with the C functions: in a world on its kernel, otherwise on
//! Linux.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each function says it once for all of its calls"
)]

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::fs::File;
use std::mem::size_of;
use std::ptr::null_mut;
use std::thread::sleep;
use std::time::Duration;

use crate::address::Address;
use crate::answer::{Answer, answer, checked, errno, received};
use crate::moved;
use crate::script::{Op, SLOTS};

/// A port on which nothing listens, most likely: the discard service.
const NOTHING: u16 = 9;

/// The descriptors of a script.
pub(crate) struct Kernel {
    slots: Vec<Option<c_int>>,
    /// The last ports of the slots.
    pub(crate) ports: Vec<u16>,
    /// The eventfds: whether one takes more than eight bytes depends on the version.
    counters: BTreeSet<c_int>,
    /// The slots of sockets that were shut down.
    shut: BTreeSet<u64>,
    epoll: c_int,
    /// `AF_INET` or `AF_INET6`.
    pub(crate) family: c_int,
    file: Option<File>,
    sent: u8,
}

pub(crate) fn index(slot: u64) -> usize {
    usize::try_from(slot).expect("a small number")
}

impl Kernel {
    pub(crate) fn new(family: c_int) -> Self {
        // SAFETY: no memory is passed.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0, "an epoll set");
        Self {
            slots: vec![None; index(SLOTS)],
            ports: vec![NOTHING; index(SLOTS)],
            counters: BTreeSet::new(),
            shut: BTreeSet::new(),
            epoll,
            family,
            file: None,
            sent: 0,
        }
    }

    fn put(&mut self, slot: u64, fd: c_int) -> i64 {
        if fd < 0 {
            return errno();
        }
        self.shut.remove(&slot);
        let old = self.slots[index(slot)].replace(fd);
        if let Some(old) = old {
            // SAFETY: it was open, and nothing names it any more.
            unsafe { libc::close(old) };
            self.counters.remove(&old);
        }
        // Without it small sends wait for acknowledgements, which Linux delays.
        let (level, name, on) = (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1_i32);
        // SAFETY: a valid integer; other sockets than TCP refuse it.
        unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), 4) };
        0
    }

    /// The descriptor in a slot, or a number that is never open.
    pub(crate) fn fd(&self, slot: u64) -> c_int {
        self.slots[index(slot)].unwrap_or(-1)
    }

    fn note_port(&mut self, slot: u64) {
        let mut address = Address::loopback(self.family, 0);
        let mut length = address.length();
        // SAFETY: a valid address of that length.
        let named =
            unsafe { libc::getsockname(self.fd(slot), address.place_mut(), &raw mut length) };
        if let (0, Some(port)) = (named, address.port()) {
            self.ports[index(slot)] = port;
        }
    }

    /// Like `perform`, repeated while the result is "not yet" and another one is expected.
    pub(crate) fn perform_like(&mut self, op: Op, expected: &Answer, patient: bool) -> Answer {
        if patient {
            sleep(Duration::from_micros(300));
        }
        let mut answer = self.perform(op);
        for _ in 0..if patient { 50 } else { 0 } {
            let asks = matches!(op, Op::Poll { .. } | Op::HasPeer { .. } | Op::Unread { .. });
            let later = answer.result == -i64::from(libc::EAGAIN);
            if answer == *expected || !(asks || later) {
                break;
            }
            sleep(Duration::from_millis(1));
            answer = self.perform(op);
        }
        answer
    }

    pub(crate) fn perform(&mut self, op: Op) -> Answer {
        match op {
            Op::Socket { .. } | Op::Pair { .. } | Op::Pipe { .. } | Op::Event { .. } => {
                answer(self.make(op))
            }
            Op::Receive { fd, length, peek } => {
                let flags = if peek { libc::MSG_PEEK } else { 0 };
                let mut bytes = vec![0_u8; length];
                // SAFETY: a valid buffer of that length.
                let count =
                    unsafe { libc::recv(self.fd(fd), bytes.as_mut_ptr().cast(), length, flags) };
                received(count, bytes)
            }
            Op::Read { fd, length } => {
                let mut bytes = vec![0_u8; length];
                // SAFETY: a valid buffer of that length.
                let count = unsafe { libc::read(self.fd(fd), bytes.as_mut_ptr().cast(), length) };
                received(count, bytes)
            }
            Op::Wait { most } => self.wait(most),
            Op::Datagrams(step) => self.datagrams(step),
            Op::SendDescriptors { fd, passed, count } => {
                // One that waits in its own queue would be collected at some time.
                let cycles = self.get(passed, libc::SO_DOMAIN) == libc::AF_UNIX.into();
                let passed = if cycles { -1 } else { self.fd(passed) };
                let mut bytes = self.data(8);
                let sent = moved::send_descriptors(self.fd(fd), &mut bytes, passed, count);
                answer(checked(sent as i64))
            }
            Op::ReceiveDescriptors { fd, to, room } => self.receive_descriptors(fd, to, room),
            Op::SendFile { fd, offset, length } => {
                let datagram = self.get(fd, libc::SO_TYPE) == libc::SOCK_DGRAM.into();
                let fd = if datagram { -1 } else { self.fd(fd) };
                let file = self.file.get_or_insert_with(moved::file);
                let (sent, at) = moved::send_file(fd, file, offset, length);
                let sent = checked(sent as i64);
                Answer {
                    events: vec![(at as u64, 0)],
                    ..answer(sent)
                }
            }
            Op::Poll { fd, events } => {
                let mut entry = libc::pollfd {
                    fd: self.fd(fd),
                    events,
                    revents: 0,
                };
                // SAFETY: one valid entry.
                let count = checked(unsafe { libc::poll(&raw mut entry, 1, 0) });
                Answer {
                    events: vec![(
                        fd,
                        u32::from(u16::from_ne_bytes(entry.revents.to_ne_bytes())),
                    )],
                    ..answer(count)
                }
            }
            other => answer(self.change(other)),
        }
    }

    fn make(&mut self, op: Op) -> i64 {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let mut two = [-1; 2];
        let place = two.as_mut_ptr();
        // SAFETY: there is room for two descriptors in the calls that make two.
        match op {
            Op::Socket { to, family, kind } => {
                let fd = unsafe { libc::socket(family, kind | flags, 0) };
                self.put(to, fd)
            }
            Op::Event { to, count } => {
                let fd = unsafe { libc::eventfd(count, libc::EFD_NONBLOCK) };
                let made = self.put(to, fd);
                self.counters.insert(fd);
                made
            }
            Op::Pair { to, kind } => {
                let made = unsafe { libc::socketpair(libc::AF_UNIX, kind | flags, 0, place) };
                self.put_two(to, made, two)
            }
            Op::Pipe { to } => {
                let made = unsafe { libc::pipe2(place, libc::O_NONBLOCK) };
                self.put_two(to, made, two)
            }
            _ => unreachable!("the four that make something"),
        }
    }

    fn put_two(&mut self, to: u64, made: c_int, [a, b]: [c_int; 2]) -> i64 {
        if made < 0 {
            return errno();
        }
        self.put(to, a);
        self.put((to + 1) % SLOTS, b)
    }

    fn change(&mut self, op: Op) -> i64 {
        // SAFETY: addresses and values are valid for the given lengths, in each call.
        match op {
            Op::Bind { fd } => self.bind(fd, 0),
            Op::BindLike { fd, other } => match self.ports[index(other)] {
                // An earlier script's socket could still be there.
                NOTHING => self.bind(fd, 0),
                port => self.bind(fd, port),
            },
            Op::Reuse { fd } => self.set(fd, libc::SO_REUSEADDR, &1_i32),
            Op::Listen { fd, backlog } => {
                if self.shut.contains(&fd) {
                    return 0;
                }
                let result = checked(unsafe { libc::listen(self.fd(fd), backlog) });
                self.note_port(fd);
                result
            }
            Op::Connect { fd, to } => self.connect(fd, self.ports[index(to)]),
            Op::ConnectNothing { fd } => self.connect(fd, NOTHING),
            Op::Accept { fd, to } => {
                let flags = libc::SOCK_NONBLOCK;
                let made = unsafe { libc::accept4(self.fd(fd), null_mut(), null_mut(), flags) };
                self.put(to, made)
            }
            Op::Send { fd, length } => {
                let data = self.data(length);
                let (data, flags) = (data.as_ptr().cast(), libc::MSG_NOSIGNAL);
                checked(unsafe { libc::send(self.fd(fd), data, length, flags) } as i64)
            }
            Op::SendTo { fd, to, length } => {
                let to = Address::loopback(self.family, self.ports[index(to)]);
                let (fd, data, flags) = (self.fd(fd), self.data(length), libc::MSG_NOSIGNAL);
                let (data, size) = (data.as_ptr().cast(), to.length());
                checked(unsafe { libc::sendto(fd, data, length, flags, to.place(), size) } as i64)
            }
            Op::Write { fd, length } => {
                let counts = self.counters.contains(&self.fd(fd));
                let length = if counts { length.min(8) } else { length };
                let data = self.data(length);
                checked(unsafe { libc::write(self.fd(fd), data.as_ptr().cast(), length) } as i64)
            }
            Op::Shutdown { fd, how } => {
                self.shut.insert(fd);
                checked(unsafe { libc::shutdown(self.fd(fd), how) })
            }
            Op::Close { fd } => {
                let fd = self.slots[index(fd)].take().unwrap_or(-1);
                self.counters.remove(&fd);
                checked(unsafe { libc::close(fd) })
            }
            Op::Duplicate { fd, to } => {
                let counts = self.counters.contains(&self.fd(fd));
                let made = unsafe { libc::fcntl(self.fd(fd), libc::F_DUPFD_CLOEXEC, 3) };
                let result = self.put(to, made);
                if counts {
                    self.counters.insert(made);
                }
                result
            }
            other => self.ask(other),
        }
    }

    /// Performs a step that queries or sets something.
    fn ask(&mut self, op: Op) -> i64 {
        // SAFETY: addresses and values are valid for the given lengths, in each call.
        match op {
            Op::Error { fd } => self.get(fd, libc::SO_ERROR),
            Op::Fact { fd, name } => self.get(fd, name),
            Op::Unread { fd } => {
                let mut count = 0;
                match unsafe { libc::ioctl(self.fd(fd), libc::FIONREAD, &raw mut count) } {
                    0 => count.into(),
                    _ => errno(),
                }
            }
            Op::Linger { fd } => {
                let linger = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                self.set(fd, libc::SO_LINGER, &linger)
            }
            Op::HasPeer { fd } => {
                let (mut address, mut length) = ([0_u8; 128], 128);
                let place = address.as_mut_ptr().cast();
                checked(unsafe { libc::getpeername(self.fd(fd), place, &raw mut length) })
            }
            Op::Watch {
                fd,
                operation,
                events,
            } => {
                let mut event = libc::epoll_event {
                    events: u32::from_ne_bytes(events.to_ne_bytes()),
                    u64: fd,
                };
                let (epoll, fd) = (self.epoll, self.fd(fd));
                checked(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) })
            }
            _ => unreachable!("`perform` and `change` have the others"),
        }
    }

    fn bind(&mut self, fd: u64, port: u16) -> i64 {
        let address = Address::loopback(self.family, port);
        // SAFETY: a valid address of that length.
        let bound = unsafe { libc::bind(self.fd(fd), address.place(), address.length()) };
        let result = checked(bound);
        self.note_port(fd);
        result
    }

    fn connect(&mut self, fd: u64, port: u16) -> i64 {
        let address = Address::loopback(self.family, port);
        // SAFETY: a valid address of that length.
        let begun = unsafe { libc::connect(self.fd(fd), address.place(), address.length()) };
        let result = checked(begun);
        self.note_port(fd);
        result
    }

    fn set<T>(&mut self, fd: u64, name: c_int, value: &T) -> i64 {
        let (value, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as u32);
        let level = libc::SOL_SOCKET;
        // SAFETY: a valid value of that length.
        checked(unsafe { libc::setsockopt(self.fd(fd), level, name, value, length) })
    }

    pub(crate) fn get(&mut self, fd: u64, name: c_int) -> i64 {
        let (mut value, mut length) = (0, 4);
        let place = (&raw mut value).cast();
        let level = libc::SOL_SOCKET;
        // SAFETY: room for one integer.
        match unsafe { libc::getsockopt(self.fd(fd), level, name, place, &raw mut length) } {
            0 => value.into(),
            _ => errno(),
        }
    }

    /// Returns bytes that no other send has.
    pub(crate) fn data(&mut self, length: usize) -> Vec<u8> {
        self.sent = self.sent.wrapping_add(1);
        (0..length.max(8))
            .map(|at| self.sent.wrapping_add((at % 7) as u8))
            .map(|byte| if length == 8 { byte % 2 } else { byte })
            .collect()
    }

    fn receive_descriptors(&mut self, fd: u64, to: u64, room: u32) -> Answer {
        let mut bytes = vec![0; 20];
        let (count, flags, passed) = moved::receive_descriptors(self.fd(fd), &mut bytes, room);
        let mut answer = received(count, bytes);
        let cut = (flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC)) as u32;
        answer.events = vec![(passed.len() as u64, cut)];
        for (at, fd) in (0..).zip(passed) {
            self.put((to + at) % SLOTS, fd);
        }
        answer
    }

    fn wait(&mut self, most: usize) -> Answer {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; most];
        let most = c_int::try_from(most).expect("a small number");
        // SAFETY: room for so many events.
        let count = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), most, 0) };
        let count = checked(count);
        events.truncate(usize::try_from(count).unwrap_or(0));
        let mut events: Vec<(u64, u32)> = events.iter().map(|e| (e.u64, e.events)).collect();
        events.sort_unstable();
        Answer {
            events,
            ..answer(count)
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for fd in self.slots.iter().flatten().chain([&self.epoll]) {
            // SAFETY: they are open, and nothing names them any more.
            unsafe { libc::close(*fd) };
        }
    }
}
