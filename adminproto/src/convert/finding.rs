//! Findings.

use super::error::{ConvertError, Path, Problem};
use super::fields::from_key;
use crate::wire;
use spanwire_topology::lint::{Finding, FindingCounts, LintReport, Severity};
use spanwire_topology::model::Revision;

/// The severity that a request asks for; unspecified means the mildest.
///
/// The error names the field: `severity`.
pub fn to_severity(severity: i32) -> Result<Severity, ConvertError> {
    match wire::Severity::try_from(severity) {
        Ok(wire::Severity::Unspecified | wire::Severity::Info) => Ok(Severity::Info),
        Ok(wire::Severity::Warning) => Ok(Severity::Warning),
        Ok(wire::Severity::Error) => Ok(Severity::Error),
        Err(_) => Err(Path::Root("severity").error(Problem::UnknownEnum {
            number: severity,
            expected: "SEVERITY_INFO, SEVERITY_WARNING or SEVERITY_ERROR",
        })),
    }
}

/// A severity as a message.
pub fn from_severity(severity: Severity) -> wire::Severity {
    match severity {
        Severity::Info => wire::Severity::Info,
        Severity::Warning => wire::Severity::Warning,
        Severity::Error => wire::Severity::Error,
    }
}

/// A finding as a message.
pub fn from_finding(finding: &Finding) -> wire::Finding {
    let Finding { object, position, rule, severity, message, others } = finding;
    wire::Finding {
        rule: (*rule).to_owned(),
        severity: from_severity(*severity).into(),
        object: Some(from_key(object)),
        position: position.and_then(|position| u32::try_from(position).ok()),
        message: message.clone(),
        others: others.iter().map(from_key).collect(),
    }
}

/// What was found, as a message, at the revision of the state that was looked at.
pub fn from_report(report: &LintReport, revision: Revision) -> wire::LintResponse {
    let LintReport { findings, cut, counts } = report;
    let FindingCounts { errors, warnings, infos } = *counts;
    wire::LintResponse {
        findings: findings.iter().map(from_finding).collect(),
        cut: *cut,
        errors,
        warnings,
        infos,
        revision,
    }
}
