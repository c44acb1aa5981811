//! Lists of deadlines that came in order: adding, taking out and the earliest in a few steps.
//!
//! A program's time limits are of few lengths, and those of one length come in the order in which
//! they end. A new deadline goes to the end of the first *lane* that ends before it. So the longest
//! limits soon have the first lane for themselves, the next ones the second, and so on. What fits
//! nowhere is for the heap of `timers.rs`.
//!
//! ```text
//!   30 s limits   13:00:27 ─ 13:00:31 <── 13:00:32
//!   5 s limits    13:00:01 ─ 13:00:03 ─ 13:00:04 <── 13:00:06
//!   (empty)
//! ```
//!
//! The links are in the slots of the timers, which a call is given.

use crate::room::Slab;

/// How many lanes there are. Each costs a comparison per deadline.
pub(super) const LANES: usize = 4;

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// A timer's deadline, and its neighbours while it is in a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) deadline: u64,
    pub(super) previous: u32,
    pub(super) next: u32,
}

/// What has a link.
pub(super) trait Linked {
    fn link(&mut self) -> &mut Link;
    fn deadline(&self) -> u64;
    fn next(&self) -> u32;
}

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    /// The first deadline of each; the highest number if it is empty.
    begins: [u64; LANES],
    /// The last deadline of each; 0 if it is empty.
    ends: [u64; LANES],
    first: [u32; LANES],
    last: [u32; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            begins: [u64::MAX; LANES],
            ends: [0; LANES],
            first: [NIL; LANES],
            last: [NIL; LANES],
        }
    }
}

impl Lanes {
    /// The first lane that a deadline fits into; `None` if it is too early for all of them.
    #[inline]
    pub(super) fn choose(&self, deadline: u64) -> Option<usize> {
        self.ends.iter().position(|end| *end <= deadline)
    }

    /// The last slot of a lane: the new one's `previous`.
    #[inline]
    pub(super) fn last(&self, lane: usize) -> u32 {
        self.last[lane]
    }

    /// Adds a slot to the lane that was chosen. Its link has been written.
    #[inline]
    pub(super) fn add<T: Linked>(
        &mut self,
        lane: usize,
        index: u32,
        deadline: u64,
        slots: &mut Slab<T>,
    ) {
        let previous = std::mem::replace(&mut self.last[lane], index);
        self.ends[lane] = deadline;
        if previous == NIL {
            self.first[lane] = index;
            self.begins[lane] = deadline;
        } else {
            slots[previous as usize].link().next = index;
        }
    }

    /// Moves the slot with this link to a later deadline, if it is the last of its lane and would
    /// come there again; else false.
    #[inline]
    pub(super) fn stretch(&mut self, lane: usize, link: &mut Link, deadline: u64) -> bool {
        let stays = link.next == NIL && link.deadline <= deadline;
        if !stays || self.choose(deadline) != Some(lane) {
            return false;
        }
        self.ends[lane] = deadline;
        link.deadline = deadline;
        if link.previous == NIL {
            self.begins[lane] = deadline;
        }
        true
    }

    /// Takes a slot with this link out of its lane.
    #[inline]
    pub(super) fn remove<T: Linked>(&mut self, lane: usize, link: Link, slots: &mut Slab<T>) {
        let Link { previous, next, .. } = link;
        // What lies after it has to know, and what lies before it.
        let mut begin = u64::MAX;
        if next == NIL {
            self.last[lane] = previous;
        } else {
            let next = slots[next as usize].link();
            next.previous = previous;
            begin = next.deadline;
        }
        let mut end = 0;
        if previous == NIL {
            self.first[lane] = next;
            self.begins[lane] = begin;
        } else {
            let previous = slots[previous as usize].link();
            previous.next = next;
            end = previous.deadline;
        }
        if next == NIL {
            self.ends[lane] = end;
        }
    }

    /// The earliest deadline and its lane; the highest number if all are empty.
    #[inline]
    pub(super) fn earliest(&self) -> (u64, usize) {
        let mut least = (self.begins[0], 0);
        for at in 1..LANES {
            if self.begins[at] < least.0 {
                least = (self.begins[at], at);
            }
        }
        least
    }

    /// The first slot of a lane that has one.
    #[inline]
    pub(super) fn first(&self, lane: usize) -> u32 {
        self.first[lane]
    }

    /// The first two deadlines of each lane.
    pub(super) fn heads<T: Linked>(&self, slots: &Slab<T>) -> impl Iterator<Item = u64> {
        let firsts = self.first.iter().filter_map(|at| slots.get(*at as usize));
        firsts.flat_map(|first| {
            let second = slots.get(first.next() as usize).map(T::deadline);
            [Some(first.deadline()), second].into_iter().flatten()
        })
    }

