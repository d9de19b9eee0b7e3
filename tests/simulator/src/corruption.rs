//! What may be wrong with a view that a host holds, by a bad disk, bad memory or a bug: see guarantee
//! G13.

use rand::{Rng, RngExt as _};
use spanwire_topology::model::{Mac, Uid, Vni};
use spanwire_topology::view::{HostView, Item, ItemKey, Locator, VersionedItem};
use std::net::IpAddr;
use std::sync::Arc;

/// Something that a view can have wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// An item lacks one of its members.
    MemberMissing,
    /// An item has a member too many.
    MemberExtra,
    /// An item is not there.
    ItemMissing,
    /// An item is there that should not be.
    ItemExtra,
    /// An item says something else, under the version that it should have.
    Content,
}

impl Wrong {
    /// All of them.
    pub const ALL: [Wrong; 5] = [
        Wrong::MemberMissing,
        Wrong::MemberExtra,
        Wrong::ItemMissing,
        Wrong::ItemExtra,
        Wrong::Content,
    ];
}

/// Alters a view in one item. Returns in which and how; `None` if the view has nothing of the kind that
/// was chosen.
pub fn alter(view: &mut HostView, rng: &mut impl Rng) -> Option<(ItemKey, Wrong)> {
    let wrong = Wrong::ALL[rng.random_range(0..Wrong::ALL.len())];
    if wrong == Wrong::ItemExtra {
        let key = ItemKey::Shard { group: Uid(1 << 40), domain: Vni(1) };
        let item =
            VersionedItem { version: view.revision, item: Arc::new(Item::Shard(vec![nobody()])) };
        return view.items.insert(key, item).is_none().then_some((key, wrong));
    }
    let keys: Vec<ItemKey> = view.items.keys().copied().collect();
    if keys.is_empty() {
        return None;
    }
    let key = keys[rng.random_range(0..keys.len())];
    if wrong == Wrong::ItemMissing {
        view.items.remove(&key);
        return Some((key, wrong));
    }
    let held = view.items.get_mut(&key)?;
    alter_item(Arc::make_mut(&mut held.item), wrong, rng).then_some((key, wrong))
}

/// An address that no port has.
fn nobody() -> IpAddr {
    IpAddr::from([10, 0, 0, 200])
}

fn alter_item(item: &mut Item, wrong: Wrong, rng: &mut impl Rng) -> bool {
    match (item, wrong) {
        (Item::Shard(members), Wrong::MemberMissing) if !members.is_empty() => {
            members.remove(rng.random_range(0..members.len()));
        }
        (Item::Locators(members), Wrong::MemberMissing) if !members.is_empty() => {
            let gone = rng.random_range(0..members.len());
            let kept = members.iter().enumerate().filter(|(number, _)| *number != gone);
            *members = kept.map(|(_, member)| member).collect();
        }
        (Item::Shard(members), Wrong::MemberExtra) if !members.contains(&nobody()) => {
            members.push(nobody());
            members.sort_unstable();
        }
        (Item::Locators(members), Wrong::MemberExtra) if members.get(nobody()).is_none() => {
            let (address, vtep) = (nobody(), IpAddr::from([192, 0, 2, 1]));
            let extra = Locator { address, mac: Mac::derived_from(address), vtep };
            *members = members.iter().chain([extra]).collect();
        }
        (Item::Locators(members), Wrong::Content) if !members.is_empty() => {
            let mut list: Vec<Locator> = members.iter().collect();
            let member = rng.random_range(0..list.len());
            list[member].vtep = IpAddr::from([192, 0, 2, 200]);
            *members = list.into_iter().collect();
        }
        (Item::Domain(domain), Wrong::Content) => domain.spoofable = !domain.spoofable,
        (Item::Port(port), Wrong::Content) => port.port_security = !port.port_security,
        (Item::Policy(policy), Wrong::Content) => policy.priority += 1,
        _ => return false,
    }
    true
}
