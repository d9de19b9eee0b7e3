//! What goes wrong, and when.

use crate::checks::Finding;
use crate::network::Network;
use crate::replica::State;
use crate::schedule::{MS, SECOND};
use crate::simulation::{Event, Simulation, host_node};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// The mood of a run: not every run has everything go wrong.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Time between two faults, at most.
    pause_max_ms: u64,
    network: bool,
    crashes: bool,
    disks: bool,
    alterations: bool,
    clocks: bool,
    hosts: bool,
    views: bool,
}

impl Faults {
    pub(crate) fn new(rng: &mut ChaCha8Rng) -> Faults {
        Faults {
            pause_max_ms: rng.random_range(200..3_000),
            network: rng.random_bool(0.8),
            crashes: rng.random_bool(0.8),
            disks: rng.random_bool(0.7),
            alterations: rng.random_bool(0.3),
            clocks: rng.random_bool(0.5),
            hosts: rng.random_bool(0.8),
            views: rng.random_bool(0.5),
        }
    }
}

impl Simulation {
    /// Something goes wrong, or gets better.
    pub(crate) fn process_fault(&mut self) -> Result<(), Finding> {
        if self.is_healed {
            return Ok(());
        }
        let pause = self.rng.random_range(20..self.faults.pause_max_ms) * MS;
        self.schedule.put(self.schedule.now() + pause, Event::Fault);
        match self.rng.random_range(0..13) {
            0..3 if self.faults.network => self.disturb_network(),
            3..5 if self.faults.crashes => self.crash_somebody(),
            5 if self.faults.crashes => self.pause_somebody(),
            6 if self.faults.disks => self.fail_disk(),
            7 if self.faults.disks => self.slow_disk(),
            8 if self.faults.alterations => self.alter_disk(),
            9 if self.faults.clocks => self.jump_clock(),
            10..12 if self.faults.hosts => self.disturb_host(),
            12 if self.faults.views => drop(self.alter_view()),
            _ => {}
        }
        Ok(())
    }

    fn disturb_network(&mut self) {
        let ids: Vec<u64> = self.replicas.keys().copied().collect();
        match self.rng.random_range(0..8) {
            0..3 => {
                self.network.unblock_all();
                self.tell(format_args!("network: whole again"));
            }
            3 => {
                let mut network = Network::faulty(&mut self.rng);
                std::mem::swap(&mut network, &mut self.network);
                self.tell(format_args!("network: faulty"));
            }
            4 => {
                let (from, to) = (self.pick(&ids), self.pick(&ids));
                self.network.block(from, to);
                self.count("one-way partitions");
                self.tell(format_args!("network: nothing from {from} to {to}"));
            }
            5 | 6 => {
                let side: Vec<u64> =
                    ids.iter().copied().filter(|_| self.rng.random_bool(0.5)).collect();
                for from in &ids {
                    for to in &ids {
                        if side.contains(from) != side.contains(to) {
                            self.network.block(*from, *to);
                        }
                    }
                }
                self.count("partitions");
                self.tell(format_args!("network: {side:?} apart"));
            }
            _ => {
                let host = self.rng.random_range(0..self.hosts.len());
                let id = self.pick(&ids);
                self.network.block(host_node(host), id);
                self.network.block(id, host_node(host));
                self.tell(format_args!("network: host {host} does not reach {id}"));
            }
        }
    }

    fn pick(&mut self, ids: &[u64]) -> u64 {
        ids[self.rng.random_range(0..ids.len())]
    }

    fn pick_up(&mut self) -> Option<u64> {
        let up = self.up();
        if up.is_empty() { None } else { Some(self.pick(&up)) }
    }

    /// The process is killed, or the power goes off.
    fn crash_somebody(&mut self) {
        let Some(id) = self.pick_up() else { return };
        let power = self.rng.random_bool(0.5);
        self.stop_replica(id, State::Down);
        if let Some(replica) = self.replicas.get_mut(&id) {
            if power {
                replica.storage.cut_power(&mut self.rng);
            } else {
                replica.storage.kill();
            }
        }
        self.count(if power { "power cuts" } else { "kills" });
        self.tell(format_args!("replica {id} {}", if power { "loses power" } else { "is killed" }));
        let pause = self.rng.random_range(50..8_000) * MS;
        self.schedule.put(self.schedule.now() + pause, Event::Start { id });
    }

