//! What a change costs, counted: encodings, hosts woken, messages and bytes.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::fake_host::FakeHost;
use common::{
    Client, apply, connect, eventually, mk_group, mk_host, mk_policy, mk_port, mk_switch, start,
};
use spanwire_controller::RunningController;
use spanwire_topology::model::Resource;

/// Hosts of the project that nothing happens in.
const OTHERS: usize = 3;

/// What was done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    deltas_encoded: u64,
    items_encoded: u64,
    wakes: u64,
    messages: u64,
    bytes: u64,
}

impl Counts {
    fn of(controller: &RunningController) -> Counts {
        let shared = controller.shared();
        let log = shared.publisher.change_log_stats();
        Counts {
            deltas_encoded: log.deltas_encoded,
            items_encoded: log.fulls_encoded,
            wakes: shared.metrics.host_wakes.get(),
            messages: shared.metrics.host_messages_sent.get(),
            bytes: shared.metrics.host_bytes_sent.get(),
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            deltas_encoded: self.deltas_encoded - before.deltas_encoded,
            items_encoded: self.items_encoded - before.items_encoded,
            wakes: self.wakes - before.wakes,
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// Two projects that are not connected. In `a`, each of so many hosts has a port that admits the web
/// servers alone, and one host has the web servers.
fn network(hosts: usize) -> Vec<Resource> {
    let mut all = vec![mk_host("web", "192.0.2.250")];
    for project in ["a", "b"] {
        all.push(mk_switch(project, "net", "10.0.0.0/16"));
        all.push(mk_group(project, "web", "app=web"));
        all.push(mk_group(project, "db", "app=db"));
        all.push(mk_policy(project, "db", "db", "web"));
    }
    all.push(mk_port("a", "web-1", "10.0.1.1", "web", "app=web"));
    for (project, count) in [("a", hosts), ("b", OTHERS)] {
        for number in 1..=count {
            let name = format!("{project}-{number:03}");
            let third = if project == "a" { 2 } else { 3 };
            all.push(mk_host(&name, &format!("192.0.{third}.{number}")));
            all.push(mk_port(project, &name, &format!("10.0.2.{number}"), &name, "app=db"));
        }
    }
    all
}

struct Scene {
    controller: RunningController,
    client: Client,
    hosts: Vec<FakeHost>,
    _root: tempfile::TempDir,
}

impl Scene {
    /// Connects all hosts; and what that took.
    async fn start(hosts: usize) -> (Scene, Counts) {
        let root = tempfile::tempdir().unwrap();
        let controller = start(root.path()).await;
        let mut client = connect(&controller).await;
        let revision = apply(&mut client, network(hosts)).await.unwrap();
        let before = Counts::of(&controller);
        let of_a = (1..=hosts).map(|number| format!("a-{number:03}"));
        let of_b = (1..=OTHERS).map(|number| format!("b-{number:03}"));
        let mut connected = Vec::new();
        for name in of_a.chain(of_b).chain(["web".to_owned()]) {
            connected.push(FakeHost::connect(controller.address(), &name).await);
        }
        for host in &mut connected {
            host.wait_revision(revision).await;
        }
        let mut scene = Scene { controller, client, hosts: connected, _root: root };
        scene.wait_realized(revision).await;
        let counts = Counts::of(&scene.controller).since(before);
        (scene, counts)
    }

    /// Until the controller knows that every host has what concerns it of a revision.
    async fn wait_realized(&mut self, revision: u64) {
        let publisher = &self.controller.shared().publisher;
        let realized = || {
            let connections = publisher.connections();
            connections.len() == self.hosts.len()
                && connections.iter().all(|connection| connection.realized(revision) >= revision)
        };
        eventually("every host has it", realized).await;
    }

    /// Makes changes one after the other, and counts what they took.
    async fn change(&mut self, changes: impl IntoIterator<Item = Resource>) -> Counts {
        let before = Counts::of(&self.controller);
        for change in changes {
            let revision = apply(&mut self.client, [change]).await.unwrap();
            self.wait_realized(revision).await;
        }
        Counts::of(&self.controller).since(before)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_encoded_once_and_wakes_the_hosts_it_concerns() {
    const FEW: u64 = 4;
    const MANY: u64 = 32;
    let mut of = Vec::new();
    for hosts in [FEW, MANY] {
        let (mut scene, connect) = Scene::start(hosts as usize).await;
        // One member more of the shard that all hosts of project a have, and one locator.
        let first = scene.change([mk_port("a", "web-2", "10.0.1.2", "web", "app=web")]).await;
        // It is gone, and there again.
        let again = (0..5).map(|_| mk_port("a", "web-2", "10.0.1.3", "web", "app=web"));
        let swapped = again.enumerate().map(|(number, port)| match number % 2 {
            0 => port,
            _ => mk_port("a", "web-2", "10.0.1.2", "web", "app=web"),
        });
        let more = scene.change(swapped).await;
        // Nobody is concerned by a port that no host has.
        let nobody = scene.change([mk_port("b", "idle", "10.0.9.9", "", "app=none")]).await;
        scene.controller.shutdown().await.unwrap();
        of.push((connect, first, more, nobody));
    }
    let [few, many] = of[..] else { panic!("two sizes") };
    let more_hosts = MANY - FEW;

    // A host costs the encoding of its own port, and nothing of what it shares with the others.
    assert_eq!(many.0.items_encoded - few.0.items_encoded, more_hosts);
    assert_eq!((few.0.deltas_encoded, many.0.deltas_encoded), (0, 0));

    for (what, few, many, changes) in [("one", few.1, many.1, 1), ("five", few.2, many.2, 5)] {
        assert_eq!(few.deltas_encoded, many.deltas_encoded, "{what}");
        // The shard and the locators; and the port itself is news to its host.
        assert_eq!(few.deltas_encoded, 2 * changes, "{what}");
        assert_eq!((few.items_encoded, many.items_encoded), (changes, changes), "{what}");
        // The hosts of project a and the one with the web servers: one message each.
        for (hosts, counts) in [(FEW, few), (MANY, many)] {
            assert_eq!(counts.wakes, changes * (hosts + 1), "{what}, {hosts} hosts");
            assert_eq!(counts.messages, changes * (hosts + 1), "{what}, {hosts} hosts");
        }
        // Every further host is sent the same bytes, which are few.
        let further = many.bytes - few.bytes;
        assert_eq!(further % (more_hosts * changes), 0, "{what}");
        let bytes = further / (more_hosts * changes);
        assert!((1..100).contains(&bytes), "{what}: {bytes} bytes a host");
    }
    for counts in [few.3, many.3] {
        let Counts { items_encoded, wakes, messages, bytes, .. } = counts;
        assert_eq!((items_encoded, wakes, messages, bytes), (0, 0, 0, 0));
    }
}
