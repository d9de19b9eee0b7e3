//! Long lists that changed past history: both ends, message by message, over a source of whole lists.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use prost::Message;
use spanwire_hostproto::codec::encode_full;
use spanwire_hostproto::limits::RANGED_BYTES_MIN;
use spanwire_hostproto::log::{ToldRanges, Updates};
use spanwire_hostproto::staging::apply_updates;
use spanwire_hostproto::wire::controller_message::Message as ToHost;
use spanwire_hostproto::wire::host_message::Message as ToController;
use spanwire_hostproto::{
    Change, ChangeLog, ClusterId, ControllerSession, HeldView, Hello, HostCommand, HostIdentity,
    HostSession, ViewSource, decode_update, wire,
};
use spanwire_topology::engine::{ItemChange, ItemChangeKind};
use spanwire_topology::model::{Mac, Revision, Uid, Vni};
use spanwire_topology::view::{HostView, Item, ItemDelta, ItemKey, Locator, VersionedItem};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const NOW: Duration = Duration::ZERO;
const SHARD: ItemKey = ItemKey::Shard { group: Uid(1), domain: Vni(1) };
const OTHER: ItemKey = ItemKey::Shard { group: Uid(2), domain: Vni(1) };
const LOCATORS: ItemKey = ItemKey::Locators(Vni(1));
const BLOCKS: ItemKey = ItemKey::Blocks(Uid(3));

/// What the host should have, and what a replica remembers of how it came about.
struct Network {
    items: BTreeMap<ItemKey, VersionedItem>,
    revision: Revision,
    log: ChangeLog,
}

impl ViewSource for Network {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn cluster_id(&self) -> ClusterId {
        CLUSTER
    }
    fn host_items(&self) -> Vec<(ItemKey, Revision)> {
        self.items.iter().map(|(key, item)| (*key, item.version)).collect()
    }
    fn full(&mut self, key: ItemKey) -> Option<(Revision, Bytes)> {
        self.log.full(key, || self.items.get(&key).cloned())
    }
    fn updates(&mut self, key: ItemKey, held: Revision) -> Option<Updates> {
        self.log.updates_or_full(key, held, || self.items.get(&key).cloned())
    }
    fn is_past_history(&self, key: ItemKey, held: Revision) -> bool {
        !self.log.reaches(key, held)
    }
    fn updates_by_ranges(
        &mut self,
        key: ItemKey,
        held: Revision,
        told: &ToldRanges,
    ) -> Option<Updates> {
        self.log.updates_by_ranges(key, held, told, || self.items.get(&key).cloned())
    }
}

/// Random addresses of a /8, the same for the same count.
fn addresses(count: u32) -> Vec<IpAddr> {
    let number = |n: u32| 0x0a00_0000 | n.wrapping_mul(2_654_435_761) >> 8;
    let mut list: Vec<IpAddr> = (0..count).map(|n| Ipv4Addr::from(number(n)).into()).collect();
    list.sort_unstable();
    list
}

/// Every so many members are others than before.
fn changed(list: &[IpAddr], every: usize) -> Vec<IpAddr> {
    let mut list = list.to_vec();
    for address in list.iter_mut().step_by(every) {
        let IpAddr::V4(v4) = *address else { continue };
        *address = Ipv4Addr::from(u32::from(v4) ^ 1).into();
    }
    list.sort_unstable();
    list.dedup();
    list
}

fn locators(list: &[IpAddr]) -> Item {
    let vtep = IpAddr::from([192, 168, 0, 1]);
    let locator =
        |address: &IpAddr| Locator { address: *address, mac: Mac::derived_from(*address), vtep };
    Item::Locators(list.iter().map(locator).collect())
}

impl Network {
    /// Revision 10, with each of these.
    fn new(items: impl IntoIterator<Item = (ItemKey, Item)>) -> Network {
        let item = |item| VersionedItem { version: 10, item: Arc::new(item) };
        let items = items.into_iter().map(|(key, list)| (key, item(list))).collect();
        Network { items, revision: 10, log: ChangeLog::default() }
    }

    /// The replica is started again, or has forgotten: an item is another, and how nobody knows.
    fn replace(&mut self, key: ItemKey, item: Item) {
        self.revision += 1;
        let previous_version = self.items.get(&key).map_or(0, |item| item.version);
        let kind = ItemChangeKind::Replaced;
        self.log.record(self.revision, &ItemChange { key, previous_version, kind });
        let item = VersionedItem { version: self.revision, item: Arc::new(item) };
        self.items.insert(key, item);
    }

