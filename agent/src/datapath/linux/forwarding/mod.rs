//! The forwarding half of the driver: devices, routes, rules, neighbours and settings.
//!
//! ```text
//!  HostView ─► plan (pure) ─► State ─┐
//!                                    ├─► Changes (pure) ─► netlink requests, files in /proc/sys
//!  kernel ──► read ────────► State ─┘
//! ```

mod changes;
mod netlink;
mod plan;
mod read;
mod requests;
mod settings;
mod state;
mod watch;

use super::names::{NULL_DEVICE, is_made_by_us};
use crate::datapath::{DatapathError, Finding, FindingKind, LinuxConfig, Rejection};
use changes::{Changes, Step};
use netlink::{Netlink, Request};
use plan::{Environment, Plan};
use read::Links;
use settings::Before;
use spanwire_topology::model::{Text, Vni};
use spanwire_topology::view::{HostView, ItemKey};
use state::{Device, State};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use watch::Watch;

/// The forwarding half.
pub(crate) struct Forwarding {
    config: LinuxConfig,
    netlink: Netlink,
    /// What is in the kernel as far as we know; `None` before it was read.
    installed: Option<State>,
    /// The devices when `installed` was last brought up to date.
    index: BTreeMap<Text, u32>,
    /// The devices of workloads in the last plan.
    workloads: BTreeSet<Text>,
    /// What the last plan found about the host.
    environment: Environment,
    /// Host settings before us.
    before: Before,
    watch: Watch,
    /// True if something was changed or failed since the kernel was read, by us: it has to be read
    /// again before we can say that all is well.
    dirty: bool,
}

/// A change under way.
pub(crate) struct Transition {
    plan: Plan,
    changes: Changes,
    failures: Vec<(Step, String)>,
}

impl Transition {
    /// True if a change of that object was refused.
    pub(crate) fn has_failed(&self, subject: &str) -> bool {
        self.failures.iter().any(|(step, _)| step.to_string() == subject)
    }

    /// What is not in force after it.
    pub(crate) fn rejections(&self, missing: &BTreeSet<Text>) -> BTreeSet<Rejection> {
        let mut rejections = self.plan.rejections.clone();
        for (device, port) in &self.plan.workloads {
            if missing.contains(device) {
                rejections.insert(Rejection {
                    key: ItemKey::Port(*port),
                    reason: format!("device {device} does not exist on this host yet"),
                });
            }
        }
        // What was to be on a device that could not be made is not news.
        let unmade: BTreeSet<&Text> = self
            .failures
            .iter()
            .filter_map(|(step, _)| match step {
                Step::MakeDevice { name, device: Device::Crossing { far } } => {
                    Some([name, far].to_vec())
                }
                Step::MakeDevice { name, .. } => Some(vec![name]),
                _ => None,
            })
            .flatten()
            .collect();
        let failures = self
            .failures
            .iter()
            .filter(|(step, _)| !step.device().is_some_and(|device| unmade.contains(device)));
        for (step, message) in failures {
            if let Some(key) = self.owner(step) {
                let reason = format!("{step}: {message}");
                rejections.insert(Rejection { key, reason });
            }
        }
        rejections
    }

    /// The item that a step was for.
    fn owner(&self, step: &Step) -> Option<ItemKey> {
        let device = match step {
            Step::MakeDevice { name, .. } | Step::RemoveDevice(name) => Some(name),
            Step::AddRule(rule) | Step::RemoveRule(rule) => match &rule.selector {
                state::RuleSelector::Incoming(device) => Some(device),
                state::RuleSelector::AnswerTo(mark) => {
                    return Some(ItemKey::Domain(Vni(mark & Vni::MAX.0)));
                }
            },
            Step::RemoveRoute { table, .. } => {
                return Some(ItemKey::Domain(Vni(table & Vni::MAX.0)));
            }
            other => other.device(),
        };
        let device = device?;
        if let Some(port) = self.plan.workloads.get(device) {
            return Some(ItemKey::Port(*port));
        }
        if let Some(vni) = device.get(3..).filter(|_| is_made_by_us(device))
            && let Ok(vni) = u32::from_str_radix(vni, 16)
        {
            let vni = Vni(vni);
            return Some(if device.starts_with("spx") {
                ItemKey::Locators(vni)
            } else {
                ItemKey::Domain(vni)
            });
        }
        // The host as a whole: every port is concerned, so the first stands for all.
        self.plan.workloads.values().min().map(|port| ItemKey::Port(*port))
    }
}

