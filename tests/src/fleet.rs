//! A lab with a controller and an agent on each host, made by the binary itself.

use crate::admin::Admin;
use crate::binary::spanwire;
use spanwire_lab::probe::Listen;
use spanwire_lab::{Lab, Place, WorkloadKey};
use spanwire_oracle::Resources;
use spanwire_topology::ObjectKey;
use std::process::Command;

/// Where a lab's controller listens, in the fabric.
const CONTROLLER: &str = "127.0.0.1:6690";

/// What the machine lacks for a lab, if anything.
pub fn lacking() -> Option<String> {
    if let Err(missing) = Lab::supported() {
        return Some(missing.to_string());
    }
    match Command::new("nft").arg("--version").output() {
        Ok(_) => None,
        Err(error) => Some(format!("nft does not run: {error}")),
    }
}

/// A lab that does not outlive the test.
pub struct Fleet {
    lab: Option<Lab>,
}

impl Fleet {
    /// Makes the hosts and workloads of a model, starts a controller and the agents, applies the
    /// model, and waits until every host has it: `spanwire lab up`, as a user would.
    ///
    /// # Panics
    ///
    /// If that fails; the message is what the binary printed.
    pub fn up(name: &str, resources: &Resources) -> Fleet {
        // Left over from a run that was killed.
        drop(Command::new(spanwire()).args(["lab", "down", name]).output());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("model.yaml");
        let documents: Vec<String> =
            resources.values().map(spanwire_manifest::write_yaml).collect();
        std::fs::write(&file, documents.join("---\n")).expect("the model is written");
        let up = Command::new(spanwire())
            .args(["lab", "up", name, "-f"])
            .arg(&file)
            .output()
            .expect("the binary runs");
        assert!(up.status.success(), "lab up: {}", String::from_utf8_lossy(&up.stderr));
        Fleet { lab: Some(Lab::open(name).expect("the lab that is up opens")) }
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab is up until the fleet is dropped")
    }

    /// The lab, to be changed.
    pub fn lab_mut(&mut self) -> &mut Lab {
        self.lab.as_mut().expect("the lab is up until the fleet is dropped")
    }

    /// Makes every workload listen.
    pub fn listen(&mut self, on: &[Listen]) {
        let keys: Vec<WorkloadKey> =
            self.lab().spec().workloads.iter().map(|w| w.key.clone()).collect();
        for key in keys {
            self.lab_mut().listen(&key, on).expect("a workload listens");
        }
    }

    /// Talks to the controller, on a thread in the fabric.
    pub fn with_admin<T: Send>(&self, talk: impl FnOnce(&mut Admin) -> T + Send) -> T {
        let entered = self.lab().run_in(&Place::Fabric, || {
            let mut admin = Admin::connect(CONTROLLER).expect("the controller answers");
            talk(&mut admin)
        });
        entered.expect("the fabric can be entered")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take()
            && let Err(error) = lab.down()
        {
            eprintln!("the lab is not gone: {error}");
        }
    }
}

/// The workload behind a port.
pub fn workload(port: &ObjectKey) -> WorkloadKey {
    WorkloadKey::new(&*port.project, &*port.name)
}