    /// A member comes to a shard, within history.
    fn add(&mut self, key: ItemKey, address: IpAddr) {
        self.revision += 1;
        let item = self.items.get_mut(&key).unwrap();
        let Item::Shard(list) = &*item.item else { panic!("{key}") };
        let mut list = list.clone();
        let at = list.binary_search(&address).unwrap_err();
        list.insert(at, address);
        let delta = ItemDelta::Shard { removed: vec![], added: vec![address] };
        let (previous_version, kind) = (item.version, ItemChangeKind::Delta(delta));
        *item = VersionedItem { version: self.revision, item: Arc::new(Item::Shard(list)) };
        self.log.record(self.revision, &ItemChange { key, previous_version, kind });
    }

    fn view(&self) -> HostView {
        HostView { revision: self.revision, items: self.items.clone() }
    }

    fn whole_bytes(&self) -> usize {
        let items = self.items.iter();
        items.map(|(key, item)| encode_full(*key, item.version, &item.item).len()).sum()
    }
}

/// A host that holds a view, as its disk gives it back.
fn mk_host(view: &HostView) -> HostSession {
    let identity = HostIdentity {
        host: "host-01".into(),
        instance: 7,
        starts: 1,
        agent_version: "0.1.0".to_owned(),
        datapath: "record".to_owned(),
    };
    let items = view.items.iter();
    let stored: Vec<Bytes> =
        items.map(|(key, item)| encode_full(*key, item.version, &item.item)).collect();
    let mut restored = HostView::default();
    apply_updates(&mut restored, view.revision, true, &stored).unwrap();
    HostSession::new(identity, Some(HeldView { cluster_id: CLUSTER, view: Arc::new(restored) }))
}

/// What went over the stream.
#[derive(Debug, Default)]
struct Exchange {
    /// What was said, in short.
    said: Vec<String>,
    bytes_down: usize,
    bytes_up: usize,
}

/// What a host says is changed on its way, or the network while it is.
type OnWayUp<'a> = &'a mut dyn FnMut(&mut ToController, &mut Network);

/// What may be done to messages on their way.
#[derive(Default)]
struct Way<'a> {
    to_controller: Option<OnWayUp<'a>>,
    to_host: Option<&'a mut dyn FnMut(&mut ToHost)>,
}

/// The host connects to a replica, and both say all that they have to say. What the host stores is what
/// it holds.
fn resume(host: &mut HostSession, network: &mut Network, mut way: Way<'_>) -> Exchange {
    let mut exchange = Exchange::default();
    let mut stored = (**host.view()).clone();
    let mut commands = std::collections::VecDeque::from(host.process_connected());
    let mut session: Option<ControllerSession> = None;
    while let Some(command) = commands.pop_front() {
        match command {
            HostCommand::Send(message) => {
                let mut message = message.message.unwrap();
                if let Some(change) = &mut way.to_controller {
                    change(&mut message, network);
                }
                exchange.said.push(short_up(&message));
                let message = wire::HostMessage { message: Some(message) };
                exchange.bytes_up += message.encoded_len();
                match &mut session {
                    Some(session) => drop(session.process_message(message, NOW)),
                    None => {
                        let hello = Hello::from_first_message(message).unwrap();
                        session = Some(ControllerSession::new(hello, NOW));
                    }
                }
            }
            HostCommand::Apply(change) => {
                apply_updates(&mut stored, change.to, change.replace, &change.updates).unwrap();
                assert_eq!(stored, *change.view, "what is stored is another view");
                assert!(
                    change.updates.iter().all(|update| {
                        !matches!(decode_update(update).unwrap().change, Change::Ranges { .. })
                    }),
                    "ranges are stored"
                );
                commands.extend(host.process_applied(change.to, vec![]));
            }
            HostCommand::Disconnect { reason, detail } => {
                exchange.said.push(format!("{reason:?}: {detail}"));
            }
        }
        let session = session.as_mut().unwrap();
        while let Some(message) = session.next_message(network, NOW) {
            exchange.bytes_down += message.encoded_len();
            let mut message = message.message.unwrap();
            if let Some(change) = &mut way.to_host {
                change(&mut message);
            }
            exchange.said.push(short_down(&message));
            commands
                .extend(host.process_message(wire::ControllerMessage { message: Some(message) }));
        }
    }
    exchange
}

fn short_up(message: &ToController) -> String {
    match message {
        ToController::Hello(_) => "hello".to_owned(),
        ToController::Inventory(inventory) => format!("inventory of {}", inventory.entries.len()),
        ToController::Ranges(ranges) => format!("ranges of {}", ranges.items.len()),
        ToController::Ack(ack) => format!("ack {}", ack.revision),
        ToController::Complaint(complaint) => format!("complaint: {}", complaint.detail),
        ToController::Drift(_) | ToController::Check(_) => panic!("{message:?}"),
    }
}

