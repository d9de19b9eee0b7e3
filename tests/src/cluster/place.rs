//! What a run makes on the machine, and how that goes away, also after a run that was killed.

use super::disk::SmallDisk;
use super::network::Network;
use spanwire_lab::Lab;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory below that for temporary files.
const DIRECTORY: &str = "spanwire-chaos";
/// The programs that are needed, each with an argument that does nothing, and its package.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("nft", "--version", "nftables"),
    ("unshare", "--version", "util-linux"),
    ("losetup", "--version", "mount"),
    ("mount", "--version", "mount"),
    ("umount", "--version", "mount"),
    ("mkfs.ext4", "-V", "e2fsprogs"),
];

/// What this machine lacks, if anything.
pub fn lacking() -> Option<String> {
    if let Err(missing) = Lab::supported() {
        return Some(missing.to_string());
    }
    for (program, argument, package) in PROGRAMS {
        if let Err(error) = Command::new(program).arg(argument).output() {
            return Some(format!("{program} does not run ({error}): install {package}"));
        }
    }
    None
}

/// The namespaces, the directory and the disk of a run. There is one on a machine at a time.
pub struct Place {
    directory: PathBuf,
    /// The small disk.
    pub disk: SmallDisk,
    _network: Network,
    // Last, so that the next run begins when all else is gone.
    _lock: File,
}

impl Place {
    /// Removes what a run that was killed left, and makes everything anew. Waits for another run to
    /// end.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn make() -> Place {
        let temporary = std::env::temp_dir();
        let lock = temporary.join(format!("{DIRECTORY}.lock"));
        let lock = File::create(&lock).expect("a lock file");
        lock.lock().expect("a file can be locked");
        let directory = temporary.join(DIRECTORY);
        Network::remove();
        SmallDisk::remove(&directory);
        remove_directory(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        // Whatever is made from here on goes when it is dropped.
        let network = Network::make();
        let disk = SmallDisk::make(&directory);
        Place { directory, disk, _network: network, _lock: lock }
    }

    /// Where the data and the logs are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The logs of a run that failed are what it is looked into by.
        if std::thread::panicking() {
            println!("the logs are in {}", self.directory.display());
        } else {
            self.disk.unmount();
            remove_directory(&self.directory);
        }
    }
}

fn remove_directory(directory: &Path) {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("{} cannot be removed: {error}", directory.display())
        }
        _ => {}
    }
}

/// Runs a program that must succeed.
///
/// # Panics
///
/// With what it printed, if it does not.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    match try_run(program, arguments) {
        Ok(printed) => printed,
        Err(error) => panic!("{error}"),
    }
}

/// Runs a program.
pub(super) fn try_run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} {}: {message}", arguments.join(" ")))
}
