//! The story: what is shown, in which order, and what must hold at each step.

use super::broadcast::{Load, broadcast};
use super::checks::{self, Attempt, Expected, Seen};
use super::cluster::{self, CONTROLLERS};
use super::follow::{self, Told};
use super::report::Report;
use super::{Stage, replaced, slice};
use crate::client::{Admin, to_failure};
use crate::failure::Failure;
use crate::output::{Table, render};
use crate::verbs::apply;
use crate::verbs::signals::Interrupt;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::engine::HostId;
use spanwire_topology::model::{Kind, LogicalPortSpec, Spec};
use spanwire_topology::{Engine, ObjectKey, Resource, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Connections of each kind that are shown as examples.
const EXAMPLES: usize = 3;

/// Everything that the steps share.
struct Story<'a> {
    stage: &'a mut dyn Stage,
    report: &'a mut Report,
    admin: Admin,
    /// What is expected: given the same transactions as the controller.
    engine: Engine,
    resources: Vec<Resource>,
    attempts: Vec<Attempt>,
    tcp_ports: BTreeSet<u16>,
    interrupt: Interrupt,
}

/// Tells the story. What did not hold is in the report; an error is something else.
pub(super) fn tell(
    stage: &mut dyn Stage,
    report: &mut Report,
    resources: Vec<Resource>,
    interrupt: Interrupt,
) -> Result<(), Failure> {
    report.say(&stage.describe())?;
    let tcp_ports = checks::tcp_ports(&resources);
    let attempts = checks::attempts(&resources, &tcp_ports);
    let admin = stage.admin()?;
    let engine = Engine::new();
    let mut story =
        Story { stage, report, admin, engine, resources, attempts, tcp_ports, interrupt };
    tell_all(&mut story)
}

/// A step of the story.
type Step<'a> = fn(&mut Story<'a>) -> Result<(), Failure>;

/// All steps in their order, as long as nobody asks for an end.
fn tell_all<'a>(story: &mut Story<'a>) -> Result<(), Failure> {
    let steps: [Step<'a>; 9] = [
        Story::network,
        Story::first_apply,
        Story::who_was_told_what,
        Story::connections,
        Story::move_one,
        Story::relabel_one,
        Story::cut_and_heal,
        Story::without_leader,
        Story::without_controllers,
    ];
    for step in steps {
        story.interrupt.check()?;
        step(story)?;
    }
    Ok(())
}

// ---- Steps ----

