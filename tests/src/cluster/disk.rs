//! A file system in a file, which can be filled, and made slow for one process.

use super::place::{run, try_run};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Large enough for a controller and its snapshots, small enough to be filled in a moment.
const SIZE: &str = "96M";
const IMAGE: &str = "disk.img";
const MOUNT_POINT: &str = "disk";
/// What fills it.
const FILLER: &str = "filler";
/// The control group that is slow, in the first version of control groups.
const GROUP: &str = "/sys/fs/cgroup/blkio/spanwire-chaos";
/// Writes in a second that a slow disk takes.
const SLOW_WRITES: u32 = 8;

/// The file system, mounted until this is dropped.
pub struct SmallDisk {
    mount_point: PathBuf,
    /// MAJOR:MINOR of the device.
    device: String,
    throttles: bool,
}

impl SmallDisk {
    /// Makes one in a directory.
    pub(super) fn make(directory: &Path) -> SmallDisk {
        let image = directory.join(IMAGE);
        let mount_point = directory.join(MOUNT_POINT);
        fs::create_dir_all(&mount_point).expect("a directory");
        let (image, at) = (image.to_string_lossy(), mount_point.to_string_lossy());
        run("truncate", &["-s", SIZE, &image]);
        run("mkfs.ext4", &["-q", "-m", "0", &image]);
        run("mount", &["-o", "loop", &image, &at]);
        let mut disk =
            SmallDisk { mount_point: mount_point.clone(), device: String::new(), throttles: false };
        let device = run("losetup", &["-n", "-O", "MAJ:MIN", "-j", &image]);
        disk.device = device.split_whitespace().next().unwrap_or_default().to_owned();
        disk.throttles = disk.make_group();
        disk
    }

    /// Removes what another run left.
    pub(super) fn remove(directory: &Path) {
        let at = directory.join(MOUNT_POINT);
        // It is not mounted after a run that ended well.
        let _ = try_run("umount", &[&at.to_string_lossy()]);
        let _ = fs::remove_dir(GROUP);
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Writes until there is no room left.
    pub fn fill(&self) {
        let mut filler = File::create(self.mount_point.join(FILLER)).expect("a file");
        for block in [1 << 20, 4096, 1] {
            let zeros = vec![0; block];
            loop {
                match filler.write(&zeros) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the disk cannot be filled: {error}"),
                }
            }
        }
        // With what waits to be written, the room is really gone.
        let synced = filler.sync_all();
        assert!(synced.is_ok(), "what fills the disk is not written: {synced:?}");
    }

    /// Gives the room back.
    pub fn free(&self) {
        fs::remove_file(self.mount_point.join(FILLER)).expect("what fills the disk goes");
    }

    /// Makes it slow for a process, until what is returned is dropped.
    pub fn slow(&self, pid: u32) -> Slow {
        if self.throttles {
            join_group(GROUP, pid).expect("a process goes to a control group");
            return Slow::Throttled(pid);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let path = self.mount_point.join(FILLER);
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let megabytes = vec![0; 4 << 20];
            while !told.load(Ordering::Relaxed) {
                let mut file = File::create(&path).expect("a file");
                // A full disk is as good for this.
                let _ = file.write_all(&megabytes).and_then(|()| file.sync_all());
            }
            let _ = fs::remove_file(&path);
        });
        Slow::Busy(stop, Some(thread))
    }

    /// Says how it is made slow.
    pub fn how_slow(&self) -> &'static str {
        if self.throttles { "throttled" } else { "kept busy by another process" }
    }

    /// Makes the control group. False if there is no such thing here, or it has no effect.
    fn make_group(&self) -> bool {
        let limit = Path::new(GROUP).join("blkio.throttle.write_iops_device");
        let made = fs::create_dir_all(GROUP)
            .and_then(|()| fs::write(limit, format!("{} {SLOW_WRITES}", self.device)));
        if made.is_err() {
            return false;
        }
        let probe = self.mount_point.join("probe");
        let script = format!(
            "echo $$ >{GROUP}/cgroup.procs && \
             exec dd if=/dev/zero of={} bs=4096 count={SLOW_WRITES} oflag=dsync status=none",
            probe.display()
        );
        let started = Instant::now();
        let written = try_run("sh", &["-c", &script]);
        let _ = fs::remove_file(probe);
        written.is_ok() && started.elapsed() > Duration::from_millis(500)
    }

    /// Takes it down.
    pub(super) fn unmount(&mut self) {
        if self.mount_point.as_os_str().is_empty() {
            return;
        }
        let at = std::mem::take(&mut self.mount_point);
        if let Err(error) = try_run("umount", &[&at.to_string_lossy()]) {
            eprintln!("{error}");
        }
        // There is none if this machine has no such control groups.
        let _ = fs::remove_dir(GROUP);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn join_group(group: &str, pid: u32) -> std::io::Result<()> {
    fs::write(Path::new(group).join("cgroup.procs"), pid.to_string())
}

/// A disk that is slow, until this is dropped.
pub enum Slow {
    /// A process in the slow group.
    Throttled(u32),
    /// Somebody else writes all the time.
    Busy(Arc<AtomicBool>, Option<JoinHandle<()>>),
}

impl Drop for Slow {
    fn drop(&mut self) {
        match self {
            // It fails if the process has ended, and then it is out of the group as well.
            Slow::Throttled(pid) => drop(join_group("/sys/fs/cgroup/blkio", *pid)),
            Slow::Busy(stop, thread) => {
                stop.store(true, Ordering::Relaxed);
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}
