//! Every bound of the controller that is not the host stream's (see `spanwire_hostproto::limits`).

use std::time::Duration;

/// The largest message of a client that is accepted: a transaction of
/// [`TRANSACTION_OPERATIONS_MAX`](spanwire_topology::model::TRANSACTION_OPERATIONS_MAX) operations
/// fits.
pub const ADMIN_REQUEST_BYTES_MAX: usize = 128 << 20;
/// Bytes of all transactions that are being written, or wait for it. Callers beyond it wait.
pub const PROPOSALS_BYTES_MAX: usize = 256 << 20;
/// Transactions that are being written, or wait for it: the capacity of the core's channel.
pub const PROPOSALS_MAX: usize = 4096;
/// What a transaction counts for at least, so that bytes bound the number as well.
pub const PROPOSAL_BYTES_MIN: usize = PROPOSALS_BYTES_MAX / PROPOSALS_MAX;
/// How long a caller waits for room before it is told that the controller is overloaded.
pub const PROPOSAL_ROOM_WAIT: Duration = Duration::from_secs(10);
/// How long a caller waits for its transaction before it is told that the outcome is unknown.
pub const PROPOSAL_OUTCOME_WAIT: Duration = Duration::from_secs(60);
/// Transactions written with one sync.
pub const BATCH_PROPOSALS_MAX: usize = 1024;
/// Bytes of transactions written with one sync, unless one alone is larger.
pub const BATCH_BYTES_MAX: usize = 32 << 20;

/// Time between two ticks of the Raft core.
pub const TICK: Duration = Duration::from_millis(50);
/// How long a request waits for the leader's word, or for its entry, before it is tried again.
pub const REQUEST_RETRY: Duration = Duration::from_secs(2);
/// How long a request waits that the leader has put off.
pub const REQUEST_RETRY_LATER: Duration = Duration::from_millis(200);
/// How long a request that was not tried yet waits for a leader.
pub const NO_LEADER_WAIT: Duration = Duration::from_secs(10);
/// Requests of callers that wait here.
pub const WAITING_REQUESTS_MAX: usize = PROPOSALS_MAX;
/// How long a read waits for the leader's word before it asks again.
pub const READ_RETRY: Duration = Duration::from_millis(200);
/// How long a read waits until the state is current.
pub const READ_WAIT: Duration = Duration::from_secs(10);
/// Questions about the state being current on their way at one time.
pub const READ_ROUNDS_MAX: usize = 4;
/// Reads that wait for the next question.
pub const READS_MAX: usize = 16_384;
/// How long a replica that was offered a snapshot may say nothing before it is offered one again.
pub const SNAPSHOT_STALL: Duration = Duration::from_secs(3);
/// Entries at the start of a log that are cut with the first snapshot, whatever is to be kept: whoever
/// joins begins with a snapshot.
pub const LOG_ENTRIES_FIRST: u64 = 1;
/// Voters of a cluster: with more, each write waits for more of them.
pub const VOTERS_MAX: usize = 7;
/// Members of a cluster, learners included.
pub const MEMBERS_MAX: usize = 64;
/// Entries that a learner may lack when it becomes a voter.
pub const PROMOTE_LAG_MAX: u64 = 1_000;
/// How long a host that connects waits for a replica that knows of no leader: an election takes less.
/// Shorter than an agent waits for its welcome.
pub const HOST_LEADER_WAIT: Duration = Duration::from_secs(3);
/// How long hosts stay with a replica that knows of no leader.
pub const LEADERLESS_WAIT: Duration = Duration::from_secs(5);
/// How long the writer applies transactions before it lets readers in between.
pub const APPLY_TURN: Duration = Duration::from_millis(20);
/// Entries after which a snapshot is taken.
pub const SNAPSHOT_ENTRIES: u64 = 20_000;
/// Bytes of entries after which a snapshot is taken.
pub const SNAPSHOT_LOG_BYTES: u64 = 256 << 20;
/// Entries before the snapshot that are kept, so that a replica that is a little behind gets
/// entries and not the whole state.
pub const LOG_ENTRIES_KEPT: u64 = 5_000;
/// How long a start waits until the state includes everything in the log.
pub const START_WAIT: Duration = Duration::from_secs(600);

/// Changes of objects kept for watches, unless one transaction alone has more.
pub const HISTORY_CHANGES_MAX: usize = 100_000;
/// Watches at one time.
pub const WATCHES_MAX: usize = 1024;
/// Events between a watch and its stream.
pub const WATCH_CHANNEL_EVENTS: usize = 64;
/// Time between two bookmarks of a watch whose events do not come.
pub const WATCH_BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);

/// Objects in one page of a listing.
pub const LIST_PAGE_OBJECTS_MAX: usize = 2_000;
/// Bytes in one page of a listing, unless one object alone is larger. Below the 4 MiB that gRPC
/// clients accept by default.
pub const LIST_PAGE_BYTES_MAX: usize = 3 << 20;
/// Objects looked at for one page: bounds how long a selector that matches little holds the state.
pub const LIST_PAGE_SCAN_MAX: usize = 50_000;

