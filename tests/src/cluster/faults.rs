//! What goes wrong, and that it is put right again.

use super::load::{self, Shared};
use super::network::{Lost, Partition, address};
use super::place::Place;
use super::{Cluster, ON_SMALL_DISK, VOTERS, WAIT};
use crate::process::AgentProcess;
use crate::wait_for;
use nix::sys::signal::Signal;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A controller is killed, and started again after a while.
    Kill,
    /// The leader is killed.
    KillLeader,
    /// The leader is stopped for longer than its lease, and goes on as if nothing had been.
    Freeze,
    /// Packets of a controller are lost.
    Partition,
    /// The disk of a controller is full.
    FullDisk,
    /// The disk of a controller is slow.
    SlowDisk,
    /// A controller comes back with other clocks.
    ClockJump,
    /// All controllers are restarted, one after the other.
    RollingRestart,
    /// A controller loses its disk, and is replaced.
    Replace,
    /// Two controllers are added, two of the five are killed, and the two leave.
    Grow,
    /// Agents are killed.
    KillAgents,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 11] = [
        Fault::Kill,
        Fault::KillLeader,
        Fault::Freeze,
        Fault::Partition,
        Fault::FullDisk,
        Fault::SlowDisk,
        Fault::ClockJump,
        Fault::RollingRestart,
        Fault::Replace,
        Fault::Grow,
        Fault::KillAgents,
    ];
}

/// Everything that faults happen to.
pub struct Victims<'a> {
    /// The controllers.
    pub cluster: Cluster,
    /// The agents.
    pub agents: Vec<AgentProcess>,
    /// The disk that can be filled.
    pub place: &'a Place,
    /// The load.
    pub shared: &'a Shared,
}

