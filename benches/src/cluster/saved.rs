//! Data directories with a large state in them.

use super::Directory;
use crate::scenarios::Loaded;
use crate::workloads::Sizes;
use crate::workloads::metro::Metro;
use spanwire_adminproto::backup::{Writer, to_parts};
use spanwire_adminproto::wire::BackupHeader;
use spanwire_controller::recovery;
use spanwire_controller::state::{State, encode_snapshot};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

/// The data directory of a replica that is alone in its cluster and has all of `metro` in its snapshot;
/// with the sizes of that and the bytes of the snapshot.
pub(crate) fn save_metro(
    metro: &Metro,
    directory: &Directory,
) -> Result<(PathBuf, Sizes, usize), String> {
    let loaded = Loaded::from_resources(metro.resources())?;
    let (network, revision) = (loaded.engine.export(), loaded.engine.revision());
    let sizes = loaded.sizes;
    drop(loaded);
    let bytes = encode_snapshot(&State { network, applied_index: revision, ..State::default() });
    let count = bytes.len();
    let header = BackupHeader { revision, index: revision, term: 1, ..BackupHeader::default() };
    let backup = directory.path().join("metro.backup");
    let write = || -> std::io::Result<()> {
        let mut writer = Writer::new(BufWriter::new(File::create(&backup)?))?;
        to_parts(header, bytes).try_for_each(|part| writer.write(&part))?;
        writer.into_inner().flush()
    };
    write().map_err(|error| format!("{}: {error}", backup.display()))?;
    let data_dir = directory.path().join("metro");
    recovery::restore(&backup, &data_dir).map_err(|error| error.to_string())?;
    // It takes as much room as the snapshot.
    std::fs::remove_file(&backup).map_err(|error| format!("{}: {error}", backup.display()))?;
    Ok((data_dir, sizes, count))
}
