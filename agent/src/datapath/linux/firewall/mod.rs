//! The firewall half of the driver: one nftables table.
//!
//! ```text
//!  HostView ─► compile (pure) ─► Ruleset ─┐
//!                                         ├─► commands (pure) ─► nft, one transaction
//!  kernel ──► listing ─────────► Ruleset ─┘
//! ```

mod compile;
mod diff;
mod generation;
mod json;
mod listing;
mod overlap;
mod policies;
mod ruleset;
mod runner;
mod zones;

use crate::datapath::{DatapathError, Finding, FindingKind, LinuxConfig, Rejection};
use json::Commands;
use ruleset::Ruleset;
use runner::Nft;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::{BTreeMap, BTreeSet};
use zones::Zones;

/// The firewall half.
pub(crate) struct Firewall {
    config: LinuxConfig,
    nft: Nft,
    zones: Zones,
    /// What is in the kernel as far as we know; `None` before it was read.
    installed: Option<Ruleset>,
    /// The generation of nftables at which `installed` was what the kernel had.
    generation: Option<u32>,
    /// Items that the kernel refused, by the version it refused, and what it said.
    refused: BTreeMap<ItemKey, (Revision, String)>,
}

impl Firewall {
    /// A firewall in the network namespace of the calling thread. Nothing is done yet.
    pub(crate) fn new(config: LinuxConfig) -> Firewall {
        let nft = Nft::new(config.nft_program.clone());
        Firewall {
            config,
            nft,
            zones: Zones::default(),
            installed: None,
            generation: None,
            refused: BTreeMap::new(),
        }
    }

    /// True if what locators say matters: of domains that share a zone no address may be the same.
    pub(crate) fn depends_on_locators(&self) -> bool {
        self.zones.are_shared()
    }

    /// Brings the table to a view, in one transaction, and returns what could not be.
    ///
    /// # Errors
    ///
    /// If nothing could be applied. The table is then as before.
    pub(crate) fn apply(&mut self, view: &HostView) -> Result<BTreeSet<Rejection>, DatapathError> {
        self.read_at_start()?;
        // What was refused is tried again once it has changed.
        self.refused.retain(|key, (version, _)| {
            view.items.get(key).is_some_and(|item| item.version == *version)
        });
        let (mut wanted, mut rejections) = self.compile(view);
        let installed = self.installed.take().unwrap_or_default();
        let commands = diff::between(&self.config.table_name, &installed, &wanted);
        let outcome = self.commit(&commands);
        self.installed = Some(installed);
        if let Err(error) = outcome {
            tracing::debug!(%error, "nft refused a change; trying the whole table instead");
            self.generation = None;
            if let Err(error) = self.commit(&self.rebuild(&wanted)) {
                self.isolate(view, error)?;
                (wanted, rejections) = self.compile(view);
                self.commit(&self.rebuild(&wanted))?;
            }
        }
        self.installed = Some(wanted);
        let refused = self.refused.iter();
        rejections.extend(refused.map(|(key, (_, message))| Rejection {
            key: *key,
            reason: format!("{}: {message}", refusal_of(key)),
        }));
        Ok(rejections)
    }

    /// Compares the table with what was applied last and puts right what differs.
    ///
    /// # Errors
    ///
    /// If the table could not be read or put right.
    pub(crate) fn audit(&mut self) -> Result<Vec<Finding>, DatapathError> {
        let before = generation::generation().ok();
        if before.is_some() && before == self.generation {
            return Ok(Vec::new());
        }
        let Some(installed) = self.installed.take() else { return Ok(Vec::new()) };
        let outcome = self.compare(&installed);
        self.installed = Some(installed);
        let findings = outcome?;
        if findings.is_empty() {
            self.generation = before;
        }
        Ok(findings)
    }

    /// Removes the table.
    ///
    /// # Errors
    ///
    /// If it is still there.
    pub(crate) fn remove_all(&mut self) -> Result<(), DatapathError> {
        let mut commands = Commands::new(&self.config.table_name);
        commands.add_table();
        commands.delete_table();
        self.nft.execute("to delete our table", &commands.to_document())?;
        self.installed = Some(Ruleset::default());
        self.generation = None;
        self.refused.clear();
        Ok(())
    }

    /// After a restart the table is taken over as it is, so that nothing is interrupted.
    fn read_at_start(&mut self) -> Result<(), DatapathError> {
        if self.installed.is_some() {
            return Ok(());
        }
        let present = match self.nft.list(&self.config.table_name)? {
            Some(listing) => listing::parse(&listing)?,
            None => Ruleset::default(),
        };
        let zones = present
            .chains
            .iter()
            .filter_map(|(name, chain)| compile::zone_of(name, &chain.rules.first()?.comment));
        self.zones = Zones::restore(zones.collect(), compile::homes(&present.maps));
        self.installed = Some(present);
        Ok(())
    }

