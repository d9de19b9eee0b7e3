//! `spanwire demo`: all of it on one machine, each step checked.
//!
//! ```text
//!  slice (a real model) ─► stage: controllers, agents ─► story: what is shown, step by step
//!                             │ lab_run: namespaces, real packets      │
//!                             └ record_run: in this process            └─► checks ─► report
//! ```
//!
//! What is expected comes from an engine of the demo's own, which is given the same transactions;
//! what is seen comes from the stage.

mod broadcast;
mod checks;
mod cluster;
mod follow;
mod lab_run;
mod record_run;
mod report;
mod slice;
mod story;

use crate::client::Admin;
use crate::failure::Failure;
use crate::verbs::signals::Interrupt;
use checks::{Attempt, Seen};
use report::Report;
use spanwire_lab::Lab;
use spanwire_topology::{ObjectKey, Resource};
use tokio::runtime::Runtime;

/// Where the demo plays.
trait Stage {
    /// What it is, for the reader.
    fn describe(&self) -> String;
    /// The runtime that talks to the controller.
    fn runtime(&self) -> &Runtime;
    /// The admin API of a controller that runs.
    fn admin(&self) -> Result<Admin, Failure>;
    /// Starts an agent for each host.
    fn start_agents(&mut self) -> Result<(), Failure>;
    /// Moves the workload behind a port to another host. The port is rebound elsewhere.
    fn move_workload(&mut self, port: &ObjectKey, host: &str) -> Result<(), Failure>;
    /// Tries connections and tells what came of each.
    fn attempt(&mut self, attempts: &[Attempt]) -> Result<Vec<Seen>, Failure>;
    /// Ends the controller at an address as a power cut would.
    fn kill_controller(&mut self, address: &str) -> Result<(), Failure>;
    /// Ends all controllers, and does not start them again.
    fn stop_controllers(&mut self) -> Result<(), Failure>;
    /// Ends the agent of a host and starts it again, while there are no controllers.
    fn restart_agent(&mut self, host: &str) -> Result<(), Failure>;
    /// Removes everything that the stage has made.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// How to run the demo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Print nothing but the summary, as JSON.
    pub(crate) json: bool,
    /// Do not use namespaces and packets even where it is possible.
    pub(crate) record: bool,
}

/// Runs the demo.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let resources = slice::campus_slice()?;
    let mut report = Report::new(options.json);
    let lacking = if options.record {
        Some("asked for with --record".to_owned())
    } else {
        lab_run::lacking()
    };
    let mode = if lacking.is_some() { "record drivers" } else { "linux drivers, real packets" };
    report.section("Stage")?;
    // Before anything is made: from here on the story stops at its next step, and what was made is
    // removed.
    let interrupt = Interrupt::watch()?;
    let mut stage: Box<dyn Stage> = match lacking {
        Some(reason) => {
            report.say(&format!("no packets: {reason}"))?;
            report.say("instead, `record` drivers keep each host's view in memory, and say of")?;
            report.say("each connection what a datapath with that view would do")?;
            Box::new(record_run::RecordStage::new(&resources)?)
        }
        None => Box::new(lab_run::LabStage::new(&resources, &checks::tcp_ports(&resources))?),
    };
    let told = story::tell(&mut *stage, &mut report, resources, interrupt);
    // Whatever happened, nothing is left behind.
    let finished = stage.finish();
    told?;
    finished?;
    report.finish(mode)
}

/// Resources with one of them replaced.
fn replaced(resources: &[Resource], by: &Resource) -> Vec<Resource> {
    let key = by.key();
    resources.iter().map(|r| if r.key() == key { by } else { r }).cloned().collect()
}

/// What this machine lacks for namespaces and packets, if anything.
fn lab_lacking() -> Option<String> {
    Lab::supported().err().map(|missing| missing.to_string())
}
