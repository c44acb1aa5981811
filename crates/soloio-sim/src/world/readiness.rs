//! The readiness of an object in epoll's bits, and waking its watchers.

use super::World;
use super::descriptors::{Fd, Id, Object};

/// epoll's bits, by their names there.
pub(crate) mod bits {
    #![allow(clippy::cast_sign_loss, reason = "sets of bits")]
    pub(crate) const IN: u32 = libc::EPOLLIN as u32;
    pub(crate) const PRI: u32 = libc::EPOLLPRI as u32;
    pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
    pub(crate) const ERR: u32 = libc::EPOLLERR as u32;
    pub(crate) const HUP: u32 = libc::EPOLLHUP as u32;
    pub(crate) const RDHUP: u32 = libc::EPOLLRDHUP as u32;
    pub(crate) const RDNORM: u32 = libc::EPOLLRDNORM as u32;
    pub(crate) const RDBAND: u32 = libc::EPOLLRDBAND as u32;
    pub(crate) const WRNORM: u32 = libc::EPOLLWRNORM as u32;
    pub(crate) const WRBAND: u32 = libc::EPOLLWRBAND as u32;
    pub(crate) const EDGE: u32 = libc::EPOLLET as u32;
    pub(crate) const ONESHOT: u32 = libc::EPOLLONESHOT as u32;

    pub(crate) const READABLE: u32 = IN | RDNORM;
    pub(crate) const WRITABLE: u32 = OUT | WRNORM;
    /// The bits of a wake-up when data has come.
    pub(crate) const CAME: u32 = IN | PRI | RDNORM | RDBAND;
    /// The bits of a wake-up when there is room again.
    pub(crate) const ROOM: u32 = OUT | WRNORM | WRBAND;
    /// The bits of a wake-up when everything may have changed.
    pub(crate) const ALL: u32 = !(EDGE | ONESHOT);

    /// Returns the bits if the condition holds, otherwise none.
    pub(crate) fn when(so: bool, bits: u32) -> u32 {
        if so { bits } else { 0 }
    }
}

impl World {
    /// Returns the present readiness of an object.
    pub(crate) fn ready(&mut self, id: Id) -> u32 {
        use bits::{IN, OUT, RDNORM, when};
        match self.descriptors.get_mut(id) {
            None => 0,
            Some(Object::Tcp(tcp)) => tcp.ready(),
            Some(Object::Udp(udp)) => udp.ready(),
            Some(Object::Unix(_)) => self.unix_ready(id),
            Some(Object::Pipe(_)) => self.pipe_ready(id),
            Some(Object::Event(event)) => event.ready(),
            Some(Object::Timer(timer)) => timer.ready(),
            Some(Object::Idle { blocked }) => when(*blocked, IN) | OUT,
            Some(Object::Epoll(_)) => match self.has_events(id) {
                true => IN | RDNORM,
                false => 0,
            },
        }
    }

    /// Wakes for a change: each registration that asks for one of the bits in `key` is put on its
    /// ready list.
    pub(crate) fn wake(&mut self, id: Id, key: u32) {
        let count = self.watchers(id).len();
        // The latest registration first, as in Linux.
        for at in (0..count).rev() {
            let (epoll, fd) = self.watchers(id)[at];
            let Some(Object::Epoll(set)) = self.descriptors.get_mut(epoll) else {
                continue;
            };
            if set.queue(fd, id, key) {
                // The watchers of the set itself: a thread, or an outer set.
                self.wake(epoll, bits::READABLE);
            }
        }
    }

    fn watchers(&self, id: Id) -> &[(Id, Fd)] {
        let description = self.descriptors.objects.get(&id);
        description.map_or(&[], |description| &description.watchers)
    }

    /// Wakes the tasks that wait for the moment when every task waits; returns false if there is
    /// none.
    pub(crate) fn announce_idle(&mut self) -> bool {
        let mut told = Vec::new();
        for (id, description) in &mut self.descriptors.objects {
            if let Object::Idle { blocked } = &mut description.object {
                if !*blocked && !description.watchers.is_empty() {
                    *blocked = true;
                    told.push(*id);
                }
            }
        }
        for id in &told {
            self.wake(*id, bits::IN);
        }
        !told.is_empty()
    }
}