impl Forwarding {
    /// Opens the kernel's interface in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel does not give it.
    pub(crate) fn open(config: LinuxConfig) -> Result<Forwarding, DatapathError> {
        Ok(Forwarding {
            config,
            netlink: Netlink::open()?,
            installed: None,
            index: BTreeMap::new(),
            workloads: BTreeSet::new(),
            environment: Environment::default(),
            before: Before::new(),
            watch: Watch::open()?,
            dirty: true,
        })
    }

    /// Works out what has to change for a view.
    ///
    /// # Errors
    ///
    /// If the kernel could not be read.
    pub(crate) fn prepare(&mut self, view: &HostView) -> Result<Transition, DatapathError> {
        let (links, mut plan) = self.survey(view)?;
        let wanted = reachable(&mut plan, &links);
        let present = match self.installed.take() {
            Some(installed) => self.without_lost_devices(installed, &links),
            None => self.read(&links, &wanted)?,
        };
        let changes = Changes::between(&present, &wanted);
        self.installed = Some(present);
        self.index = links.index;
        Ok(Transition { plan, changes, failures: Vec::new() })
    }

    /// Works out what has to change for a view that is in force, but for what others did. `None` if
    /// nothing can have changed.
    ///
    /// # Errors
    ///
    /// If the kernel could not be read.
    pub(crate) fn inspect(
        &mut self,
        view: &HostView,
    ) -> Result<Option<(Transition, Vec<Finding>)>, DatapathError> {
        // This comes before the kernel is read, so that what changes meanwhile is seen next time.
        let changed = self.watch.has_changes(&self.indexes_of_ours());
        if !changed && !self.dirty && self.settings_are_kept() && self.proxies_are_kept()? {
            return Ok(None);
        }
        self.dirty = false;
        let (links, mut plan) = self.survey(view)?;
        let wanted = reachable(&mut plan, &links);
        let present = self.read(&links, &wanted)?;
        let mut findings = Vec::new();
        if let Some(installed) = self.installed.take() {
            let expected = self.without_unplugged_devices(installed, &links);
            findings = differences(&present, &expected);
        }
        let changes = Changes::between(&present, &wanted);
        self.installed = Some(present);
        self.index = links.index;
        Ok(Some((Transition { plan, changes, failures: Vec::new() }, findings)))
    }

    /// The devices whose neighbours concern us.
    fn indexes_of_ours(&self) -> BTreeSet<u32> {
        let ours = |name: &Text| is_made_by_us(name) || self.workloads.contains(name);
        self.index.iter().filter(|(name, _)| ours(name)).map(|(_, index)| *index).collect()
    }

    /// No notification tells of neighbour proxies, so they are read.
    fn proxies_are_kept(&mut self) -> Result<bool, DatapathError> {
        let Some(installed) = &self.installed else { return Ok(false) };
        if installed.proxies.is_empty() {
            return Ok(true);
        }
        let names = self.index.iter().map(|(name, index)| (*index, name.clone())).collect();
        Ok(read::proxies(&mut self.netlink, &names)? == installed.proxies)
    }

    /// No notification tells of settings, so they are read: a dozen to a port.
    fn settings_are_kept(&self) -> bool {
        let Some(installed) = &self.installed else { return false };
        let (ipv6, force_forwarding, reverse_path_filter) = read::host_settings();
        ipv6 == self.environment.ipv6
            && force_forwarding == self.environment.force_forwarding
            && reverse_path_filter == self.environment.reverse_path_filter
            && installed
                .settings
                .iter()
                .all(|(setting, value)| settings::read(setting).as_ref() == Some(value))
    }

    /// Takes away what must be gone before the firewall changes.
    pub(crate) fn withdraw(&mut self, transition: &mut Transition) -> Result<(), DatapathError> {
        let steps = std::mem::take(&mut transition.changes.withdraw);
        self.run(&steps, transition)
    }

