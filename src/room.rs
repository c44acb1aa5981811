//! Gives back the memory that a spike has left: [`shrink`], and a [`Slab`] that does it by itself.
//!
//! A container that uses less than a quarter of its capacity is cut to twice its length. So each
//! entry is moved at most twice, and a length between the two limits causes no moves.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// The capacity that stays in any case, in bytes.
const KEPT: usize = 4096;

/// A container with a capacity that grows with its entries.
pub(crate) trait Room {
    /// The size of an entry, in bytes.
    const ENTRY: usize;

    /// Returns the number of entries, and the capacity.
    fn used_and_room(&self) -> (usize, usize);

    /// Reduces the capacity.
    fn cut_to(&mut self, room: usize);
}

macro_rules! room {
    ($name:ident: $type:ty, $entry:ty) => {
        impl<$name> Room for $type {
            const ENTRY: usize = size_of::<$entry>();

            #[inline]
            fn used_and_room(&self) -> (usize, usize) {
                (self.len(), self.capacity())
            }

            fn cut_to(&mut self, room: usize) {
                self.shrink_to(room);
            }
        }
    };
}

room!(T: Vec<T>, T);
room!(T: VecDeque<T>, T);

/// Called after entries were removed. Drops no entry and runs no code of the user's.
#[inline]
pub(crate) fn shrink<R: Room>(container: &mut R) {
    let (used, room) = container.used_and_room();
    if used < room / 4 && room.saturating_mul(R::ENTRY) > KEPT {
        cut(container, used);
    }
}

#[cold]
fn cut<R: Room>(container: &mut R, used: usize) {
    container.cut_to((2 * used).max(KEPT / R::ENTRY));
}

/// A slab that gives back the places after its last entry.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: slab::Slab<T>,
    /// The number of entries removed since places were given back last.
    removed: usize,
}

impl<T> Slab<T> {
    /// The size of an entry, in bytes, at least 1.
    const ENTRY: usize = if size_of::<T>() == 0 {
        1
    } else {
        size_of::<T>()
    };

