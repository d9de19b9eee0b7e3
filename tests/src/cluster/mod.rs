//! A cluster of real controllers, each in a network namespace of its own, with faults and load.
//!
//! ```text
//!   spwchaos-hub          bridge "hub" 192.0.2.1/24: agents, writers, readers, and the test itself
//!      │ c1    │ c2  …    veth pairs
//!   spwchaos-c1 spwchaos-c2 …   eth0 192.0.2.11, .12 …: a controller each
//! ```
//!
//! * [`place`]: what is made on the machine: the namespaces, a directory, a small disk. One at a time.
//! * [`network`]: the namespaces, and partitions.
//! * [`disk`]: a file system of its own that can be filled, and made slow.
//! * [`member`]: a controller's process.
//! * [`Cluster`]: all of them, and what an operator does to them.
//! * [`clients`]: calls of the admin API, and what a failed one says of a write.
//! * [`load`]: writers, a reader and a watch, which check what they are told.
//! * [`faults`]: what goes wrong.
//! * [`end`]: what must hold when nothing goes wrong any more.

pub mod clients;
pub mod disk;
pub mod end;
pub mod faults;
pub mod load;
pub mod member;
pub mod network;
pub mod place;

use crate::binary::spanwire;
use crate::wait_for;
use clients::Clients;
use member::Member;
use place::Place;
use spanwire_adminproto::wire;
use std::process::Command;
use std::time::Duration;

/// Members at the start, by their numbers from 0.
pub const VOTERS: usize = 3;
/// Members there can be.
pub const MEMBERS_MAX: usize = 5;
/// The member whose data lie on the small disk.
pub const ON_SMALL_DISK: usize = 2;
/// How long the cluster may take for what it does in moments on a machine with nothing else to do.
pub const WAIT: Duration = Duration::from_secs(180);

/// The controllers.
pub struct Cluster {
    /// By number; the last ones run only while the cluster is larger.
    pub members: Vec<Member>,
    /// Calls of the test itself.
    pub clients: Clients,
}

impl Cluster {
    /// Starts three controllers, and makes one cluster of them.
    pub fn up(place: &Place) -> Cluster {
        let members: Vec<Member> = (0..MEMBERS_MAX)
            .map(|number| {
                let data = if number == ON_SMALL_DISK {
                    place.disk.mount_point().join("data")
                } else {
                    place.directory().join(format!("controller-{}", number + 1))
                };
                Member::new(number, data, place.directory())
            })
            .collect();
        let mut cluster = Cluster { members, clients: Clients::new() };
        cluster.members[0].found();
        for number in 1..VOTERS {
            cluster.members[number].start();
            cluster.add(number, true);
        }
        cluster.wait_healthy();
        cluster
    }

    /// The addresses of the controllers that should run.
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().filter(|m| m.is_started()).map(|m| m.address().to_owned()).collect()
    }

    /// The numbers of the members that should run.
    pub fn numbers(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|number| self.members[*number].is_started()).collect()
    }

    /// What a member says of the cluster.
    pub fn status(&mut self, number: usize) -> Result<wire::ClusterStatusResponse, String> {
        let address = self.members[number].address().to_owned();
        self.clients.status(&address).map_err(|status| format!("{address}: {status}"))
    }

    /// The member that leads, in the newest term that one is known of.
    pub fn leader(&mut self) -> usize {
        wait_for("a leader", WAIT, || {
            let mut newest: Option<(u64, usize)> = None;
            let mut seen = Vec::new();
            for number in self.numbers() {
                match self.status(number) {
                    Ok(status) if status.leader == status.replica && status.leader != 0 => {
                        newest = newest.max(Some((status.term, number)));
                    }
                    Ok(status) => seen.push(format!("{number}: follows {}", status.leader)),
                    Err(error) => seen.push(error),
                }
            }
            newest.map(|(_, number)| number).ok_or_else(|| seen.join("; "))
        })
    }

    /// Waits until every member is there, current, and agrees with the others on who leads and who
    /// they are.
    pub fn wait_healthy(&mut self) {
        wait_for("a healthy cluster", WAIT, || self.check_healthy());
    }

    fn check_healthy(&mut self) -> Result<(), String> {
        let numbers = self.numbers();
        let mut all = Vec::new();
        for number in &numbers {
            all.push(self.status(*number)?);
        }
        let Some(first) = all.first() else { return Err("no member".to_owned()) };
        for status in &all {
            let ids = |status: &wire::ClusterStatusResponse| {
                status.replicas.iter().map(|replica| replica.id).collect::<Vec<_>>()
            };
            let agrees = status.leader == first.leader
                && status.leader != 0
                && status.term == first.term
                && status.cluster_id == first.cluster_id
                && status.current
                && !status.changing_members
                && ids(status) == ids(first)
                && status.replicas.len() == numbers.len();
            // Of the others, if this one leads.
            let progress = || status.replicas.iter().filter_map(|r| r.progress.as_ref());
            let hears = progress().all(|progress| progress.active && !progress.takes_snapshot);
            if !agrees || !hears {
                return Err(format!("{status:?}, and the first one says {first:?}"));
            }
        }
        Ok(())
    }

    /// Runs a verb of the command line, as an operator would. The answer is what it printed.
    pub fn verb(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(spanwire())
            .args(arguments)
            .args(["--controller", &self.addresses().join(",")])
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Makes a member of a controller that waits for it, and a voter if it shall vote.
    pub fn add(&mut self, number: usize, votes: bool) {
        let address = self.members[number].address().to_owned();
        self.verb_at_last(&["cluster", "add", &address]);
        if votes {
            let id = self.id_of(number).to_string();
            self.verb_at_last(&["cluster", "promote", &id, "--timeout", "2m"]);
        }
    }

    /// Removes members by their identities.
    pub fn remove(&mut self, ids: &[u64]) {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        let mut arguments = vec!["cluster", "remove"];
        arguments.extend(ids.iter().map(String::as_str));
        self.verb_at_last(&arguments);
    }

    /// Runs a verb until it succeeds: it may be refused while the others are not heard from yet.
    pub fn verb_at_last(&self, arguments: &[&str]) {
        wait_for(&format!("{arguments:?}"), WAIT, || self.verb(arguments));
    }

    /// The identity of a member, as the members know it.
    pub fn id_of(&mut self, number: usize) -> u64 {
        let wanted = self.members[number].address().to_owned();
        wait_for(&format!("the identity of the replica at {wanted}"), WAIT, || {
            let mut seen = Vec::new();
            for asked in self.numbers() {
                match self.status(asked) {
                    Ok(status) => {
                        let found = status.replicas.iter().find(|r| r.address == wanted);
                        if let Some(found) = found {
                            return Ok(found.id);
                        }
                        seen.push(format!("{status:?}"));
                    }
                    Err(error) => seen.push(error),
                }
            }
            Err(seen.join("; "))
        })
    }

    /// Fails if a controller ended that should run.
    pub fn check_running(&mut self) {
        for member in &mut self.members {
            member.check_running();
        }
    }
}