impl Story<'_> {
    fn network(&mut self) -> Result<(), Failure> {
        self.report.section("The network: a slice of a campus that OVN runs")?;
        let mut table = Table::new(&["TENANT", "", "PORTS", "HOSTS", "ADDRESSES"]);
        let ports = checks::ports(&self.resources);
        for (project, kind) in slice::ROUTED
            .iter()
            .map(|project| (*project, "routed to others"))
            .chain(slice::ISOLATED.iter().map(|project| (*project, "isolated")))
        {
            let own: Vec<&LogicalPortSpec> = ports
                .iter()
                .filter(|(key, _)| &*key.project == project)
                .map(|(_, port)| port)
                .collect();
            let hosts: BTreeSet<_> = own.iter().filter_map(|port| port.host.as_deref()).collect();
            let first = own.iter().flat_map(|port| &port.addresses).min();
            table.row([
                project.to_owned(),
                kind.to_owned(),
                own.len().to_string(),
                hosts.len().to_string(),
                first.map_or_else(String::new, |address| format!("{address} ...")),
            ]);
        }
        self.report.table(&table)?;
        let count = |kind: Kind| self.resources.iter().filter(|r| r.spec.kind() == kind).count();
        self.report.say(&format!(
            "{}, {}; groups of the whole campus cut across the tenants",
            render::count(count(Kind::Group), "group"),
            render::count(count(Kind::SecurityPolicy), "policy"),
        ))
    }

    fn first_apply(&mut self) -> Result<(), Failure> {
        self.report.section("One transaction, and an agent on each host")?;
        let start = Instant::now();
        let resources = self.resources.clone();
        let revision = self.apply(resources)?;
        let text = render::duration(start.elapsed());
        self.report.say(&format!("applied whole at revision {revision}, in {text}"))?;
        self.stage.start_agents()?;
        let start = Instant::now();
        let before = BTreeMap::new();
        let follow = follow::follow(&mut self.admin, &before, revision, start);
        self.stage.runtime().block_on(follow)?;
        let took = start.elapsed();
        self.report.figure("first_enforced_ms", millis(took));
        self.report.say(&format!("every host enforces it {} later", render::duration(took)))?;
        let statuses = self.stage.runtime().block_on(follow::statuses(&mut self.admin))?;
        self.report.check("no host refuses anything", follow::rejections(&statuses))
    }

    fn who_was_told_what(&mut self) -> Result<(), Failure> {
        self.report.section("What a broadcast would have sent, and what was sent")?;
        let hosts = self.hosts();
        let everything = broadcast(&self.engine, &hosts);
        let statuses = self.stage.runtime().block_on(follow::statuses(&mut self.admin))?;
        let headings =
            ["HOST", "MEMBERS", "OF", "LOCATORS", "OF", "BYTES SENT", "BROADCAST", "LESS"];
        let mut table = Table::new(&headings);
        let (mut sent_total, mut broadcast_total) = (0, 0);
        let mut findings = Vec::new();
        for (host, id) in &hosts {
            let own = Load::of(&self.engine.host_view(*id));
            let all = everything.get(host).copied().unwrap_or_default();
            let sent = statuses.get(host).map_or(0, |status| status.bytes_sent);
            let all_bytes = all.bytes as u64;
            sent_total += sent;
            broadcast_total += all_bytes;
            if sent == 0 || sent > all_bytes {
                findings.push(format!("{host} was sent {sent} bytes, a broadcast has {all_bytes}"));
            }
            table.row([
                host.clone(),
                own.members.to_string(),
                all.members.to_string(),
                own.locators.to_string(),
                all.locators.to_string(),
                sent.to_string(),
                all_bytes.to_string(),
                less(sent, all_bytes),
            ]);
        }
        self.report.table(&table)?;
        let saved = less(sent_total, broadcast_total);
        self.report.say(&format!(
            "in all {} instead of {}: {saved}",
            render::bytes(sent_total),
            render::bytes(broadcast_total)
        ))?;
        self.report.figure("bytes_sent", sent_total);
        self.report.figure("bytes_broadcast", broadcast_total);
        self.report
            .check("every host was sent something, and none more than a broadcast", findings)?;
        self.check_views()
    }

    fn connections(&mut self) -> Result<(), Failure> {
        self.report.section("Connections, and what the policy says about them")?;
        self.try_all(true)
    }

    fn move_one(&mut self) -> Result<(), Failure> {
        self.report.section("A workload moves")?;
        let (key, mut port, to) = self.mover()?;
        let from = port.host.take().unwrap_or_default();
        self.report.say(&format!("{key}: from {from} to {to}, where its tenant had nobody"))?;
        self.try_around(&key);
        self.stage.move_workload(&key, &to)?;
        port.host = Some(to.as_str().into());
        self.change(vec![self.with_spec(&key, Spec::LogicalPort(port))?])?;
        self.try_all(false)
    }

    fn relabel_one(&mut self) -> Result<(), Failure> {
        self.report.section("A workload is relabelled")?;
        let key = self.first_port(slice::ROUTED[0])?;
        self.report
            .say(&format!("{key}: {}=yes, and a policy isolates it", slice::QUARANTINE_LABEL))?;
        self.try_around(&key);
        let mut resource = self.resource(&key)?.clone();
        let mut labels = (*resource.metadata.labels).clone();
        labels.insert(slice::QUARANTINE_LABEL.into(), "yes".into());
        resource.metadata.labels = Arc::new(labels);
        self.change(vec![resource])?;
        let reached = self.answers_around(&key)?;
        self.report.check("the policy says that nobody reaches it any more", reached)?;
        self.try_all(false)
    }

    fn cut_and_heal(&mut self) -> Result<(), Failure> {
        self.report.section("A router's uplink is cut")?;
        let (key, whole) = self.uplinked_router()?;
        let Spec::LogicalRouter(router) = &*whole.spec else {
            return Err(Failure::refused(format!("{key} is no router")));
        };
        let mut alone = router.clone();
        alone.uplinks.clear();
        let before = self.engine.domains().len();
        self.change(vec![self.with_spec(&key, Spec::LogicalRouter(alone))?])?;
        let after = self.engine.domains().len();
        self.report
            .say(&format!("{key} has no uplink: {before} routing domains are {after} now"))?;
        let findings =
            if after > before { Vec::new() } else { vec!["the domain did not split".to_owned()] };
        self.report.check("the tenant is a domain of its own", findings)?;
        self.try_all(false)?;

        self.report.section("The uplink is healed")?;
        self.change(vec![whole])?;
        self.try_all(false)
    }

    fn without_leader(&mut self) -> Result<(), Failure> {
        self.report.section("The leader of the controllers is killed")?;
        let cluster = self.stage.runtime().block_on(cluster::status(&mut self.admin))?;
        let leader = cluster.replicas.iter().find(|replica| replica.id == cluster.leader);
        let Some(leader) = leader.cloned() else {
            return Err(Failure::refused("nobody leads the controllers"));
        };
        let before = self.stage.runtime().block_on(follow::statuses(&mut self.admin))?;
        let start = Instant::now();
        self.stage.kill_controller(&leader.address)?;
        self.admin = self.stage.admin()?;
        self.report.say(&format!(
            "replica {} at {} led {CONTROLLERS}, and was killed without a word",
            leader.id, leader.address
        ))?;
        self.try_all(false)?;
        // A label that no group asks for: written, and of no concern to any host.
        let key = self.first_port(slice::ROUTED[1])?;
        let mut resource = self.resource(&key)?.clone();
        let mut labels = (*resource.metadata.labels).clone();
        labels.insert("note".into(), "written-without-the-leader".into());
        resource.metadata.labels = Arc::new(labels);
        let revision = self.apply(vec![resource])?;
        let written = start.elapsed();
        let cluster = self.stage.runtime().block_on(cluster::status(&mut self.admin))?;
        self.report.say(&format!(
            "replica {} leads now, in term {}; a write went through {} after the kill, checks included",
            cluster.leader,
            cluster.term,
            render::duration(written)
        ))?;
        let nothing = BTreeMap::new();
        let follow = follow::follow(&mut self.admin, &nothing, revision, start);
        self.stage.runtime().block_on(follow)?;
        self.report.figure("all_hosts_current_ms", millis(start.elapsed()));
        self.check_nothing_resent(&before, leader.id)?;
        self.try_all(false)
    }

    /// Hosts that had to find another replica were sent no item again.
    fn check_nothing_resent(
        &mut self,
        before: &BTreeMap<String, wire::HostAgentStatus>,
        gone: u64,
    ) -> Result<(), Failure> {
        let statuses = self.stage.runtime().block_on(follow::statuses(&mut self.admin))?;
        let moved: Vec<_> = statuses
            .values()
            .filter(|now| before.get(&now.host).is_some_and(|before| before.replica == gone))
            .collect();
        let findings = moved
            .iter()
            .filter(|now| now.batches_sent > 0 || now.replica == gone)
            .map(|now| format!("{} was sent {}", now.host, render::bytes(now.bytes_sent)))
            .collect();
        let bytes = moved.iter().map(|now| now.bytes_sent).max().unwrap_or_default();
        let what = format!(
            "{} went on with another replica and got nothing again ({} to say so)",
            render::count(moved.len(), "host"),
            render::bytes(bytes)
        );
        self.report.check(&what, findings)
    }

    fn without_controllers(&mut self) -> Result<(), Failure> {
        self.report.section("All controllers are gone")?;
        self.stage.stop_controllers()?;
        self.report.say("hosts go on with what they have")?;
        self.try_all(false)?;
        let host = slice::HOSTS[0];
        self.stage.restart_agent(host)?;
        self.report.say(&format!("and the agent of {host} was ended, and started again"))?;
        self.try_all(false)
    }
}