    /// A replica is stopped and goes on later, as if nothing had been.
    fn pause_somebody(&mut self) {
        let Some(id) = self.pick_up() else { return };
        let until = self.schedule.now() + self.rng.random_range(100..6_000) * MS;
        if let Some(running) = self.replicas.get_mut(&id).and_then(|r| r.running_mut()) {
            running.busy_until = running.busy_until.max(until);
        }
        self.count("pauses");
        self.tell(format_args!("replica {id} pauses until {}", until / MS));
    }

    /// The disk will refuse, somewhere in the middle of what is written next.
    fn fail_disk(&mut self) {
        let Some(id) = self.pick_up() else { return };
        let full = self.rng.random_bool(0.4);
        let (left, operations) = (self.rng.random_range(0..4_000), self.rng.random_range(0..40));
        if let Some(replica) = self.replicas.get_mut(&id) {
            if full {
                replica.storage.fill(left);
            } else {
                replica.storage.stop_after(operations);
            }
        }
        self.count(if full { "disks filled" } else { "power cuts in the middle of a write" });
        self.tell(format_args!("replica {id}: its disk {}", if full { "fills" } else { "goes" }));
    }

    fn slow_disk(&mut self) {
        let Some(id) = self.pick_up() else { return };
        let slow = self.rng.random_bool(0.6);
        let sync_time = if slow { self.rng.random_range(5..300) * MS } else { 200 };
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.storage.sync_time = sync_time;
        }
        self.tell(format_args!("replica {id}: a write takes {sync_time} us"));
    }

    /// A bit flips on the disk of a replica that the cluster can do without.
    fn alter_disk(&mut self) {
        let Some(id) = self.pick_up() else { return };
        let conf_state = &self.membership.conf_state;
        let is_lost = |voter: &&u64| {
            self.replicas.get(voter).is_none_or(|replica| {
                replica.storage.is_altered
                    || matches!(replica.state, State::Broken | State::Removed)
            })
        };
        let lost = conf_state.voters.iter().filter(is_lost).count();
        // No disk may be lost of as many as would be a majority, or nobody could know what was lost.
        let spare = (conf_state.voters.len().saturating_sub(1)) / 2;
        if lost >= spare || !conf_state.voters_outgoing.is_empty() {
            return;
        }
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let Some(where_) = replica.storage.alter(&mut self.rng) else { return };
        self.count("bits flipped");
        self.tell(format_args!("replica {id}: a bit flips, {where_}"));
    }

    fn jump_clock(&mut self) {
        let Some(id) = self.pick_up() else { return };
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.clock.jump(&mut self.rng);
        }
        self.count("clock jumps");
        self.tell(format_args!("replica {id}: its date jumps"));
    }

    fn disturb_host(&mut self) {
        let host = self.rng.random_range(0..self.hosts.len());
        let now = self.schedule.now();
        match self.rng.random_range(0..4) {
            0 => {
                let stored = self.rng.random_bool(0.5);
                if self.hosts[host].is_up {
                    self.break_stream(host, now);
                    self.hosts[host].stop(stored);
                    let pause = self.rng.random_range(10..5_000) * MS;
                    self.schedule.put(now + pause, Event::HostStart { host });
                    self.count("agents restarted");
                    self.tell(format_args!("host {host}: its agent stops"));
                }
            }
            1 => {
                self.hosts[host].slowness = match self.rng.random_bool(0.5) {
                    true => self.rng.random_range(0..5) * SECOND,
                    false => 0,
                };
                self.count("slow hosts");
                self.tell(format_args!("host {host} reads slowly, or not"));
            }
            _ => {
                self.break_stream(host, now);
                self.tell(format_args!("host {host}: its stream breaks"));
            }
        }
    }
}
