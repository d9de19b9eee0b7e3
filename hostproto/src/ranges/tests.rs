use super::*;
use crate::codec::{
    Change, decode_update, encode_full, encode_ranges, held_ranges_from_wire, held_ranges_to_wire,
};
use proptest::collection::btree_set;
use proptest::prelude::*;
use spanwire_topology::model::{Mac, Uid, Vni};
use spanwire_topology::view::ItemKey;
use std::net::Ipv4Addr;

const SHARD: ItemKey = ItemKey::Shard { group: Uid(1), domain: Vni(1) };
const LOCATORS: ItemKey = ItemKey::Locators(Vni(1));
const BLOCKS: ItemKey = ItemKey::Blocks(Uid(1));

/// Numbers spread over a /16, as many as there are of an odd multiplier.
fn spread(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).map(|n| n.wrapping_mul(40_503) & 0xffff).collect();
    numbers.sort_unstable();
    numbers
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a14_0000 | number))
}

fn shard(numbers: &[u32]) -> Item {
    Item::Shard(numbers.iter().copied().map(address).collect())
}

/// The host of every third is another.
fn locators(numbers: &[u32]) -> Item {
    let locator = |number: u32| {
        let vtep = IpAddr::from([192, 168, 0, u8::from(number.is_multiple_of(3))]);
        Locator { address: address(number), mac: Mac::derived_from(address(number)), vtep }
    };
    Item::Locators(numbers.iter().copied().map(locator).collect())
}

fn blocks(numbers: &[u32]) -> Item {
    let block = |number: &u32| format!("{}/30", Ipv4Addr::from(number << 4)).parse().unwrap();
    Item::Blocks(numbers.iter().map(block).collect())
}

fn of_kind(key: ItemKey, numbers: &[u32]) -> Item {
    match key {
        SHARD => shard(numbers),
        LOCATORS => locators(numbers),
        _ => blocks(numbers),
    }
}

/// From what one end holds to what the other wants, over the wire. Gives back the bytes up and down.
fn travel(key: ItemKey, held: &Item, wanted: &Item) -> (Result<Item, String>, usize, usize) {
    let told = held_ranges_to_wire(key, &cut(held).unwrap());
    let ranges = held_ranges_from_wire(key, &told.bounds, &told.digests).unwrap();
    let delta = difference(&ranges, wanted).unwrap();
    let encoded = encode_ranges(key, 3, 7, &delta);
    let update = decode_update(&encoded).unwrap();
    let Change::Ranges { base_version: 3, delta: decoded } = update.change else { panic!() };
    assert_eq!((update.key, update.version, &decoded), (key, 7, &delta));
    (apply(held, &decoded), told.bounds.len() + told.digests.len(), encoded.len())
}

#[test]
fn ten_members_of_ten_thousand_cost_a_few_percent() {
    let numbers = spread(10_000);
    for key in [SHARD, LOCATORS, BLOCKS] {
        let held = of_kind(key, &numbers);
        let mut changed = numbers.clone();
        (0..10).for_each(|n| changed[n * 997] ^= 1);
        changed.sort_unstable();
        changed.dedup();
        let wanted = of_kind(key, &changed);
        assert_ne!(held, wanted);
        let (found, up, down) = travel(key, &held, &wanted);
        assert_eq!(found.as_ref(), Ok(&wanted));
        let whole = encode_full(key, 7, &wanted).len();
        assert!(down * 10 < whole, "{key}: {down} bytes of {whole}");
        assert!(up * 10 < whole, "{key}: {up} bytes up, of {whole}");
    }
}

#[test]
fn what_is_added_or_gone_moves_no_other_range() {
    let numbers = spread(1000);
    let count = cut(&shard(&numbers)).unwrap().digests.len();
    assert_eq!(count, 1000_usize.div_ceil(RANGE_MEMBERS));
    let replaced = |wanted: &[u32]| -> Vec<u32> {
        let delta = difference(&cut(&shard(&numbers)).unwrap(), &shard(wanted)).unwrap();
        delta.replaced
    };
    assert_eq!(replaced(&numbers), [0_u32; 0]);
    assert_eq!(replaced(&numbers[1..]), [0]);
    assert_eq!(replaced(&numbers[..999]), [count as u32 - 1]);
    // The first member of a range goes: it is only missed there.
    let mut without = numbers.clone();
    without.remove(RANGE_MEMBERS);
    assert_eq!(replaced(&without), [1]);
    // A member in front of all, and one behind.
    assert_eq!(replaced(&[&[0][..], &numbers[1..], &[0xffff]].concat()).len(), 1);
    let all: Vec<u32> = (0..count as u32).collect();
    assert_eq!(replaced(&[]), all);
    let (nothing, ..) = travel(SHARD, &shard(&numbers), &shard(&[]));
    assert_eq!(nothing, Ok(shard(&[])));
}

