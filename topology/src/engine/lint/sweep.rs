//! The whole network in slices, so that whoever lends the state gets it back in between.

use super::Severity;
use super::report::{Collector, LintReport};
use super::rules;
use super::scope::Scope;
use crate::engine::state::Engine;
use crate::model::{Kind, Text};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintQuestion {
    /// Objects of one project only.
    pub project: Option<Text>,
    /// Findings that are at least this bad.
    pub severity: Severity,
    /// How many findings at most; the others are counted.
    pub limit: usize,
}

/// Goes through the network kind by kind, object by object. The state may change between two
/// steps: then each finding is of the state that its own step saw.
pub struct LintSweep {
    question: LintQuestion,
    collector: Collector,
    /// The next kind, and the last project and name of it that is done.
    kinds: std::slice::Iter<'static, Kind>,
    kind: Option<Kind>,
    after: Option<(Text, Text)>,
}

impl LintSweep {
    /// Before the first step.
    pub fn new(question: LintQuestion) -> LintSweep {
        let mut kinds = Kind::ALL.iter();
        let kind = kinds.next().copied();
        let collector = Collector::new(question.severity, question.limit);
        LintSweep { question, collector, kinds, kind, after: None }
    }

    /// Looks at the next objects, at most so many. True if there are more.
    pub fn step(&mut self, engine: &Engine, objects_max: usize) -> bool {
        let mut scope = Scope::default();
        let mut room = objects_max.max(1);
        while let Some(kind) = self.kind {
            let after = self.after.as_ref().map(|(project, name)| (&**project, &**name));
            let mut last = None;
            for object in engine.list(kind, self.question.project.as_deref(), after).take(room) {
                let metadata = &object.resource.metadata;
                if let Some(slot) = engine.slot(kind, &metadata.project, &metadata.name) {
                    scope.add(kind, slot);
                }
                room -= 1;
                last = Some((metadata.project.clone(), metadata.name.clone()));
            }
            if room == 0 {
                self.after = last;
                break;
            }
            self.kind = self.kinds.next().copied();
            self.after = None;
        }
        rules::run(engine, &scope, &mut self.collector);
        self.kind.is_some()
    }

    /// What was found so far.
    pub fn finish(self) -> LintReport {
        self.collector.finish()
    }
}