    pub(crate) const fn new() -> Self {
        Self {
            entries: slab::Slab::new(),
            removed: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the capacity: every key is less.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.entries.capacity()
    }

    /// Returns the key of the next entry.
    #[inline]
    pub(crate) fn vacant_key(&self) -> usize {
        self.entries.vacant_key()
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> usize {
        self.entries.insert(value)
    }

    #[inline]
    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        self.entries.get(key)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.entries.get_mut(key)
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, key: usize) -> T {
        self.try_remove(key).expect("the key of one that is there")
    }

    /// Inlined, so that an entry that is only dropped is not moved.
    #[inline(always)]
    pub(crate) fn try_remove(&mut self, key: usize) -> Option<T> {
        let gone = self.entries.try_remove(key)?;
        self.removed += 1;
        let room = self.room();
        if room > KEPT / Self::ENTRY && self.len() < room / 4 {
            self.give_back();
        }
        Some(gone)
    }

    /// Visits each place if some can be given back, else costs nothing; so it is repeated only
    /// after an eighth of the entries were removed.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        let before = self.room();
        if self.removed * 8 < self.len() {
            return;
        }
        self.entries.shrink_to_fit();
        if self.room() < before {
            self.removed = 0;
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.entries.iter_mut()
    }

    /// Iterates over all entries, in the order of their keys.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().map(|(_, value)| value)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, key: usize) -> &T {
        self.get(key).expect("the key of one that is there")
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut T {
        self.get_mut(key).expect("the key of one that is there")
    }
}

/// A map in the order of its keys, for few entries and for keys that come in order: much less code
/// than a tree. When empty it has no capacity.
#[derive(Debug)]
pub(crate) struct Few<K, V>(VecDeque<(K, V)>);

impl<K: Ord, V> Few<K, V> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let place = self.place(key).ok()?;
        Some(&self.0[place].1)
    }

    /// Returns the value of the key, which is made if there is none.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = self.place(&key).unwrap_or_else(|place| {
            self.0.insert(place, (key, V::default()));
            place
        });
        &mut self.0[place].1
    }

    /// Adds an entry, or replaces that of the key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key).ok()?;
        let removed = self.0.remove(place);
        self.give_back();
        removed.map(|(_, value)| value)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let first = self.0.pop_front();
        self.give_back();
        first
    }

    fn give_back(&mut self) {
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    #[cfg(feature = "threads")]
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (K, V)> {
        self.0.into_iter()
    }
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Fills it, empties it except for five, and returns the bytes that are left after each
    /// quarter.
    fn left<R: Room>(mut of: R, add: impl Fn(&mut R, u32), take: impl Fn(&mut R)) -> Vec<usize> {
        (0..10_000).for_each(|entry| add(&mut of, entry));
        let mut left = Vec::new();
        for count in [2_500, 2_500, 2_500, 2_495] {
            for _ in 0..count {
                take(&mut of);
                shrink(&mut of);
            }
            left.push(of.used_and_room().1 * R::ENTRY);
        }
        left
    }

    #[track_caller]
    fn shrinks(left: &[usize]) {
        assert!(left[1] >= 40_000, "half of it is used: {left:?}");
        assert!(left[3] <= 2 * KEPT, "five are left: {left:?}");
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        shrinks(&left(Vec::new(), Vec::push, |vec| {
            vec.truncate(vec.len() - 1)
        }));
        shrinks(&left(VecDeque::new(), VecDeque::push_back, |queue| {
            queue.pop_front();
        }));
    }

    #[test]
    fn what_uses_less_than_a_quarter_is_cut_to_twice_what_it_uses() {
        let mut vec = Vec::<u64>::with_capacity(40_000);
        let mut room = |used| {
            vec.resize(used, 0);
            shrink(&mut vec);
            vec.capacity()
        };
        let left = [10_000, 9_999, 5_000, 1].map(&mut room);
        assert_eq!(left, [40_000, 19_998, 19_998, KEPT / 8]);
    }

    #[test]
    fn a_few_kilobytes_stay_and_nothing_has_no_size() {
        let mut small = Vec::<u64>::with_capacity(KEPT / 8);
        shrink(&mut small);
        assert_eq!(small.capacity(), KEPT / 8);
        let mut none = vec![(); 3];
        none.clear();
        shrink(&mut none);
        let mut bytes = vec![0_u8; 1 << 20];
        bytes.truncate(2);
        shrink(&mut bytes);
        assert!(bytes.capacity() <= KEPT, "{}", bytes.capacity());
    }

    /// A spike beside `stay` entries; then all others are removed, in some order.
    fn spike(stay: usize, order: impl Fn(&mut Vec<usize>)) {
        let mut slab = Slab::new();
        (0..stay).for_each(|n| assert_eq!(slab.insert(n), n));
        let mut keys: Vec<_> = (0..50_000).map(|n| slab.insert(n)).collect();
        order(&mut keys);
        for key in keys {
            slab.remove(key);
        }
        assert_eq!(slab.len(), stay);
        // A few further inserts and removes find the rest of the spike.
        for _ in 0..=stay / 8 {
            let key = slab.insert(0);
            slab.remove(key);
        }
        let left = slab.room() * size_of::<usize>();
        assert!(left <= KEPT, "{left} bytes");
        assert!(slab.insert(7) < KEPT, "no place that is gone is used");
    }

    #[test]
    fn a_slab_gives_back_what_a_spike_has_taken() {
        for stay in [0, 1, 3, 100] {
            spike(stay, |_| {});
            spike(stay, |keys| keys.reverse());
            // The last ones to be removed are far apart.
            spike(stay, |keys| {
                keys.sort_by_key(|key| (key % 16 == 0, usize::MAX - key))
            });
            spike(stay, |keys| {
                keys.sort_by_key(|key| key.wrapping_mul(0x9e37_79b9) % 65_536)
            });
        }
    }

    proptest! {
        #[test]
        fn a_slab_does_what_a_map_does(
            steps in prop::collection::vec((0..3_u8, 0..40_usize), 0..300),
        ) {
            let (mut slab, mut twin) = (Slab::new(), BTreeMap::new());
            for (value, (step, key)) in steps.into_iter().enumerate() {
                if step == 0 {
                    prop_assert_eq!(slab.try_remove(key), twin.remove(&key));
                } else if twin.len() < 40 {
                    let vacant = slab.vacant_key();
                    prop_assert_eq!(slab.insert(value), vacant);
                    prop_assert!(twin.insert(vacant, value).is_none(), "it was taken");
                }
                prop_assert_eq!(slab.get(key), twin.get(&key));
                prop_assert_eq!(slab.get_mut(key).copied(), twin.get(&key).copied());
                prop_assert_eq!((slab.len(), slab.is_empty()), (twin.len(), twin.is_empty()));
                prop_assert!(slab.iter().eq(twin.iter().map(|(key, value)| (*key, value))));
                prop_assert!(twin.keys().all(|key| *key < slab.room()));
            }
            prop_assert_eq!(slab.iter_mut().count(), twin.len());
            prop_assert!(slab.into_values().eq(twin.into_values()));
        }
    }

    proptest! {
        #[test]
        fn a_few_entries_behave_like_a_map(
            steps in prop::collection::vec((0..6_u8, 0..12_u8, any::<u8>()), 0..200),
        ) {
            let (mut few, mut twin) = (Few::new(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 | 1 => {
                        few.insert(key, value);
                        twin.insert(key, value);
                    }
                    2 => {
                        let theirs = twin.entry(key).or_default();
                        let ours = few.get_or_default(key);
                        prop_assert_eq!(&*ours, &*theirs);
                        (*ours, *theirs) = (value, value);
                    }
                    3 => prop_assert_eq!(few.remove(&key), twin.remove(&key)),
                    4 => prop_assert_eq!(few.pop_first(), twin.pop_first()),
                    _ => prop_assert_eq!(few.get(&key), twin.get(&key)),
                }
                prop_assert_eq!(few.len(), twin.len());
                prop_assert!(few.iter_mut().map(|(key, value)| (*key, *value)).eq(
                    twin.iter().map(|(key, value)| (*key, *value))
                ));
            }
            prop_assert!(few.into_iter().eq(twin));
        }
    }
}