fn short_down(message: &ToHost) -> String {
    match message {
        ToHost::Welcome(welcome) => welcome.resume().as_str_name().to_owned(),
        ToHost::Ranges(request) => format!("ranges of {}?", request.keys.len()),
        ToHost::Part(part) => {
            let how = |update: &Bytes| match decode_update(update).map(|update| update.change) {
                Ok(Change::Removed) => "removed",
                Ok(Change::Full(_)) => "whole",
                Ok(Change::Delta { .. }) => "delta",
                Ok(Change::Ranges { .. }) => "ranges",
                Err(_) => "damaged",
            };
            let updates: Vec<&str> = part.updates.iter().map(how).collect();
            format!("{}-{}: {}", part.from_revision, part.to_revision, updates.join(" "))
        }
        ToHost::Refused(refused) => refused.detail.clone(),
        ToHost::Check(_) => panic!("{message:?}"),
    }
}

/// Guarantee G7: the host was away past history, or it or its controller was started again.
#[test]
fn ten_members_of_ten_thousand_past_history_cost_less_than_a_tenth() {
    let list = addresses(10_000);
    let mut network = Network::new([(SHARD, Item::Shard(list.clone()))]);
    let mut host = mk_host(&network.view());
    network.replace(SHARD, Item::Shard(changed(&list, 1000)));
    let exchange = resume(&mut host, &mut network, Way::default());
    assert_eq!(
        exchange.said,
        [
            "hello",
            "RESUME_INVENTORY",
            "inventory of 1",
            "ranges of 1?",
            "ranges of 1",
            "10-11: ranges",
            "ack 11"
        ]
    );
    assert_eq!(**host.view(), network.view());
    let whole = network.whole_bytes();
    let (down, up) = (exchange.bytes_down, exchange.bytes_up);
    println!("{down} bytes down and {up} up; the whole is {whole}");
    assert!(down * 10 < whole, "{down} bytes down, of {whole}");
    assert!(up * 10 < whole, "{up} bytes up, of {whole}");
    // It comes again, and has missed nothing.
    let exchange = resume(&mut mk_host(host.view()), &mut network, Way::default());
    assert_eq!(exchange.said, ["hello", "RESUME_CURRENT", "ack 11"]);
    assert!(exchange.bytes_down < 100, "{exchange:?}");
}

#[test]
fn only_what_differs_past_history_is_asked_for() {
    let list = addresses(2000);
    let blocks = |list: &[IpAddr]| {
        Item::Blocks(list.iter().map(|address| format!("{address}/32").parse().unwrap()).collect())
    };
    let mut network = Network::new([
        (SHARD, Item::Shard(list.clone())),
        (OTHER, Item::Shard(list.clone())),
        (LOCATORS, locators(&list)),
        (BLOCKS, blocks(&list)),
        // The same as before, and short ones.
        (ItemKey::Shard { group: Uid(8), domain: Vni(1) }, Item::Shard(list.clone())),
        (ItemKey::Shard { group: Uid(9), domain: Vni(1) }, Item::Shard(list[..20].to_vec())),
    ]);
    let mut host = mk_host(&network.view());
    network.replace(SHARD, Item::Shard(changed(&list, 700)));
    network.add(OTHER, IpAddr::from([11, 0, 0, 1]));
    network.replace(LOCATORS, locators(&changed(&list, 700)));
    network.replace(BLOCKS, blocks(&changed(&list, 700)));
    let short = ItemKey::Shard { group: Uid(9), domain: Vni(1) };
    network.replace(short, Item::Shard(list[..21].to_vec()));
    // Its relevance changed as well.
    network.replace(
        ItemKey::Shard { group: Uid(7), domain: Vni(1) },
        Item::Shard(list[..1000].to_vec()),
    );
    network.items.remove(&ItemKey::Shard { group: Uid(8), domain: Vni(1) });
    network.revision += 1;
    let exchange = resume(&mut host, &mut network, Way::default());
    assert_eq!(
        exchange.said[2..],
        [
            "inventory of 6",
            "ranges of 3?",
            "ranges of 3",
            "10-17: ranges ranges delta whole removed whole ranges",
            "ack 17"
        ]
    );
    assert_eq!(**host.view(), network.view());
}

