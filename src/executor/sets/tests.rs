//! Tests of the sets that access their internals.

use super::*;
use std::collections::VecDeque;

/// The same machine without links: a queue of names per set.
#[derive(Default)]
struct Naive {
    ready: Vec<VecDeque<u32>>,
    live: Vec<(TaskId, usize, u32)>,
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % 1_000_003).expect("small")
}

fn taken(slots: &mut Slots, set: SetKey) -> Option<(TaskId, u32)> {
    slots.next(set).map(|woken| (woken.id, woken.member))
}

#[test]
fn behaves_as_a_queue_per_set() {
    let mut slots = Slots::new(3, 0);
    let keys: Vec<_> = (0..4).map(|_| slots.add_set(Parent::Loop)).collect();
    let mut naive = Naive {
        ready: vec![VecDeque::new(); 4],
        live: Vec::new(),
    };
    let (mut seed, mut stale, mut name) = (0x9E37_79B9_7F4A_7C15, Vec::new(), 0);
    for _ in 0..100_000 {
        let set = random(&mut seed) % keys.len();
        match random(&mut seed) % 8 {
            0 | 1 => {
                name += 1;
                naive
                    .live
                    .push((slots.add_slot(keys[set], name, None), set, name));
            }
            2 if !naive.live.is_empty() => {
                let at = random(&mut seed) % naive.live.len();
                let (id, set, name) = naive.live.swap_remove(at);
                slots.remove_slot(id);
                naive.ready[set].retain(|ready| *ready != name);
                stale.push(id);
            }
            3..=5 if !naive.live.is_empty() => {
                let (id, set, name) = naive.live[random(&mut seed) % naive.live.len()];
                assert!(slots.wake(id).is_none());
                if !naive.ready[set].contains(&name) {
                    naive.ready[set].push_back(name);
                }
            }
            6 if !stale.is_empty() => {
                assert!(slots.wake(stale[random(&mut seed) % stale.len()]).is_none());
            }
            _ => {
                let next = slots.next(keys[set]).map(|woken| woken.member);
                assert_eq!(next, naive.ready[set].pop_front());
            }
        }
        assert_eq!(slots.has_ready(keys[set]), !naive.ready[set].is_empty());
    }
    assert_eq!(slots.len().0, naive.live.len());
}

#[test]
fn a_set_that_is_told_knows_its_number_of_tasks() {
    let mut slots = Slots::new(3, 0);
    let set = slots.add_set(Parent::Loop);
    let ids = [0, 1, 2].map(|member| slots.add_slot(set, member, None));
    assert_eq!(slots.all(), ids);
    slots.remove_slot(ids[1]);
    assert_eq!(slots.all(), [ids[0], ids[2]]);
    assert_eq!(slots.wake_set(set).1, 2);
}

#[test]
fn a_wake_walks_up_to_the_first_set_that_is_looked_at() {
    let mut slots = Slots::new(0, 0);
    let root = slots.add_set(Parent::Loop);
    let main = slots.add_slot(root, 0, None);
    let group = slots.add_set(Parent::Task(main));
    let child = slots.add_slot(group, 5, None);
    assert!(slots.wake(child).is_none());
    assert_eq!(taken(&mut slots, root), Some((main, 0)));
    assert!(slots.begin_poll(group, None, TaskId::NONE).0.is_none());
    assert_eq!(taken(&mut slots, group), Some((child, 5)));
    // The group is still polling its list: a wake lists the child and goes no further.
    assert!(slots.wake(child).is_none());
    assert!(!slots.has_ready(root));
    assert_eq!(taken(&mut slots, group), Some((child, 5)));
    assert_eq!(taken(&mut slots, group), None);
    assert!(slots.wake(child).is_none());
    assert!(slots.has_ready(root));
}

#[test]
fn a_foreign_parent_is_handed_out_once() {
    let mut slots = Slots::new(0, 0);
    let waker = Waker::noop().clone();
    let set = slots.add_set(Parent::Foreign(waker.clone()));
    let child = slots.add_slot(set, 0, None);
    assert!(slots.is_adopted(set, &waker));
    assert!(!slots.is_adopted(set, &child.waker()));
    assert!(slots.wake(child).is_some());
    slots.remove_slot(child);
    let again = slots.add_slot(set, 0, None);
    assert_eq!(again.index(), child.index());
    assert!(slots.wake(child).is_none(), "a stale key");
    assert!(!slots.has_ready(set));
}

#[test]
fn a_set_is_told_once_that_all_its_tasks_are_woken_and_ends_once() {
    let mut slots = Slots::new(0, 0);
    let set = slots.add_set(Parent::Loop);
    let looked = |slots: &mut Slots, parent| {
        let (old, all) = slots.begin_poll(set, parent, TaskId::NONE);
        (old.is_some(), all)
    };
    assert_eq!(looked(&mut slots, None), (false, false));
    assert!(slots.wake_set(set).0.is_none());
    assert_eq!(looked(&mut slots, Some(Parent::Loop)), (true, true));
    assert_eq!(looked(&mut slots, Some(Parent::Loop)), (true, false));
    assert!(slots.remove_set(set).is_some() && slots.remove_set(set).is_none());
    assert_eq!(slots.len(), (0, 0));
    assert_eq!(looked(&mut slots, Some(Parent::Loop)), (false, false));
}
