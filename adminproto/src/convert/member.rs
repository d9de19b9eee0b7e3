//! What somebody asks an explanation for.

use super::error::{ConvertError, Path, Problem};
use spanwire_topology::model::{DEFAULT_PROJECT, Kind, ObjectKey, check_name};
use std::net::IpAddr;

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A port.
    Port(ObjectKey),
    /// An address, of ports or of none.
    Address(IpAddr),
}

/// The member that a text names: an address, or a port as `project/name` or `name`.
///
/// The error names the field: `member`.
pub fn to_member(text: &str) -> Result<Member, ConvertError> {
    if let Ok(address) = text.parse() {
        return Ok(Member::Address(address));
    }
    let (project, name) = text.split_once('/').unwrap_or((DEFAULT_PROJECT, text));
    let checked = check_name("project", project).and_then(|()| check_name("port name", name));
    match checked {
        Ok(()) => Ok(Member::Port(ObjectKey::new(Kind::LogicalPort, project, name))),
        Err(error) => Err(Path::Root("member").error(Problem::Member(error))),
    }
}
