//! Real packets between workloads in namespaces: what the kernel delivers equals what the oracle
//! says, for every ordered pair, before, during and after changes.

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use spanwire_lab::probe::{Listen, Outcome};
use spanwire_oracle::Resources;
use spanwire_tests::fleet::{self, Fleet, workload};
use spanwire_tests::matrix::{Attempt, Expectation, Trial, agrees, describe, differences};
use spanwire_tests::matrix::{expectation, try_all};
use spanwire_tests::{RaiseOnDrop, model, step_aside};
use spanwire_topology::{Kind, ObjectKey, Resource};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TRIALS: [Trial; 5] =
    [Trial::Tcp(80), Trial::Tcp(5432), Trial::Tcp(8080), Trial::Udp(53), Trial::Ping];
const LISTEN: [Listen; 4] =
    [Listen::Tcp(80), Listen::Tcp(5432), Listen::Tcp(8080), Listen::Udp(53)];
/// Longer than the first retransmission, so that a packet lost on a busy machine is not a finding.
const PROBE_WAIT: Duration = Duration::from_millis(2_500);
/// How often a packet that gets no answer is sent, all in all, while domains split or merge: as
/// often as resolvers do by default.
const SENT_MAX: usize = 3;
/// Attempts that are under way at once while a change is made.
const DURING: usize = 64;

/// One change: what is applied, and what moves in the lab.
struct Change {
    name: &'static str,
    puts: Vec<Resource>,
    deletes: Vec<ObjectKey>,
    moves: Option<(ObjectKey, &'static str)>,
}

impl Change {
    fn put(name: &'static str, puts: Vec<Resource>) -> Change {
        Change { name, puts, deletes: Vec::new(), moves: None }
    }

    fn apply_to(&self, resources: &mut Resources) {
        for resource in &self.puts {
            resources.insert(resource.key(), resource.clone());
        }
        for key in &self.deletes {
            resources.remove(key);
        }
    }
}

fn changes(resources: &Resources) -> Vec<Change> {
    let mut routed = model::ports(resources).filter(|(key, _)| &*key.project == "t00");
    let (quarantined, _) = routed.next().expect("the slice has ports of t00");
    let (moved, port) = routed.next().expect("the slice has two ports of t00");
    let target = model::HOSTS.into_iter().find(|host| port.host.as_deref() != Some(*host));
    let target = target.expect("there are more hosts than one");
    let router = model::linked_router(resources, "t04");
    let isolating = resources
        .values()
        .find(|r| r.key().kind == Kind::SecurityPolicy && &*r.key().project == "t09")
        .or_else(|| resources.values().find(|r| r.key().kind == Kind::SecurityPolicy))
        .expect("the slice has policies");
    vec![
        Change::put(
            "a workload is labelled for quarantine",
            vec![model::with_label(&resources[quarantined], "quarantine", "yes")],
        ),
        Change {
            moves: Some((moved.clone(), target)),
            ..Change::put("a workload moves", vec![model::with_host(&resources[moved], target)])
        },
        Change::put("a router link is cut", vec![model::with_uplinks(router, Vec::new())]),
        Change::put("the router link is healed", vec![router.clone()]),
        Change { deletes: vec![isolating.key()], ..Change::put("a policy is deleted", Vec::new()) },
        Change::put(
            "the policy is back, the quarantine over",
            vec![isolating.clone(), resources[quarantined].clone()],
        ),
    ]
}

/// While a change is made, an attempt ends as it would before it or after it. While domains split
/// or merge, their hosts take the new identifier each at its own moment, and a packet between two
/// that are not at the same side of it is lost. TCP sends it again; so do those who ask by UDP or
/// ping, and so does this: the answer must come then.
fn probe_during(
    fleet: &Fleet,
    (before, after): (&Expectation, &Expectation),
    (moving, domains_change): (Option<&ObjectKey>, bool),
    random: &mut ChaCha8Rng,
    make: impl FnOnce(&Fleet),
) -> Vec<String> {
    // A workload that moves is nowhere for a moment.
    let attempts: Vec<&Attempt> = before
        .iter()
        .filter(|((from, ..), to)| Some(from) != moving && to.as_ref() != moving)
        .map(|(attempt, _)| attempt)
        .filter(|attempt| after.get(*attempt).is_some_and(|to| to.as_ref() != moving))
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let raise = RaiseOnDrop(&done);
        let prober = scope.spawn(|| {
            let mut findings = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let some: Vec<&Attempt> = attempts.sample(random, DURING).copied().collect();
                let sent_max = if domains_change { SENT_MAX } else { 1 };
                findings.extend(disagreements(fleet, (before, after), some, sent_max));
            }
            findings
        });
        make(fleet);
        drop(raise);
        prober.join().expect("the prober ends")
    })
}

