//! Every bound of the protocol.

use std::time::Duration;

/// Bytes of updates in one batch part, unless a single update is larger. A stream holds about two
/// parts in its buffers, so this is what a stalled host costs besides its pending keys.
pub const PART_BYTES_TARGET: usize = 64 * 1024;
/// The most updates in one batch part.
pub const PART_UPDATES_MAX: usize = 16 * 1024;
/// The largest encoded update. An item beyond it is not sent; the session reports it as rejected.
pub const UPDATE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The largest message from a controller to a host: what the host's gRPC client must accept.
pub const CONTROLLER_MESSAGE_BYTES_MAX: usize = UPDATE_BYTES_MAX + PART_BYTES_TARGET;
/// The largest message from a host to a controller: what the controller's gRPC server must accept.
pub const HOST_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of updates that a host stages for one batch.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// The most updates that a host stages for one batch.
pub const BATCH_UPDATES_MAX: usize = 8 * 1024 * 1024;
/// The most addresses, locators and blocks, in all updates of one batch together. Runs of addresses
/// are short on the wire and long in memory, so bytes alone do not bound what a batch costs.
pub const BATCH_ADDRESSES_MAX: usize = 64 * 1024 * 1024;

/// The most addresses, locators or blocks in one list.
pub const ADDRESSES_MAX: usize = 4 * 1024 * 1024;
/// The most domains that one domain sees or reaches.
pub const DOMAINS_MAX: usize = 1024 * 1024;
/// The longest interface name, in bytes: what the kernel takes.
pub const INTERFACE_BYTES_MAX: usize = 15;

/// The most entries in one inventory message.
pub const INVENTORY_MESSAGE_ENTRIES_MAX: usize = 8 * 1024;
/// The most entries in one inventory.
pub const INVENTORY_ENTRIES_MAX: usize = 2 * 1024 * 1024;

/// The fewest members that a range of a list has, but for the last. With IPv4 addresses a range then takes
/// some 6 bytes to tell and 60 to 200 to send.
pub const RANGE_MEMBERS: usize = 64;
/// The fewest bytes that the packed members of a range take, on average.
pub const RANGE_BYTES: usize = 64;
/// The most ranges of one list: the ranges of longer ones have more members.
pub const RANGES_MAX: usize = 32 * 1024;
/// The fewest bytes of a list for which a host is asked for ranges: a shorter one is sent whole, which
/// saves a round trip.
pub const RANGED_BYTES_MIN: usize = 1024;
/// A list is sent whole if its differing ranges take more than this share of its bytes, in percent: all
/// hosts share the bytes of the whole.
pub const RANGES_PERCENT_MAX: usize = 50;
/// The most lists that a host is asked for the ranges of at once. The rest is sent whole.
pub const RANGES_KEYS_MAX: usize = 8 * 1024;
/// Bytes of ranges in one message, unless those of a single list are more.
pub const RANGES_MESSAGE_BYTES_TARGET: usize = 128 * 1024;
/// The most bytes of ranges that a host tells at once, and a controller takes. What finds no room is sent
/// whole.
pub const RANGES_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of updates by ranges, and of the ranges they were made for, that a change log keeps.
pub const RANGES_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most of these that are kept of one item: for so many different sets of ranges that hosts tell of it.
pub const RANGES_CACHE_PER_ITEM_MAX: usize = 32;

/// The most entries in one message of a check's result.
pub const CHECK_MESSAGE_ENTRIES_MAX: usize = INVENTORY_MESSAGE_ENTRIES_MAX;
/// The most items that an acknowledgement, or the report of a check, tells the differences of; the rest
/// is counted.
pub const DIFFERENCES_MAX: usize = 100;
/// The most members that are told of one item on each side; the rest is counted.
pub const DIFFERENCE_MEMBERS_MAX: usize = 10;
/// The longest text of a member, in bytes. Longer ones are cut.
pub const DIFFERENCE_TEXT_BYTES_MAX: usize = 96;
/// The most digests of contents that a change log keeps.
pub const CONTENTS_MAX: usize = 1024 * 1024;

/// The most rejections in one acknowledgement; the rest is counted.
pub const REJECTIONS_MAX: usize = 1000;
/// The most findings in one drift report.
pub const FINDINGS_MAX: usize = 100;
/// The longest reason, detail or finding, in bytes. Longer ones are cut.
pub const DETAIL_BYTES_MAX: usize = 512;
/// The longest agent version or datapath name, in bytes.
pub const AGENT_TEXT_BYTES_MAX: usize = 128;

/// Complaints in a row, without an acknowledgement between them, after which the stream ends.
pub const COMPLAINTS_MAX: u32 = 4;
/// How long a host may take to say hello. Kept by the shell, which has no session before.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long a replica that is behind the host's revision may take to catch up.
pub const CATCH_UP_WAIT: Duration = Duration::from_secs(5);

/// The most deltas kept for one item.
pub const LOG_DELTAS_PER_ITEM_MAX: usize = 1024;
/// The default bound on the bytes of all deltas kept.
pub const LOG_BYTES_MAX_DEFAULT: usize = 256 * 1024 * 1024;
/// The default bound on the bytes of all encoded full items kept.
pub const CACHE_BYTES_MAX_DEFAULT: usize = 256 * 1024 * 1024;

const _: () = {
    assert!(PART_BYTES_TARGET < UPDATE_BYTES_MAX);
    assert!(UPDATE_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(ADDRESSES_MAX < BATCH_ADDRESSES_MAX);
    // The worst locator: an IPv6 address, an explicit MAC address, a VTEP index and a bit.
    assert!(ADDRESSES_MAX * (16 + 6 + 4 + 1) < UPDATE_BYTES_MAX);
    // A unit of a policy takes 12 bytes at most: a peer's uid and a flag, or a range of ports.
    assert!(spanwire_topology::model::POLICY_SIZE_MAX * 12 < UPDATE_BYTES_MAX);
    // A key and two varints take less than 64 bytes.
    assert!(INVENTORY_MESSAGE_ENTRIES_MAX * 64 < HOST_MESSAGE_BYTES_MAX);
    assert!(CHECK_MESSAGE_ENTRIES_MAX * 64 < HOST_MESSAGE_BYTES_MAX);
    // The worst bound is an IPv6 block: a byte, and a number of 128 bits.
    assert!(RANGES_MESSAGE_BYTES_TARGET + RANGES_MAX * (1 + 19 + 4) + 64 < HOST_MESSAGE_BYTES_MAX);
    assert!(RANGES_MAX * (1 + 19 + 4) + 64 < RANGES_BYTES_MAX);
    assert!(RANGES_KEYS_MAX * 64 < CONTROLLER_MESSAGE_BYTES_MAX);
    // An acknowledgement carries rejections and repairs.
    assert!(
        REJECTIONS_MAX * (DETAIL_BYTES_MAX + 64)
            + DIFFERENCES_MAX * (2 * DIFFERENCE_MEMBERS_MAX * (DIFFERENCE_TEXT_BYTES_MAX + 4) + 64)
            < HOST_MESSAGE_BYTES_MAX
    );
};
