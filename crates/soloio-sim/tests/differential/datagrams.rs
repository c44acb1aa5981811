//! Steps with several datagrams in one message (UDP_SEGMENT, UDP_GRO), and several messages in one
//! call; and scripts of them.
//!
//! Left out, with the reason: how many datagrams find room, small ones or four of 65,508 bytes,
//! depends on the memory that Linux takes for each (scripts 428,316 and others).

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each function says it once for all of its calls"
)]

use std::ffi::c_int;
use std::mem::zeroed;

use soloio_sim::Rng;

use crate::address::Address;
use crate::answer::{Answer, answer, checked, received};
use crate::kernel::{Kernel, index};
use crate::script::{Op, SLOTS, any, watch};

/// Room for a header and more than one number, aligned as C's macros need it.
type Control = [u64; 8];

/// The control data of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// The size of segments.
    Size(u16),
    /// The same, as a number of the wrong length.
    LongSize(u16),
    /// Data of UDP that no send has.
    Foreign,
}

/// One step; numbers are slots unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datagrams {
    Set {
        fd: u64,
        name: c_int,
        value: c_int,
    },
    Get {
        fd: u64,
        name: c_int,
    },
    /// `None` sends to the peer.
    Send {
        fd: u64,
        to: Option<u64>,
        length: usize,
        beside: Beside,
        /// The number of messages: 0 for sendmsg, otherwise sendmmsg.
        count: usize,
    },
    Receive {
        fd: u64,
        length: usize,
        /// The room for control data, in bytes.
        beside: usize,
        /// The number of messages: 0 for recvmsg, otherwise recvmmsg.
        count: usize,
    },
}

/// Generates a script: three sockets to begin with, and then anything.
pub(crate) fn script(rng: &mut Rng, family: i32) -> Vec<Op> {
    let mut ops = Vec::new();
    for to in 0..3 {
        let kind = libc::SOCK_DGRAM;
        ops.push(Op::Socket { to, family, kind });
        ops.push(Op::Bind { fd: to });
        if rng.hit(0.3) {
            watch(&mut ops, rng, to);
        }
        if rng.hit(0.5) {
            let (name, value) = (libc::UDP_GRO, 1);
            ops.push(Op::Datagrams(Datagrams::Set {
                fd: to,
                name,
                value,
            }));
        }
    }
    if rng.hit(0.5) {
        ops.push(Op::Connect { fd: 0, to: 1 });
    }
    for _ in 0..rng.between(5, 30) {
        match rng.hit(0.7) {
            true => ops.push(Op::Datagrams(step(rng))),
            false => any(&mut ops, rng, family),
        }
    }
    ops
}

fn step(rng: &mut Rng) -> Datagrams {
    // Mostly one of the sockets that are there.
    let slots = if rng.hit(0.9) { 3 } else { SLOTS };
    let (fd, other) = (rng.below(slots), rng.below(slots));
    let length = usize::try_from(*rng.pick(&[0_u64, 1, 5, 100, 500, 1000, 65_508])).expect("small");
    let name = *rng.pick(&[libc::UDP_SEGMENT, libc::UDP_GRO, libc::UDP_GRO]);
    match rng.below(10) {
        0 => Datagrams::Set {
            fd,
            name,
            value: *rng.pick(&[0, 0, 1, 90, 100, 65_535, 65_536, -1]),
        },
        1 => Datagrams::Get { fd, name },
        2..6 => Datagrams::Send {
            fd,
            to: rng.hit(0.7).then_some(other),
            length,
            beside: match rng.below(10) {
                0 => Beside::Nothing,
                1 => Beside::LongSize(100),
                2 => Beside::Foreign,
                _ => Beside::Size(*rng.pick(&[0, 1, 90, 100, 400, 1000])),
            },
            count: *rng.pick(&[0, 0, 1, 3]),
        },
        _ => Datagrams::Receive {
            fd,
            length: *rng.pick(&[1, 100, 2000]),
            beside: *rng.pick(&[0, 8, 16, 18, 20, 24, 64, 64]),
            count: *rng.pick(&[0, 0, 1, 3]),
        },
    }
}

/// The parts of a message, which it points at.
struct Message {
    bytes: Vec<u8>,
    part: libc::iovec,
    control: Control,
    to: Option<Address>,
}

impl Message {
    fn new(mut bytes: Vec<u8>, length: usize, to: Option<Address>) -> Box<Self> {
        let part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: length,
        };
        let control = Control::default();
        Box::new(Self {
            bytes,
            part,
            control,
            to,
        })
    }

    fn header(&mut self, beside: usize) -> libc::mmsghdr {
        // SAFETY: integers and pointers, valid as zeros.
        let mut header: libc::mmsghdr = unsafe { zeroed() };
        let message = &mut header.msg_hdr;
        (message.msg_iov, message.msg_iovlen) = (&raw mut self.part, 1);
        message.msg_control = self.control.as_mut_ptr().cast();
        message.msg_controllen = beside;
        if let Some(to) = &mut self.to {
            message.msg_namelen = to.length();
            message.msg_name = to.place_mut().cast();
        }
        header
    }
}