/// Transactions tried without being applied at one time. Each is made and undone twice and looked at in
/// between, and holds the state for as long as that takes: some four times as long as an apply.
pub const DRY_RUNS_MAX: usize = 1;
/// States of the past made at one time: each is as large as the present one.
pub const PAST_REBUILDS_MAX: usize = 1;
/// How long the last state of the past is kept for whoever asks for it again.
pub const PAST_STATE_KEPT: Duration = Duration::from_secs(60);
/// Bytes of log entries that are read at a time to make a state of the past.
pub const PAST_READ_BYTES: u64 = 8 << 20;
/// How often a state of the past is begun again because the log was cut meanwhile.
pub const PAST_TRIES_MAX: usize = 3;
/// Findings in one answer.
pub const LINT_FINDINGS_MAX: usize = 1_000;
/// Objects that are looked at for findings before writers get their turn.
pub const LINT_SLICE_OBJECTS: usize = 5_000;
/// Searches for findings at one time.
pub const LINTS_MAX: usize = 2;
/// Operations of a transaction that is looked at without handing it to another thread.
pub const QUICK_OPERATIONS_MAX: usize = 8;
/// Findings that come with the answer to a transaction.
pub const WARNINGS_MAX: usize = 50;
/// Objects named by a transaction that are looked at for these.
pub const WARNINGS_OBJECTS_MAX: usize = 10_000;
/// Hosts named in one message of a wait.
pub const MISSING_HOSTS_MAX: usize = 20;
/// Waits for realization at one time.
pub const WAITS_MAX: usize = 256;
/// Time between two messages of a wait for realization, at least.
pub const WAIT_PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// The first interval between two looks at a wait; each is twice the one before, up to
/// [`WAIT_PROGRESS_INTERVAL`].
pub const WAIT_PROGRESS_INTERVAL_FIRST: Duration = Duration::from_millis(2);

/// The largest message between replicas: the largest log entry, and what is around it.
pub const PEER_MESSAGE_BYTES_MAX: usize = ADMIN_REQUEST_BYTES_MAX + (1 << 20);
/// Messages to one replica that wait on one stream. Those beyond it are dropped.
pub const PEER_QUEUE_MESSAGES_MAX: usize = 1024;
/// Bytes of the messages to one replica that wait on one stream. Those beyond it are dropped.
pub const PEER_QUEUE_BYTES_MAX: usize = 192 << 20;
/// Forwarded commands of more bytes do not go the way of the Raft messages.
pub const PEER_SMALL_BYTES_MAX: usize = 64 << 10;
/// Messages of other replicas that wait for the core. When there are so many, they are left to wait
/// in the connections they come on.
pub const PEER_MESSAGES_MAX: usize = 4096;
/// Bytes of the messages of other replicas that wait for the core.
pub const PEER_MESSAGES_BYTES_MAX: usize = 256 << 20;
/// What a message of another replica counts for at least, so that bytes bound the number as well.
pub const PEER_MESSAGE_BYTES_MIN: usize = PEER_MESSAGES_BYTES_MAX / PEER_MESSAGES_MAX;
/// How long another replica may take to accept a connection.
pub const PEER_CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Time between two keepalive pings on a connection to another replica.
pub const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long another replica may take to answer one.
pub const PEER_KEEPALIVE_WAIT: Duration = Duration::from_secs(3);
/// The first wait before another replica is connected to again; each is twice the one before.
pub const PEER_RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest of these waits.
pub const PEER_RETRY_MAX: Duration = Duration::from_secs(1);
/// How long to wait before a replica that refused this one is tried again: somebody must act first.
pub const PEER_REFUSED_WAIT: Duration = Duration::from_secs(5);
/// How long a replica that was removed has to learn that from its log before it is told.
pub const PEER_REMOVED_WAIT: Duration = Duration::from_secs(1);
/// How long what waits for a replica may take to be sent once there is to be no link to it.
pub const PEER_END_WAIT: Duration = Duration::from_secs(1);
/// How long another replica has to say who it is after it opened a stream.
pub const PEER_HELLO_WAIT: Duration = Duration::from_secs(5);
/// Sessions looked at before the writer gets its turn, and sent in one message to another replica.
pub const PEER_HOSTS_AT_ONCE: usize = 256;
/// Bytes of the sessions in one message to another replica, unless one alone is larger.
pub const PEER_HOSTS_BYTES_MAX: usize = 1 << 20;
/// Hosts that another replica may ask for by name at one time.
pub const PEER_HOSTS_NAMED_MAX: usize = 10_000;
/// How long a controller that stops waits for another to lead in its place.
pub const HAND_OVER_WAIT: Duration = Duration::from_secs(2);
/// How long it waits before it asks for that again.
pub const HAND_OVER_RETRY: Duration = Duration::from_millis(500);

