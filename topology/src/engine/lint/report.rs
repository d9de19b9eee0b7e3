//! The worst findings within a limit, sorted by object.

use super::{Finding, Severity};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many findings there are of each severity, shown or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FindingCounts {
    /// Of severity error.
    pub errors: u64,
    /// Of severity warning.
    pub warnings: u64,
    /// Of severity info.
    pub infos: u64,
}

impl FindingCounts {
    fn of(&mut self, severity: Severity) -> &mut u64 {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
            Severity::Info => &mut self.infos,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LintReport {
    /// The findings, sorted by object. If there are more than was asked for, the milder ones are
    /// missing first, and of one severity the later ones.
    pub findings: Vec<Finding>,
    /// How many are missing.
    pub cut: u64,
    /// How many there are of each severity that was asked for.
    pub counts: FindingCounts,
}

/// Takes findings, and keeps no more than it may.
pub(super) struct Collector {
    severity: Severity,
    limit: usize,
    /// The one to go first is on top.
    kept: BinaryHeap<(Reverse<Severity>, Finding)>,
    counts: FindingCounts,
    cut: u64,
}

impl Collector {
    /// Keeps at most `limit` findings of a severity or worse.
    pub(super) fn new(severity: Severity, limit: usize) -> Collector {
        Collector {
            severity,
            limit,
            kept: BinaryHeap::new(),
            counts: FindingCounts::default(),
            cut: 0,
        }
    }

    /// True if findings of this severity are asked for.
    pub(super) fn wants(&self, severity: Severity) -> bool {
        severity >= self.severity
    }

    /// Takes what one rule found.
    pub(super) fn take(&mut self, findings: &mut Vec<Finding>) {
        for mut finding in findings.drain(..) {
            if !self.wants(finding.severity) {
                continue;
            }
            *self.counts.of(finding.severity) += 1;
            finding.others.sort_unstable();
            finding.others.dedup();
            self.kept.push((Reverse(finding.severity), finding));
            if self.kept.len() > self.limit {
                self.kept.pop();
                self.cut += 1;
            }
        }
    }

    /// What is kept, sorted.
    pub(super) fn finish(self) -> LintReport {
        let mut findings: Vec<Finding> =
            self.kept.into_iter().map(|(_, finding)| finding).collect();
        findings.sort_unstable();
        LintReport { findings, cut: self.cut, counts: self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ObjectKey};

    #[test]
    fn the_worst_are_kept_and_the_rest_counted() {
        let mk = |name: &str, severity| Finding {
            object: ObjectKey::new(Kind::Group, "p", name),
            position: None,
            rule: "empty-group",
            severity,
            message: String::new(),
            others: Vec::new(),
        };
        let mut collector = Collector::new(Severity::Warning, 3);
        collector.take(&mut vec![
            mk("d", Severity::Warning),
            mk("c", Severity::Warning),
            mk("b", Severity::Info),
            mk("a", Severity::Warning),
            mk("z", Severity::Error),
        ]);
        let report = collector.finish();
        let names: Vec<&str> = report.findings.iter().map(|f| &*f.object.name).collect();
        assert_eq!(names, ["a", "c", "z"]);
        assert_eq!(report.cut, 1);
        assert_eq!(report.counts, FindingCounts { errors: 1, warnings: 3, infos: 0 });
    }
}
