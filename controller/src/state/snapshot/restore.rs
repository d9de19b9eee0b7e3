//! From bytes to a state that is ready to go on: most of what a start of a controller takes.
//!
//! ```text
//!   a thread of its own                    the caller's
//!   bytes -> records -> objects  ======>   objects -> engine
//!                                bounded
//! ```

use super::decode::{Rest, read};
use super::{Restored, SnapshotError};
use spanwire_topology::engine::{self, Loading, Object, Refusal};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, scope};

/// Snapshots of fewer bytes are decoded by the thread that loads them: another would cost more.
const BESIDE_BYTES_MIN: usize = 256 << 10;
/// Pieces that are decoded and not loaded yet.
const PIECES_AHEAD_MAX: usize = 8;

/// The state that some bytes hold, ready to go on.
///
/// # Errors
/// What is wrong first: the bytes do not decode, or what was decoded contradicts itself.
pub fn restore(bytes: &[u8]) -> Result<Restored, SnapshotError> {
    let (loading, rest) = match bytes.len() < BESIDE_BYTES_MIN {
        true => load(bytes),
        false => load_beside(bytes),
    };
    // An object that is refused was decoded before whatever does not decode.
    let loading = loading.map_err(contradiction)?;
    let Rest { network, members, requests, applied_index } = rest?;
    Ok(Restored { engine: loading.finish(network)?, members, requests, applied_index })
}

type Loaded = (Result<Loading, Refusal>, Result<Rest, SnapshotError>);

fn load(bytes: &[u8]) -> Loaded {
    let mut loading = Ok(Loading::default());
    let rest = read(bytes, |objects| take(&mut loading, objects));
    (loading, rest)
}

/// As [`load`], with the bytes decoded while what came of the first of them is loaded.
fn load_beside(bytes: &[u8]) -> Loaded {
    scope(|threads| {
        let (sender, pieces) = sync_channel(PIECES_AHEAD_MAX);
        let decode = move || {
            read(bytes, |objects| {
                // Nobody takes them any more once one was refused.
                let _ = sender.send(objects);
            })
        };
        let name = "spanwire-decode".to_owned();
        // Without a thread it takes longer, and nothing else.
        let Ok(thread) = Builder::new().name(name).spawn_scoped(threads, decode) else {
            return load(bytes);
        };
        let mut loading = Ok(Loading::default());
        for objects in &pieces {
            take(&mut loading, objects);
            if loading.is_err() {
                break;
            }
        }
        drop(pieces);
        let rest = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (loading, rest)
    })
}

fn take(loading: &mut Result<Loading, Refusal>, objects: Vec<Object>) {
    if let Ok(into) = loading
        && let Err(refusal) = into.take(objects)
    {
        *loading = Err(refusal);
    }
}

fn contradiction(refusal: Refusal) -> SnapshotError {
    engine::SnapshotError(refusal.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::super::{State, encode_snapshot};
    use super::*;
    use spanwire_topology::Engine;
    use spanwire_topology::model::{HostSpec, Labels, Resource, Spec, Uid};

    /// So many hosts, of which each `twice` has the name of its predecessor.
    fn mk_bytes(hosts: u64, twice: Option<u64>) -> Vec<u8> {
        let mk_object = |n: u64| Object {
            uid: Uid(n),
            created_revision: 1,
            revision: 1,
            resource: Resource::new(
                "system",
                format!("host-{:06}", if Some(n) == twice { n - 1 } else { n }),
                Labels::new(),
                Spec::Host(HostSpec::default()),
            ),
        };
        let objects = (1..=hosts).map(mk_object).collect();
        let network =
            engine::Snapshot { revision: 1, last_uid: hosts, objects, ..Default::default() };
        encode_snapshot(&State { network, applied_index: 1, ..State::default() })
    }

    #[test]
    fn what_is_decoded_beside_is_what_is_decoded_in_turn() {
        let bytes = mk_bytes(20_000, None);
        assert!(bytes.len() > BESIDE_BYTES_MIN);
        let engines = [load(&bytes), load_beside(&bytes)].map(|(loading, rest)| {
            let engine = loading.unwrap().finish(rest.unwrap().network).unwrap();
            engine.export()
        });
        assert_eq!(engines[0].objects.len(), 20_000);
        assert!(engines[0] == engines[1]);
        assert!(Engine::import(engines[0].clone()).unwrap().export() == engines[0]);
    }

    #[test]
    fn what_is_wrong_first_is_reported_with_a_thread_or_without() {
        let whole = mk_bytes(20_000, Some(9_000));
        for (cut, expected) in [
            (whole.len(), "host-008999"),
            // The part that is missing comes after the name that is there twice, or before it.
            (whole.len() - 10, "host-008999"),
            (whole.len() / 3, "record"),
        ] {
            for load in [load, load_beside] {
                let (loading, rest) = load(&whole[..cut]);
                let problem = match (loading, rest) {
                    (Err(refusal), _) => refusal.to_string(),
                    (Ok(_), Err(error)) => error.to_string(),
                    (Ok(_), Ok(_)) => panic!("it is loaded"),
                };
                assert!(problem.contains(expected), "{cut}: {problem}");
            }
        }
    }
}