impl Victims<'_> {
    /// Lets something go wrong, and puts it right. Returns what it was in detail.
    pub fn suffer(&mut self, fault: Fault, random: &mut ChaCha8Rng) -> String {
        self.cluster.check_running();
        match fault {
            Fault::Kill => {
                let victim = any(self.cluster.numbers(), random);
                self.kill(victim, random)
            }
            Fault::KillLeader => {
                let victim = self.cluster.leader();
                self.kill(victim, random)
            }
            Fault::Freeze => self.freeze(random),
            Fault::Partition => self.partition(random),
            Fault::FullDisk => self.full_disk(random),
            Fault::SlowDisk => self.slow_disk(random),
            Fault::ClockJump => self.clock_jump(random),
            Fault::RollingRestart => self.rolling_restart(),
            Fault::Replace => self.replace(random),
            Fault::Grow => self.grow(random),
            Fault::KillAgents => self.kill_agents(random),
        }
    }

    fn kill(&mut self, victim: usize, random: &mut ChaCha8Rng) -> String {
        self.cluster.members[victim].kill();
        pause(random, 0..3000);
        self.cluster.members[victim].start();
        name(victim)
    }

    fn freeze(&mut self, random: &mut ChaCha8Rng) -> String {
        let victim = self.cluster.leader();
        self.cluster.members[victim].signal(Signal::SIGSTOP);
        let frozen = pause(random, 2000..5000);
        self.cluster.members[victim].signal(Signal::SIGCONT);
        format!("{} for {frozen:?}", name(victim))
    }

    fn partition(&mut self, random: &mut ChaCha8Rng) -> String {
        let victim = if random.random() {
            self.cluster.leader()
        } else {
            any(self.cluster.numbers(), random)
        };
        let mut others = self.cluster.numbers();
        others.retain(|other| *other != victim);
        if random.random() {
            others = vec![any(others, random)];
        }
        let lost = [Lost::Inward, Lost::Outward, Lost::Both][random.random_range(0..3)];
        let from: Vec<String> = others.iter().map(|other| address(*other)).collect();
        let cut = Partition::make(victim, &from, lost);
        pause(random, 1000..4000);
        // A majority is not needed to say what one has.
        for number in self.cluster.numbers() {
            let asked = self.cluster.members[number].address().to_owned();
            let clients = &mut self.cluster.clients;
            wait_for("a stale read during a partition", WAIT, || {
                let page = clients.list(&asked, "LogicalPort", 1, String::new(), true);
                page.map_err(|status| format!("{asked}: {status}"))
            });
        }
        pause(random, 500..2000);
        drop(cut);
        let others: Vec<String> = others.into_iter().map(name).collect();
        format!("{} from {}, {lost:?} lost", name(victim), others.join(" and "))
    }

    fn full_disk(&mut self, random: &mut ChaCha8Rng) -> String {
        let mut others = self.cluster.numbers();
        others.retain(|number| *number != ON_SMALL_DISK);
        let other = any(others, random);
        let address = self.cluster.members[other].address().to_owned();
        let clients = &mut self.cluster.clients;
        let member = &mut self.cluster.members[ON_SMALL_DISK];
        let start = member.log_length();
        self.place.disk.fill();
        let mut ballast = 0;
        wait_for("the controller whose disk is full to stop", WAIT, || {
            if member.has_ended() {
                return Ok(());
            }
            // Its log may have room from before, with which it goes on for as long as that lasts.
            ballast += 1;
            let written = clients.apply(&address, vec![load::ballast(ballast)]);
            Err(format!("it runs; {ballast} large writes, the last one {written:?}"))
        });
        let status = member.wait_ended();
        assert!(!status.success(), "a controller ended as if nothing were wrong with its disk");
        let said = member.log_from(start);
        assert!(
            said.contains("No space left on device"),
            "a controller does not say that its disk is full; it ended with {status}:\n{said}"
        );
        pause(random, 0..2000);
        self.place.disk.free();
        self.cluster.members[ON_SMALL_DISK].start();
        name(ON_SMALL_DISK)
    }

    fn slow_disk(&mut self, random: &mut ChaCha8Rng) -> String {
        let slow = self.place.disk.slow(self.cluster.members[ON_SMALL_DISK].pid());
        let time = pause(random, 3000..6000);
        drop(slow);
        format!("{} for {time:?}, {}", name(ON_SMALL_DISK), self.place.disk.how_slow())
    }

    fn clock_jump(&mut self, random: &mut ChaCha8Rng) -> String {
        const FORWARD_MAX: i64 = 30 * 24 * 3600;
        let uptime =
            std::fs::read_to_string("/proc/uptime").expect("a kernel tells how long it is up");
        let uptime = uptime.split('.').next().and_then(|text| text.parse::<i64>().ok());
        // A clock cannot go to before its start.
        let backward_max = uptime.unwrap_or(0) / 2;
        let seconds = if random.random() {
            random.random_range(1..FORWARD_MAX)
        } else {
            -random.random_range(0..=backward_max)
        };
        let victim = if random.random() {
            self.cluster.leader()
        } else {
            any(self.cluster.numbers(), random)
        };
        let member = &mut self.cluster.members[victim];
        if random.random() {
            member.kill();
        } else {
            member.terminate();
        }
        member.start_off_by(seconds);
        format!("{} by {seconds} s", name(victim))
    }

    fn rolling_restart(&mut self) -> String {
        // What was before may still be felt, and is not what this is about.
        self.cluster.wait_healthy();
        let failed_before = self.shared.not_applied.load(Ordering::SeqCst);
        let leader = self.cluster.leader();
        let mut order = self.cluster.numbers();
        order.retain(|number| *number != leader);
        for number in order {
            self.restart(number);
        }
        self.cluster.verb_at_last(&["cluster", "transfer"]);
        self.restart(leader);
        let failed = self.shared.not_applied.load(Ordering::SeqCst) - failed_before;
        let because = self.shared.not_applied_because.lock();
        assert_eq!(failed, 0, "writes failed during a rolling restart: {because:?}");
        format!("{} last", name(leader))
    }

    fn restart(&mut self, number: usize) {
        self.cluster.members[number].terminate();
        self.cluster.members[number].start();
        self.cluster.wait_healthy();
    }

    fn replace(&mut self, random: &mut ChaCha8Rng) -> String {
        self.cluster.wait_healthy();
        let victim = any(self.cluster.numbers(), random);
        let id = self.cluster.id_of(victim);
        self.cluster.members[victim].kill();
        let came_back = random.random();
        if came_back {
            // With its disk after all, too late: it is told, and ends.
            self.cluster.remove(&[id]);
            let start = self.cluster.members[victim].log_length();
            self.cluster.members[victim].start();
            self.wait_removed(victim, start);
            self.cluster.members[victim].wipe();
        } else {
            self.cluster.members[victim].wipe();
            self.cluster.remove(&[id]);
        }
        self.cluster.members[victim].start();
        self.cluster.add(victim, true);
        let note = if came_back { ", which came back first" } else { "" };
        format!("{}{note}", name(victim))
    }

    fn grow(&mut self, random: &mut ChaCha8Rng) -> String {
        self.cluster.wait_healthy();
        let new: Vec<usize> = (VOTERS..self.cluster.members.len()).collect();
        for number in &new {
            self.cluster.members[*number].start();
            self.cluster.add(*number, true);
        }
        self.cluster.wait_healthy();
        *self.shared.addresses.lock() = self.cluster.addresses();
        pause(random, 500..1500);
        let mut victims = self.cluster.numbers();
        victims.shuffle(random);
        victims.truncate(2);
        for victim in &victims {
            self.cluster.members[*victim].kill();
        }
        pause(random, 1000..3000);
        for victim in &victims {
            self.cluster.members[*victim].start();
        }
        self.cluster.wait_healthy();
        let ids: Vec<u64> = new.iter().map(|number| self.cluster.id_of(*number)).collect();
        let stay: Vec<String> =
            (0..VOTERS).map(|number| self.cluster.members[number].address().to_owned()).collect();
        *self.shared.addresses.lock() = stay;
        let starts: Vec<usize> =
            new.iter().map(|number| self.cluster.members[*number].log_length()).collect();
        self.cluster.remove(&ids);
        for (number, start) in new.iter().zip(starts) {
            self.wait_removed(*number, start);
            self.cluster.members[*number].wipe();
        }
        let victims: Vec<String> = victims.into_iter().map(name).collect();
        format!("to five, {} killed", victims.join(" and "))
    }

    /// Waits until a controller that was removed has ended, and says why.
    fn wait_removed(&mut self, number: usize, log_start: usize) {
        let member = &mut self.cluster.members[number];
        let status = member.wait_ended();
        let said = member.log_from(log_start);
        assert!(
            !status.success() && said.contains("is no member of its cluster any more"),
            "{} was removed and ended with {status}:\n{said}",
            member.address()
        );
    }

    fn kill_agents(&mut self, random: &mut ChaCha8Rng) -> String {
        const KILLED_MAX: usize = 12;
        let count = random.random_range(1..=KILLED_MAX);
        let mut victims: Vec<usize> = (0..self.agents.len()).collect();
        victims.shuffle(random);
        victims.truncate(count);
        for victim in &victims {
            self.agents[*victim].kill();
        }
        pause(random, 0..1500);
        for victim in &victims {
            self.agents[*victim].restart();
        }
        format!("{count}")
    }
}

fn name(number: usize) -> String {
    format!("c{}", number + 1)
}

fn any(numbers: Vec<usize>, random: &mut ChaCha8Rng) -> usize {
    numbers.choose(random).copied().expect("there are controllers")
}

fn pause(random: &mut ChaCha8Rng, milliseconds: std::ops::Range<u64>) -> Duration {
    let time = Duration::from_millis(random.random_range(milliseconds));
    std::thread::sleep(time);
    time
}