#[test]
fn short_lists_and_lists_that_pack_well_have_few_ranges() {
    assert_eq!(cut(&shard(&spread(RANGE_MEMBERS as u32))), None);
    assert!(cut(&shard(&spread(RANGE_MEMBERS as u32 + 1))).is_some());
    let whole_network: Vec<u32> = (0..0xffff).collect();
    assert_eq!(cut(&shard(&whole_network)), None);
    // Pairs, of two bytes each, with as much between them.
    let pairs: Vec<u32> = (0..0x4000).flat_map(|n| [n * 4, n * 4 + 1]).collect();
    let ranges = cut(&shard(&pairs)).unwrap();
    assert_eq!(ranges.digests.len(), 0x8000 / RANGE_BYTES);
    // Stretches of 64 addresses, of two bytes each.
    let stretches: Vec<u32> = (0..0x200).flat_map(|n| n * 128..n * 128 + 64).collect();
    let ranges = cut(&shard(&stretches)).unwrap();
    assert!((16..=17).contains(&ranges.digests.len()), "{}", ranges.digests.len());
    assert_eq!(members_per_range(100 * RANGES_MAX, 400 * RANGES_MAX), 100);
    assert_eq!(members_per_range(0, 0), RANGE_MEMBERS);
}

/// Computed by a second implementation, in another language. Part of the protocol, by
/// [`RANGES_VERSION`].
#[test]
fn digests_never_change() {
    assert_eq!(digest_of::<IpAddr>(&[]), 0xa706_dd2f);
    let all = ["0.0.0.0", "0.0.0.2", "0.0.0.3", "0.0.0.4"].map(|text| text.parse().unwrap());
    assert_eq!(IpAddr::pack(&all), [16, 0, 1, 1]);
    assert_eq!(digest_of::<IpAddr>(&all), 0xee28_a8f6);
}

#[test]
fn what_does_not_fit_is_refused() {
    let numbers: Vec<u32> = spread(200);
    let held = shard(&numbers);
    let mut wanted = numbers.clone();
    wanted.remove(70);
    let good = difference(&cut(&held).unwrap(), &shard(&wanted)).unwrap();
    assert_eq!((good.replaced.as_slice(), apply(&held, &good)), (&[1][..], Ok(shard(&wanted))));
    let check = |delta: RangesDelta, expected: &str| {
        let error = apply(&held, &delta).unwrap_err();
        assert!(error.contains(expected), "{error}, not {expected}");
    };
    let of = |replaced: &[u32]| RangesDelta { replaced: replaced.to_vec(), ..good.clone() };
    check(of(&[1, 4]), "range 4 is replaced, and the 4 held are numbered from 0");
    check(of(&[u32::MAX]), "range 4294967295 is replaced");
    // Members of another range than those that are replaced: they lie behind it, or before it.
    check(of(&[0]), "lies in no range that is replaced");
    check(of(&[]), "lies in no range that is replaced");
    check(of(&[2]), "ranges lead to 10.20.");
    check(of(&[0, 1]), "another list than the one that was meant");
    let other = RangesDelta { digest: good.digest ^ 1, ..good.clone() };
    check(other, "another list than the one that was meant");
    let other = RangesDelta { members: locators(&numbers[64..128]), ..good.clone() };
    check(other, "of another type than what is held");
    // What was cut from another list.
    let error = apply(&shard(&numbers[3..]), &good).unwrap_err();
    assert!(error.contains("ranges lead to") || error.contains("lies in no range"), "{error}");
    // Blocks that overlap are in order, and yet no list.
    let held = blocks(&spread(200));
    let Item::Blocks(list) = &held else { panic!() };
    let wide: IpNet = format!("{}/8", list[0].addr()).parse().unwrap();
    let delta = RangesDelta {
        replaced: vec![0],
        members: Item::Blocks(vec![wide.trunc()]),
        digest: digest::content(&encode_blocks(&[wide.trunc()])),
    };
    let error = apply(&held, &delta).unwrap_err();
    assert!(error.contains("behind"), "{error}");
}

