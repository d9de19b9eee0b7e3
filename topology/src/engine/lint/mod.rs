//! Findings: what is valid, and most likely not what somebody meant.
//!
//! Each rule is one function over a scope: the objects to look at, which are all of the network,
//! a slice of it, or what one transaction touched. A rule looks at each object of its kind on its
//! own, at a cost that follows what the object is made of, so the whole network costs about as much
//! as it has objects and memberships, and one object costs what it is. Where a rule would have to
//! look at more (all policies before a policy, all ports of a switch), a named limit ends the
//! search, and the rule says nothing rather than something uncertain.
//!
//! | Module | Subject |
//! |---|---|
//! | `scope` | which objects a rule looks at, and what rules share |
//! | `report` | the worst findings within a limit, sorted |
//! | `sweep` | the whole network in slices |
//! | `touched` | what a transaction may give reason for findings on |
//! | `cover` | whether one group, peer or service holds all of another |
//! | `families` | the address families of groups and rules |
//! | `rules` | the rules |
//!
//! Every rule and its remedy is in `docs/findings.md`.

mod cover;
mod families;
mod report;
mod rules;
mod scope;
mod sweep;
mod touched;

pub(in crate::engine) use cover::entries_of;
pub use report::{FindingCounts, LintReport};
pub(in crate::engine) use rules::rule_name;
pub use rules::{RULES, RuleInfo};
pub use sweep::{LintQuestion, LintSweep};

use super::state::Engine;
use crate::model::ObjectKey;
use scope::Scope;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something is of no use; nothing is the worse for it.
    Info,
    /// Something has no effect, or hardly the one that was meant.
    Warning,
    /// Something cannot work.
    Error,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Error];

    /// The name on command lines and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown severity {0:?}: expected info, warning or error")]
pub struct ParseSeverityError(pub String);

impl FromStr for Severity {
    type Err = ParseSeverityError;

    fn from_str(text: &str) -> Result<Severity, ParseSeverityError> {
        let found = Severity::ALL.into_iter().find(|severity| severity.as_str() == text);
        found.ok_or_else(|| ParseSeverityError(text.to_owned()))
    }
}

/// One thing that a rule found. Sorted by object first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The object it is about.
    pub object: ObjectKey,
    /// The position, from 0, of the policy's rule that it is about, if it is about one.
    pub position: Option<usize>,
    /// The identifier of the rule that found it, as `empty-group`.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, without the object's name.
    pub message: String,
    /// Other objects it has to do with, sorted.
    pub others: Vec<ObjectKey>,
}

impl fmt::Display for Finding {
    /// `SEVERITY: OBJECT: MESSAGE [RULE]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { object, position: _, rule, severity, message, others: _ } = self;
        write!(f, "{severity}: {object}: {message} [{rule}]")
    }
}

impl Engine {
    /// The findings of the whole network, or of one project.
    pub fn lint(&self, question: LintQuestion) -> LintReport {
        let mut sweep = LintSweep::new(question);
        while sweep.step(self, usize::MAX) {}
        sweep.finish()
    }

    /// The findings about some objects. Those that do not exist are passed over.
    pub fn lint_objects(
        &self,
        objects: &BTreeSet<ObjectKey>,
        severity: Severity,
        limit: usize,
    ) -> LintReport {
        let scope = Scope::of_objects(self, objects);
        let mut report = report::Collector::new(severity, limit);
        rules::run(self, &scope, &mut report);
        report.finish()
    }
}
