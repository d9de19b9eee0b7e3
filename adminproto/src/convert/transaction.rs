//! Requests that change objects, and what they did.

use super::error::{ConvertError, Path, Problem};
use super::fields::{from_key, to_key_at};
use super::resource::{from_resource, to_resource};
use crate::wire;
use crate::wire::apply_request::Item;
use spanwire_topology::Transaction;
use spanwire_topology::engine::{ObjectChange, Outcome};
use spanwire_topology::model::{Operation, Revision, TRANSACTION_OPERATIONS_MAX};

type Result<T> = std::result::Result<T, ConvertError>;

/// The transaction that an apply asks for. Whether it is a dry run is up to the caller.
///
/// Errors name the object, or the item by its position.
pub fn to_apply_transaction(request: &wire::ApplyRequest) -> Result<Transaction> {
    let wire::ApplyRequest { items, dry_run: _, expected_revision, request_id: _ } = request;
    let path = Path::Root("items");
    check_count(items.len(), &path)?;
    Ok(Transaction { operations: to_puts(items, &path)?, expected_revision: *expected_revision })
}

/// The transaction that a delete asks for. Whether it is a dry run is up to the caller.
///
/// Errors name the key by its position.
pub fn to_delete_transaction(request: &wire::DeleteRequest) -> Result<Transaction> {
    let wire::DeleteRequest { keys, cascade, dry_run: _, expected_revision, request_id: _ } =
        request;
    let path = Path::Root("keys");
    check_count(keys.len(), &path)?;
    Ok(Transaction {
        operations: to_deletes(keys, *cascade, &path)?,
        expected_revision: *expected_revision,
    })
}

/// The transaction whose impact is asked for.
///
/// Errors are those of an apply and of a delete.
pub fn to_impact_transaction(request: &wire::ImpactRequest) -> Result<Transaction> {
    let wire::ImpactRequest { items, deletes, cascade } = request;
    let (items_path, deletes_path) = (Path::Root("items"), Path::Root("deletes"));
    check_count(items.len().saturating_add(deletes.len()), &items_path)?;
    let mut operations = to_puts(items, &items_path)?;
    operations.extend(to_deletes(deletes, *cascade, &deletes_path)?);
    Ok(Transaction { operations, expected_revision: None })
}

/// The items of an apply that puts resources, each with the revision it is expected at.
pub fn from_puts(
    puts: impl IntoIterator<Item = (spanwire_topology::Resource, Option<Revision>)>,
) -> Vec<Item> {
    puts.into_iter()
        .map(|(resource, expected_revision)| Item {
            resource: Some(from_resource(&resource)),
            expected_revision,
        })
        .collect()
}

/// What happened to an object, as a message.
pub fn from_change(change: &ObjectChange) -> wire::ObjectResult {
    let ObjectChange { outcome, object } = change;
    wire::ObjectResult {
        key: Some(from_key(&object.resource.key())),
        outcome: from_outcome(*outcome).into(),
    }
}

/// An outcome as the wire has it.
pub fn from_outcome(outcome: Outcome) -> wire::object_result::Outcome {
    match outcome {
        Outcome::Created => wire::object_result::Outcome::Created,
        Outcome::Configured => wire::object_result::Outcome::Configured,
        Outcome::Unchanged => wire::object_result::Outcome::Unchanged,
        Outcome::Deleted => wire::object_result::Outcome::Deleted,
    }
}

/// Counted before anything is converted, so that a message that is too big costs little.
fn check_count(found: usize, path: &Path<'_>) -> Result<()> {
    if found > TRANSACTION_OPERATIONS_MAX {
        return Err(path.error(Problem::TooMany { found, max: TRANSACTION_OPERATIONS_MAX }));
    }
    Ok(())
}

fn to_puts(items: &[Item], path: &Path<'_>) -> Result<Vec<Operation>> {
    super::fields::to_list(items, path, |item, path| {
        let Item { resource, expected_revision } = item;
        let path = path.field("resource");
        let Some(resource) = resource else {
            return Err(path.missing("the resource to apply"));
        };
        let resource = to_resource(resource).map_err(|error| match error.object {
            Some(_) => error, // names the object, which says more than a position
            None => ConvertError { field: format!("{path}.{}", error.field), ..error },
        })?;
        Ok(Operation::Put { resource, expected_revision: *expected_revision })
    })
}

fn to_deletes(keys: &[wire::ObjectKey], cascade: bool, path: &Path<'_>) -> Result<Vec<Operation>> {
    super::fields::to_list(keys, path, |key, path| {
        Ok(Operation::Delete { key: to_key_at(key, path)?, cascade, expected_revision: None })
    })
}
