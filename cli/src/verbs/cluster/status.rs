//! `spanwire cluster status`: what each replica says of itself.

use crate::cli::{Format, Global};
use crate::client::{connect, connect_to, to_failure};
use crate::failure::Failure;
use crate::output::{Table, print, print_json, render};
use crate::progress;
use clap::Args;
use serde_json::{Value, json};
use spanwire_adminproto::wire;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a replica may take to say how it is.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

const HELP: &str = "\
Asks a controller for the members, and then each of them how it is. Answered also without a leader.

LAG is how many committed log entries a replica lacks, by the leader's word. More with -o wide and -o json.

Examples:
  spanwire cluster status
  spanwire cluster status --controller 192.0.2.10:6690,192.0.2.11:6690 -o json";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct StatusArgs {}

/// What a replica says, or why it says nothing.
type View = Result<wire::ClusterStatusResponse, String>;

/// Runs the verb.
pub(super) async fn run(global: &Global, _args: StatusArgs) -> Result<(), Failure> {
    const DOING: &str = "cluster status";
    let mut admin = connect(global).await?;
    let (answer, views) = progress::during(DOING, async {
        let answer = admin.cluster_status(wire::ClusterStatusRequest {}).await?.into_inner();
        let views = ask_members(&answer).await;
        Ok::<_, tonic::Status>((answer, views))
    })
    .await
    .map_err(|status| to_failure(DOING, &status))?;
    let summary = Summary::of(&answer, &views);
    match global.output {
        Format::Table => print(&summary.to_text(false)),
        Format::Wide => print(&summary.to_text(true)),
        Format::Json | Format::Yaml => print_json(&summary.to_json()),
    }
}

/// What each member says. The one that answered already is not asked again.
async fn ask_members(answer: &wire::ClusterStatusResponse) -> BTreeMap<u64, View> {
    let mut views = BTreeMap::from([(answer.replica, Ok(answer.clone()))]);
    let mut asked = JoinSet::new();
    for member in &answer.replicas {
        if member.id != answer.replica {
            let (id, address) = (member.id, member.address.clone());
            asked.spawn(async move { (id, ask(&address).await) });
        }
    }
    while let Some(Ok((id, view))) = asked.join_next().await {
        views.insert(id, view);
    }
    views
}

async fn ask(address: &str) -> View {
    let answer = async {
        let mut admin =
            connect_to(address).await.map_err(|failure| failure.message().to_owned())?;
        let status = admin.cluster_status(wire::ClusterStatusRequest {}).await;
        status.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
    };
    let answer = tokio::time::timeout(ANSWER_WAIT, answer).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {}", render::duration(ANSWER_WAIT))))
}

/// A cluster as its replicas see it.
struct Summary<'a> {
    /// Whose word on the members counts: the leader's, if it answers.
    best: &'a wire::ClusterStatusResponse,
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    member: &'a wire::ReplicaStatus,
    view: Result<&'a wire::ClusterStatusResponse, &'a str>,
    /// In a word or two.
    state: String,
}

impl<'a> Summary<'a> {
    fn of(answer: &'a wire::ClusterStatusResponse, views: &'a BTreeMap<u64, View>) -> Summary<'a> {
        let ours = views
            .values()
            .filter_map(|view| view.as_ref().ok())
            .filter(|view| view.cluster_id == answer.cluster_id);
        // Who leads in the newest term knows most; one that still thinks it leads is of an older one.
        let best = ours.max_by_key(|view| (view.leader == view.replica, view.term));
        let best = best.unwrap_or(answer);
        let row = |member: &'a wire::ReplicaStatus| {
            let view = match views.get(&member.id) {
                Some(Ok(view)) => Ok(view),
                Some(Err(why)) => Err(why.as_str()),
                None => Err("not asked"),
            };
            Row { member, view, state: state(member, view, best) }
        };
        Summary { best, rows: best.replicas.iter().map(row).collect() }
    }

    fn to_text(&self, wide: bool) -> String {
        let best = self.best;
        let leader = match best.leader {
            0 => "no leader".to_owned(),
            leader => format!("replica {leader} leads"),
        };
        let mut text = format!(
            "cluster {}: {leader} in term {}, revision {}\n",
            best.cluster_id, best.term, best.revision
        );
        if best.changing_members {
            text.push_str("a change of members is under way\n");
        }
        let mut headings =
            vec!["ID", "ADDRESS", "ROLE", "VOTES", "APPLIED", "LAG", "HOSTS", "STATE"];
        if wide {
            headings.splice(7..7, ["RELEASE", "TERM", "LOG", "SNAPSHOT", "WAITING"]);
        }
        let mut table = Table::new(&headings);
        for row in &self.rows {
            table.row(row.to_cells(wide));
        }
        text.push_str(&table.to_text());
        text
    }

    fn to_json(&self) -> Value {
        let best = self.best;
        let replicas: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({
            "clusterId": best.cluster_id, "leader": best.leader, "term": best.term,
            "revision": best.revision, "changingMembers": best.changing_members,
            "replicas": replicas,
        })
    }
}

