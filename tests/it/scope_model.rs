//! Random trees of scopes and random programs, against the twin in `fuzzed/scopes.rs`.

use proptest::prelude::*;

use crate::fuzzed::scopes::{Action, Kind, Tree, check};
use crate::support::{asked_rounds, deadline, rounds};

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        3 => Just(Kind::Polite),
        2 => Just(Kind::Cleans),
        2 => Just(Kind::Foreign),
    ];
    let leaf = leaf.prop_map(|kind| Tree(kind, Vec::new()));
    let tree = leaf.prop_recursive(6, 24, 3, |below| {
        let kind = prop_oneof![
            5 => Just(Kind::Scope),
            3 => Just(Kind::Limit),
            2 => Just(Kind::Shield),
            2 => Just(Kind::Group),
            2 => Just(Kind::Moved),
            1 => Just(Kind::Unordered),
        ];
        let below = prop::collection::vec(below, 1..4);
        (kind, below).prop_map(|(kind, below)| Tree(kind, below))
    });
    let trees = prop::collection::vec(tree, 1..4);
    trees.prop_map(|trees| Tree(Kind::Scope, trees))
}

fn programs() -> impl Strategy<Value = Vec<Vec<Action>>> {
    let action = prop_oneof![
        3 => (0..24_usize).prop_map(Action::Cancel),
        2 => (0..24_usize).prop_map(Action::Release),
        2 => (0..24_usize).prop_map(Action::Clean),
    ];
    prop::collection::vec(prop::collection::vec(action, 0..4), 1..7)
}

/// The long form runs a tenth of the rounds it is asked for.
fn cases() -> u32 {
    let cases = asked_rounds().map_or_else(|| rounds(4000), |all| all / 10);
    u32::try_from(cases).expect("not that many")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn scopes_do_what_a_look_at_the_whole_tree_says((tree, steps) in (trees(), programs())) {
        let _guard = deadline();
        check(&tree, &steps);
    }
}
