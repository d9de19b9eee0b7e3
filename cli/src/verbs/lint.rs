//! `spanwire lint`: what is valid, and most likely not what somebody meant.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::offline::{OfflineArgs, OfflineState};
use crate::output::{print, print_json, render};
use crate::progress;
use clap::{Args, ValueEnum};
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use spanwire_adminproto::convert::{from_report, from_severity, to_key};
use spanwire_adminproto::wire;
use spanwire_topology::lint::{LintQuestion, Severity};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Objects of every project.
    #[arg(short = 'A', long)]
    all_projects: bool,
    /// Findings that are at least this bad.
    #[arg(long, value_enum, default_value_t = SeverityArg::Info)]
    severity: SeverityArg,
    /// At most this many findings, the worst ones; the others are counted.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    offline: OfflineArgs,
}

impl LintArgs {
    /// The project to look at. One from the environment stands back when all are asked for.
    fn project<'a>(&self, global: &'a Global) -> Option<&'a str> {
        global.project.as_deref().filter(|_| !self.all_projects)
    }
}

/// Severities on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SeverityArg {
    /// Everything.
    Info,
    /// What has no effect, or hardly the one that was meant, and what cannot work.
    Warning,
    /// What cannot work.
    Error,
}

impl SeverityArg {
    fn to_severity(self) -> Severity {
        match self {
            SeverityArg::Info => Severity::Info,
            SeverityArg::Warning => Severity::Warning,
            SeverityArg::Error => Severity::Error,
        }
    }
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: LintArgs) -> Result<(), Failure> {
    let state = args.offline.load(global)?;
    let answer = match &state {
        Some(state) => lint_files(global, &args, state),
        None => ask(global, &args).await?,
    };
    match global.output {
        Format::Table | Format::Wide => print(&to_text(&answer, state.as_ref()))?,
        Format::Json | Format::Yaml => print_json(&to_json(&answer, state.as_ref()))?,
    }
    match answer.errors {
        0 => Ok(()),
        errors => Err(Failure::new(
            FailureKind::Findings,
            format!("{} of severity error", render::count_of(errors, "finding")),
        )
        .remedy("docs/findings.md says what to do about each rule")),
    }
}

async fn ask(global: &Global, args: &LintArgs) -> Result<wire::LintResponse, Failure> {
    let request = wire::LintRequest {
        project: args.project(global).unwrap_or_default().to_owned(),
        all_projects: args.all_projects,
        severity: from_severity(args.severity.to_severity()).into(),
        limit: args.limit.unwrap_or_default(),
    };
    let mut admin = connect(global).await?;
    let answer = progress::during("lint", admin.lint(request)).await;
    Ok(answer.map_err(|status| to_failure("lint", &status))?.into_inner())
}

/// Without a project, files are looked at whole: they say themselves what they are about.
fn lint_files(global: &Global, args: &LintArgs, state: &OfflineState) -> wire::LintResponse {
    let report = state.engine.lint(LintQuestion {
        project: args.project(global).map(Into::into),
        severity: args.severity.to_severity(),
        limit: args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX),
    });
    from_report(&report, state.engine.revision())
}

/// `error`, `warning` or `info`, in its colour.
fn severity(finding: &wire::Finding) -> String {
    match finding.severity() {
        wire::Severity::Error => "error".red().bold().to_string(),
        wire::Severity::Warning => "warning".yellow().to_string(),
        wire::Severity::Info | wire::Severity::Unspecified => "info".cyan().to_string(),
    }
}

/// `warning: group shop/web: matches nothing [empty-group]`, behind the place in a file.
pub(crate) fn line(finding: &wire::Finding, state: Option<&OfflineState>) -> String {
    let place = place(finding, state).map(|place| format!("{place}: ")).unwrap_or_default();
    format!(
        "{place}{}: {}: {} [{}]\n",
        severity(finding),
        render::key_or_dash(finding.object.as_ref()),
        finding.message,
        finding.rule
    )
}

fn place(finding: &wire::Finding, state: Option<&OfflineState>) -> Option<String> {
    let key = to_key(finding.object.as_ref()?).ok()?;
    Some(state?.place_of(&key)?.to_string())
}

fn to_text(answer: &wire::LintResponse, state: Option<&OfflineState>) -> String {
    let mut text: String = answer.findings.iter().map(|finding| line(finding, state)).collect();
    let sums = [(answer.errors, "error"), (answer.warnings, "warning"), (answer.infos, "info")];
    let sums: Vec<String> = sums
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| render::count_of(count, noun))
        .collect();
    let sums = if sums.is_empty() { "nothing found".to_owned() } else { sums.join(", ") };
    text.push_str(&sums);
    if state.is_none() {
        text.push_str(&format!(" at revision {}", answer.revision));
    }
    if answer.cut > 0 {
        text.push_str(&format!(
            "; {} not shown: ask for one project, or for a higher --severity or --limit",
            answer.cut
        ));
    }
    text.push('\n');
    text
}

/// A finding as JSON.
pub(crate) fn finding_to_json(finding: &wire::Finding, state: Option<&OfflineState>) -> Value {
    let others: Vec<String> = finding.others.iter().map(render::key).collect();
    let severity = match finding.severity() {
        wire::Severity::Error => Severity::Error,
        wire::Severity::Warning => Severity::Warning,
        wire::Severity::Info | wire::Severity::Unspecified => Severity::Info,
    };
    let mut value = json!({
        "rule": finding.rule,
        "severity": severity.as_str(),
        "object": render::key_or_dash(finding.object.as_ref()),
        "message": finding.message,
        "others": others,
    });
    if let Some(position) = finding.position {
        value["position"] = json!(position);
    }
    if let Some(place) = place(finding, state) {
        value["place"] = json!(place);
    }
    value
}

fn to_json(answer: &wire::LintResponse, state: Option<&OfflineState>) -> Value {
    let findings: Vec<Value> =
        answer.findings.iter().map(|finding| finding_to_json(finding, state)).collect();
    json!({
        "findings": findings,
        "cut": answer.cut,
        "errors": answer.errors,
        "warnings": answer.warnings,
        "infos": answer.infos,
        "revision": answer.revision,
    })
}

/// Tells the warnings that came with an answer, on stderr.
pub(crate) fn tell_warnings(warnings: &[wire::Finding], cut: u64) {
    for finding in warnings {
        anstream::eprint!("{}", line(finding, None));
    }
    if cut > 0 {
        anstream::eprintln!("{cut} more warnings: spanwire lint shows them");
    }
}
