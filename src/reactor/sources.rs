//! Numbers the registered sources: slab index and generation, checked for each event.
//!
//! A source's *key* is 64 bits, `generation << 32 | index`; 0 is no key. The *token* that goes
//! through the kernel is the key if pointers have 64 bits, and a folded key if they have 32: a
//! folded token that matches a later source of the same index causes at worst a spurious wake.

use std::os::fd::RawFd;

use super::readiness::Readiness;
use crate::room::Slab;

/// A registered source, which may be gone.
pub(crate) type SourceKey = u64;

/// One registered descriptor.
#[derive(Debug)]
pub(crate) struct Source {
    generation: u32,
    /// Closed only after this is removed, or a post that removes it was queued.
    pub(super) fd: RawFd,
    pub(super) readiness: Readiness,
}

/// All sources of one reactor.
#[derive(Debug, Default)]
pub(super) struct Sources {
    slab: Slab<Source>,
    generation: u32,
}

impl Sources {
    pub(super) fn insert(&mut self, fd: RawFd, readiness: Readiness) -> SourceKey {
        // Never 0, so that no key is 0.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let generation = self.generation;
        let index = self.slab.insert(Source {
            generation,
            fd,
            readiness,
        });
        u64::from(generation) << 32 | index as u64
    }

    #[inline]
    pub(super) fn get(&mut self, key: SourceKey) -> Option<&mut Source> {
        let generation = key >> 32;
        self.slab
            .get_mut(index(key))
            .filter(|source| u64::from(source.generation) == generation)
    }

    pub(super) fn remove(&mut self, key: SourceKey) -> Option<Source> {
        self.get(key)?;
        self.slab.try_remove(index(key))
    }

    /// Returns the source of an event; a stale token finds none.
    pub(super) fn by_token(&mut self, event: usize) -> Option<&mut Source> {
        let index = event & TOKEN_INDEX;
        let source = self.slab.get_mut(index)?;
        let key = u64::from(source.generation) << 32 | index as u64;
        (token(key) == event).then_some(source)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.slab.iter_mut().map(|(_, source)| source)
    }

    #[cfg(feature = "dump")]
    pub(super) fn iter(&self) -> impl Iterator<Item = (SourceKey, &Source)> {
        let key = |index, source: &Source| u64::from(source.generation) << 32 | index as u64;
        let sources = self.slab.iter();
        sources.map(move |(index, source)| (key(index, source), source))
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }
}

#[inline]
fn index(key: SourceKey) -> usize {
    usize::try_from(key & 0xFFFF_FFFF).expect("32 bits")
}

#[cfg(target_pointer_width = "64")]
const TOKEN_INDEX: usize = 0xFFFF_FFFF;
#[cfg(target_pointer_width = "32")]
const TOKEN_INDEX: usize = (1 << 20) - 1;

/// Returns the token for `key`.
#[cfg(target_pointer_width = "64")]
pub(super) fn token(key: SourceKey) -> usize {
    usize::try_from(key).expect("64 bits")
}

/// Returns the token for `key`: 11 bits of the generation above 20 of the index, so that it never
/// equals one of the poller's own tokens.
#[cfg(target_pointer_width = "32")]
pub(super) fn token(key: SourceKey) -> usize {
    let generation = usize::try_from(key >> 32 & 0x7FF).expect("11 bits");
    generation << 20 | index(key) & TOKEN_INDEX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One for each idle connection.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_source_takes_32_bytes() {
        assert_eq!(size_of::<Source>(), 32);
    }

    #[test]
    fn a_stale_token_finds_nobody() {
        let mut sources = Sources::default();
        let first = sources.insert(0, Readiness::default());
        assert!(sources.by_token(token(first)).is_some());
        assert!(sources.remove(first).is_some());
        let second = sources.insert(0, Readiness::default());
        assert_eq!(index(first), index(second));
        assert!(sources.by_token(token(first)).is_none());
        assert!(sources.get(first).is_none() && sources.remove(first).is_none());
        assert!(sources.by_token(token(second)).is_some());
        assert_eq!(sources.len(), 1);
    }

    #[test]
    fn what_many_connections_have_taken_is_given_back() {
        let mut sources = Sources::default();
        let insert = |sources: &mut Sources| sources.insert(0, Readiness::default());
        let listener = insert(&mut sources);
        let clients: Vec<_> = (0..18_000).map(|_| insert(&mut sources)).collect();
        for client in &clients {
            assert!(sources.remove(*client).is_some());
        }
        assert!(
            sources.len() == 1 && sources.slab.room() <= 128,
            "{sources:?}"
        );
        // The same indices, and other keys: a late event finds none.
        for old in clients.iter().take(100) {
            let new = insert(&mut sources);
            assert!(index(new) < 200 && new != *old && sources.by_token(token(*old)).is_none());
        }
        assert!(sources.get(listener).is_some());
    }
}