/// Makes attempts, and returns those that end neither as before a change nor as after it. A packet
/// that nobody sends again is sent up to `sent_max` times before it counts as unanswered.
fn disagreements(
    fleet: &Fleet,
    (before, after): (&Expectation, &Expectation),
    mut attempts: Vec<&Attempt>,
    sent_max: usize,
) -> Vec<String> {
    let mut findings = Vec::new();
    for sent in 1..=sent_max {
        let outcomes = try_all(fleet.lab(), &attempts, PROBE_WAIT);
        let mut again = Vec::new();
        for (&attempt, outcome) in attempts.iter().zip(&outcomes) {
            let (was, is) = (before[attempt].as_ref(), after[attempt].as_ref());
            if [was, is].into_iter().any(|answer| agrees(attempt.2, answer, outcome)) {
                continue;
            }
            let lost = !attempt.2.is_retransmitted() && *outcome == Outcome::TimedOut;
            if lost && sent < sent_max {
                again.push(attempt);
            } else {
                findings.push(describe(attempt, is, outcome));
            }
        }
        attempts = again;
        if attempts.is_empty() {
            break;
        }
    }
    findings
}

#[test]
fn the_kernel_delivers_what_the_oracle_says() {
    const NAME: &str = "packets";
    if let Some(lacking) = fleet::lacking() {
        return step_aside(NAME, &lacking);
    }
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut resources = model::campus_slice();
    let mut fleet = Fleet::up(NAME, &resources);
    fleet.listen(&LISTEN);
    let mut before = expectation(&resources, &TRIALS);
    let allowed = before.values().flatten().count();
    println!("{} attempts, {allowed} of them allowed", before.len());
    assert!(allowed > 0 && allowed < before.len());
    let found = differences(fleet.lab(), &before, PROBE_WAIT);
    assert!(found.is_empty(), "at the start: {found:#?}");

    for change in changes(&resources) {
        change.apply_to(&mut resources);
        let after = expectation(&resources, &TRIALS);
        let moving = change.moves.as_ref().map(|(port, _)| port);
        let domains_change = change.puts.iter().any(|r| r.spec.kind() == Kind::LogicalRouter);
        let circumstances = (moving, domains_change);
        if let Some((port, host)) = &change.moves {
            fleet.lab_mut().move_workload(&workload(port), host).expect("the workload moves");
        }
        let found = probe_during(&fleet, (&before, &after), circumstances, &mut random, |fleet| {
            let revision = fleet.with_admin(|admin| {
                let mut revision = 0;
                if !change.puts.is_empty() {
                    revision = admin.apply(change.puts.clone()).expect("the change is applied");
                }
                if !change.deletes.is_empty() {
                    revision = admin.delete(&change.deletes, false).expect("it is deleted");
                }
                revision
            });
            fleet
                .with_admin(|admin| admin.wait_realized(revision))
                .expect("every host has the change");
        });
        assert!(found.is_empty(), "while {}: {found:#?}", change.name);
        let found = differences(fleet.lab(), &after, PROBE_WAIT);
        assert!(found.is_empty(), "after {}: {found:#?}", change.name);
        before = after;
    }
}
