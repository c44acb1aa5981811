//! Descriptor numbers, and the objects behind them.
//!
//! As in Linux a number refers to an open description, duplicates to the same one, and the lowest
//! free number is used. An object has an id that is never reused: packets and timers refer to
//! objects by it, so a late one finds nothing instead of another object.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::counters::{EventFd, TimerFd};
use super::epoll::Epoll;
use super::pipe::Pipe;
use super::tcp::Tcp;
use super::udp::Udp;
use super::unix::Unix;
use super::{Errno, Result, World};
use crate::faults::Fault;

/// A descriptor number.
pub(crate) type Fd = i32;

/// The id of an object, never reused.
pub(crate) type Id = u32;

/// Numbers of a world begin at a multiple of this.
pub(crate) const SPAN: Fd = 1 << 20;

/// The number of generations that are told apart.
pub(crate) const GENERATIONS: i32 = 2000;

#[derive(Debug)]
pub(crate) enum Object {
    Tcp(Box<Tcp>),
    Udp(Box<Udp>),
    Unix(Box<Unix>),
    Pipe(Box<Pipe>),
    Epoll(Epoll),
    Event(EventFd),
    Timer(TimerFd),
    /// Readable when every task waits; `wait_all_tasks_blocked` has one.
    Idle {
        blocked: bool,
    },
}

/// An object, and the state of every open description.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) object: Object,
    pub(crate) machine: usize,
    pub(crate) nonblocking: bool,
    /// The limits of its blocking calls that receive, and that send.
    pub(crate) limits: [Option<Duration>; 2],
    /// The count of numbers that refer to it, and of messages in transit that carry it.
    pub(crate) references: u32,
    /// The epoll sets that watch it, with its number there.
    pub(crate) watchers: Vec<(Id, Fd)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    pub(crate) id: Id,
    pub(crate) machine: usize,
    pub(crate) close_on_exec: bool,
}

#[derive(Debug)]
pub(crate) struct Descriptors {
    /// Differs for each world, so that the numbers of an earlier one are not valid here.
    base: Fd,
    pub(crate) numbers: BTreeMap<Fd, Number>,
    pub(crate) objects: BTreeMap<Id, Description>,
    last: Id,
}

impl Descriptors {
    pub(crate) fn new(generation: i32) -> Self {
        Self {
            base: (1 + generation % GENERATIONS) * SPAN,
            numbers: BTreeMap::new(),
            objects: BTreeMap::new(),
            last: 0,
        }
    }

    /// Returns the numbers of this world.
    pub(crate) fn range(&self) -> RangeInclusive<Fd> {
        self.base..=self.base + (SPAN - 1)
    }

    /// Returns the number for the trace: without the world's base.
    pub(crate) fn shown(&self, fd: Fd) -> i64 {
        match self.range().contains(&fd) {
            true => i64::from(fd - self.base),
            false => i64::from(fd),
        }
    }