/// Writes control data; `header` has room for it.
fn put(header: &mut libc::msghdr, beside: Beside) {
    let (kind, data, length) = match beside {
        Beside::Nothing => {
            header.msg_controllen = 0;
            return;
        }
        Beside::Size(size) => (libc::UDP_SEGMENT, size, 2),
        Beside::LongSize(size) => (libc::UDP_SEGMENT, size, 4),
        Beside::Foreign => (libc::UDP_GRO, 1, 2),
    };
    // SAFETY: the room holds a header and eight bytes.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(length) as usize;
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = kind;
        (*first).cmsg_len = libc::CMSG_LEN(length) as usize;
        libc::CMSG_DATA(first).cast::<u16>().write(data);
    }
}

/// Returns what a received message has beside its bytes: the length that the kernel has written,
/// the size of its segments, and the flags.
fn beside(header: &libc::msghdr) -> (u64, u32) {
    let mut size = 0;
    // SAFETY: the kernel has written so many bytes.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        let whole = libc::CMSG_LEN(4) as usize;
        if !first.is_null() && (*first).cmsg_len >= whole && header.msg_controllen >= whole {
            assert_eq!((*first).cmsg_type, libc::UDP_GRO);
            size = libc::CMSG_DATA(first).cast::<u32>().read();
        }
    }
    let flags = header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC);
    let flags = u32::try_from(flags).expect("two bits");
    (header.msg_controllen as u64, size << 8 | flags)
}

impl Kernel {
    pub(crate) fn datagrams(&mut self, step: Datagrams) -> Answer {
        let level = libc::SOL_UDP;
        // SAFETY: addresses and values are valid for the given lengths, in each call.
        match step {
            Datagrams::Set { fd, name, value } => {
                let value = (&raw const value).cast();
                let set = unsafe { libc::setsockopt(self.fd(fd), level, name, value, 4) };
                answer(checked(set))
            }
            Datagrams::Get { fd, name } => {
                let (mut value, mut length) = (0, 4);
                let place = (&raw mut value).cast();
                let fd = self.fd(fd);
                match unsafe { libc::getsockopt(fd, level, name, place, &raw mut length) } {
                    0 => answer(i64::from(value)),
                    error => answer(checked(error)),
                }
            }
            Datagrams::Send {
                fd,
                to,
                length,
                beside,
                count,
            } => self.send_datagrams((fd, to), length, beside, count),
            Datagrams::Receive {
                fd,
                length,
                beside,
                count,
            } => self.receive_datagrams(fd, length, beside, count),
        }
    }

    /// The descriptor in a slot, if it is a UDP socket: others have other limits, and descriptors.
    fn udp(&mut self, slot: u64) -> c_int {
        let udp = self.get(slot, libc::SO_PROTOCOL) == libc::IPPROTO_UDP.into();
        if udp { self.fd(slot) } else { -1 }
    }

    fn send_datagrams(
        &mut self,
        (fd, to): (u64, Option<u64>),
        length: usize,
        beside: Beside,
        count: usize,
    ) -> Answer {
        let to = to.map(|to| Address::loopback(self.family, self.ports[index(to)]));
        let mut messages: Vec<_> = (0..count.max(1))
            .map(|_| Message::new(self.data(length), length, to))
            .collect();
        let mut headers: Vec<_> = messages.iter_mut().map(|one| one.header(64)).collect();
        for header in &mut headers {
            put(&mut header.msg_hdr, beside);
        }
        let (fd, flags) = (self.udp(fd), libc::MSG_NOSIGNAL);
        // SAFETY: valid messages, which outlive the calls.
        answer(checked(unsafe {
            match count {
                0 => libc::sendmsg(fd, &raw const headers[0].msg_hdr, flags) as i64,
                _ => libc::sendmmsg(fd, headers.as_mut_ptr(), count as u32, flags).into(),
            }
        }))
    }

    fn receive_datagrams(&mut self, fd: u64, length: usize, room: usize, count: usize) -> Answer {
        let mut messages: Vec<_> = (0..count.max(1))
            .map(|_| Message::new(vec![0; length], length, None))
            .collect();
        let mut headers: Vec<_> = messages.iter_mut().map(|one| one.header(room)).collect();
        let fd = self.udp(fd);
        // SAFETY: valid messages, which outlive the calls.
        let got = checked(unsafe {
            match count {
                0 => libc::recvmsg(fd, &raw mut headers[0].msg_hdr, 0) as i64,
                _ => {
                    let (list, none) = (headers.as_mut_ptr(), std::ptr::null_mut());
                    libc::recvmmsg(fd, list, count as u32, 0, none).into()
                }
            }
        });
        if got < 0 {
            return answer(got);
        }
        if count == 0 {
            let bytes = std::mem::take(&mut messages[0].bytes);
            return Answer {
                events: vec![beside(&headers[0].msg_hdr)],
                ..received(got as isize, bytes)
            };
        }
        let came = &headers[..usize::try_from(got).expect("a few")];
        let bytes = messages.iter().zip(came);
        let bytes = bytes.flat_map(|(one, header)| &one.bytes[..header.msg_len as usize]);
        Answer {
            bytes: bytes.copied().collect(),
            events: came.iter().map(|one| beside(&one.msg_hdr)).collect(),
            ..answer(got)
        }
    }
}
