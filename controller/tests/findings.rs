//! Lint, and the warnings that come with the answers to transactions.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::{
    apply, connect, key, mk_apply, mk_group, mk_policy, mk_port, network, start, wire_key,
};
use spanwire_adminproto::wire;
use spanwire_topology::model::Kind;
use tonic::Code;

fn lines(findings: &[wire::Finding]) -> Vec<String> {
    let line = |finding: &wire::Finding| {
        let object = finding.object.clone().unwrap();
        let severity = finding.severity().as_str_name().trim_start_matches("SEVERITY_");
        format!("{severity} {} {}/{}", finding.rule, object.project, object.name)
    };
    findings.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_answers_within_its_limit() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let mut resources = network();
    resources.extend((0..20).map(|n| mk_group("a", &format!("none-{n:02}"), "app=none")));
    resources.push(mk_group("a", "wrong", "app=x,!app"));
    let revision = apply(&mut client, resources).await.unwrap();
    let ask = |project: &str, severity: wire::Severity, limit| wire::LintRequest {
        project: project.to_owned(),
        all_projects: project.is_empty(),
        severity: severity.into(),
        limit,
    };
    let all = client.lint(ask("", wire::Severity::Unspecified, 0)).await.unwrap().into_inner();
    assert_eq!(all.revision, revision);
    // Project b has a policy for a group that matches nothing.
    assert_eq!(
        lines(&all.findings).into_iter().filter(|line| line.contains(" b/")).collect::<Vec<_>>(),
        ["WARNING empty-group b/db", "WARNING idle-policy b/db"]
    );
    assert_eq!((all.errors, all.cut), (1, 0));
    assert_eq!(all.findings.len() as u64, all.errors + all.warnings + all.infos);
    let of_b = client.lint(ask("b", wire::Severity::Info, 0)).await.unwrap().into_inner();
    assert_eq!(lines(&of_b.findings).len(), 2);
    let worst = client.lint(ask("", wire::Severity::Error, 0)).await.unwrap().into_inner();
    assert_eq!(lines(&worst.findings), ["ERROR contradictory-selector a/wrong"]);
    assert_eq!((worst.errors, worst.warnings), (1, 0));
    let few = client.lint(ask("", wire::Severity::Info, 5)).await.unwrap().into_inner();
    assert_eq!(few.findings.len(), 5);
    assert_eq!(few.cut + 5, all.findings.len() as u64);
    assert!(few.findings.iter().any(|finding| finding.severity() == wire::Severity::Error));

    for (request, problem) in [
        (wire::LintRequest { project: "A b".into(), ..Default::default() }, "project: "),
        (ask("", wire::Severity::Info, 0), "not both"),
        (wire::LintRequest { severity: 9, ..Default::default() }, "severity: unknown value 9"),
    ] {
        let request = match problem {
            "not both" => wire::LintRequest { project: "a".into(), ..request },
            _ => request,
        };
        let error = client.lint(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(problem), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_answered_with_warnings() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    apply(&mut client, network()).await.unwrap();
    // What is named, and not what lies elsewhere: project b has findings of its own.
    let request = mk_apply([
        mk_group("a", "none", "app=none"),
        mk_policy("a", "idle", "none", "web"),
        mk_port("a", "web-9", "10.9.9.9", "host-1", "app=web"),
    ]);
    let expected = [
        "WARNING address-outside-subnets a/web-9",
        "WARNING empty-group a/none",
        "WARNING idle-policy a/idle",
    ];
    let dry = wire::ApplyRequest { dry_run: true, ..request.clone() };
    let dry = client.apply(dry).await.unwrap().into_inner();
    assert_eq!((lines(&dry.warnings), dry.warnings_cut), (expected.map(str::to_owned).into(), 0));
    let done = client.apply(request.clone()).await.unwrap().into_inner();
    assert_eq!(lines(&done.warnings), expected);
    // Again, when nothing changes, and for a clean one.
    let again = client.apply(request).await.unwrap().into_inner();
    assert_eq!(
        (again.revision, lines(&again.warnings)),
        (done.revision, expected.map(str::to_owned).into())
    );
    let clean = mk_apply([mk_port("a", "web-8", "10.0.1.8", "host-1", "app=web")]);
    let clean = client.apply(clean).await.unwrap().into_inner();
    assert_eq!(lines(&clean.warnings), Vec::<String>::new());

    // A port that leaves the group it alone was in: the group is next to it only before.
    let moved = mk_apply([mk_port("a", "db-1", "10.0.1.2", "host-2", "app=other")]);
    let dry = wire::ApplyRequest { dry_run: true, ..moved.clone() };
    let dry = client.apply(dry).await.unwrap().into_inner();
    assert_eq!(lines(&dry.warnings), ["WARNING empty-group a/db"]);
    let moved = client.apply(moved).await.unwrap().into_inner();
    assert_eq!(lines(&moved.warnings), ["WARNING empty-group a/db"]);
    // The same by a deletion.
    let back = mk_apply([mk_port("a", "db-1", "10.0.1.2", "host-2", "app=db")]);
    client.apply(back).await.unwrap();
    let port = key(Kind::LogicalPort, "a", "db-1");
    let delete = wire::DeleteRequest {
        keys: wire_key(port.kind, "a", "db-1").into_iter().collect(),
        ..wire::DeleteRequest::default()
    };
    let deleted = client.delete(delete).await.unwrap().into_inner();
    assert_eq!(lines(&deleted.warnings), ["WARNING empty-group a/db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_are_limited() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let groups = (0..80).map(|n| mk_group("a", &format!("none-{n:02}"), "app=none"));
    let answer = client.apply(mk_apply(groups)).await.unwrap().into_inner();
    assert_eq!((answer.warnings.len(), answer.warnings_cut), (50, 30));
}