    fn compile(&mut self, view: &HostView) -> (Ruleset, BTreeSet<Rejection>) {
        let excluded = self.refused.keys().copied().collect();
        compile::compile(view, &self.config, &excluded, &mut self.zones)
    }

    fn rebuild(&self, wanted: &Ruleset) -> Commands {
        diff::rebuild(&self.config.table_name, wanted)
    }

    fn commit(&mut self, commands: &Commands) -> Result<(), DatapathError> {
        if commands.is_empty() {
            return Ok(());
        }
        let before = generation::generation().ok();
        self.nft.execute("a change of our table", &commands.to_document())?;
        let after = generation::generation().ok();
        // If somebody else's transaction came in between, the next audit has to look.
        let ours_alone = matches!((before, after), (Some(before), Some(after))
            if after == before.wrapping_add(1) && self.generation == Some(before));
        self.generation = after.filter(|_| ours_alone);
        Ok(())
    }

    fn compare(&mut self, installed: &Ruleset) -> Result<Vec<Finding>, DatapathError> {
        let table = self.config.table_name.clone();
        let Some(listing) = self.nft.list(&table)? else {
            if installed.chains.is_empty() {
                return Ok(Vec::new());
            }
            self.commit(&self.rebuild(installed))?;
            let subject = format!("nftables table inet {table}");
            return Ok(vec![Finding { kind: FindingKind::Missing, subject, repaired: true }]);
        };
        let present = listing::parse(&listing)?;
        let mut findings = listing::differences(&present, installed);
        if findings.is_empty() {
            return Ok(findings);
        }
        if self.commit(&diff::between(&table, &present, installed)).is_err() {
            self.commit(&self.rebuild(installed))?;
        }
        for finding in &mut findings {
            finding.repaired = true;
        }
        Ok(findings)
    }

    /// Finds out which items nft refuses, by halves, without changing anything.
    ///
    /// # Errors
    ///
    /// `error`, if it is not for any item that nft refuses the table.
    fn isolate(&mut self, view: &HostView, error: DatapathError) -> Result<(), DatapathError> {
        if !matches!(error, DatapathError::NftRefused { .. }) {
            return Err(error);
        }
        let candidate = |key: &&ItemKey| {
            matches!(
                key,
                ItemKey::Port(_) | ItemKey::Policy(_) | ItemKey::Blocks(_) | ItemKey::Shard { .. }
            )
        };
        let mut search = Search {
            firewall: self,
            view,
            excluded: view.items.keys().filter(candidate).copied().collect(),
        };
        if search.refusal().is_some() {
            return Err(error);
        }
        // Members before the policies that use them: a policy without its members is closed, so it
        // has no rules that could be refused, and the members would be blamed for it.
        let mut all: Vec<ItemKey> = search.excluded.iter().copied().collect();
        all.sort_by_key(|key| match key {
            ItemKey::Blocks(_) | ItemKey::Shard { .. } => 0,
            ItemKey::Policy(_) => 2,
            _ => 1,
        });
        let mut found = BTreeMap::new();
        search.probe(&all, &mut found);
        self.refused.extend(found);
        Ok(())
    }
}

/// What was refused, and what that means for packets.
fn refusal_of(key: &ItemKey) -> &'static str {
    match key {
        ItemKey::Port(_) => "nft refused it, so the port is closed",
        ItemKey::Policy(_) => "nft refused it, so what it would judge is dropped",
        _ => "nft refused it, so what policies with this group as a peer would judge is dropped",
    }
}

/// The search for what nft refuses.
struct Search<'a> {
    firewall: &'a Firewall,
    view: &'a HostView,
    /// What is left out at the moment.
    excluded: BTreeSet<ItemKey>,
}

impl Search<'_> {
    /// What nft says to the table without what is left out, if it refuses.
    fn refusal(&self) -> Option<String> {
        let config = &self.firewall.config;
        let mut zones = self.firewall.zones.clone();
        let (ruleset, _) = compile::compile(self.view, config, &self.excluded, &mut zones);
        let commands = self.firewall.rebuild(&ruleset);
        let checked = self.firewall.nft.check("a check of our table", &commands.to_document());
        checked.err().map(|error| match error {
            DatapathError::NftRefused { message, .. } => message,
            other => other.to_string(),
        })
    }

    /// Takes in those of the items that nft accepts; the others stay out and are `found`.
    fn probe(&mut self, items: &[ItemKey], found: &mut BTreeMap<ItemKey, (Revision, String)>) {
        for key in items {
            self.excluded.remove(key);
        }
        let Some(message) = self.refusal() else { return };
        self.excluded.extend(items);
        match items {
            [] => {}
            [key] => {
                let version = self.view.items.get(key).map_or(0, |item| item.version);
                found.insert(*key, (version, message));
            }
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                self.probe(left, found);
                self.probe(right, found);
            }
        }
    }
}
