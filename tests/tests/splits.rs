//! Connections that are open go on while the routing domain of both ends splits and merges, though
//! no policy would admit them any more: what admitted them is remembered with them.

use spanwire_lab::probe::{Flow, Listen};
use spanwire_tests::fleet::{self, Fleet, workload};
use spanwire_tests::matrix::{Attempt, Trial, agrees, expectation, try_all};
use spanwire_tests::{model, step_aside};
use std::net::SocketAddr;
use std::time::Duration;

const TRIALS: [Trial; 3] = [Trial::Tcp(80), Trial::Tcp(5432), Trial::Tcp(8080)];
const LISTEN: [Listen; 3] = [Listen::Tcp(80), Listen::Tcp(5432), Listen::Tcp(8080)];
/// How long a connection may take for anything, retransmissions included.
const FLOW_WAIT: Duration = Duration::from_secs(20);
/// How long a connection that nobody admits is waited for.
const PROBE_WAIT: Duration = Duration::from_millis(1_000);
/// Connections kept open.
const FLOWS: usize = 48;
/// The tenant whose router loses its uplink and gets it back.
const TENANT: &str = "t04";

fn check(flows: &mut [(Attempt, Flow)], when: &str) {
    let broken: Vec<String> = flows
        .iter_mut()
        .filter_map(|((from, address, trial), flow)| {
            let error = flow.echo(b"still here", FLOW_WAIT).err()?;
            Some(format!("{from} -> {address} {trial:?}: {error}"))
        })
        .collect();
    assert!(broken.is_empty(), "{when}, {} of {FLOWS} do not go on: {broken:#?}", broken.len());
}

#[test]
fn open_connections_outlive_a_split_and_a_merge() {
    const NAME: &str = "splits";
    if let Some(lacking) = fleet::lacking() {
        return step_aside(NAME, &lacking);
    }
    let resources = model::campus_slice();
    let mut fleet = Fleet::up(NAME, &resources);
    fleet.listen(&LISTEN);
    let inside: Vec<Attempt> = expectation(&resources, &TRIALS)
        .into_iter()
        .filter(|((from, ..), to)| {
            &*from.project == TENANT && to.as_ref().is_some_and(|to| &*to.project == TENANT)
        })
        .map(|(attempt, _)| attempt)
        .collect();
    // Spread over all pairs of hosts.
    let every = inside.len().div_ceil(FLOWS);
    let mut flows: Vec<(Attempt, Flow)> = inside
        .into_iter()
        .step_by(every)
        .map(|attempt| {
            let (from, address, Trial::Tcp(port)) = &attempt else { panic!("not TCP") };
            let to = SocketAddr::new(*address, *port);
            let flow = fleet.lab().connect(&workload(from), to, FLOW_WAIT).expect("a flow opens");
            (attempt, flow)
        })
        .collect();
    assert!(flows.len() > 20, "{} flows", flows.len());
    check(&mut flows, "at the start");

    let apply = |puts: Vec<_>| {
        fleet.with_admin(|admin| {
            let revision = admin.apply(puts).expect("the change is applied");
            admin.wait_realized(revision).expect("every host has it");
        });
    };
    // Whatever is new is refused from here on.
    let of_tenant = model::ports(&resources).filter(|(key, _)| &*key.project == TENANT);
    let quarantined =
        of_tenant.map(|(key, _)| model::with_label(&resources[key], "quarantine", "yes"));
    apply(quarantined.collect());
    let attempts: Vec<&Attempt> = flows.iter().map(|(attempt, _)| attempt).collect();
    for (attempt, outcome) in attempts.iter().zip(try_all(fleet.lab(), &attempts, PROBE_WAIT)) {
        assert!(agrees(attempt.2, None, &outcome), "{attempt:?} is new: {outcome:?}");
    }
    check(&mut flows, "in quarantine");
    let router = model::linked_router(&resources, TENANT);
    for round in 0..3 {
        apply(vec![model::with_uplinks(router, Vec::new())]);
        check(&mut flows, &format!("after cut {round}"));
        apply(vec![router.clone()]);
        check(&mut flows, &format!("after merge {round}"));
    }
}
