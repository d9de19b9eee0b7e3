//! What runs the decision: the clock, and what wakes it.

use super::{Balance, BalanceLimits, Served, Situation};
use crate::core::CoreHandle;
use tokio_util::sync::CancellationToken;

/// Lets hosts go, as long as the controller serves.
pub(crate) async fn run(core: CoreHandle, draining: CancellationToken) {
    let shared = core.shared();
    let mut standing = shared.standing.subscribe();
    let mut balance = Balance::new(BalanceLimits::default(), shared.elapsed());
    loop {
        balance.process_leader(standing.borrow_and_update().leader, shared.elapsed());
        let wait = balance.next_deadline().saturating_sub(shared.elapsed());
        tokio::select! {
            // Without a core nothing changes any more, and the controller stops.
            changed = standing.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => process_time(&core, &mut balance),
            () = draining.cancelled() => return,
        }
    }
}

fn process_time(core: &CoreHandle, balance: &mut Balance) {
    let shared = core.shared();
    let standing = shared.standing.borrow().clone();
    let connections = shared.publisher.connections().into_iter();
    let hosts: Vec<Served> =
        connections.map(|connection| Served { age: connection.age(), connection }).collect();
    let situation = Situation { standing: &standing, loads: &shared.loads, hosts: &hosts };
    for command in balance.process_time(situation, &mut rand::rng(), shared.elapsed()) {
        command.execute(shared, |streams| core.tell_load(streams));
    }
}