#[test]
fn ranges_of_something_else_are_of_no_use() {
    let numbers = spread(200);
    let of_shard = cut(&shard(&numbers)).unwrap();
    assert_eq!(difference(&of_shard, &blocks(&numbers)), None);
    assert_eq!(difference(&cut(&blocks(&numbers)).unwrap(), &shard(&numbers)), None);
    let short = HeldRanges { digests: of_shard.digests[1..].to_vec(), ..of_shard.clone() };
    assert_eq!(difference(&short, &shard(&numbers)), None);
    // Bounds that lie: what is sent says of itself that it does not fit.
    let Bounds::Addresses(bounds) = &of_shard.bounds else { panic!() };
    let moved = bounds.iter().rev().copied().collect();
    for bounds in [moved, vec![address(0); bounds.len()], vec![address(0xffff); bounds.len()]] {
        let lies = HeldRanges { bounds: Bounds::Addresses(bounds), ..of_shard.clone() };
        if let Some(delta) = difference(&lies, &shard(&numbers)) {
            let found = apply(&shard(&numbers), &delta);
            assert!(found.is_err() || found == Ok(shard(&numbers)), "{found:?}");
        }
    }
}

#[test]
fn bad_ranges_on_the_wire_are_told_why() {
    let told = held_ranges_to_wire(SHARD, &cut(&shard(&spread(200))).unwrap());
    let check = |key: ItemKey, bounds: &[u8], digests: &[u8], expected: &str| {
        let error = held_ranges_from_wire(key, bounds, digests).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    };
    let count = "expected 4 bytes for each bound, and 4 more";
    check(SHARD, &told.bounds, &told.digests[..12], count);
    check(SHARD, &told.bounds, &told.digests[..15], count);
    check(SHARD, &[], &[], count);
    check(SHARD, &told.bounds[1..], &told.digests, "bounds of ranges: ");
    check(ItemKey::Port(Uid(1)), &told.bounds, &told.digests, "expected a shard, locators");
    let many = vec![0; 4 * (RANGES_MAX + 1)];
    check(SHARD, &told.bounds, &many, "ranges of a list: 32769 is more than the limit of 32768");
}

/// Lists that are like each other, as versions of one are.
fn any_versions() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
    (btree_set(0u32..4000, 0..600), btree_set(0u32..4000, 0..12), any::<bool>()).prop_map(
        |(held, toggled, apart)| {
            // Apart, ranges of IPv4 addresses are of 64; together, of more.
            let scale = if apart { 16 } else { 1 };
            let wanted: Vec<u32> = held.symmetric_difference(&toggled).map(|n| n * scale).collect();
            (held.into_iter().map(|n| n * scale).collect(), wanted)
        },
    )
}

proptest! {
    #[test]
    fn ranges_lead_from_any_version_to_any_other(
        (held, wanted) in any_versions(),
        key in prop::sample::select(vec![SHARD, LOCATORS, BLOCKS]),
    ) {
        let (held, wanted) = (of_kind(key, &held), of_kind(key, &wanted));
        if cut(&held).is_some() {
            prop_assert_eq!(travel(key, &held, &wanted).0, Ok(wanted));
        }
    }

    /// Whatever an update by ranges says, what comes out is the list that was meant, or an error.
    #[test]
    fn nothing_but_the_list_that_was_meant_comes_out(
        (held, wanted) in any_versions(),
        key in prop::sample::select(vec![SHARD, LOCATORS, BLOCKS]),
        replaced in btree_set(0u32..12, 0..6),
        members in btree_set(0u32..4000, 0..100),
    ) {
        let (held, wanted) = (of_kind(key, &held), of_kind(key, &wanted));
        let right = cut(&held).and_then(|ranges| difference(&ranges, &wanted));
        let members: Vec<u32> = members.into_iter().collect();
        if let Some(right) = right {
            let replaced: Vec<u32> = replaced.into_iter().collect();
            for delta in [
                RangesDelta { replaced, ..right.clone() },
                RangesDelta { members: of_kind(key, &members), ..right },
            ] {
                if let Ok(found) = apply(&held, &delta) {
                    prop_assert_eq!(found, wanted.clone());
                }
            }
        }
    }
}
