//! The saved state of an engine: the one place that knows in what form it is kept.

use spanwire_topology::Engine;
use spanwire_topology::engine::Snapshot;

/// A state that was saved: the values of [`Engine::export`], which take part in the memory of the
/// process. A format in bytes goes here, and nothing else in the scenarios has to change.
pub(crate) struct Saved(Snapshot);

impl Saved {
    pub(crate) fn of(engine: &Engine) -> Saved {
        Saved(engine.export())
    }

    /// The engine again; the saved state is used up.
    pub(crate) fn load(self) -> Result<Engine, String> {
        Engine::import(self.0).map_err(|error| error.to_string())
    }

    /// How many bytes the saved state has, if it is kept as bytes.
    pub(crate) fn bytes(&self) -> Option<usize> {
        None
    }
}