    /// Does what waited for the firewall.
    pub(crate) fn provide(&mut self, transition: &mut Transition) -> Result<(), DatapathError> {
        let steps = std::mem::take(&mut transition.changes.provide);
        let (first, rest): (Vec<Step>, Vec<Step>) = steps
            .into_iter()
            .partition(|step| matches!(step, Step::AddRule(_) | Step::MakeDevice { .. }));
        self.run(&first, transition)?;
        if !first.is_empty() {
            self.index = read::links(&mut self.netlink)?.index;
        }
        self.run(&rest, transition)?;
        let steps = std::mem::take(&mut transition.changes.finish);
        self.run(&steps, transition)
    }

    /// The devices of workloads that are planned for and do not exist.
    pub(crate) fn missing_devices(&self, transition: &Transition) -> BTreeSet<Text> {
        let planned = transition.plan.workloads.keys();
        planned.filter(|device| !self.index.contains_key(*device)).cloned().collect()
    }

    /// Removes everything of ours, also from an earlier run.
    ///
    /// # Errors
    ///
    /// If something remains.
    pub(crate) fn remove_all(&mut self) -> Result<(), DatapathError> {
        let links = read::links(&mut self.netlink)?;
        let present = self.read(&links, &State::default())?;
        let changes = Changes::between(&present, &State::default());
        self.installed = Some(present);
        self.index = links.index;
        let mut transition = Transition { plan: Plan::default(), changes, failures: Vec::new() };
        self.withdraw(&mut transition)?;
        self.provide(&mut transition)?;
        self.before.clear();
        match transition.failures.first() {
            None => Ok(()),
            Some((step, message)) => Err(DatapathError::Netlink {
                what: format!(
                    "remove {step} (and {} other objects)",
                    transition.failures.len() - 1
                ),
                message: message.clone(),
            }),
        }
    }

    fn survey(&mut self, view: &HostView) -> Result<(Links, Plan), DatapathError> {
        let links = read::links(&mut self.netlink)?;
        let environment = read::environment(&mut self.netlink, &links, &self.config)?;
        let plan = plan::plan(view, &self.config, &environment);
        self.environment = environment;
        self.workloads = plan.workloads.keys().cloned().collect();
        Ok((links, plan))
    }

    fn read(&mut self, links: &Links, wanted: &State) -> Result<State, DatapathError> {
        let mut state = read::state(&mut self.netlink, links)?;
        if self.before.is_empty()
            && let Some(note) = &links.note
        {
            self.before = settings::from_note(note);
        }
        settings::read_into(&mut state, wanted, &self.before);
        Ok(state)
    }

    /// Devices that are gone, or are others of the same name, took with them what was on them.
    fn without_lost_devices(&self, mut installed: State, links: &Links) -> State {
        for (device, index) in &self.index {
            if links.index.get(device) != Some(index) {
                installed.forget_device(device);
            }
        }
        installed
    }

    /// The same for devices that others make: no finding, they come and go with the workloads.
    fn without_unplugged_devices(&self, mut installed: State, links: &Links) -> State {
        for (device, index) in &self.index {
            if links.index.get(device) != Some(index) && !is_made_by_us(device) {
                installed.forget_device(device);
            }
        }
        installed
    }

    fn run(&mut self, steps: &[Step], transition: &mut Transition) -> Result<(), DatapathError> {
        self.dirty |= !steps.is_empty();
        let (mut requests, mut requested): (Vec<Request>, Vec<&Step>) = (Vec::new(), Vec::new());
        // Settings come between steps of other kinds in the order, so each run of requests goes out
        // before the setting that follows it.
        for step in steps {
            match step {
                Step::WriteSetting(..) | Step::ResetSetting(_) => {
                    self.execute(&mut requests, &mut requested, transition)?;
                    let outcome = self.change_setting(step);
                    self.conclude(step, outcome, transition);
                }
                _ => match requests::request(step, &self.index) {
                    Some(request) => {
                        requests.push(request);
                        requested.push(step);
                    }
                    None => {
                        let absent = Err(io::Error::from_raw_os_error(libc::ENODEV));
                        self.conclude(step, absent, transition);
                    }
                },
            }
        }
        self.execute(&mut requests, &mut requested, transition)
    }

