//! A whole state at once, from nothing but resources.

use super::api::{Object, Refusal};
use super::journal::Journal;
use super::restore::Loading;
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
        let mut loading = Loading::default();
        let mut last_uid = 0;
        loading.take(resources.into_iter().map(|resource| {
            last_uid += 1;
            Object {
                uid: Uid(last_uid),
                created_revision: LOADED_REVISION,
                revision: LOADED_REVISION,
                resource,
            }
        }))?;
        let mut engine = loading.link(&Journal::default())?;
        engine.last_uid = last_uid;
        for (key, _) in engine.versions() {
            engine.set_version(key, LOADED_REVISION);
        }
        engine.revision = LOADED_REVISION;
        engine.release_dead_domains();
        Ok(engine)
    }
}
