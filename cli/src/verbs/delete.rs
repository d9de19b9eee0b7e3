//! `spanwire delete`: delete objects as one transaction.

use super::apply::{Told, print_results};
use crate::cli::Global;
use crate::client::Admin;
use crate::failure::{Failure, FailureKind};
use crate::output::render;
use crate::target::{parse_kind, parse_name, parse_object};
use crate::{input, retry};
use clap::Args;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::ObjectKey;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The objects, as KIND/NAME or KIND/PROJECT/NAME; or a kind, and then names of that kind.
    #[arg(value_name = "KIND/NAME", required_unless_present = "files")]
    objects: Vec<String>,
    /// Delete the objects of a file, a directory of files, or - for stdin. Repeatable.
    #[arg(short, long = "file", value_name = "FILE|DIR|-", conflicts_with = "objects")]
    files: Vec<String>,
    /// Delete what refers to the objects as well, and what refers to that.
    #[arg(long)]
    cascade: bool,
    /// Check everything, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Refuse unless the state is at exactly this revision.
    #[arg(long, value_name = "REVISION")]
    expected_revision: Option<u64>,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: DeleteArgs) -> Result<(), Failure> {
    let project = global.project.as_deref();
    let keys: Vec<ObjectKey> = if args.files.is_empty() {
        parse_keys(&args.objects, project)?
    } else {
        input::read_documents(&args.files, project)?.iter().map(|d| d.resource.key()).collect()
    };
    let doing = match keys.as_slice() {
        [key] => format!("delete {key}"),
        keys => format!("delete {}", render::count(keys.len(), "object")),
    };
    let request = wire::DeleteRequest {
        keys: keys.iter().map(convert::from_key).collect(),
        cascade: args.cascade,
        dry_run: args.dry_run,
        expected_revision: args.expected_revision,
        request_id: retry::request_id(),
    };
    let call = async |mut admin: Admin, request| admin.delete(request).await;
    let response = retry::write(global, &doing, retry::WRITE_TIME, request, call).await?;
    let told = Told {
        warnings: &response.warnings,
        cut: response.warnings_cut,
        repeated: response.repeated,
    };
    print_results(global, &response.results, response.revision, args.dry_run, told)
}

/// `KIND/NAME...`, or `KIND NAME...`.
fn parse_keys(words: &[String], project: Option<&str>) -> Result<Vec<ObjectKey>, Failure> {
    match words {
        [kind, names @ ..] if !kind.contains('/') => {
            let kind = parse_kind(kind)?;
            if names.is_empty() {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("delete which {}? no name is given", kind.short()),
                )
                .remedy(format!("name it, as in: spanwire delete {}/NAME", kind.short())));
            }
            names.iter().map(|name| parse_name(kind, name, project)).collect()
        }
        words => words.iter().map(|word| parse_object(word, project)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_without_a_name_deletes_nothing() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parse_keys(&words("port a b"), None).unwrap().len(), 2);
        assert_eq!(parse_keys(&words("port/a group/t1/b"), None).unwrap().len(), 2);
        let failure = parse_keys(&words("ports"), None).unwrap_err();
        assert!(failure.to_text().contains("delete which port?"), "{}", failure.to_text());
    }
}
