//! The saved state of an engine: the bytes that a replica keeps on disk and ships to another.

use spanwire_controller::state::{decode_snapshot, encode_snapshot};
use spanwire_topology::Engine;

/// A state that was saved.
pub(crate) struct Saved(Vec<u8>);

impl Saved {
    pub(crate) fn of(engine: &Engine) -> Saved {
        Saved(encode_snapshot(&engine.export(), engine.revision()))
    }

    /// The engine again; the saved state is used up.
    pub(crate) fn load(self) -> Result<Engine, String> {
        let (snapshot, _) = decode_snapshot(&self.0).map_err(|error| error.to_string())?;
        drop(self);
        Engine::import(snapshot).map_err(|error| error.to_string())
    }

    /// How many bytes the saved state has.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}
