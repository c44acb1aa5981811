//! Random scripts of system calls.
//!
//! Left out, with the reason:
//!
//! * The capacity of a TCP buffer: Linux counts the memory of its packets, and their size depends
//!   on the machine. Sends are small.
//! * `TIOCOUTQ` of TCP: Linux delays acknowledgements by up to 40 ms.
//! * The state of a connection at the moment of the second end: for the same reason.
//! * The event of an end that is acknowledged: Linux delays that, too, until the socket sends
//!   something (`tcp_fin` in its source makes the socket one that answers). One script of 250,000,
//!   134,650, sees the event later than in the world. None does if the route acknowledges at once:
//!   `ip route change local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1
//!   quickack 1`, in a network of its own (`unshare --map-root-user --net`).
//! * Nagle's algorithm, for the same reason; all sockets have `TCP_NODELAY`, as soloio's have.
//! * `SO_RCVBUF` and other sizes: settings of the machine.
//! * A port that is taken in Linux and not in the world: an earlier script's, in TIME_WAIT.
//! * The answers of a UNIX datagram socket without a peer after a shutdown: they are Linux 6.14's.
//! * Writes of more than eight bytes to an eventfd: newer versions refuse them.
//! * A socket that was shut down before it listens: its connections inherit a part of that.
//! * A UNIX socket in a message: if it is the only way to itself Linux ends it, at some time.
//! * A part of a file in datagrams: Linux keeps one back until the rest has come.
//! * A datagram that finds no room: settings of the machine.

use soloio_sim::Rng;

use crate::datagrams::Datagrams;

/// The number of descriptors of a script.
pub(crate) const SLOTS: u64 = 6;

/// The epoll events that a registration may ask for, beside the trigger.
const EVENTS: &[i32] = &[
    libc::EPOLLIN,
    libc::EPOLLOUT,
    libc::EPOLLIN | libc::EPOLLOUT,
    libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP,
    0,
];

/// One step; numbers are slots unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Socket {
        to: u64,
        family: i32,
        kind: i32,
    },
    Pair {
        to: u64,
        kind: i32,
    },
    Pipe {
        to: u64,
    },
    Event {
        to: u64,
        count: u32,
    },
    Bind {
        fd: u64,
    },
    /// To the address of another slot.
    BindLike {
        fd: u64,
        other: u64,
    },
    Reuse {
        fd: u64,
    },
    Listen {
        fd: u64,
        backlog: i32,
    },
    Connect {
        fd: u64,
        to: u64,
    },
    ConnectNothing {
        fd: u64,
    },
    Accept {
        fd: u64,
        to: u64,
    },
    Send {
        fd: u64,
        length: usize,
    },
    SendTo {
        fd: u64,
        to: u64,
        length: usize,
    },
    Receive {
        fd: u64,
        length: usize,
        peek: bool,
    },
    Read {
        fd: u64,
        length: usize,
    },
    Write {
        fd: u64,
        length: usize,
    },
    SendDescriptors {
        fd: u64,
        passed: u64,
        count: u32,
    },
    ReceiveDescriptors {
        fd: u64,
        to: u64,
        room: u32,
    },
    SendFile {
        fd: u64,
        offset: Option<i64>,
        length: usize,
    },
    Shutdown {
        fd: u64,
        how: i32,
    },
    Close {
        fd: u64,
    },
    Duplicate {
        fd: u64,
        to: u64,
    },
    Error {
        fd: u64,
    },
    Unread {
        fd: u64,
    },
    Linger {
        fd: u64,
    },
    HasPeer {
        fd: u64,
    },
    Fact {
        fd: u64,
        name: i32,
    },
    Watch {
        fd: u64,
        operation: i32,
        events: i32,
    },
    Wait {
        most: usize,
    },
    Poll {
        fd: u64,
        events: i16,
    },
    Datagrams(Datagrams),
}

/// Generates a script: a connection or two to begin with, and then anything.
pub(crate) fn script(rng: &mut Rng, family: i32) -> Vec<Op> {
    let mut ops = Vec::new();
    match rng.below(4) {
        0 => connection(&mut ops, rng, family),
        1 => datagrams(&mut ops, rng, family),
        2 => {
            let kind = *rng.pick(&[libc::SOCK_STREAM, libc::SOCK_DGRAM]);
            ops.push(Op::Pair { to: 0, kind });
        }
        _ => {}
    }
    for _ in 0..rng.between(5, 40) {
        any(&mut ops, rng, family);
    }
    ops
}

