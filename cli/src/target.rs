//! How objects are named on the command line: `KIND/NAME`, `KIND/PROJECT/NAME`, or the kind and
//! the name as two words. A name has no slash, so there is only one way to read each.

use crate::failure::{Failure, FailureKind};
use spanwire_topology::ObjectKey;
use spanwire_topology::model::{DEFAULT_PROJECT, Kind, SYSTEM_PROJECT, check_name};

/// A kind, or all of them, and perhaps one object of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The kinds: one, or all.
    pub(crate) kinds: Vec<Kind>,
    /// The object, if one is named.
    pub(crate) key: Option<ObjectKey>,
}

fn usage(message: String) -> Failure {
    Failure::new(FailureKind::Usage, message)
        .remedy("name objects as KIND/NAME or KIND/PROJECT/NAME, as port/t00/web-0 or host/host-01")
}

/// A kind by any of its names.
pub(crate) fn parse_kind(text: &str) -> Result<Kind, Failure> {
    text.parse().map_err(|error: spanwire_topology::model::ParseKindError| {
        Failure::new(FailureKind::Usage, error.to_string()).remedy(
            "short names and plurals will do: host, switch, router, port, group, service, policy",
        )
    })
}

/// The key of `name` or `project/name`.
pub(crate) fn parse_name(
    kind: Kind,
    text: &str,
    project: Option<&str>,
) -> Result<ObjectKey, Failure> {
    let (project, name) = match text.split_once('/') {
        Some((written, name)) => {
            if project.is_some_and(|project| project != written) {
                return Err(usage(format!(
                    "{text:?} names a project, and --project names another"
                )));
            }
            (written, name)
        }
        None => (project.unwrap_or(DEFAULT_PROJECT), text),
    };
    let project = if kind.is_fleet_wide() { SYSTEM_PROJECT } else { project };
    check_name("project", project).map_err(|error| usage(error.to_string()))?;
    check_name("name", name).map_err(|error| usage(error.to_string()))?;
    Ok(ObjectKey::new(kind, project, name))
}

/// The key of `KIND/NAME` or `KIND/PROJECT/NAME`.
pub(crate) fn parse_object(text: &str, project: Option<&str>) -> Result<ObjectKey, Failure> {
    let Some((kind, name)) = text.split_once('/') else {
        return Err(usage(format!("{text:?} names no object")));
    };
    parse_name(parse_kind(kind)?, name, project)
}

/// `KIND`, `all`, `KIND NAME` or `KIND/NAME`.
pub(crate) fn parse_target(
    kind: &str,
    name: Option<&str>,
    project: Option<&str>,
) -> Result<Target, Failure> {
    let key = match (kind.contains('/'), name) {
        (true, Some(name)) => {
            return Err(usage(format!("{kind:?} names an object already: what is {name:?}?")));
        }
        (true, None) => parse_object(kind, project)?,
        (false, Some(name)) => parse_name(parse_kind(kind)?, name, project)?,
        (false, None) if kind == "all" => {
            return Ok(Target { kinds: Kind::ALL.to_vec(), key: None });
        }
        (false, None) => return Ok(Target { kinds: vec![parse_kind(kind)?], key: None }),
    };
    Ok(Target { kinds: vec![key.kind], key: Some(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_can_be_named_in_these_ways() {
        let cases = [
            ("port/web-0", None, None, "port default/web-0"),
            ("port/web-0", None, Some("t00"), "port t00/web-0"),
            ("port/t00/web-0", None, None, "port t00/web-0"),
            ("ports", Some("t00/web-0"), None, "port t00/web-0"),
            ("LogicalPort", Some("web-0"), Some("t00"), "port t00/web-0"),
            ("host/host-01", None, Some("t00"), "host host-01"),
        ];
        for (kind, name, project, expected) in cases {
            let target = parse_target(kind, name, project).unwrap();
            assert_eq!(target.key.unwrap().to_string(), expected);
        }
        assert_eq!(parse_target("all", None, None).unwrap().kinds.len(), Kind::ALL.len());
        assert_eq!(parse_target("groups", None, None).unwrap().key, None);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let cases = [
            ("porst", None, None, "unknown kind"),
            ("port/a/b/c", None, None, "'/'"),
            ("port/a", Some("b"), None, "names an object already"),
            ("port/t00/a", None, Some("t01"), "names another"),
            ("port/", None, None, "is empty"),
        ];
        for (kind, name, project, expected) in cases {
            let failure = parse_target(kind, name, project).unwrap_err();
            assert!(failure.to_text().contains(expected), "{}", failure.to_text());
            assert_eq!(failure.kind(), FailureKind::Usage);
        }
        assert!(parse_object("web-0", None).unwrap_err().to_text().contains("names no object"));
    }
}