    /// The slots in lanes, lane by lane.
    #[cfg(any(test, feature = "dump"))]
    pub(super) fn iter<T: Linked>(&self, slots: &Slab<T>) -> impl Iterator<Item = u32> {
        self.first.iter().flat_map(|first| {
            let next = |at: &u32| slots.get(*at as usize).map(T::next);
            std::iter::successors(Some(*first), next).filter(|at| *at != NIL)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Linked for Link {
        fn link(&mut self) -> &mut Link {
            self
        }

        fn deadline(&self) -> u64 {
            self.deadline
        }

        fn next(&self) -> u32 {
            self.next
        }
    }

    #[derive(Default)]
    struct All {
        lanes: Lanes,
        slots: Slab<Link>,
    }

    impl All {
        /// Lane and slot.
        fn add(&mut self, deadline: u64) -> Option<(usize, u32)> {
            let lane = self.lanes.choose(deadline)?;
            let index = self.slots.insert(Link {
                deadline,
                previous: self.lanes.last(lane),
                next: NIL,
            });
            let index = u32::try_from(index).expect("few");
            self.lanes.add(lane, index, deadline, &mut self.slots);
            Some((lane, index))
        }

        fn remove(&mut self, (lane, index): (usize, u32)) {
            let link = self.slots.remove(index as usize);
            self.lanes.remove(lane, link, &mut self.slots);
        }

        fn deadlines(&self) -> Vec<u64> {
            let all = self.lanes.iter(&self.slots);
            all.map(|at| self.slots[at as usize].deadline).collect()
        }
    }

    #[test]
    fn each_length_has_a_lane_and_what_fits_nowhere_is_refused() {
        let mut all = All::default();
        let mut lanes = [None; 3];
        for now in (0..100).step_by(10) {
            for (length, limit) in [5, 30, 3_600].into_iter().enumerate() {
                let (lane, _) = all.add(now + limit).expect("a lane");
                // The first ones cannot be told apart yet.
                if now >= 30 {
                    assert_eq!(*lanes[length].get_or_insert(lane), lane);
                }
            }
        }
        assert!(lanes[0] != lanes[1] && lanes[1] != lanes[2] && lanes[0] != lanes[2]);
        assert_eq!((all.lanes.earliest().0, all.deadlines().len()), (5, 30));
        assert_eq!(all.add(1), all.add(2).map(|(lane, at)| (lane, at - 1)));
        let early = all.lanes.heads(&all.slots).filter(|at| *at <= 2).count();
        assert_eq!((early, all.lanes.earliest().0), (2, 1));
        assert_eq!(all.add(0), None, "no lane is left for it");
    }

    #[test]
    fn only_the_last_of_its_lane_is_stretched_and_only_if_it_would_come_there_again() {
        let mut all = All::default();
        let [(lane, a), (_, b)] = [10, 20].map(|deadline| all.add(deadline).expect("it fits"));
        let (other, c) = all.add(15).expect("a lane of its own");
        assert_ne!(lane, other);
        let mut stretch = |(lane, at): (usize, u32), deadline| {
            let mut link = all.slots[at as usize];
            let stretched = all.lanes.stretch(lane, &mut link, deadline);
            all.slots[at as usize] = link;
            (
                stretched,
                link.deadline,
                all.lanes.begins[lane],
                all.lanes.ends[lane],
            )
        };
        assert_eq!(stretch((lane, a), 30), (false, 10, 10, 20), "not the last");
        assert_eq!(
            stretch((lane, b), 19),
            (false, 20, 10, 20),
            "earlier than now"
        );
        assert_eq!(
            stretch((other, c), 20),
            (false, 15, 15, 15),
            "it fits the first lane"
        );
        assert_eq!(stretch((lane, b), 20), (true, 20, 10, 20));
        assert_eq!(stretch((lane, b), 25), (true, 25, 10, 25));
        // The only one of its lane is its begin, too.
        assert_eq!(stretch((other, c), 24), (true, 24, 24, 24));
        assert_eq!(all.deadlines(), [10, 25, 24]);
    }

    #[test]
    fn of_lanes_that_begin_alike_the_first_is_the_earliest() {
        let mut all = All::default();
        assert_eq!(all.lanes.earliest(), (u64::MAX, 0));
        let [first, _, second] = [5, 9, 5].map(|deadline| all.add(deadline).expect("it fits").0);
        assert_ne!(first, second);
        assert_eq!(all.lanes.earliest(), (5, first));
    }

    #[test]
    fn the_first_the_last_and_the_only_one_can_be_taken_out() {
        let mut all = All::default();
        let [a, b, c, d] = [1, 2, 2, 5].map(|deadline| all.add(deadline).expect("it fits"));
        assert!([b, c, d].iter().all(|(lane, _)| *lane == a.0), "one lane");
        all.remove(b);
        assert_eq!(all.deadlines(), [1, 2, 5]);
        all.remove(a);
        assert_eq!(
            (all.lanes.earliest(), all.lanes.first(a.0)),
            ((2, a.0), c.1)
        );
        all.remove(d);
        let e = all.add(3).expect("after 2");
        assert_eq!((e.0, all.deadlines()), (a.0, vec![2, 3]));
        all.remove(c);
        all.remove(e);
        assert_eq!(
            (all.lanes.earliest().0, all.deadlines().len()),
            (u64::MAX, 0)
        );
        assert!(all.add(0).is_some(), "an empty one takes anything");
    }
}