// ---- Changes ----

impl Story<'_> {
    /// Applies resources here and there, without looking at the hosts.
    fn apply(&mut self, puts: Vec<Resource>) -> Result<u64, Failure> {
        let items = convert::from_puts(puts.iter().cloned().map(|resource| (resource, None)));
        let applied = apply::apply(&mut self.admin, items, false, None);
        let revision = self.stage.runtime().block_on(applied)?.revision;
        for resource in &puts {
            self.resources = replaced(&self.resources, resource);
        }
        self.engine
            .apply(&Transaction::put(puts), revision)
            .map_err(|error| Failure::caused("the engine of the demo refuses it", &error))?;
        Ok(revision)
    }

    /// Asks for a forecast, applies, and shows which hosts were told what and when they had it.
    fn change(&mut self, puts: Vec<Resource>) -> Result<(), Failure> {
        let forecast = self.forecast(&puts)?;
        let before = self.stage.runtime().block_on(follow::statuses(&mut self.admin))?;
        let start = Instant::now();
        let revision = self.apply(puts)?;
        let committed = start.elapsed();
        let follow = follow::follow(&mut self.admin, &before, revision, start);
        let told = self.stage.runtime().block_on(follow)?;
        self.show_told(&forecast, &told)?;
        let slowest = told.values().map(|told| told.after).max().unwrap_or_default();
        let total: u64 = told.values().map(|told| told.bytes).sum();
        self.report.say(&format!(
            "committed after {}, enforced by the last after {}; {} of {} told, {}",
            render::duration(committed),
            render::duration(slowest),
            told.len(),
            render::count(before.len(), "host"),
            render::bytes(total)
        ))?;
        self.report.figure("hosts_told", told.len());
        self.report.figure("bytes_sent", total);
        self.report.figure("enforced_ms", millis(slowest));
        let wanted: BTreeSet<&String> = forecast.keys().collect();
        let seen: BTreeSet<&String> = told.keys().collect();
        let findings = wanted
            .symmetric_difference(&seen)
            .map(|host| format!("{host} is in one of the two only"))
            .collect();
        self.report.check("those hosts were told that the forecast named", findings)?;
        let statuses = self.stage.runtime().block_on(follow::statuses(&mut self.admin))?;
        self.report.check("no host refuses anything", follow::rejections(&statuses))?;
        self.check_views()
    }

    /// The bytes that each host would be sent, for those that would be sent any.
    fn forecast(&mut self, puts: &[Resource]) -> Result<BTreeMap<String, u64>, Failure> {
        let items = convert::from_puts(puts.iter().cloned().map(|resource| (resource, None)));
        let request = wire::ImpactRequest { items, ..wire::ImpactRequest::default() };
        let answer = self.stage.runtime().block_on(self.admin.impact(request));
        let answer = answer.map_err(|status| to_failure("forecast", &status))?.into_inner();
        Ok(answer.hosts.into_iter().map(|host| (host.host, host.bytes)).collect())
    }

    fn show_told(
        &self,
        forecast: &BTreeMap<String, u64>,
        told: &BTreeMap<String, Told>,
    ) -> Result<(), Failure> {
        let mut table = Table::new(&["TOLD", "BYTES", "FORECAST", "ENFORCED AFTER"]);
        for (host, told) in told {
            let forecast = forecast.get(host).map_or_else(|| "-".to_owned(), u64::to_string);
            table.row([
                host.clone(),
                told.bytes.to_string(),
                forecast,
                render::duration(told.after),
            ]);
        }
        if table.is_empty() { Ok(()) } else { self.report.table(&table) }
    }

    /// Every host's view as the controller has it equals that of an engine of the demo's own.
    fn check_views(&mut self) -> Result<(), Failure> {
        let mut findings = Vec::new();
        for (host, id) in self.hosts() {
            let request = wire::HostViewRequest { host: host.clone() };
            let answer = self.stage.runtime().block_on(self.admin.host_view(request));
            let found = answer.map_err(|status| to_failure("view", &status))?.into_inner();
            let view = self.engine.host_view(id);
            let wanted = convert::from_host_view(&view, |uid| self.engine.key_of(uid));
            if found != wanted {
                findings.push(format!("the view of {host} is another one"));
            }
        }
        self.report.check("every host's view is what a second engine makes of the same", findings)
    }
}

