use super::*;
use crate::codec::{encode_delta, encode_full, encode_removed};
use spanwire_topology::model::{Mac, Uid, Vni};

const SHARD: ItemKey = ItemKey::Shard { group: Uid(1), domain: Vni(1) };
const OTHER: ItemKey = ItemKey::Shard { group: Uid(2), domain: Vni(1) };
const LOCATORS: ItemKey = ItemKey::Locators(Vni(1));

fn list(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|last| format!("10.0.0.{last}").parse().unwrap()).collect()
}

fn full(key: ItemKey, version: Revision, addresses: &str) -> Bytes {
    encode_full(key, version, &Item::Shard(list(addresses)))
}

fn delta(key: ItemKey, base: Revision, version: Revision, removed: &str, added: &str) -> Bytes {
    let delta = ItemDelta::Shard { removed: list(removed), added: list(added) };
    encode_delta(key, base, version, &delta)
}

fn locator(last: &str, vtep: u8) -> Locator {
    let address = list(last)[0];
    Locator { address, mac: Mac::derived_from(address), vtep: IpAddr::from([192, 168, 0, vtep]) }
}

/// Revision 5: a shard at version 4 and the locators at version 5.
fn mk_view() -> HostView {
    let mut view = HostView::default();
    let locators = Item::Locators([locator("1", 1), locator("2", 2)].into_iter().collect());
    let updates = [full(SHARD, 4, "1 2 3"), encode_full(LOCATORS, 5, &locators)];
    apply_updates(&mut view, 5, true, &updates).unwrap();
    view
}

#[track_caller]
fn check(replace: bool, updates: &[Bytes], expected: Result<&[ItemKey], &str>) -> HostView {
    let mut view = mk_view();
    let before = view.clone();
    match (apply_updates(&mut view, 9, replace, updates), expected) {
        (Ok(changed), Ok(expected)) => {
            assert_eq!(changed, expected.iter().copied().collect());
            assert_eq!(view.revision, 9);
        }
        (Err(error), Err(expected)) => {
            assert_eq!(error.to_string(), expected);
            assert_eq!(view, before, "the view was touched");
        }
        (result, expected) => panic!("{result:?}, not {expected:?}"),
    }
    view
}

#[test]
fn updates_that_fit_lead_to_the_new_view() {
    check(false, &[], Ok(&[]));
    let view = check(false, &[delta(SHARD, 4, 7, "2", "4")], Ok(&[SHARD]));
    assert_eq!(view.items[&SHARD].version, 7);
    assert_eq!(*view.items[&SHARD].item, Item::Shard(list("1 3 4")));
    let chain = [delta(SHARD, 4, 7, "2", "4"), delta(SHARD, 7, 9, "4", "2 5")];
    let view = check(false, &chain, Ok(&[SHARD]));
    assert_eq!(*view.items[&SHARD].item, Item::Shard(list("1 2 3 5")));
    let view = check(false, &[encode_removed(SHARD), full(OTHER, 3, "7")], Ok(&[SHARD, OTHER]));
    assert_eq!(view.items.keys().copied().collect::<Vec<_>>(), [OTHER, LOCATORS]);
    check(false, &[full(SHARD, 4, "1 2 3")], Ok(&[SHARD]));
}

#[test]
fn locators_that_move_are_replaced() {
    let delta = ItemDelta::Locators {
        removed: list("1"),
        added: vec![locator("0", 4), locator("2", 3), locator("9", 9)],
    };
    let view = check(false, &[encode_delta(LOCATORS, 5, 9, &delta)], Ok(&[LOCATORS]));
    let expected = [locator("0", 4), locator("2", 3), locator("9", 9)].into_iter().collect();
    assert_eq!(*view.items[&LOCATORS].item, Item::Locators(expected));
}

#[test]
fn a_replacement_says_what_really_changed() {
    let view = check(true, &[full(SHARD, 8, "1 2 3"), full(OTHER, 8, "7")], Ok(&[OTHER, LOCATORS]));
    assert_eq!(view.items.len(), 2);
    assert_eq!(view.items[&SHARD].version, 8);
    // Versions of another cluster may well be smaller.
    check(true, &[full(SHARD, 1, "1 2")], Ok(&[SHARD, LOCATORS]));
}

