//! `spanwire cluster restore` and `recover`: data directories, while no controller runs on them.

use crate::cli::{Format, Global};
use crate::failure::Failure;
use crate::output::{print, print_json, render};
use clap::Args;
use serde_json::json;
use spanwire_controller::recovery::{self, RecoveryReport};
use std::path::PathBuf;

const RESTORE_HELP: &str = "\
The directory is that of replica 1, alone in a new cluster. Start a controller on it, then add others. Hosts
that come with what the old cluster told them take everything anew; until then they enforce what they have.

Examples:
  spanwire cluster restore spanwire.backup --data-dir /var/lib/spanwire/controller";

const RECOVER_HELP: &str = "\
For when a majority of the voters is lost for good. Everything in this replica's log is kept. What was
acknowledged by the others alone is lost: take the replica whose last entry has the highest term, and of
those the highest index (each prints it). The others are of no cluster any more: empty their data directories, start them with --join, and add them.
Without --yes nothing is done.

Examples:
  spanwire cluster recover --data-dir /var/lib/spanwire/controller
  spanwire cluster recover --data-dir /var/lib/spanwire/controller --yes";

/// The arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub(super) struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// The data directory to make: empty, or not there yet.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// The arguments of `recover`.
#[derive(Debug, Args)]
#[command(after_help = RECOVER_HELP)]
pub(super) struct RecoverArgs {
    /// The data directory of the replica that is left. Its controller must not run.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Do it.
    #[arg(long)]
    yes: bool,
}

/// Runs `restore`.
pub(super) fn restore(global: &Global, args: RestoreArgs) -> Result<(), Failure> {
    let RestoreArgs { file, data_dir } = args;
    let report = recovery::restore(&file, &data_dir)
        .map_err(|error| Failure::caused("the backup is not restored", &error))?;
    match global.output {
        Format::Json | Format::Yaml => print_json(&json!({
            "dataDir": data_dir.display().to_string(), "clusterId": report.cluster_id.to_string(),
            "backupClusterId": report.backup_cluster_id, "revision": report.revision,
            "index": report.index, "objects": report.objects, "madeAtMs": report.made_at_ms
        })),
        Format::Table | Format::Wide => print(&format!(
            "{} at revision {} of cluster {} are in {}\n\
             it belongs to replica 1 of the new cluster {}: start a controller on it\n",
            render::count(report.objects, "object"),
            report.revision,
            report.backup_cluster_id,
            data_dir.display(),
            report.cluster_id
        )),
    }
}

/// Runs `recover`.
pub(super) fn recover(global: &Global, args: RecoverArgs) -> Result<(), Failure> {
    let RecoverArgs { data_dir, yes } = args;
    let report = match yes {
        true => recovery::recover(&data_dir),
        false => recovery::plan_recovery(&data_dir),
    };
    let report = report.map_err(|error| Failure::caused("the replica is not recovered", &error))?;
    match global.output {
        Format::Json | Format::Yaml => print_json(&json!({
            "done": yes, "replica": report.replica_id,
            "oldClusterId": report.old_cluster_id.to_string(),
            "clusterId": report.new_cluster_id.map(|id| id.to_string()),
            "others": report.others, "lastIndex": report.last_index, "lastTerm": report.last_term,
            "committedIndex": report.committed_index, "revision": report.revision
        })),
        Format::Table | Format::Wide => print(&to_text(&report)),
    }
}

fn to_text(report: &RecoveryReport) -> String {
    let RecoveryReport {
        replica_id,
        old_cluster_id,
        new_cluster_id,
        others,
        last_index,
        last_term,
        committed_index,
        revision,
    } = report;
    let others = match others.as_slice() {
        [] => "it knows of no other member".to_owned(),
        ids => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!("the other members it knows of: {}", ids.join(", "))
        }
    };
    let mut text = format!(
        "replica {replica_id} of cluster {old_cluster_id}; {others}\n\
         its log ends with entry {last_index} of term {last_term}; that gives revision {revision}\n\
         lost: whatever the others acknowledged after that entry\n"
    );
    if last_index > committed_index {
        text.push_str(&format!(
            "kept, though it is not known whether they were acknowledged: entries {} to {last_index}\n",
            committed_index + 1
        ));
    }
    text.push_str(&match new_cluster_id {
        Some(id) => format!(
            "done: it is the only replica of the new cluster {id}. Start its controller; hosts take \
             everything anew, and the others are to be emptied and added\n"
        ),
        None => "nothing was changed: with --yes it becomes the only replica of a new cluster, hosts \
                 take everything anew, and the others can never come back with what they have\n"
            .to_owned(),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_hostproto::ClusterId;

    #[test]
    fn what_may_be_lost_is_told() {
        let mut report = RecoveryReport {
            replica_id: 2,
            old_cluster_id: ClusterId([1; 16]),
            new_cluster_id: None,
            others: vec![1, 3],
            last_index: 12,
            last_term: 4,
            committed_index: 10,
            revision: 11,
        };
        let plan = to_text(&report);
        assert!(plan.contains("members it knows of: 1, 3"), "{plan}");
        assert!(plan.contains("entry 12 of term 4") && plan.contains("entries 11 to 12"), "{plan}");
        assert!(plan.contains("nothing was changed"), "{plan}");
        report.committed_index = 12;
        report.new_cluster_id = Some(ClusterId([2; 16]));
        let done = to_text(&report);
        assert!(!done.contains("not known whether") && done.contains("done: "), "{done}");
    }
}