// ---- Connections ----

impl Story<'_> {
    /// Tries every connection and compares what came of it with what the policy says.
    fn try_all(&mut self, examples: bool) -> Result<(), Failure> {
        self.interrupt.check()?;
        let expected: Vec<Expected> = self
            .attempts
            .iter()
            .map(|attempt| checks::expected(&self.engine, attempt))
            .collect::<Result<_, _>>()?;
        let start = Instant::now();
        let seen = self.stage.attempt(&self.attempts)?;
        let took = start.elapsed();
        if examples {
            self.show_examples(&expected, &seen)?;
        }
        let allowed = expected.iter().filter(|e| matches!(e, Expected::Answer(_))).count();
        let denied = expected.iter().filter(|e| matches!(e, Expected::Denied)).count();
        self.report.say(&format!(
            "{} connections tried in {}: {allowed} allowed, {denied} denied, {} to where nobody is",
            expected.len(),
            render::duration(took),
            expected.len() - allowed - denied,
        ))?;
        self.report.figure("connections", expected.len());
        self.report.figure("allowed", allowed);
        let triples = || self.attempts.iter().zip(&expected).zip(&seen);
        let findings = triples()
            .filter_map(|((attempt, expected), seen)| checks::difference(attempt, expected, seen))
            .collect();
        let shared = self.shared_addresses();
        let foreign: Vec<String> = triples()
            .filter(|((attempt, _), _)| shared.contains(&attempt.address))
            .filter_map(|((attempt, _), seen)| match seen {
                Seen::Answered(by) if by.project != attempt.from.project => {
                    Some(format!("{attempt}: answered by {by} of another tenant"))
                }
                _ => None,
            })
            .collect();
        let met = triples()
            .filter(|((attempt, _), seen)| {
                shared.contains(&attempt.address) && matches!(seen, Seen::Answered(_))
            })
            .count();
        self.report.check("each came out as the policy says", findings)?;
        let what =
            format!("{met} went to addresses that two tenants use, each to its own tenant's");
        self.report.check(&what, foreign)
    }

    /// From now on, connections of this port are tried as well.
    fn try_around(&mut self, key: &ObjectKey) {
        self.attempts.extend(checks::attempts_around(&self.resources, key, &self.tcp_ports));
        self.attempts.sort_unstable();
        self.attempts.dedup();
    }

    /// Addresses that ports of more than one tenant have.
    fn shared_addresses(&self) -> BTreeSet<IpAddr> {
        let mut projects: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
        for (key, port) in checks::ports(&self.resources) {
            for address in port.addresses {
                projects.entry(address).or_default().insert(key.project.to_string());
            }
        }
        projects.into_iter().filter(|(_, p)| p.len() > 1).map(|(address, _)| address).collect()
    }

    fn show_examples(&self, expected: &[Expected], seen: &[Seen]) -> Result<(), Failure> {
        let mut table = Table::new(&["FROM", "TO", "PORT", "POLICY SAYS", "SEEN"]);
        let short = |key: &ObjectKey| format!("{}/{}", key.project, key.name);
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for ((attempt, expected), seen) in self.attempts.iter().zip(expected).zip(seen) {
            let says = match expected {
                Expected::Answer(_) => "allowed",
                Expected::Denied => "denied",
                Expected::Nobody => "nobody there",
            };
            let count = shown.entry(says).or_default();
            *count += 1;
            if *count > EXAMPLES {
                continue;
            }
            table.row([
                short(&attempt.from),
                attempt.address.to_string(),
                attempt.port.to_string(),
                says.to_owned(),
                match seen {
                    Seen::Answered(by) => format!("answered by {}", short(by)),
                    Seen::Unanswered(why) => why.clone(),
                },
            ]);
        }
        self.report.table(&table)
    }

    /// Connections to or from a port that the policy allows.
    fn answers_around(&self, key: &ObjectKey) -> Result<Vec<String>, Failure> {
        let ports = checks::ports(&self.resources);
        let Some(own) = ports.get(key) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (other, port) in ports.iter().filter(|(other, _)| *other != key) {
            for &tcp in &self.tcp_ports {
                let to = checks::between(other, port, own, tcp);
                let from = checks::between(key, own, port, tcp);
                for attempt in to.into_iter().chain(from) {
                    let answer = checks::expected(&self.engine, &attempt)?;
                    let about = match &answer {
                        Expected::Answer(by) => by == key || attempt.from == *key,
                        Expected::Denied | Expected::Nobody => false,
                    };
                    if about {
                        found.push(format!("{attempt} is allowed"));
                    }
                }
            }
        }
        Ok(found)
    }
}

