use super::*;
use proptest::prelude::*;
use raft::eraftpb::{Message, MessageType, Snapshot, SnapshotMetadata};

const NAME: SnapshotName = SnapshotName { index: 9, term: 2 };

fn mk_offer(from: u64) -> Box<Message> {
    let metadata = SnapshotMetadata { index: NAME.index, term: NAME.term, conf_state: None };
    let snapshot = Snapshot { metadata: Some(metadata), ..Snapshot::default() };
    let msg_type = MessageType::MsgSnapshot as i32;
    Box::new(Message { msg_type, from, snapshot: Some(snapshot), ..Message::default() })
}

fn mk_data(bytes: usize) -> Bytes {
    (0..bytes).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect::<Vec<u8>>().into()
}

fn mk_outgoing(data: &Bytes) -> Outgoing {
    let mut outgoing = Outgoing::new(CHUNK_BYTES);
    outgoing.hold(NAME, data.clone(), Duration::ZERO);
    outgoing
}

fn chunk(outgoing: &mut Outgoing, request: ChunkRequest) -> Chunk {
    match outgoing.part(request, Duration::ZERO) {
        Part::Chunk(chunk) => chunk,
        Part::NotHeld => panic!("not held"),
    }
}

/// Parts get lost, come twice, late, altered, and of another replica from some moment on; time
/// passes. In the end the snapshot is there as it was.
fn transfer(bytes: usize, choices: Vec<u8>) {
    let data = mk_data(bytes);
    let mut outgoing = mk_outgoing(&data);
    let mut incoming = Incoming::new(CHUNK_BYTES);
    let mut now = Duration::ZERO;
    let mut event = incoming.process_offer(mk_offer(1), now);
    let mut wire: Vec<ChunkRequest> = Vec::new();
    let mut choices = choices.into_iter();
    for _ in 0..10_000 {
        if let Some(complete) = event.complete {
            assert_eq!(complete.get_snapshot().data, data);
            assert_eq!(incoming.progress(), None);
            return;
        }
        wire.extend(event.requests.iter().map(|(_, request)| *request));
        assert!(wire.len() <= 4 * CHUNKS_IN_FLIGHT + 16, "{} on their way", wire.len());
        let choice = choices.next().unwrap_or(0);
        event = match choice % 8 {
            _ if wire.is_empty() => {
                now += CHUNK_WAIT;
                incoming.process_time(now)
            }
            5 => {
                wire.remove(0); // lost
                IncomingEvent::default()
            }
            6 => {
                let mut altered = chunk(&mut outgoing, wire.remove(0));
                altered.checksum ^= 1;
                incoming.process_chunk(altered, now)
            }
            7 => incoming.process_offer(mk_offer(2), now),
            4 => {
                let request = wire.pop().unwrap(); // out of order
                incoming.process_chunk(chunk(&mut outgoing, request), now)
            }
            _ => incoming.process_chunk(chunk(&mut outgoing, wire.remove(0)), now),
        };
    }
    panic!("never complete");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_snapshot_arrives_whole(
        bytes in 0_usize..5 * CHUNK_BYTES,
        choices in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        transfer(bytes, choices);
    }
}

#[test]
fn a_transfer_goes_on_where_it_stopped_with_another_replica() {
    let data = mk_data(3 * CHUNK_BYTES);
    let mut outgoing = mk_outgoing(&data);
    let mut incoming = Incoming::new(CHUNK_BYTES);
    let first = incoming.process_offer(mk_offer(1), Duration::ZERO);
    assert_eq!(first.requests, [(1, ChunkRequest { name: NAME, offset: 0 })]);
    incoming.process_chunk(chunk(&mut outgoing, first.requests[0].1), Duration::ZERO);
    assert_eq!(incoming.progress(), Some((9, CHUNK_BYTES as u64)));
    let moved = incoming.process_offer(mk_offer(2), Duration::ZERO);
    let offsets: Vec<(u64, u64)> =
        moved.requests.iter().map(|(from, request)| (*from, request.offset)).collect();
    assert_eq!(offsets, [(2, CHUNK_BYTES as u64), (2, 2 * CHUNK_BYTES as u64)]);
    assert_eq!(incoming.taken_bytes(), CHUNK_BYTES as u64, "nothing is taken twice");
}

#[test]
fn a_transfer_that_gets_nothing_is_given_up() {
    let mut incoming = Incoming::new(CHUNK_BYTES);
    incoming.process_offer(mk_offer(1), Duration::ZERO);
    assert_eq!(incoming.process_time(CHUNK_WAIT).requests.len(), 1, "asked again");
    incoming.process_time(TRANSFER_WAIT);
    assert_eq!(incoming.progress(), None);
    incoming.process_offer(mk_offer(1), Duration::ZERO);
    incoming.process_gone(NAME);
    assert_eq!(incoming.progress(), None);
}

#[test]
fn what_nobody_asks_for_is_not_held_for_ever() {
    let mut outgoing = mk_outgoing(&mk_data(10));
    outgoing.process_time(TRANSFER_HELD - Duration::from_millis(1));
    assert_eq!(outgoing.oldest_index(), Some(9));
    outgoing.process_time(TRANSFER_HELD);
    assert_eq!(outgoing.oldest_index(), None);
    let request = ChunkRequest { name: NAME, offset: 0 };
    assert_eq!(outgoing.part(request, TRANSFER_HELD), Part::NotHeld);
    for index in 0..5 {
        let name = SnapshotName { index, term: 1 };
        outgoing.hold(name, Bytes::new(), Duration::from_secs(index));
    }
    assert_eq!(outgoing.oldest_index(), Some(3));
}
