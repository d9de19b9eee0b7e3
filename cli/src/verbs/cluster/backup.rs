//! `spanwire cluster backup`: the whole state in a file.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::output::{print_json, print_line, render};
use crate::progress;
use clap::Args;
use serde_json::json;
use spanwire_adminproto::backup::{Checker, Writer};
use spanwire_adminproto::wire;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const HELP: &str = "\
The file has everything that was acknowledged before, from any replica, at one revision. It holds every
tenant's addresses: only its owner can read it. A file of this name is replaced once the new one is whole.

Examples:
  spanwire cluster backup /var/backups/spanwire.backup
  spanwire cluster restore /var/backups/spanwire.backup --data-dir DIR";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct BackupArgs {
    /// The file.
    file: PathBuf,
}

/// Runs the verb.
pub(super) async fn run(global: &Global, args: BackupArgs) -> Result<(), Failure> {
    const DOING: &str = "back up";
    let fail = |status: tonic::Status| to_failure(DOING, &status);
    let mut admin = connect(global).await?;
    let header = progress::during(DOING, async {
        let mut parts = admin.backup(wire::BackupRequest {}).await.map_err(fail)?.into_inner();
        // Whatever happens before the file is whole, nothing is left of it.
        let mut file = Partial::create(&args.file)?;
        let mut checker = Checker::default();
        while let Some(part) = parts.message().await.map_err(fail)? {
            file.write(&part)?;
            checker.take(part).map_err(|error| Failure::caused(DOING, &error))?;
        }
        let header = checker.finish().map_err(|error| Failure::caused(DOING, &error))?;
        file.finish()?;
        Ok::<_, Failure>(header)
    })
    .await?;
    let wire::BackupHeader { cluster_id, revision, index, bytes, .. } = header;
    match global.output {
        Format::Table | Format::Wide => print_line(&format!(
            "revision {revision} of cluster {cluster_id} is in {} ({})",
            args.file.display(),
            render::bytes(bytes)
        )),
        Format::Json | Format::Yaml => print_json(&json!({
            "file": args.file.display().to_string(), "clusterId": cluster_id, "revision": revision,
            "index": index, "bytes": bytes
        })),
    }
}

/// A file under another name until it is whole.
struct Partial {
    path: PathBuf,
    partial: PathBuf,
    writer: Option<Writer<BufWriter<File>>>,
}

impl Partial {
    fn create(path: &Path) -> Result<Partial, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .and_then(|file| Writer::new(BufWriter::new(file)));
        let writer = opened.map_err(|error| failed(&partial, &error))?;
        Ok(Partial { path: path.to_owned(), partial, writer: Some(writer) })
    }

    fn write(&mut self, part: &wire::BackupPart) -> Result<(), Failure> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(part).map_err(|error| failed(&self.partial, &error))
    }

    /// Makes it durable, and gives it its name.
    fn finish(mut self) -> Result<(), Failure> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let finish = || -> std::io::Result<()> {
            let mut file = writer.into_inner();
            file.flush()?;
            file.get_ref().sync_all()?;
            fs::rename(&self.partial, &self.path)?;
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(|error| {
            let _ = fs::remove_file(&self.partial);
            failed(&self.path, &error)
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::caused(format!("could not write {}", path.display()), error)
        .remedy("name a file in a directory that can be written to and has room")
}
