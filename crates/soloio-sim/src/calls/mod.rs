//! The C functions that a program calls, in front of libc's.
//!
//! The linker prefers a symbol that the program itself defines to one of a shared library, so the
//! calls of std, mio, socket2 and soloio come here. A thread in a world, and a descriptor of one,
//! gets the world; all others get the real kernel, by the next definition of the symbol (libc's).
//!
//! Nothing here unwinds: a panic in one of these functions ends the process.
//!
//! | file | its functions |
//! |---|---|
//! | `kernel.rs` | the one world of this process, and which threads are in it |
//! | `real.rs` | libc's own functions |
//! | `wait.rs` | waiting: the baton, the clock that jumps |
//! | `address.rs` | socket addresses in C's form |
//! | `control.rs` | control data in C's form |
//! | `socket.rs` | socket, bind, listen, connect, accept4, names, shutdown |
//! | `transfer.rs` | recv, send and their relatives; read and write |
//! | `message.rs` | recvmsg, sendmsg and their relatives |
//! | `option.rs` | getsockopt, setsockopt, ioctl |
//! | `file.rs` | close, fcntl, dup, pipes, splice, sendfile |
//! | `poll.rs` | epoll, poll, eventfd, timerfd |
//! | `clock.rs` | clocks, sleeps, entropy |
//! | `thread.rs` | threads and futexes |
//! | `name.rs` | getaddrinfo |

pub(crate) mod address;
pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod file;
pub(crate) mod kernel;
pub(crate) mod message;
pub(crate) mod name;
pub(crate) mod option;
pub(crate) mod poll;
pub(crate) mod real;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod transfer;
pub(crate) mod wait;

use std::ffi::c_int;

use crate::faults::Fault;
use crate::world::descriptors::{Fd, Id, Object};
use crate::world::readiness::bits;
use crate::world::{Errno, Result, World};

/// Sets `errno` and returns -1, or the result.
pub(crate) fn answer(result: Result<i64>) -> i64 {
    match result {
        Ok(value) => value,
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

pub(crate) fn set_errno(errno: Errno) {
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = errno };
}

/// Converts to the type that C's functions return: all results of those with an `int` fit.
pub(crate) fn int(value: i64) -> c_int {
    c_int::try_from(value).expect("the result of a call that returns an int")
}

/// The descriptor of a call: one of a world, or one that the call makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// The descriptor, for the trace.
    pub(crate) fd: Fd,
}

impl Call {
    /// A call on a descriptor; `None` if the descriptor is the real kernel's.
    pub(crate) fn on(name: &'static str, fd: Fd) -> Option<Self> {
        kernel::is_simulated(fd).then_some(Self { name, fd })
    }

    /// A call that makes an object; `None` if this thread is in no world.
    pub(crate) fn here(name: &'static str) -> Option<Self> {
        kernel::is_inside().then_some(Self { name, fd: -1 })
    }

    /// Runs the call in the world: the trace gets it and its result.
    pub(crate) fn run(self, call: impl FnOnce(&mut World) -> Result<i64>) -> i64 {
        let result = kernel::with(|world| {
            self.note_signal(world);
            world.begin_call();
            let result = call(world);
            let shown = world.descriptors.shown(self.fd);
            let told = result.map(|value| match Fd::try_from(value) {
                Ok(fd) if kernel::is_number(fd) => world.descriptors.shown(fd),
                _ => value,
            });
            world.end_call(self.name, shown, told);
            // Data that was sent without latency arrives before the program continues.
            world.advance();
            result
        });
        answer(result.unwrap_or(Err(libc::EBADF)))
    }

    /// Notes the machine that a signal reaches, if its handler makes this call.
    fn note_signal(self, world: &mut World) {
        let Some(signal) = world.signal else { return };
        if let Some(number) = world.descriptors.numbers.get(&self.fd) {
            world.here = number.machine;
            world.note(format!("gets signal {signal}"));
        }
    }

    /// Like `run`, for a call on an open descriptor.
    pub(crate) fn run_on(self, call: impl FnOnce(&mut World, Id) -> Result<i64>) -> i64 {
        self.run(|world| {
            let id = world.descriptors.id(self.fd)?;
            call(world, id)
        })
    }

    /// Like `run_on`, for a call that may be interrupted, and that waits if it would block and the
    /// descriptor is a blocking one.
    pub(crate) fn run_blocking(
        self,
        dont_wait: bool,
        events: u32,
        mut call: impl FnMut(&mut World, Id) -> Result<i64>,
    ) -> i64 {
        self.run_waiting(dont_wait, events, |world, id| {
            // Linux never interrupts a wake of a loop: no caller could make up for it.
            let is_event = matches!(world.descriptors.get(id), Some(Object::Event(_)));
            if !is_event && world.strikes(Fault::Interrupt) {
                return Err(libc::EINTR);
            }
            call(world, id)
        })
    }

    /// Like `run_blocking`, without interruptions: a `connect` that has begun continues.
    pub(crate) fn run_waiting(
        self,
        dont_wait: bool,
        events: u32,
        mut call: impl FnMut(&mut World, Id) -> Result<i64>,
    ) -> i64 {
        let mut until = None;
        loop {
            let mut waits_on = None;
            let result = self.run_on(|world, id| {
                let result = call(world, id);
                let description = world.descriptors.objects.get(&id);
                let Some(description) = description.filter(|found| !found.nonblocking) else {
                    return result;
                };
                let limit = description.limits[usize::from(events & bits::OUT != 0)];
                let end = *until.get_or_insert_with(|| limit.map(|time| wait::after(world, time)));
                let waits = matches!(result, Err(libc::EAGAIN | libc::EINPROGRESS)) && !dont_wait;
                if waits && end.is_none_or(|end| end > world.now) {
                    waits_on = Some(id);
                }
                result
            });
            let Some(id) = waits_on else {
                return result;
            };
            let over = wait::wait(crate::threads::Wait::Ready(id, events), until.flatten());
            if over == crate::threads::Waited::Stuck {
                set_errno(libc::EDEADLK);
                return -1;
            }
        }
    }
}