    fn execute(
        &mut self,
        requests: &mut Vec<Request>,
        requested: &mut Vec<&Step>,
        transition: &mut Transition,
    ) -> Result<(), DatapathError> {
        let outcomes = self.netlink.execute(requests)?;
        for (step, outcome) in requested.iter().zip(outcomes) {
            self.conclude(step, outcome, transition);
        }
        requests.clear();
        requested.clear();
        Ok(())
    }

    fn conclude(&mut self, step: &Step, outcome: io::Result<()>, transition: &mut Transition) {
        let harmless = |source: &io::Error| {
            let code = source.raw_os_error().unwrap_or_default();
            let gone = [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL, libc::ENXIO];
            (step.is_removal() && gone.contains(&code))
                || (matches!(step, Step::AddRule(_)) && code == libc::EEXIST)
        };
        match outcome {
            Err(source) if !harmless(&source) => {
                tracing::debug!(%step, %source, "the kernel refused a change");
                transition.failures.push((step.clone(), source.to_string()));
            }
            _ => {
                if let Some(installed) = &mut self.installed {
                    installed.record(step);
                }
            }
        }
    }

    fn change_setting(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::WriteSetting(setting, value) => {
                if setting.device.is_none() {
                    self.note_down(setting)?;
                }
                settings::write(setting, value)
            }
            Step::ResetSetting(setting) => settings::reset(setting, &self.before),
            _ => Ok(()),
        }
    }

    /// Writes what a setting of the host was before us where another run of ours will find it:
    /// onto the null device, which lives as long as the setting.
    fn note_down(&mut self, setting: &state::Setting) -> io::Result<()> {
        if !self.before.contains_key(setting.path) {
            let value = settings::read(setting).unwrap_or_else(|| "0".to_owned());
            self.before.insert(setting.path.to_owned(), value);
        }
        let Some(index) = self.index.get(NULL_DEVICE) else { return Ok(()) };
        let note = settings::to_note(&self.before);
        let request = requests::alias_request(*index, &note);
        let outcomes = self.netlink.execute(&[request]).map_err(io::Error::other)?;
        outcomes.into_iter().collect()
    }
}

/// What of a plan can be had now: workloads whose device is missing have only their rule.
fn reachable(plan: &mut Plan, links: &Links) -> State {
    // The plan is asked only for its rejections and workloads after this.
    let mut wanted = std::mem::take(&mut plan.state);
    for device in plan.workloads.keys() {
        if !links.index.contains_key(device) {
            wanted.forget_device(device);
        }
    }
    wanted
}

/// How `present` differs from what we had left.
fn differences(present: &State, expected: &State) -> Vec<Finding> {
    let altered = |step: &Step| match step {
        Step::AdjustDevice { .. } | Step::BringUp(_) => true,
        Step::MakeDevice { name, .. } => present.devices.contains_key(name),
        Step::WriteSetting(..) => true,
        Step::AddEndpoint { device, mac, .. } => {
            present.endpoints.contains_key(&(device.clone(), *mac))
        }
        Step::AddNeighbour { device, address, .. } => {
            present.neighbours.contains_key(&(device.clone(), *address))
        }
        Step::AddRoute { table, net, .. } => present.routes.contains_key(&(*table, *net)),
        _ => false,
    };
    // What went with a device of ours is one finding, not thousands.
    let mut expected = expected.clone();
    let mut findings = Vec::new();
    let lost: Vec<Text> = expected
        .devices
        .keys()
        .filter(|name| !present.devices.contains_key(*name))
        .cloned()
        .collect();
    for name in lost {
        let step = Step::RemoveDevice(name.clone());
        findings.push(finding(FindingKind::Missing, &step));
        expected.record(&step);
    }
    let changes = Changes::between(present, &expected);
    // A setting that we have not made is none of our business.
    let steps = changes.steps().filter(|step| !matches!(step, Step::ResetSetting(_)));
    findings.extend(steps.map(|step| {
        let kind = match step {
            step if step.is_removal() => FindingKind::Foreign,
            step if altered(step) => FindingKind::Altered,
            _ => FindingKind::Missing,
        };
        finding(kind, step)
    }));
    findings.sort();
    findings.dedup();
    findings
}

fn finding(kind: FindingKind, step: &Step) -> Finding {
    Finding { kind, subject: step.to_string(), repaired: false }
}