// ---- Choices ----

impl Story<'_> {
    /// The hosts, by name.
    fn hosts(&self) -> Vec<(String, HostId)> {
        slice::HOSTS
            .iter()
            .filter_map(|host| Some(((*host).to_owned(), self.engine.host_id(host)?)))
            .collect()
    }

    fn resource(&self, key: &ObjectKey) -> Result<&Resource, Failure> {
        self.resources
            .iter()
            .find(|resource| resource.key() == *key)
            .ok_or_else(|| Failure::refused(format!("the slice has no {key}")))
    }

    /// A resource with another spec.
    fn with_spec(&self, key: &ObjectKey, spec: Spec) -> Result<Resource, Failure> {
        let mut resource = self.resource(key)?.clone();
        resource.spec = Arc::new(spec);
        Ok(resource)
    }

    fn first_port(&self, project: &str) -> Result<ObjectKey, Failure> {
        checks::ports(&self.resources)
            .into_keys()
            .find(|key| &*key.project == project)
            .ok_or_else(|| Failure::refused(format!("the slice has no port of {project}")))
    }

    /// A port of an isolated tenant, and a host where that tenant has nobody.
    fn mover(&self) -> Result<(ObjectKey, LogicalPortSpec, String), Failure> {
        let ports = checks::ports(&self.resources);
        for project in slice::ISOLATED {
            let own: Vec<_> = ports.iter().filter(|(key, _)| &*key.project == project).collect();
            let there = |host: &str| own.iter().any(|(_, p)| p.host.as_deref() == Some(host));
            let free = slice::HOSTS.iter().find(|host| !there(host));
            if let (Some((key, port)), Some(free)) = (own.first(), free) {
                return Ok(((*key).clone(), (*port).clone(), (*free).to_owned()));
            }
        }
        Err(Failure::refused("the slice has no tenant that is not on every host"))
    }

    /// A routed tenant's router, and its resource as it is.
    fn uplinked_router(&self) -> Result<(ObjectKey, Resource), Failure> {
        self.resources
            .iter()
            .find(|resource| match &*resource.spec {
                Spec::LogicalRouter(router) => {
                    !router.uplinks.is_empty() && &*resource.metadata.project == slice::ROUTED[0]
                }
                _ => false,
            })
            .map(|resource| (resource.key(), resource.clone()))
            .ok_or_else(|| Failure::refused("the slice has no router with an uplink"))
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// By how much one number is less than another.
fn less(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("-{:.0} %", 100.0 * (1.0 - part as f64 / whole as f64))
}
