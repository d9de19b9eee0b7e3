use super::*;
use crate::consensus::log::MemoryLog;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType};
use std::collections::BTreeMap;

/// Replicas with their stores, and the messages between them.
struct Cluster {
    nodes: BTreeMap<u64, Replica>,
    messages: Vec<Message>,
    cut_off: Option<u64>,
    now: Duration,
}

struct Replica {
    node: Node<MemoryLog>,
    store: Arc<MemoryLog>,
    /// Index and data of what was applied, without the entries of elections.
    applied: Vec<(u64, String)>,
    writes: usize,
}

const TICK: Duration = Duration::from_millis(100);

fn mk_node(id: u64, store: &Arc<MemoryLog>) -> Node<MemoryLog> {
    let election_ticks = ELECTION_TICKS;
    let config = NodeConfig { id, applied_index: 0, tick: TICK, election_ticks };
    Node::new(&config, store.clone()).unwrap()
}

impl Cluster {
    fn new(size: u64) -> Cluster {
        let ids: Vec<u64> = (1..=size).collect();
        let mk = |id: &u64| {
            let store = Arc::new(MemoryLog::new());
            bootstrap(&*store, &ids).unwrap();
            let node = mk_node(*id, &store);
            (*id, Replica { node, store, applied: Vec::new(), writes: 0 })
        };
        let nodes = ids.iter().map(mk).collect();
        Cluster { nodes, messages: Vec::new(), cut_off: None, now: Duration::ZERO }
    }

    fn campaign(&mut self, id: u64) {
        self.node(id).process(Event::Campaign).unwrap();
        self.settle();
    }

    fn node(&mut self, id: u64) -> &mut Node<MemoryLog> {
        &mut self.nodes.get_mut(&id).unwrap().node
    }

    fn propose(&mut self, id: u64, text: &str) {
        self.node(id).process(Event::Propose(text.into())).unwrap();
    }

    /// Forgets everything but the store, and starts again.
    fn restart(&mut self, id: u64) {
        let replica = self.nodes.get_mut(&id).unwrap();
        replica.node = mk_node(id, &replica.store);
        replica.applied.clear();
    }

    /// Lets replicas and messages run until nothing is left to do.
    fn settle(&mut self) {
        loop {
            for replica in self.nodes.values_mut() {
                replica.run(&mut self.messages);
            }
            if self.messages.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.messages) {
                let lost = [message.from, message.to].iter().any(|id| self.cut_off == Some(*id));
                if let Some(to) = self.nodes.get_mut(&message.to).filter(|_| !lost) {
                    // A message from a replica that was removed is refused.
                    let _ = to.node.process(Event::Message(Box::new(message)));
                }
            }
        }
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now += TICK;
            for replica in self.nodes.values_mut() {
                replica.node.process_time(self.now);
            }
            self.settle();
        }
    }

    fn leaders(&self) -> Vec<u64> {
        let leads =
            |(id, replica): (&u64, &Replica)| (replica.node.role() == Role::Leader).then_some(*id);
        self.nodes.iter().filter_map(leads).collect()
    }

    fn applied(&self, id: u64) -> Vec<&str> {
        self.nodes[&id].applied.iter().map(|(_, text)| text.as_str()).collect()
    }
}

impl Replica {
    fn run(&mut self, messages: &mut Vec<Message>) {
        while let Some(mut step) = self.node.step() {
            messages.append(&mut step.send);
            if !step.write.is_empty() {
                self.store.write(&step.write).unwrap();
                self.writes += 1;
            }
            let mut written = self.node.process_written(step);
            messages.append(&mut written.send);
            assert!(written.restore.is_none());
            for entry in written.apply {
                if entry.get_entry_type() != EntryType::EntryNormal {
                    let conf_state = Some(self.node.apply_members(&entry).unwrap());
                    self.store.write(&Write { conf_state, ..Write::default() }).unwrap();
                } else if !entry.data.is_empty() {
                    let text = String::from_utf8(entry.data.to_vec()).unwrap();
                    self.applied.push((entry.index, text));
                }
                self.node.process_applied(entry.index);
            }
        }
    }
}

#[test]
fn a_sole_voter_leads_at_once_and_commits() {
    let mut cluster = Cluster::new(1);
    assert!(cluster.node(1).is_sole_voter());
    assert!(!cluster.node(1).is_current_leader());
    cluster.campaign(1);
    assert!(cluster.node(1).is_current_leader());
    cluster.propose(1, "a");
    cluster.settle();
    // Index 1 is the entry of the election.
    assert_eq!(cluster.nodes[&1].applied, [(2, "a".to_owned())]);
}

#[test]
fn what_is_proposed_together_is_written_together() {
    let mut cluster = Cluster::new(1);
    cluster.campaign(1);
    let before = cluster.nodes[&1].writes;
    for n in 0..100 {
        cluster.propose(1, &n.to_string());
    }
    cluster.settle();
    assert_eq!(cluster.nodes[&1].applied.len(), 100);
    assert_eq!(cluster.nodes[&1].writes - before, 1, "one sync for the whole batch");
}