#[test]
fn what_is_cheap_or_differs_everywhere_is_sent_whole() {
    let list = addresses(2000);
    let run = |held: Vec<IpAddr>, wanted: Vec<IpAddr>| {
        let mut network = Network::new([(SHARD, Item::Shard(held))]);
        let mut host = mk_host(&network.view());
        network.replace(SHARD, Item::Shard(wanted));
        let exchange = resume(&mut host, &mut network, Way::default());
        assert_eq!(**host.view(), network.view());
        exchange.said[3..].to_vec()
    };
    let whole = ["10-11: whole", "ack 11"];
    let asked = ["ranges of 1?", "ranges of 1", "10-11: whole", "ack 11"];
    assert_eq!(run(list.clone(), changed(&list, 10)), asked);
    // Nothing was held, or so little that it is one range.
    let nothing = ["ranges of 1?", "ranges of 0", "10-11: whole", "ack 11"];
    assert_eq!(run(vec![], list.clone()), nothing);
    assert_eq!(run(list[..64].to_vec(), list.clone()), nothing);
    // What is wanted now is short.
    assert_eq!(run(list.clone(), list[..100].to_vec()), whole);
    // A whole network, but for an address.
    let network = |count: u32| -> Vec<IpAddr> {
        (0..count).map(|n| Ipv4Addr::from(0x0a00_0000 + n).into()).collect()
    };
    assert_eq!(run(network(60_000), network(60_001)), whole);
    assert!(encode_full(SHARD, 1, &Item::Shard(network(60_001))).len() < RANGED_BYTES_MIN);
}

/// The batch is cut when the answer is there: from what is so then, and from what the host holds.
#[test]
fn what_changes_while_the_host_tells_its_ranges_is_in_the_batch() {
    let list = addresses(2000);
    let mut network = Network::new([
        (SHARD, Item::Shard(list.clone())),
        (OTHER, Item::Shard(list.clone())),
        (LOCATORS, locators(&list)),
    ]);
    let mut host = mk_host(&network.view());
    network.replace(SHARD, Item::Shard(changed(&list, 700)));
    network.replace(LOCATORS, locators(&changed(&list, 700)));
    let mut meanwhile = |message: &mut ToController, network: &mut Network| {
        if matches!(message, ToController::Ranges(_)) {
            network.add(SHARD, IpAddr::from([11, 0, 0, 1]));
            network.add(OTHER, IpAddr::from([11, 0, 0, 2]));
            network.items.remove(&LOCATORS);
            network.revision += 1;
        }
    };
    let way = Way { to_controller: Some(&mut meanwhile), to_host: None };
    let exchange = resume(&mut host, &mut network, way);
    assert_eq!(exchange.said[3..5], ["ranges of 2?", "ranges of 2"]);
    assert_eq!(exchange.said[5], "10-15: ranges delta removed");
    assert_eq!(**host.view(), network.view());
}

/// Ends of other releases: neither is sent what it does not know.
#[test]
fn ends_that_do_not_know_ranges_send_lists_whole() {
    // An agent that does not know ranges says nothing of them; a controller that does not know them
    // does not hear what an agent says. Either way there is no version. One of another way to cut
    // is as good as none.
    for version in [0, 2] {
        let list = addresses(2000);
        let mut network = Network::new([(SHARD, Item::Shard(list.clone()))]);
        let mut host = mk_host(&network.view());
        network.replace(SHARD, Item::Shard(changed(&list, 700)));
        let mut other = |message: &mut ToController, _: &mut Network| {
            if let ToController::Hello(hello) = message {
                assert_eq!(hello.protocol_version, 2, "a field alone needs no new version");
                hello.ranges_version = version;
            }
        };
        let way = Way { to_controller: Some(&mut other), to_host: None };
        let exchange = resume(&mut host, &mut network, way);
        assert_eq!(
            exchange.said[1..],
            ["RESUME_INVENTORY", "inventory of 1", "10-11: whole", "ack 11"]
        );
        assert_eq!(**host.view(), network.view());
    }
}

