//! Fields that many messages have: names, labels, keys, references, addresses.

use super::error::{ConvertError, Path, Problem};
use crate::wire;
use ipnet::IpNet;
use spanwire_topology::model::{
    DEFAULT_PROJECT, Kind, LABELS_MAX, Labels, ObjectKey, ObjectRef, SYSTEM_PROJECT, Text,
    check_label_key, check_label_value, check_name, parse_address, parse_cidr,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

type Result<T> = std::result::Result<T, ConvertError>;

/// The key that a message stands for. An empty project means "default", or "system" for hosts.
///
/// Errors name the field: `key.kind`, `key.project` or `key.name`.
pub fn to_key(key: &wire::ObjectKey) -> Result<ObjectKey> {
    to_key_at(key, &Path::Root("key"))
}

/// A key as a message.
pub fn from_key(key: &ObjectKey) -> wire::ObjectKey {
    let ObjectKey { kind, project, name } = key;
    wire::ObjectKey {
        kind: kind.as_str().to_owned(),
        project: project.to_string(),
        name: name.to_string(),
    }
}

pub(super) fn to_key_at(key: &wire::ObjectKey, path: &Path<'_>) -> Result<ObjectKey> {
    let wire::ObjectKey { kind, project, name } = key;
    let kind_path = path.field("kind");
    if kind.is_empty() {
        return Err(kind_path.missing("the kind of the object, such as LogicalPort"));
    }
    let kind: Kind = kind.parse().map_err(|error| kind_path.error(Problem::Kind(error)))?;
    let project = to_project(kind, project, &path.field("project"))?;
    let name = to_name("name", name, &path.field("name"))?;
    Ok(ObjectKey { kind, project, name })
}

fn to_project(kind: Kind, project: &str, path: &Path<'_>) -> Result<Text> {
    if kind.is_fleet_wide() {
        return match project {
            "" | SYSTEM_PROJECT => Ok(SYSTEM_PROJECT.into()),
            found => {
                check_name("project", found).map_err(|error| path.error(error))?;
                Err(path.error(Problem::FleetWideProject { found: found.to_owned() }))
            }
        };
    }
    if project.is_empty() {
        return Ok(DEFAULT_PROJECT.into());
    }
    to_name("project", project, path)
}

pub(super) fn to_name(what: &'static str, name: &str, path: &Path<'_>) -> Result<Text> {
    check_name(what, name).map_err(|error| path.error(error))?;
    Ok(name.into())
}

pub(super) fn to_labels(labels: &BTreeMap<String, String>, path: &Path<'_>) -> Result<Labels> {
    if labels.len() > LABELS_MAX {
        return Err(path.error(Problem::TooMany { found: labels.len(), max: LABELS_MAX }));
    }
    labels
        .iter()
        .map(|(key, value)| {
            check_label_key(key).map_err(|error| path.error(error))?;
            check_label_value(value).map_err(|error| path.error(error))?;
            Ok((key.as_str().into(), value.as_str().into()))
        })
        .collect()
}

pub(super) fn from_labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// What a reference needs to be resolved: the project of the object that refers.
#[derive(Clone, Copy)]
pub(super) struct Referrer<'a> {
    /// The project.
    pub(super) project: &'a Text,
}

impl Referrer<'_> {
    /// A reference that must be there.
    pub(super) fn to_required_ref(
        self,
        reference: Option<&wire::ObjectRef>,
        expected: &'static str,
        path: &Path<'_>,
    ) -> Result<ObjectRef> {
        match reference {
            Some(reference) => self.to_ref(reference, path),
            None => Err(path.missing(expected)),
        }
    }

    /// A reference; an empty project is that of the referrer.
    pub(super) fn to_ref(self, reference: &wire::ObjectRef, path: &Path<'_>) -> Result<ObjectRef> {
        let wire::ObjectRef { project, name } = reference;
        let project = match project.as_str() {
            "" => self.project.clone(),
            project => to_name("project", project, &path.field("project"))?,
        };
        Ok(ObjectRef { project, name: to_name("name", name, &path.field("name"))? })
    }

    /// References, in order.
    pub(super) fn to_refs(
        self,
        references: &[wire::ObjectRef],
        path: &Path<'_>,
    ) -> Result<Vec<ObjectRef>> {
        to_list(references, path, |reference, path| self.to_ref(reference, path))
    }
}

pub(super) fn from_ref(reference: &ObjectRef) -> wire::ObjectRef {
    let ObjectRef { project, name } = reference;
    wire::ObjectRef { project: project.to_string(), name: name.to_string() }
}

pub(super) fn from_refs(references: &[ObjectRef]) -> Vec<wire::ObjectRef> {
    references.iter().map(from_ref).collect()
}

/// Converts the entries of a list, each with its path. The list takes no more room than it needs: most
/// have one entry, and are kept by the hundred thousand.
pub(super) fn to_list<W, M>(
    entries: &[W],
    path: &Path<'_>,
    convert: impl Fn(&W, &Path<'_>) -> Result<M>,
) -> Result<Vec<M>> {
    let mut list = Vec::with_capacity(entries.len());
    for (n, entry) in entries.iter().enumerate() {
        list.push(convert(entry, &path.index(n))?);
    }
    Ok(list)
}

#[expect(clippy::ptr_arg)] // takes the entries of repeated fields as they are
pub(super) fn to_address(address: &String, path: &Path<'_>) -> Result<IpAddr> {
    parse_address(address).map_err(|error| path.error(error))
}

#[expect(clippy::ptr_arg)] // takes the entries of repeated fields as they are
pub(super) fn to_cidr(cidr: &String, path: &Path<'_>) -> Result<IpNet> {
    parse_cidr(cidr).map_err(|error| path.error(error))
}

pub(super) fn from_all<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}
