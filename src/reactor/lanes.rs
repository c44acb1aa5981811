//! Lists of deadlines that came in order: adding, taking out and the earliest in a few steps.
//!
//! A program's time limits are of few lengths, and those of one length come in the order in which
//! they end. Each length finds a *lane* for itself: a new deadline goes to the end of the lane that
//! ends latest before it. One that fits nowhere is for the heap of `timers.rs`.
//!
//! ```text
//!   5 s limits    13:00:01 ─ 13:00:03 ─ 13:00:04 <── 13:00:06
//!   30 s limits   13:00:27 ─ 13:00:31 <── 13:00:32
//!   (empty)
//! ```
//!
//! A deadline is named by a number of the caller's, below 2^32 - 1, and at most once at a time.

/// How many lanes there are. Each costs a comparison per deadline.
pub(super) const LANES: usize = 4;

/// No deadline.
const NIL: u32 = u32::MAX;

/// A deadline in its lane.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    deadline: u64,
    previous: u32,
    next: u32,
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
    links: Vec<Link>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            begins: [u64::MAX; LANES],
            ends: [0; LANES],
            first: [NIL; LANES],
            last: [NIL; LANES],
            links: Vec::new(),
        }
    }
}

impl Lanes {
    /// Adds a deadline; gives its lane, or `None` if it is too early for all of them.
    #[inline]
    pub(super) fn add(&mut self, index: u32, deadline: u64) -> Option<u32> {
        let (mut lane, mut latest) = (LANES, 0);
        for at in 0..LANES {
            let end = self.ends[at];
            if end <= deadline && end >= latest {
                (lane, latest) = (at, end);
            }
        }
        if lane == LANES {
            return None;
        }
        let place = index as usize;
        if self.links.len() <= place {
            self.links.resize(place + 1, Link::default());
        }
        let previous = std::mem::replace(&mut self.last[lane], index);
        self.ends[lane] = deadline;
        self.links[place] = Link {
            deadline,
            previous,
            next: NIL,
        };
        if previous == NIL {
            self.first[lane] = index;
            self.begins[lane] = deadline;
        } else {
            self.links[previous as usize].next = index;
        }
        Some(lane as u32)
    }

    /// Takes a deadline out of its lane.
    #[inline]
    pub(super) fn remove(&mut self, index: u32, lane: u32) {
        let lane = lane as usize;
        let Link { previous, next, .. } = self.links[index as usize];
        if previous == NIL {
            self.first[lane] = next;
            self.begins[lane] = self.deadline(next).unwrap_or(u64::MAX);
        } else {
            self.links[previous as usize].next = next;
        }
        if next == NIL {
            self.last[lane] = previous;
            self.ends[lane] = self.deadline(previous).unwrap_or(0);
        } else {
            self.links[next as usize].previous = previous;
        }
    }

    /// The earliest deadline and its lane; the highest number if all are empty.
    #[inline]
    pub(super) fn earliest(&self) -> (u64, u32) {
        let mut least = 0;
        for at in 1..LANES {
            if self.begins[at] < self.begins[least] {
                least = at;
            }
        }
        (self.begins[least], least as u32)
    }

    /// The name of the first deadline in a lane that has one.
    #[inline]
    pub(super) fn first(&self, lane: u32) -> u32 {
        self.first[lane as usize]
    }

    /// The first two deadlines of each lane.
    pub(super) fn heads(&self) -> impl Iterator<Item = u64> {
        let firsts = self
            .first
            .iter()
            .filter_map(|at| self.links.get(*at as usize));
        firsts.flat_map(|link| {
            [Some(link.deadline), self.deadline(link.next)]
                .into_iter()
                .flatten()
        })
    }

    /// Each deadline and its name, lane by lane.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.first.iter().flat_map(move |first| {
            let link = move |at: u32| self.links.get(at as usize);
            let next = move |at: &u32| link(*at).map(|link| link.next);
            let all = std::iter::successors(Some(*first), next);
            all.filter_map(move |at| Some((at, link(at)?.deadline)))
        })
    }

    fn deadline(&self, index: u32) -> Option<u64> {
        self.links.get(index as usize).map(|link| link.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes_of(lanes: &Lanes) -> Vec<Vec<u64>> {
        let mut all = vec![Vec::new(); LANES];
        for (at, lane) in all.iter_mut().enumerate() {
            let mut next = lanes.first[at];
            while let Some(link) = lanes.links.get(next as usize) {
                lane.push(link.deadline);
                next = link.next;
            }
        }
        all
    }

    #[test]
    fn each_length_has_a_lane_and_what_fits_nowhere_is_refused() {
        let mut lanes = Lanes::default();
        for (index, now) in (0_u32..).zip((0..100).step_by(10)) {
            for (length, limit) in [5, 30, 3_600].into_iter().enumerate() {
                let name = index * 3 + u32::try_from(length).expect("small");
                assert!(lanes.add(name, now + limit).is_some());
            }
        }
        let sorted = |lane: &Vec<u64>| lane.is_sorted();
        assert!(lanes_of(&lanes).iter().all(sorted));
        assert_eq!(lanes.earliest().0, 5);
        assert_eq!(lanes.iter().count(), 30);
        assert_eq!(lanes.add(99, 1), lanes.add(100, 1));
        assert_eq!(lanes.heads().filter(|deadline| *deadline <= 1).count(), 2);
        assert_eq!(lanes.add(101, 0), None, "no lane is left for it");
    }

    #[test]
    fn the_first_the_last_and_the_only_one_can_be_taken_out() {
        let mut lanes = Lanes::default();
        let lane = lanes.add(7, 1).expect("empty");
        for (name, deadline) in [(3, 2), (9, 2), (1, 5)] {
            assert_eq!(lanes.add(name, deadline), Some(lane));
        }
        lanes.remove(3, lane);
        assert_eq!(lanes_of(&lanes)[lane as usize], [1, 2, 5]);
        lanes.remove(7, lane);
        assert_eq!((lanes.earliest(), lanes.first(lane)), ((2, lane), 9));
        lanes.remove(1, lane);
        assert_eq!(lanes.add(4, 3), Some(lane));
        lanes.remove(9, lane);
        lanes.remove(4, lane);
        assert_eq!((lanes.earliest().0, lanes.iter().count()), (u64::MAX, 0));
        assert_eq!(lanes.add(2, 0), Some(lane), "an empty one takes anything");
    }
}
