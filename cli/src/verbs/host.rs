//! `spanwire host`: what is done with one host.

use crate::cli::{Format, Global};
use crate::client::{block_on, connect, to_failure};
use crate::failure::Failure;
use crate::output::{print, print_json, render};
use crate::progress;
use clap::{Args, Subcommand};
use serde_json::json;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::host_difference::Found;

const CHECK_HELP: &str = "\
The controller and the host compare the contents of everything the host holds. What differs is sent to the
host anew, and only that; the answer says which items it was, and which of their members. It is what happens
by itself every ten minutes (the controller's --host-check-seconds). The host's datapath is not looked at: the
agent compares that with what it holds by itself.

The exit code is 0 if all was right, and also if something was not and has been repaired: see the output. It
is 1 if the host cannot be checked, and 5 if it does not answer.

Examples:
  spanwire host check host-01
  spanwire host check host-01 host-02 -o json";

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    verb: HostVerb,
}

/// What can be done with a host.
#[derive(Debug, Subcommand)]
enum HostVerb {
    /// Compare what hosts hold with what they should hold, repair what differs, and say what it was.
    Check(CheckArgs),
}

/// The arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
struct CheckArgs {
    /// The hosts, by name.
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(global: &Global, args: HostArgs) -> Result<(), Failure> {
    match args.verb {
        HostVerb::Check(args) => block_on(check(global, args)),
    }
}

async fn check(global: &Global, args: CheckArgs) -> Result<(), Failure> {
    let mut admin = connect(global).await?;
    let mut checked = Vec::new();
    for host in args.hosts {
        let doing = format!("check of host {host}");
        let request = wire::HostCheckRequest { host: host.clone(), here: false };
        let answer = progress::during(&doing, admin.host_check(request)).await;
        let answer = answer.map_err(|status| to_failure(&doing, &status))?.into_inner();
        match global.output {
            Format::Table | Format::Wide => print(&to_text(&host, &answer))?,
            Format::Json | Format::Yaml => checked.push(to_json(&host, &answer)),
        }
    }
    match global.output {
        Format::Table | Format::Wide => Ok(()),
        Format::Json | Format::Yaml => print_json(&json!({ "hosts": checked })),
    }
}

fn to_text(host: &str, answer: &wire::HostCheckResponse) -> String {
    let items = render::count(usize::try_from(answer.items).unwrap_or(usize::MAX), "item");
    let found = answer.differences.len() as u64 + answer.differences_cut;
    if found == 0 {
        return format!("{host} holds what it should: {items} at revision {}\n", answer.revision);
    }
    let mut text = format!(
        "{host} held something else in {found} of {items} at revision {}, and was put right\n",
        answer.revision
    );
    for difference in &answer.differences {
        let object = difference.object.as_ref();
        let object = object.map(|_| format!(" ({})", render::key_or_dash(object)));
        let found = found_as_str(difference);
        text.push_str(&format!("  {}{}: {found}\n", difference.item, object.unwrap_or_default()));
        let lists = [
            ("extra", &difference.extra, difference.extra_count),
            ("missing", &difference.missing, difference.missing_count),
        ];
        for (name, members, count) in lists {
            for member in members {
                text.push_str(&format!("    {name} {member}\n"));
            }
            let more = count.saturating_sub(members.len() as u64);
            if more > 0 {
                text.push_str(&format!("    {name}: {more} more\n"));
            }
        }
    }
    if answer.differences_cut > 0 {
        text.push_str(&format!("  and {} more items\n", answer.differences_cut));
    }
    text
}

fn found_as_str(difference: &wire::HostDifference) -> &'static str {
    match difference.found() {
        Found::Missing => "missing",
        Found::Extra => "extra",
        Found::Differs => "differs",
        Found::Unspecified => "differs in a way that this client does not know",
    }
}

fn to_json(host: &str, answer: &wire::HostCheckResponse) -> serde_json::Value {
    let differences: Vec<_> = answer
        .differences
        .iter()
        .map(|difference| {
            json!({
                "item": difference.item,
                "object": render::key_or_dash(difference.object.as_ref()),
                "found": found_as_str(difference),
                "extra": difference.extra, "extraCount": difference.extra_count,
                "missing": difference.missing, "missingCount": difference.missing_count,
            })
        })
        .collect();
    json!({
        "host": host, "revision": answer.revision, "items": answer.items,
        "differences": differences, "differencesCut": answer.differences_cut,
        "repairedRevision": answer.repaired_revision, "replica": answer.replica,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differed_is_told_down_to_the_member() {
        let right = wire::HostCheckResponse { revision: 7, items: 3, ..Default::default() };
        assert_eq!(to_text("h", &right), "h holds what it should: 3 items at revision 7\n");
        let differs = wire::HostDifference {
            item: "shard of group 4 in domain 1".to_owned(),
            object: None,
            found: Found::Differs.into(),
            extra: vec!["10.0.0.9".to_owned()],
            extra_count: 3,
            missing: vec!["10.0.0.1".to_owned()],
            missing_count: 1,
        };
        let gone = wire::HostDifference {
            item: "domain 2".to_owned(),
            found: Found::Missing.into(),
            ..Default::default()
        };
        let wrong = wire::HostCheckResponse {
            differences: vec![gone, differs],
            differences_cut: 1,
            repaired_revision: 7,
            ..right
        };
        assert_eq!(
            to_text("h", &wrong),
            "h held something else in 3 of 3 items at revision 7, and was put right\n  \
             domain 2: missing\n  shard of group 4 in domain 1: differs\n    extra 10.0.0.9\n    \
             extra: 2 more\n    missing 10.0.0.1\n  and 1 more items\n"
        );
        let json = to_json("h", &wrong);
        assert_eq!(json["differences"][1]["missing"][0], "10.0.0.1");
    }
}
