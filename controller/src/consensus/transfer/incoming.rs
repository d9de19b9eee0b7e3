//! The end that needs the snapshot.

use super::{
    CHUNK_WAIT, CHUNKS_IN_FLIGHT, Chunk, ChunkRequest, SNAPSHOT_BYTES_MAX, SnapshotName,
    TRANSFER_WAIT,
};
use crate::planted::{self, Bug};
use raft::eraftpb::Message;
use std::time::Duration;

/// A snapshot that is being taken from another replica, if one is.
#[derive(Debug)]
pub struct Incoming {
    /// Bytes in one part: the same at both ends.
    chunk_bytes: usize,
    transfer: Option<Transfer>,
    /// Bytes of parts that were taken, ever: for tests and metrics.
    taken_bytes: u64,
}

#[derive(Debug)]
struct Transfer {
    chunk_bytes: usize,
    /// The leader's offer, which the Raft core gets once the data is there.
    offer: Box<Message>,
    name: SnapshotName,
    data: Vec<u8>,
    /// Size and checksum of the whole, once the first part is there.
    whole: Option<(u64, u32)>,
    /// Up to where parts were asked for.
    asked: u64,
    asked_at: Duration,
    progress_at: Duration,
}

/// What to do after an event.
#[derive(Debug, Default, PartialEq)]
pub struct IncomingEvent {
    /// Parts to ask for, of this replica.
    pub requests: Vec<(u64, ChunkRequest)>,
    /// The offer with its data: ready for the Raft core.
    pub complete: Option<Box<Message>>,
    /// What was wrong with what came.
    pub problem: Option<String>,
}

impl Incoming {
    /// None is being taken. It will come in parts of so many bytes.
    pub fn new(chunk_bytes: usize) -> Incoming {
        Incoming { chunk_bytes, transfer: None, taken_bytes: 0 }
    }

    /// Takes a leader's offer. One for the snapshot that is already being taken only says whom to ask
    /// from now on.
    pub fn process_offer(&mut self, offer: Box<Message>, now: Duration) -> IncomingEvent {
        let metadata = offer.get_snapshot().get_metadata();
        let name = SnapshotName { index: metadata.index, term: metadata.term };
        match &mut self.transfer {
            Some(transfer) if transfer.name == name => {
                let same = transfer.offer.from == offer.from;
                transfer.offer = offer;
                if same {
                    return IncomingEvent::default(); // it goes on as it does
                }
                transfer.ask_again(now)
            }
            _ => {
                let transfer = self.transfer.insert(Transfer {
                    chunk_bytes: self.chunk_bytes,
                    offer,
                    name,
                    data: Vec::new(),
                    whole: None,
                    asked: 0,
                    asked_at: now,
                    progress_at: now,
                });
                transfer.ask_again(now)
            }
        }
    }

    /// Takes a part.
    pub fn process_chunk(&mut self, chunk: Chunk, now: Duration) -> IncomingEvent {
        let Some(transfer) = self.transfer.as_mut().filter(|t| t.name == chunk.name) else {
            return IncomingEvent::default(); // of one that was given up
        };
        let held = transfer.data.len() as u64;
        if chunk.offset != held {
            return IncomingEvent::default(); // it came twice, or one before it was lost
        }
        let Chunk { total, total_checksum, data, checksum, .. } = chunk;
        let whole = (total, total_checksum);
        let problem = if crc32c::crc32c(&data) != checksum {
            Some(format!("a part at byte {held} was altered on its way"))
        } else if total > SNAPSHOT_BYTES_MAX {
            Some(format!("it has {total} bytes, and the most is {SNAPSHOT_BYTES_MAX}"))
        } else if transfer.whole.is_some_and(|known| known != whole)
            || held + data.len() as u64 > total
            || (data.is_empty() && held < total)
        {
            Some(format!("a part at byte {held} is not of the same snapshot as the others"))
        } else {
            None
        };
        if let Some(problem) = problem {
            // What is held may be wrong as well: begin again.
            let restarted = transfer.begin_again(now);
            return IncomingEvent { problem: Some(problem), ..restarted };
        }
        transfer.whole = Some(whole);
        transfer.data.extend_from_slice(&data);
        transfer.progress_at = now;
        self.taken_bytes += data.len() as u64;
        let is_cut_short = planted::is(Bug::SnapshotCutShort) && held > 0;
        if (transfer.data.len() as u64) < total && !is_cut_short {
            return transfer.ask_more(now);
        }
        if crc32c::crc32c(&transfer.data) != total_checksum && !is_cut_short {
            let restarted = transfer.begin_again(now);
            let problem = Some("its checksum does not match".to_owned());
            return IncomingEvent { problem, ..restarted };
        }
        let complete = self.transfer.take().map(|transfer| {
            let Transfer { mut offer, data, .. } = transfer;
            offer.mut_snapshot().data = data.into();
            offer
        });
        IncomingEvent { complete, ..IncomingEvent::default() }
    }

    /// Takes the news that the snapshot is not to be had any more. The leader will offer another.
    pub fn process_gone(&mut self, name: SnapshotName) {
        if self.transfer.as_ref().is_some_and(|transfer| transfer.name == name) {
            self.transfer = None;
        }
    }

    /// Takes the passing of time.
    pub fn process_time(&mut self, now: Duration) -> IncomingEvent {
        let Some(transfer) = &mut self.transfer else { return IncomingEvent::default() };
        if now >= transfer.progress_at + TRANSFER_WAIT {
            self.transfer = None;
            return IncomingEvent::default();
        }
        if now >= transfer.asked_at.max(transfer.progress_at) + CHUNK_WAIT {
            return transfer.ask_again(now);
        }
        IncomingEvent::default()
    }

    /// Up to which log entry the snapshot reaches that is being taken, and how many of its bytes are
    /// here.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.transfer.as_ref().map(|t| (t.name.index, t.data.len() as u64))
    }

    /// Bytes of all parts that were taken so far.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }
}

impl Transfer {
    fn begin_again(&mut self, now: Duration) -> IncomingEvent {
        self.data = Vec::new();
        self.whole = None;
        self.ask_again(now)
    }

    /// Asks for what comes next as if nothing had been asked for.
    fn ask_again(&mut self, now: Duration) -> IncomingEvent {
        self.asked = self.data.len() as u64;
        self.ask_more(now)
    }

    /// Asks for parts up to as many as may be on their way. Before the first is there it is not known
    /// how many there are.
    fn ask_more(&mut self, now: Duration) -> IncomingEvent {
        let held = self.data.len() as u64;
        let chunk = self.chunk_bytes as u64;
        let (total, ahead) = match self.whole {
            Some((total, _)) => (total, held + CHUNKS_IN_FLIGHT as u64 * chunk),
            None => (u64::MAX, held + chunk),
        };
        let mut requests = Vec::new();
        while self.asked < total.min(ahead) {
            let request = ChunkRequest { name: self.name, offset: self.asked };
            requests.push((self.offer.from, request));
            self.asked += chunk;
        }
        if !requests.is_empty() {
            self.asked_at = now;
        }
        IncomingEvent { requests, ..IncomingEvent::default() }
    }
}