/// Makes a listener in slot 0, a client in 1, and the accepted socket in 2; watched or not.
fn connection(ops: &mut Vec<Op>, rng: &mut Rng, family: i32) {
    let kind = libc::SOCK_STREAM;
    ops.push(Op::Socket {
        to: 0,
        family,
        kind,
    });
    ops.push(Op::Bind { fd: 0 });
    ops.push(Op::Listen { fd: 0, backlog: 5 });
    ops.push(Op::Socket {
        to: 1,
        family,
        kind,
    });
    if rng.hit(0.5) {
        watch(ops, rng, 1);
    }
    ops.push(Op::Connect { fd: 1, to: 0 });
    ops.push(Op::Accept { fd: 0, to: 2 });
    if rng.hit(0.5) {
        watch(ops, rng, 2);
    }
}

fn datagrams(ops: &mut Vec<Op>, rng: &mut Rng, family: i32) {
    let kind = libc::SOCK_DGRAM;
    for to in 0..2 {
        ops.push(Op::Socket { to, family, kind });
        ops.push(Op::Bind { fd: to });
        if rng.hit(0.5) {
            watch(ops, rng, to);
        }
    }
    if rng.hit(0.5) {
        ops.push(Op::Connect { fd: 0, to: 1 });
    }
}

pub(crate) fn watch(ops: &mut Vec<Op>, rng: &mut Rng, fd: u64) {
    let operation = *rng.pick(&[
        libc::EPOLL_CTL_ADD,
        libc::EPOLL_CTL_ADD,
        libc::EPOLL_CTL_MOD,
        libc::EPOLL_CTL_DEL,
    ]);
    let trigger = *rng.pick(&[0, libc::EPOLLET, libc::EPOLLET, libc::EPOLLONESHOT]);
    let events = *rng.pick(EVENTS) | trigger;
    ops.push(Op::Watch {
        fd,
        operation,
        events,
    });
}

/// Steps that move more than a caller's bytes.
fn moving(rng: &mut Rng, fd: u64, other: u64, length: usize) -> Op {
    match rng.below(5) {
        0 | 1 => Op::SendDescriptors {
            fd,
            passed: other,
            count: if rng.hit(0.2) { 2 } else { 1 },
        },
        2 | 3 => Op::ReceiveDescriptors {
            fd,
            to: other,
            room: u32::try_from(rng.below(3)).expect("small"),
        },
        _ => {
            let offset = i64::try_from(rng.below(220)).expect("small");
            Op::SendFile {
                fd,
                offset: rng.hit(0.5).then_some(offset),
                length,
            }
        }
    }
}

pub(crate) fn any(ops: &mut Vec<Op>, rng: &mut Rng, family: i32) {
    let (fd, other) = (rng.below(SLOTS), rng.below(SLOTS));
    let length = usize::try_from(*rng.pick(&[0_u64, 1, 5, 100, 1000])).expect("small");
    let op = match rng.below(39) {
        0 => Op::Socket {
            to: fd,
            family,
            kind: libc::SOCK_STREAM,
        },
        1 => Op::Socket {
            to: fd,
            family,
            kind: libc::SOCK_DGRAM,
        },
        2 => {
            let kind = *rng.pick(&[libc::SOCK_STREAM, libc::SOCK_DGRAM]);
            Op::Pair { to: fd, kind }
        }
        3 => Op::Pipe { to: fd },
        4 => Op::Event {
            to: fd,
            count: u32::from(rng.hit(0.5)),
        },
        5 => Op::Bind { fd },
        6 => Op::BindLike { fd, other },
        7 => Op::Listen { fd, backlog: 5 },
        8 | 9 => Op::Connect { fd, to: other },
        10 => Op::ConnectNothing { fd },
        11 | 12 => Op::Accept { fd, to: other },
        13..16 => Op::Send { fd, length },
        16 => Op::SendTo {
            fd,
            to: other,
            length,
        },
        17..20 => Op::Receive {
            fd,
            length,
            peek: rng.hit(0.2),
        },
        20 => Op::Read { fd, length },
        21 => Op::Write { fd, length },
        22 => Op::Shutdown {
            fd,
            how: i32::try_from(rng.below(4)).expect("small"),
        },
        23 => Op::Close { fd },
        24 => Op::Duplicate { fd, to: other },
        25 => Op::Error { fd },
        26 => Op::Unread { fd },
        27 => *rng.pick(&[Op::Linger { fd }, Op::Reuse { fd }]),
        28 => Op::HasPeer { fd },
        29 => {
            let name = *rng.pick(&[libc::SO_TYPE, libc::SO_DOMAIN, libc::SO_ACCEPTCONN]);
            Op::Fact { fd, name }
        }
        30 | 31 => return watch(ops, rng, fd),
        32 => Op::Wait {
            most: usize::try_from(rng.between(1, 8)).expect("small"),
        },
        33..38 => moving(rng, fd, other, length),
        _ => Op::Poll {
            fd,
            events: *rng.pick(&[libc::POLLIN, libc::POLLOUT, 0x2041]),
        },
    };
    ops.push(op);
}
