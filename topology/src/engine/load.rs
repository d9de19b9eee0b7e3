//! A whole state at once, from nothing but resources.

use super::api::{Object, Refusal};
use super::journal::Journal;
use super::state::Engine;
use crate::model::{Resource, Revision, Uid};

/// The revision of a state that was never replicated: that of the one transaction it could be.
const LOADED_REVISION: Revision = 1;

impl Engine {
    /// An engine at revision 1 that holds these resources and nothing else, however many they are.
    ///
    /// A transaction is bounded because it is replicated as one entry; a state that somebody holds
    /// in files is not. It must be valid as a whole: resources may refer to one another in any
    /// order.
    pub fn load(resources: impl IntoIterator<Item = Resource>) -> Result<Engine, Refusal> {
        let mut engine = Engine::new();
        let objects: Vec<Object> = resources
            .into_iter()
            .zip(1..)
            .map(|(resource, uid)| Object {
                uid: Uid(uid),
                created_revision: LOADED_REVISION,
                revision: LOADED_REVISION,
                resource,
            })
            .collect();
        let depths = engine.check_state(&objects)?;
        engine.last_uid = objects.len() as u64;
        engine.load_objects(objects, &depths, &Journal::default())?;
        for (key, _) in engine.versions() {
            engine.set_version(key, LOADED_REVISION);
        }
        engine.revision = LOADED_REVISION;
        engine.release_dead_domains();
        Ok(engine)
    }
}