#[test]
fn updates_that_do_not_fit_change_nothing() {
    let shard = "shard of group 1 in domain 1";
    let first = full(ItemKey::Shard { group: Uid(3), domain: Vni(1) }, 9, "7");
    let cases: [(bool, Vec<Bytes>, String); 14] = [
        (
            false,
            vec![encode_removed(OTHER)],
            "shard of group 2 in domain 1: it is removed, and not held".into(),
        ),
        (true, vec![encode_removed(SHARD)], format!("{shard}: it is removed, and not held")),
        (false, vec![full(SHARD, 3, "1")], format!("{shard}: version 4 is held, and 3 sent")),
        (
            false,
            vec![full(SHARD, 10, "1")],
            format!("{shard}: its version 10 is newer than the batch, 9"),
        ),
        (
            false,
            vec![full(SHARD, 8, "1"), full(SHARD, 9, "1")],
            format!("{shard}: it is in the batch twice"),
        ),
        (
            false,
            vec![full(SHARD, 8, "1"), encode_removed(SHARD)],
            format!("{shard}: it is in the batch twice"),
        ),
        (
            false,
            vec![delta(SHARD, 3, 9, "", "9")],
            format!("{shard}: a difference from version 3, and version 4 is held"),
        ),
        (
            false,
            vec![delta(SHARD, 4, 8, "", "9"), delta(SHARD, 4, 9, "", "9")],
            format!("{shard}: a difference from version 4, and version 8 is held"),
        ),
        (
            false,
            vec![encode_removed(SHARD), delta(SHARD, 4, 9, "", "9")],
            format!("{shard}: a difference from version 4, and none is held"),
        ),
        (
            true,
            vec![delta(SHARD, 4, 9, "", "9")],
            format!("{shard}: a difference from version 4, and none is held"),
        ),
        (
            false,
            vec![delta(SHARD, 4, 9, "9", "")],
            format!("{shard}: 10.0.0.9 is removed, and not there"),
        ),
        (
            false,
            vec![delta(SHARD, 4, 9, "", "3")],
            format!("{shard}: 10.0.0.3 is added, and already there"),
        ),
        (
            false,
            vec![encode_delta(
                LOCATORS,
                5,
                9,
                &ItemDelta::Locators { removed: list("3"), added: vec![] },
            )],
            "locators of domain 1: 10.0.0.3 is removed, and not there".into(),
        ),
        (
            false,
            vec![Bytes::from_static(b"\x08")],
            "not the message expected, item update: ".into(),
        ),
    ];
    for (replace, updates, expected) in cases {
        // The good update before the bad one must not be applied either.
        let updates: Vec<Bytes> = std::iter::once(first.clone()).chain(updates).collect();
        let mut view = mk_view();
        let error = apply_updates(&mut view, 9, replace, &updates).unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{error}, not {expected}");
        assert_eq!(view, mk_view(), "the view was touched");
    }
}

fn mk_address(number: u16) -> IpAddr {
    // Of both families: the order is across them.
    let [high, low] = number.to_be_bytes();
    match high & 1 {
        0 => IpAddr::from([10, 0, high, low]),
        _ => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number]),
    }
}

proptest::proptest! {
    #[test]
    fn a_difference_is_applied_as_to_a_set(
        held in proptest::collection::btree_set(0_u16..600, 0..400),
        removed in proptest::collection::btree_set(0_u16..600, 0..40),
        added in proptest::collection::btree_set(0_u16..600, 0..40),
        fits in proptest::bool::ANY,
    ) {
        let addresses = |numbers: &BTreeSet<u16>| -> BTreeSet<IpAddr> {
            numbers.iter().copied().map(mk_address).collect()
        };
        let (held, mut removed, mut added) =
            (addresses(&held), addresses(&removed), addresses(&added));
        if fits {
            removed.retain(|address| held.contains(address));
            added.retain(|address| !held.contains(address) || removed.contains(address));
        }
        let kept: BTreeSet<IpAddr> = held.difference(&removed).copied().collect();
        let is_fit = removed.is_subset(&held) && added.is_disjoint(&kept);
        let expected: Vec<IpAddr> = kept.union(&added).copied().collect();
        let lists = [held, removed, added].map(|set| set.into_iter().collect::<Vec<_>>());
        let applied = apply_to_shard(&lists[0], &lists[1], &lists[2]);
        proptest::prop_assert_eq!(applied.ok(), is_fit.then_some(expected));
    }
}