impl Row<'_> {
    /// What it is, as it says itself if it answers.
    fn role(&self) -> &str {
        let own = self.view.ok().and_then(|view| own(view));
        own.map_or(&self.member.role, |own| &own.role)
    }

    fn to_cells(&self, wide: bool) -> Vec<String> {
        let dash = || "-".to_owned();
        let of_view = |cell: &dyn Fn(&wire::ClusterStatusResponse) -> String| {
            self.view.map_or_else(|_| dash(), cell)
        };
        let address = if self.member.address.is_empty() { "-" } else { &self.member.address };
        let mut cells = vec![
            self.member.id.to_string(),
            address.to_owned(),
            self.role().to_owned(),
            if self.member.voter { "yes" } else { "no" }.to_owned(),
            of_view(&|view| own(view).map_or_else(dash, |own| own.applied_revision.to_string())),
            self.member.progress.as_ref().map_or_else(dash, |progress| progress.lag.to_string()),
            of_view(&|view| view.hosts_connected.to_string()),
        ];
        if wide {
            cells.push(of_view(&|view| view.release.clone()));
            cells.push(of_view(&|view| view.term.to_string()));
            cells.push(of_view(&|view| format!("{}-{}", view.log_first, view.log_last)));
            cells.push(of_view(&|view| view.snapshot_index.to_string()));
            cells.push(of_view(&|view| view.requests_waiting.to_string()));
        }
        cells.push(self.state.clone());
        cells
    }

    fn to_json(&self) -> Value {
        let progress = self.member.progress.as_ref().map(|progress| {
            json!({ "matched": progress.matched, "lag": progress.lag, "active": progress.active,
                    "takesSnapshot": progress.takes_snapshot })
        });
        let own = self.view.ok().map(|view| {
            json!({
                "clusterId": view.cluster_id, "release": view.release, "leader": view.leader,
                "term": view.term, "current": view.current, "revision": view.revision,
                "appliedRevision": own(view).map(|own| own.applied_revision),
                "committedRevision": view.committed_revision,
                "logFirst": view.log_first, "logLast": view.log_last,
                "snapshotIndex": view.snapshot_index,
                "incomingSnapshotIndex": view.incoming_snapshot_index,
                "incomingSnapshotBytes": view.incoming_snapshot_bytes,
                "requestsWaiting": view.requests_waiting, "hostsConnected": view.hosts_connected,
            })
        });
        json!({
            "id": self.member.id, "address": self.member.address, "role": self.role(),
            "voter": self.member.voter, "state": self.state, "progress": progress,
            "view": own, "error": self.view.err(),
        })
    }
}

/// What a replica says of itself in its view.
fn own(view: &wire::ClusterStatusResponse) -> Option<&wire::ReplicaStatus> {
    view.replicas.iter().find(|replica| replica.id == view.replica)
}

