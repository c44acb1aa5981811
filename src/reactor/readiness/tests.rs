//! Tests of the known readiness of a source.

use super::*;

const WAITER: Parked = Parked {
    number: 7,
    apart: false,
};

/// Returns the waiters for an event.
fn event(source: &mut Readiness, bits: u8) -> Vec<Parked> {
    [Direction::Write, Direction::Read]
        .into_iter()
        .filter_map(|direction| source.event(bits, direction))
        .collect()
}

#[test]
fn an_event_before_the_waiter_is_kept() {
    let mut source = Readiness::default();
    assert!(event(&mut source, ready::READ).is_empty());
    assert!(source.is_ready(Direction::Read) && !source.is_ready(Direction::Write));
}

#[test]
fn a_waiter_is_woken_once_and_by_its_own_direction() {
    let mut source = Readiness::default();
    assert!(source.park(Direction::Read, WAITER).is_none());
    assert!(event(&mut source, ready::WRITE).is_empty());
    assert_eq!(event(&mut source, ready::READ), [WAITER]);
    assert!(event(&mut source, ready::READ).is_empty());
    for direction in [Direction::Read, Direction::Write] {
        assert!(source.park(direction, WAITER).is_none());
    }
    let both = event(&mut source, ready::READ | ready::WRITE);
    assert_eq!(both, [WAITER; 2]);
}

#[test]
fn a_short_receive_drains_only_when_nothing_odd_was_seen() {
    for (odd, left) in [(0, false), (ready::ENDED, true), (ready::URGENT, true)] {
        let mut source = Readiness::default();
        assert!(event(&mut source, ready::READ | odd).is_empty());
        source.settle(Direction::Read, After::Short);
        assert_eq!(source.is_ready(Direction::Read), left);
    }
}

#[test]
fn a_listener_begins_disarmed_and_what_it_took_is_gone() {
    assert!(Readiness::default().listener.is_none());
    let mut source = Readiness::of_listener();
    assert!(
        source
            .listener
            .as_ref()
            .is_some_and(|listener| !listener.armed)
    );
    assert!(!source.is_ready(Direction::Read));
    assert!(event(&mut source, ready::READ | ready::ENDED).is_empty());
    source.settle(Direction::Read, After::Ready);
    assert!(source.is_ready(Direction::Read));
    source.settle(Direction::Read, After::Taken);
    assert!(!source.is_ready(Direction::Read));
    assert!(source.park(Direction::Write, WAITER).is_none());
    let waited = [Direction::Read, Direction::Write].map(|way| source.is_waited_for(way));
    assert_eq!(waited, [false, true]);
}

/// Against a twin with a flag and a name per direction, under random operations.
#[test]
fn behaves_as_two_flags_and_two_names() {
    let mut source = Readiness::default();
    let (mut flags, mut waits, mut odd) = ([false; 2], [None; 2], false);
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..100_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let (n, direction) = match seed >> 32 & 1 {
            0 => (0, Direction::Read),
            _ => (1, Direction::Write),
        };
        match seed >> 40 & 7 {
            0..=2 => {
                flags[n] = true;
                let woken = event(&mut source, direction.bit());
                assert_eq!(woken.into_iter().next(), waits[n].take());
            }
            3 => {
                source.clear(direction);
                flags[n] = false;
            }
            4 => {
                source.settle(Direction::Read, After::Short);
                flags[0] &= odd;
            }
            5 => {
                let parked = Parked {
                    number: (seed >> 44) as usize | 1,
                    apart: seed & 1 != 0,
                };
                assert_eq!(source.park(direction, parked), waits[n].replace(parked));
            }
            6 => assert_eq!(source.unpark(direction), waits[n].take()),
            _ if seed >> 50 & 1023 == 0 => {
                assert!(event(&mut source, ready::URGENT).is_empty());
                odd = true;
            }
            _ => {}
        }
        assert_eq!(source.is_ready(direction), flags[n]);
        assert_eq!(source.waiter(direction), waits[n]);
    }
}