#[test]
fn a_restart_replays_the_log() {
    let mut cluster = Cluster::new(1);
    cluster.campaign(1);
    for text in ["a", "b", "c"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    let before = cluster.nodes[&1].applied.clone();
    cluster.restart(1);
    cluster.campaign(1);
    assert_eq!(cluster.nodes[&1].applied, before, "same entries at the same indices");
    cluster.propose(1, "d");
    cluster.settle();
    assert_eq!(cluster.nodes[&1].applied.last().unwrap(), &(6, "d".to_owned()));
}

#[test]
fn a_follower_refuses_proposals_and_names_the_leader() {
    let mut cluster = Cluster::new(3);
    let error = cluster.node(2).process(Event::Propose(b"x".to_vec())).unwrap_err();
    assert_eq!(error.to_string(), "replica 2 is not the leader, and knows of none");
    cluster.campaign(1);
    let error = cluster.node(2).process(Event::Propose(b"x".to_vec())).unwrap_err();
    assert_eq!(error.to_string(), "replica 2 is not the leader: ask replica 1");
}

#[test]
fn three_replicas_agree_and_outlive_their_leader() {
    let mut cluster = Cluster::new(3);
    cluster.campaign(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.pass(3);
    for id in 1..=3 {
        assert_eq!(cluster.applied(id), ["a"]);
    }
    // The leader is cut off: what it takes now is never committed, and it steps down.
    cluster.cut_off = Some(1);
    cluster.propose(1, "lost");
    cluster.settle();
    cluster.pass(60);
    let leaders = cluster.leaders();
    assert_eq!(leaders.len(), 1, "check_quorum ends the old leader: {leaders:?}");
    let leader = leaders[0];
    assert_ne!(leader, 1);
    cluster.propose(leader, "b");
    cluster.settle();
    cluster.pass(3);
    cluster.cut_off = None;
    cluster.pass(60);
    for id in 1..=3 {
        assert_eq!(cluster.applied(id), ["a", "b"], "replica {id}");
    }
    assert_eq!(cluster.nodes[&1].applied, cluster.nodes[&2].applied, "at the same indices");
}

#[test]
fn members_change_by_the_log() {
    let mut cluster = Cluster::new(3);
    cluster.campaign(1);
    let change = ConfChangeV2 {
        changes: vec![raft_proto::new_conf_change_single(3, ConfChangeType::RemoveNode)],
        ..ConfChangeV2::default()
    };
    cluster.node(1).process(Event::ProposeMembers(change)).unwrap();
    cluster.settle();
    cluster.pass(3);
    let expected = ConfState::from(([1, 2], []));
    assert!(raft_proto::conf_state_eq(&cluster.node(1).conf_state(), &expected));
    assert!(raft_proto::conf_state_eq(
        &cluster.nodes[&2].store.initial_state().unwrap().1,
        &expected
    ));
}

#[test]
fn a_pause_is_not_taken_for_the_silence_of_others() {
    let mut cluster = Cluster::new(3);
    let node = cluster.node(1);
    node.process_time(Duration::from_secs(1));
    assert_eq!(node.next_deadline(Duration::ZERO), Duration::from_secs(1) + TICK);
    node.process_time(Duration::from_secs(3600));
    assert_eq!(node.next_deadline(Duration::ZERO), Duration::from_secs(3600) + TICK);
    assert_eq!(node.role(), Role::Follower, "an hour of ticks would have made it a candidate");
    // A little late is made up for: the ticks keep their pace.
    node.process_time(Duration::from_secs(3600) + TICK + TICK / 2);
    assert_eq!(node.next_deadline(Duration::ZERO), Duration::from_secs(3600) + 2 * TICK);
}

#[test]
fn a_snapshot_ahead_of_the_written_commit_index_is_taken_up() {
    let mut cluster = Cluster::new(1);
    cluster.campaign(1);
    cluster.propose(1, "a");
    cluster.settle();
    let replica = &cluster.nodes[&1];
    let (applied_index, _) = replica.applied[0];
    let (hard_state, conf_state) = replica.store.initial_state().unwrap();
    assert!(hard_state.commit < applied_index, "the commit index is written with the next entry");
    let term = replica.store.term(applied_index).unwrap();
    let metadata = raft::eraftpb::SnapshotMetadata {
        conf_state: Some(conf_state),
        index: applied_index,
        term,
    };
    let snapshot = Snapshot { data: Vec::new().into(), metadata: Some(metadata) };
    replica.store.save_snapshot(&snapshot).unwrap();
    replica.store.compact(applied_index).unwrap();
    let election_ticks = ELECTION_TICKS;
    let config = NodeConfig { id: 1, applied_index, tick: TICK, election_ticks };
    let replica = cluster.nodes.get_mut(&1).unwrap();
    replica.node = Node::new(&config, replica.store.clone()).unwrap();
    replica.applied.clear();
    cluster.campaign(1);
    cluster.propose(1, "b");
    cluster.settle();
    assert_eq!(cluster.applied(1), ["b"], "the rest is in the snapshot");
}

#[test]
fn a_learner_that_is_cut_off_gives_up_on_its_leader() {
    let mut cluster = Cluster::new(3);
    cluster.campaign(1);
    let learner =
        ConfChangeSingle { change_type: ConfChangeType::AddLearnerNode as i32, node_id: 3 };
    let change = ConfChangeV2 { changes: vec![learner], ..ConfChangeV2::default() };
    cluster.node(1).process(Event::ProposeMembers(change)).unwrap();
    cluster.settle();
    cluster.pass(2);
    assert_eq!(cluster.node(3).leader(), 1);
    cluster.cut_off = Some(3);
    cluster.pass(2 * ELECTION_TICKS.end as u32 + 1);
    assert_eq!(cluster.node(3).leader(), 0);
    assert_eq!(cluster.node(1).leader(), 1, "a leader need not hear of itself");
    cluster.cut_off = None;
    cluster.pass(3);
    assert_eq!(cluster.node(3).leader(), 1);
}