/// A batch by ranges that does not fit: the host keeps what it holds, and the list is sent whole.
#[test]
fn ranges_that_do_not_fit_are_complained_about_and_repaired() {
    type Damage = fn(&mut wire::ItemUpdate);
    fn ranges(update: &mut wire::ItemUpdate) -> &mut wire::PackedRanges {
        let Some(wire::item_update::Update::Ranges(ranges)) = &mut update.update else {
            panic!("no ranges")
        };
        ranges
    }
    let cases: [(Damage, &str); 7] = [
        (|update| ranges(update).digest ^= 1, "another list than the one that was meant"),
        (|update| ranges(update).replaced.push(1 << 20), "range 1048576 is replaced, and the 32"),
        (|update| ranges(update).replaced = vec![5], "lies in no range that is replaced"),
        (|update| ranges(update).members = Bytes::new(), "another list than the one that"),
        (|update| ranges(update).members = Bytes::from_static(&[0]), "members of ranges: "),
        (|update| update.base_version -= 1, "a difference from version 9, and version 10 is held"),
        (|update| update.key = Some(wire::ItemKey { r#type: 5, uid: 4, vni: 1 }), "none is held"),
    ];
    for (damage, expected) in cases {
        let list = addresses(2000);
        let mut network = Network::new([(SHARD, Item::Shard(list.clone()))]);
        let mut host = mk_host(&network.view());
        network.replace(SHARD, Item::Shard(changed(&list, 700)));
        let mut damaged = |message: &mut ToHost| {
            let ToHost::Part(part) = message else { return };
            let mut update = wire::ItemUpdate::decode(part.updates[0].clone()).unwrap();
            if update.base_version > 0 {
                damage(&mut update);
                part.updates[0] = update.encode_to_vec().into();
            }
        };
        let way = Way { to_controller: None, to_host: Some(&mut damaged) };
        let exchange = resume(&mut host, &mut network, way);
        let complaint = &exchange.said[6];
        assert!(complaint.contains(expected), "{complaint}, not {expected}");
        let repaired = ["RESUME_INVENTORY", "inventory of 1", "10-11: whole", "ack 11"];
        assert_eq!(exchange.said[7..], repaired, "{expected}");
        assert_eq!(**host.view(), network.view());
    }
}

/// Deltas may be what did not fit; ranges are made from what the host says that it holds.
#[test]
fn a_complaint_about_deltas_is_repaired_by_ranges() {
    let list = addresses(2000);
    let mut network = Network::new([(SHARD, Item::Shard(list))]);
    let mut host = mk_host(&network.view());
    network.add(SHARD, IpAddr::from([11, 0, 0, 1]));
    let mut damaged = |message: &mut ToHost| {
        if let ToHost::Part(part) = message
            && let Change::Delta { .. } = decode_update(&part.updates[0]).unwrap().change
        {
            part.updates[0] = Bytes::from_static(&[0xff]);
        }
    };
    let way = Way { to_controller: None, to_host: Some(&mut damaged) };
    let exchange = resume(&mut host, &mut network, way);
    assert_eq!(exchange.said[3], "10-11: damaged");
    assert!(exchange.said[4].starts_with("complaint: "), "{exchange:?}");
    let repaired = ["RESUME_INVENTORY", "inventory of 1", "ranges of 1?", "ranges of 1"];
    assert_eq!(exchange.said[5..9], repaired);
    assert_eq!(exchange.said[9..], ["10-11: ranges", "ack 11"]);
    assert_eq!(**host.view(), network.view());
}

/// A host that tells something else than it holds harms nobody, and not even itself.
#[test]
fn ranges_that_lie_lead_to_no_wrong_view() {
    type Lie = fn(&mut Vec<wire::ItemRanges>);
    let told_nothing: Lie = |items| items.clear();
    let equal_digests: Lie = |items| {
        let digests = items[0].digests.to_vec();
        let moved = [&digests[4..], &digests[..4]].concat();
        items[0].digests = moved.into();
    };
    let one_range: Lie = |items| {
        items[0].bounds = Bytes::new();
        items[0].digests = Bytes::from_static(&[1, 2, 3, 4]);
    };
    let moved_bounds: Lie = |items| {
        let bounds = spanwire_hostproto::codec::decode_addresses("bounds", &items[0].bounds);
        let moved: Vec<IpAddr> = changed(&bounds.unwrap(), 1);
        items[0].bounds = spanwire_hostproto::codec::encode_addresses(&moved).into();
    };
    for lie in [told_nothing, equal_digests, one_range, moved_bounds] {
        let list = addresses(2000);
        let mut network = Network::new([(SHARD, Item::Shard(list.clone()))]);
        let mut host = mk_host(&network.view());
        network.replace(SHARD, Item::Shard(changed(&list, 700)));
        let mut lying = |message: &mut ToController, _: &mut Network| {
            if let ToController::Ranges(ranges) = message {
                lie(&mut ranges.items);
            }
        };
        let way = Way { to_controller: Some(&mut lying), to_host: None };
        let exchange = resume(&mut host, &mut network, way);
        assert_eq!(exchange.said.last().unwrap(), "ack 11", "{exchange:?}");
        assert_eq!(**host.view(), network.view());
    }
}
