//! Tests of the part that other threads use, without threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

#[derive(Default)]
struct Rings(AtomicUsize);

impl Bell for Rings {
    fn ring(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn remote() -> Remote<Rings> {
    Remote::new(1, Rings::default())
}

fn rings(remote: &Remote<Rings>) -> usize {
    remote.bell().0.load(Relaxed)
}

fn table(limit: u16) -> Table<Rings> {
    Table::over(Mutex::new(Entries::new(limit)))
}

fn open(table: &Table<Rings>) -> (u16, Arc<Remote<Rings>>) {
    table.open(|_| Rings::default()).expect("a free index")
}

fn drained(remote: &Remote<Rings>) -> (Vec<usize>, Vec<Post>) {
    let (mut wakes, mut posts) = (Vec::new(), Vec::new());
    remote.drain(&mut wakes, &mut posts);
    (wakes, posts)
}

fn try_sleep(remote: &Remote<Rings>) -> bool {
    remote.try_sleep(&mut Vec::new(), &mut Vec::new())
}

#[test]
fn what_is_queued_keeps_the_loop_awake_and_is_handed_over_in_order() {
    let remote = remote();
    remote.wake(2);
    remote.wake(1);
    remote.post(Post::Timer(3));
    assert!(remote.has_queued());
    let (mut wakes, mut posts) = (Vec::new(), Vec::new());
    assert!(!remote.try_sleep(&mut wakes, &mut posts));
    assert_eq!((wakes, posts), (vec![2, 1], vec![Post::Timer(3)]));
    assert!(!remote.has_queued());
    assert_eq!(rings(&remote), 0);
}

#[test]
fn w2_a_sleep_is_rung_once_and_an_awake_loop_never() {
    let remote = remote();
    assert!(try_sleep(&remote));
    remote.wake(1);
    remote.wake(2);
    remote.post(Post::Timer(3));
    assert_eq!(rings(&remote), 1);
    assert_eq!(drained(&remote), (vec![1, 2], vec![Post::Timer(3)]));
    // This time it woke by itself.
    assert!(try_sleep(&remote));
    assert_eq!(drained(&remote), (vec![], vec![]));
    remote.wake(4);
    assert_eq!(rings(&remote), 1);
}

#[test]
fn a_busy_loop_woken_for_ever_keeps_a_short_queue_that_misses_nobody() {
    let remote = remote();
    for round in 0..100_000 {
        remote.wake(round % 100);
        assert!(lock(&remote.queue).wakes.len() < 200);
    }
    assert!(lock(&remote.queue).wakes.capacity() <= 256);
    let (mut wakes, _) = drained(&remote);
    wakes.sort_unstable();
    wakes.dedup();
    assert_eq!(wakes, (0..100).collect::<Vec<_>>());
}

#[test]
fn compaction_grows_with_the_ids_that_differ_and_shrinks_again() {
    let mut queue = Queue::new();
    (0..1_000).for_each(|id| queue.add_wake(id));
    assert_eq!((queue.wakes.len(), queue.compact_at), (1_000, 1_024));
    (0..24).for_each(|id| queue.add_wake(id));
    assert_eq!((queue.wakes.len(), queue.compact_at), (1_000, 2_000));
    queue.wakes.clear();
    (0..2_000).for_each(|_| queue.add_wake(7));
    assert_eq!(
        (queue.wakes.as_slice(), queue.compact_at),
        (&[7][..], COMPACT_MIN)
    );
}

#[test]
fn the_vectors_go_round_and_steady_state_allocates_nothing() {
    let remote = remote();
    let (mut wakes, mut posts) = (Vec::with_capacity(8), Vec::with_capacity(8));
    let first = wakes.as_ptr();
    remote.wake(1);
    remote.drain(&mut wakes, &mut posts);
    wakes.clear();
    remote.wake(2);
    remote.drain(&mut wakes, &mut posts);
    assert_eq!((wakes.as_slice(), wakes.as_ptr()), (&[2][..], first));
}

#[test]
fn w3_close_drops_the_queue_and_makes_later_calls_no_ops() {
    let remote = remote();
    assert_eq!(remote.while_open(rings_of), Some(0));
    assert!(try_sleep(&remote));
    remote.close();
    remote.wake(1);
    remote.post(Post::Source(2));
    assert!(!remote.has_queued());
    assert_eq!(rings(&remote), 0);
    assert_eq!(remote.while_open(rings_of), None);
}

fn rings_of(bell: &Rings) -> usize {
    bell.0.load(Relaxed)
}

#[test]
fn an_index_is_used_again_with_a_serial_that_is_not() {
    let table = table(u16::MAX);
    let (first_index, first) = open(&table);
    let (second_index, second) = open(&table);
    assert_eq!((first_index, second_index), (0, 1));
    assert_ne!(first.serial(), 0);
    table.close(first_index);
    let (index, third) = open(&table);
    assert_eq!(index, first_index);
    assert_ne!(third.serial(), first.serial());
    assert!(table.by_serial(first.serial()).is_none());
    assert!(table.by_serial(0).is_none());
    assert!(Arc::ptr_eq(
        &table.by_serial(third.serial()).expect("open"),
        &third
    ));
    assert!(Arc::ptr_eq(
        &table.by_index(second_index).expect("open"),
        &second
    ));
    assert!(table.by_index(2).is_none());
}

#[test]
fn e1_a_wake_through_what_is_left_of_a_runtime_does_nothing() {
    let table = table(u16::MAX);
    let (index, owned) = open(&table);
    let held = table.by_index(index).expect("open");
    table.close(index);
    assert!(table.by_index(index).is_none());
    drop(owned);
    held.wake(1);
    assert!(!held.has_queued());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_full_table_is_an_error_until_one_is_closed() {
    let table = table(2);
    let ((first, _), _) = (open(&table), open(&table));
    let error = table
        .open(|_| unreachable!("no index"))
        .err()
        .expect("full");
    assert!(error.to_string().contains("than 2 runtimes"), "{error}");
    table.close(first);
    assert_eq!(open(&table).0, first);
}

#[test]
fn the_whole_range_of_indices_can_be_alive() {
    let table = table(u16::MAX);
    let indices = (0..u16::MAX).map(|_| open(&table).0);
    assert!(indices.eq(0..u16::MAX));
    assert!(table.open(|_| Rings::default()).is_err());
}

#[test]
fn a_panic_under_a_lock_leaves_everything_usable() {
    let table = table(1);
    let failed = catch_unwind(AssertUnwindSafe(|| table.open(|_| panic!("no bell"))));
    assert!(failed.is_err());
    let (index, remote) = open(&table);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        remote.while_open(|_| panic!("no poller"))
    }));
    assert!(failed.is_err());
    remote.wake(index.into());
    assert_eq!(drained(&remote).0, [0]);
}