/// How often replicas tell each other how many hosts they serve, and let go of hosts if they serve
/// too many.
pub const BALANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long what another replica said of its hosts holds.
pub const LOAD_HOLDS: Duration = Duration::from_secs(5);
/// A replica may have so many hosts more than the average, and a part of it more on top.
pub const BALANCE_MORE_HOSTS: u64 = 8;
/// How long a host stays before it is let go for the sake of balance.
pub const BALANCE_STAY: Duration = Duration::from_secs(30);
/// Time in which a replica without a leader lets go of its hosts.
pub const RELEASE_TIME: Duration = Duration::from_secs(2);
/// Time between two groups of them.
pub const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two checks of what a host holds, if nothing else is said.
pub const HOST_CHECK_SECONDS: u64 = 600;
/// How often the hosts are looked through for those whose turn it is.
pub const HOST_CHECK_TICK: Duration = Duration::from_secs(1);
/// How long a check that somebody waits for may take.
pub const HOST_CHECK_WAIT: Duration = Duration::from_secs(30);
/// How long another replica may take to answer for one of its hosts: longer than it waits itself.
pub const PEER_HOST_CHECK_WAIT: Duration = Duration::from_secs(32);
/// Checks that somebody waits for, at one time.
pub const HOST_CHECKS_MAX: usize = 256;

/// How long a connection to another controller may take.
pub const PEER_CALL_CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long another controller may take to answer a call.
pub const PEER_CALL_WAIT: Duration = Duration::from_secs(5);
/// How long another replica may take to say which hosts are connected to it.
pub const PEER_HOSTS_WAIT: Duration = Duration::from_secs(2);
/// Other replicas that are asked at one time on behalf of one caller.
pub const PEER_CALLS_MAX: usize = 8;
/// The largest answer of another replica that is taken.
pub const PEER_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Hosts that are named in a question to other replicas; if there are more, they are asked for all.
pub const HOSTS_NAMED_MAX: usize = 2_000;
/// Controllers that one change of members may add.
pub const ADD_REPLICAS_MAX: usize = 16;
/// Backups made at one time: each has the state in memory as bytes.
pub const BACKUPS_MAX: usize = 1;

/// How long after it has connected a client has to begin with HTTP/2.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long to wait where no connection can be accepted, because there are no more files to be had.
pub const ACCEPT_RETRY_WAIT: Duration = Duration::from_millis(100);
/// What a client may send before it is read: of all its streams, and of each.
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// The names and values of one call's headers.
pub const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// What is kept of one stream's answer until the client takes it, before no more of it is made. A
/// message that is begun is kept whole.
pub const STREAM_BUFFER_BYTES_MAX: usize = 400 << 10;
/// Streams that a client may have us reset by breaking the protocol, before it is let go.
pub const CONNECTION_RESETS_MAX: usize = 1024;
/// gRPC streams on one connection.
pub const CONNECTION_STREAMS_MAX: u32 = 1024;
/// Host streams on one connection: an agent has one, and one that is about to end; a proxy may carry those
/// of many agents.
pub const CONNECTION_HOST_STREAMS_MAX: usize = 64;
/// How long a connection may be silent before its peer's kernel is asked whether it is still there: longer
/// than the pings of agents are apart, so that idle hosts are not asked at all.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Questions without an answer after which the connection is given up.
pub const KEEPALIVE_RETRIES: u32 = 4;
/// How long a host has to close its half of a stream after its last message.
pub const STREAM_END_WAIT: Duration = Duration::from_secs(2);
/// How long streams have to end when the controller stops.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);

const _: () = {
    assert!(WAITING_REQUESTS_MAX <= PROPOSALS_MAX);
    // A leader that is lost is replaced within this time, unless a majority is.
    assert!(LEADERLESS_WAIT.as_millis() < NO_LEADER_WAIT.as_millis());
    assert!(ADMIN_REQUEST_BYTES_MAX <= PROPOSALS_BYTES_MAX);
    assert!(BATCH_PROPOSALS_MAX <= PROPOSALS_MAX);
    assert!(BATCH_BYTES_MAX <= PROPOSALS_BYTES_MAX);
    assert!(PROPOSAL_BYTES_MIN * PROPOSALS_MAX == PROPOSALS_BYTES_MAX);
    // Permits of the semaphore are counted in KiB.
    assert!(PROPOSAL_BYTES_MIN.is_multiple_of(1024));
    assert!(PEER_MESSAGE_BYTES_MIN * PEER_MESSAGES_MAX == PEER_MESSAGES_BYTES_MAX);
    assert!(PEER_MESSAGE_BYTES_MIN.is_multiple_of(1024));
    assert!(PEER_MESSAGE_BYTES_MAX <= PEER_MESSAGES_BYTES_MAX);
    assert!(PEER_MESSAGE_BYTES_MAX <= PEER_QUEUE_BYTES_MAX);
    assert!(BALANCE_INTERVAL.as_millis() < LOAD_HOLDS.as_millis());
    assert!(LOG_ENTRIES_KEPT < SNAPSHOT_ENTRIES);
    assert!(CONNECTION_HOST_STREAMS_MAX <= CONNECTION_STREAMS_MAX as usize);
    assert!(STREAM_END_WAIT.as_millis() < DRAIN_WAIT.as_millis());
    assert!(LIST_PAGE_OBJECTS_MAX <= LIST_PAGE_SCAN_MAX);
};