/// How a replica is, in a word or two.
fn state(
    member: &wire::ReplicaStatus,
    view: Result<&wire::ClusterStatusResponse, &str>,
    best: &wire::ClusterStatusResponse,
) -> String {
    let view = match view {
        Ok(view) => view,
        Err(why) => return format!("unreachable: {why}"),
    };
    if view.cluster_id != best.cluster_id {
        return format!("of another cluster: {}", view.cluster_id);
    }
    if view.replica != member.id {
        return format!("another one is there: replica {}", view.replica);
    }
    if view.incoming_snapshot_index.is_some() {
        let bytes = render::bytes(view.incoming_snapshot_bytes);
        return format!("takes a snapshot: {bytes} so far");
    }
    if view.leader == 0 {
        return "knows no leader".to_owned();
    }
    if view.leader != best.leader {
        return format!("follows replica {} in term {}", view.leader, view.term);
    }
    match &member.progress {
        Some(progress) if !progress.active => "the leader does not hear it".to_owned(),
        Some(progress) if progress.takes_snapshot => "waits for a snapshot".to_owned(),
        _ if !view.current => "catches up".to_owned(),
        _ => "ok".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_member(id: u64, role: &str, lag: Option<u64>) -> wire::ReplicaStatus {
        wire::ReplicaStatus {
            id,
            address: format!("host-{id}:6690"),
            role: role.to_owned(),
            voter: role != "learner",
            applied_revision: 7,
            progress: lag.map(|lag| wire::ReplicaProgress {
                lag,
                active: true,
                ..wire::ReplicaProgress::default()
            }),
        }
    }

    /// What a replica says; 1 leads, and 3 is a learner.
    fn mk_view(replica: u64) -> wire::ClusterStatusResponse {
        let lag = |lag| (replica == 1).then_some(lag);
        wire::ClusterStatusResponse {
            cluster_id: "c1".to_owned(),
            leader: 1,
            term: 5,
            revision: 7,
            replica,
            current: true,
            hosts_connected: replica * 10,
            replicas: vec![
                mk_member(1, "leader", None),
                mk_member(2, "follower", lag(0)),
                mk_member(3, "learner", lag(4)),
            ],
            ..wire::ClusterStatusResponse::default()
        }
    }

    fn check(views: &[(u64, View)], expected: &str) {
        let views: BTreeMap<u64, View> = views.iter().cloned().collect();
        let answer = views.values().find_map(|view| view.clone().ok()).unwrap();
        assert_eq!(Summary::of(&answer, &views).to_text(false), expected);
    }

    #[test]
    fn the_leader_knows_who_lags_whoever_was_asked() {
        let down = Err("no answer".to_owned());
        check(
            &[(1, Ok(mk_view(1))), (2, Ok(mk_view(2))), (3, down.clone())],
            "cluster c1: replica 1 leads in term 5, revision 7\n\
             ID  ADDRESS      ROLE      VOTES  APPLIED  LAG  HOSTS  STATE\n\
             1   host-1:6690  leader    yes    7        -    10     ok\n\
             2   host-2:6690  follower  yes    7        0    20     ok\n\
             3   host-3:6690  learner   no     -        4    -      unreachable: no answer\n",
        );
        let alone = wire::ClusterStatusResponse { leader: 0, current: false, ..mk_view(2) };
        check(
            &[(1, down.clone()), (2, Ok(alone)), (3, down)],
            "cluster c1: no leader in term 5, revision 7\n\
             ID  ADDRESS      ROLE      VOTES  APPLIED  LAG  HOSTS  STATE\n\
             1   host-1:6690  leader    yes    -        -    -      unreachable: no answer\n\
             2   host-2:6690  follower  yes    7        -    20     knows no leader\n\
             3   host-3:6690  learner   no     -        -    -      unreachable: no answer\n",
        );
    }

    #[test]
    fn what_is_wrong_with_a_replica_is_told() {
        let best = mk_view(1);
        let told = |change: &dyn Fn(&mut wire::ClusterStatusResponse)| {
            let mut view = mk_view(2);
            change(&mut view);
            state(&best.replicas[1], Ok(&view), &best)
        };
        assert_eq!(told(&|_| {}), "ok");
        assert_eq!(told(&|view| view.cluster_id = "c2".to_owned()), "of another cluster: c2");
        assert_eq!(told(&|view| view.replica = 3), "another one is there: replica 3");
        assert_eq!(told(&|view| view.current = false), "catches up");
        let taking = told(&|view| {
            view.incoming_snapshot_index = Some(5);
            view.incoming_snapshot_bytes = 2048;
        });
        assert_eq!(taking, "takes a snapshot: 2.0 KiB so far");
        let deposed = told(&|view| (view.leader, view.term) = (3, 4));
        assert_eq!(deposed, "follows replica 3 in term 4");
        let mut member = best.replicas[1].clone();
        member.progress = Some(wire::ReplicaProgress { active: false, ..Default::default() });
        assert_eq!(state(&member, Ok(&mk_view(2)), &best), "the leader does not hear it");
    }
}
