//! Tests of the slots that access their internals.

use super::super::sets::Parent;
use super::*;

#[test]
fn a_task_is_in_its_own_scope_or_in_that_of_its_set() {
    let mut slots = Slots::new(3, 0);
    let set = slots.add_set(Parent::Loop);
    let id = slots.add_slot(set, 0, None);
    let scopes = |slots: &mut Slots| slots.base(id).map(|base| (base.own, base.set));
    assert_eq!(scopes(&mut slots), Some((0, 0)));
    slots.set_scope(set, 7);
    slots.set_task_scope(id, 9);
    assert_eq!(scopes(&mut slots), Some((9, 7)));
    let mut others = Slots::new(4, 0);
    let set = others.add_set(Parent::Loop);
    let stranger = others.add_slot(set, 0, None);
    assert!(slots.base(stranger).is_none(), "of another runtime");
    slots.remove_slot(id);
    assert_eq!(scopes(&mut slots), None);
    assert_eq!(slots.take_retired(), [9]);
    assert_eq!(slots.take_retired(), []);
}
