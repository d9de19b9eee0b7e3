//! The saved state of an engine: the bytes that a replica keeps on disk and ships to another.

use spanwire_controller::state::{State, encode_snapshot, restore};
use spanwire_topology::Engine;

/// A state that was saved.
pub(crate) struct Saved(Vec<u8>);

impl Saved {
    pub(crate) fn of(engine: &Engine) -> Saved {
        let (network, applied_index) = (engine.export(), engine.revision());
        Saved(encode_snapshot(&State { network, applied_index, ..State::default() }))
    }

    /// The engine again; the saved state is used up.
    pub(crate) fn load(self) -> Result<Engine, String> {
        restore(&self.0).map(|restored| restored.engine).map_err(|error| error.to_string())
    }

    /// How many bytes the saved state has.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}