    pub(crate) fn id(&self, fd: Fd) -> Result<Id> {
        let number = self.numbers.get(&fd).ok_or(libc::EBADF)?;
        Ok(number.id)
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Object> {
        self.objects.get(&id).map(|description| &description.object)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Object> {
        let description = self.objects.get_mut(&id);
        description.map(|description| &mut description.object)
    }

    /// An id without an object.
    pub(super) fn reserve(&mut self) -> Id {
        self.last += 1;
        self.last
    }

    /// Adds an object without a number.
    pub(crate) fn add(&mut self, object: Object, machine: usize) -> Id {
        let id = self.reserve();
        let description = Description {
            object,
            machine,
            nonblocking: false,
            limits: [None; 2],
            references: 0,
            watchers: Vec::new(),
        };
        self.objects.insert(id, description);
        id
    }

    fn lowest_free(&self, from: Fd) -> Fd {
        let taken = self.numbers.range(from..).map(|(fd, _)| *fd);
        let mut free = from;
        for fd in taken {
            if fd != free {
                break;
            }
            free += 1;
        }
        free
    }

    pub(crate) fn count(&self, machine: usize) -> usize {
        let numbers = self.numbers.values();
        numbers.filter(|number| number.machine == machine).count()
    }
}

impl World {
    /// Draws the faults of a call that makes a descriptor.
    pub(crate) fn may_open(&mut self) -> Result<()> {
        let faults: [(Fault, Errno); 3] = [
            (Fault::ProcessDescriptors, libc::EMFILE),
            (Fault::SystemDescriptors, libc::ENFILE),
            (Fault::NoMemory, libc::ENOMEM),
        ];
        for (fault, errno) in faults {
            if self.strikes(fault) {
                return Err(errno);
            }
        }
        Ok(())
    }

    /// True if the running machine has a number left.
    pub(crate) fn has_number(&self) -> bool {
        self.descriptors.count(self.here) < self.dice.faults.descriptors
    }

    /// Gives an object another number, the lowest free one from `from` on.
    pub(crate) fn name_object(&mut self, id: Id, close_on_exec: bool, from: Fd) -> Result<Fd> {
        if !self.has_number() {
            return Err(libc::EMFILE);
        }
        let fd = self
            .descriptors
            .lowest_free(from.max(self.descriptors.base));
        self.put_number(fd, id, close_on_exec);
        Ok(fd)
    }

    fn put_number(&mut self, fd: Fd, id: Id, close_on_exec: bool) {
        let number = Number {
            id,
            machine: self.here,
            close_on_exec,
        };
        self.descriptors.numbers.insert(fd, number);
        if let Some(description) = self.descriptors.objects.get_mut(&id) {
            description.references += 1;
        }
    }

    /// Makes an object with a number.
    pub(crate) fn open(
        &mut self,
        object: Object,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<Fd> {
        if !self.has_number() {
            return Err(libc::EMFILE);
        }
        let id = self.descriptors.add(object, self.here);
        self.set_nonblocking(id, nonblocking);
        self.name_object(id, close_on_exec, 0)
    }

    pub(crate) fn set_nonblocking(&mut self, id: Id, on: bool) {
        if let Some(description) = self.descriptors.objects.get_mut(&id) {
            description.nonblocking = on;
        }
    }

    /// close(2).
    pub(crate) fn close(&mut self, fd: Fd) -> Result<()> {
        let number = self.descriptors.numbers.remove(&fd).ok_or(libc::EBADF)?;
        self.release(number.id);
        Ok(())
    }

    /// dup3(2), and dup2(2) of two different numbers.
    pub(crate) fn replace(&mut self, from: Fd, to: Fd, close_on_exec: bool) -> Result<Fd> {
        let id = self.descriptors.id(from)?;
        if from == to {
            return Err(libc::EINVAL);
        }
        if !self.descriptors.range().contains(&to) {
            return Err(libc::EBADF);
        }
        // The new number first: the old one may be the only number of an object, which must not end
        // in between.
        let old = self.descriptors.numbers.remove(&to);
        self.put_number(to, id, close_on_exec);
        if let Some(old) = old {
            self.release(old.id);
        }
        Ok(to)
    }

    /// Releases one number, or one message that carries the object.
    pub(crate) fn release(&mut self, id: Id) {
        let Some(description) = self.descriptors.objects.get_mut(&id) else {
            return;
        };
        description.references -= 1;
        if description.references > 0 {
            return;
        }
        let watchers = std::mem::take(&mut description.watchers);
        for (epoll, fd) in watchers {
            if let Some(Object::Epoll(epoll)) = self.descriptors.get_mut(epoll) {
                epoll.remove(fd, id);
            }
        }
        self.end_object(id);
    }

    /// Releases the last reference: the object ends, immediately or when the network allows it.
    fn end_object(&mut self, id: Id) {
        match self.descriptors.get(id) {
            // An open connection outlives its descriptors.
            Some(Object::Tcp(_)) => self.end_tcp(id),
            Some(Object::Udp(_)) => {
                self.network.unbind(id);
                self.descriptors.objects.remove(&id);
            }
            Some(Object::Unix(_)) => self.end_unix(id),
            Some(Object::Pipe(_)) => self.end_pipe(id),
            _ => {
                self.descriptors.objects.remove(&id);
            }
        }
    }

    /// Takes the machine's power: its numbers and objects are gone, and nothing is sent.
    pub(crate) fn lose_all(&mut self, machine: usize) {
        let numbers = &mut self.descriptors.numbers;
        numbers.retain(|_, number| number.machine != machine);
        let objects = &mut self.descriptors.objects;
        objects.retain(|_, description| description.machine != machine);
        self.network.forget_machine(machine);
    }
}
