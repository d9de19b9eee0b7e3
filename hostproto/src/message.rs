//! The small messages, checked.

use crate::PROTOCOL_VERSION;
use crate::codec::{DecodeError, key_from_wire, key_to_wire};
use crate::limits::{AGENT_TEXT_BYTES_MAX, DETAIL_BYTES_MAX, FINDINGS_MAX, REJECTIONS_MAX};
use crate::wire;
use crate::wire::refused::Reason;
use spanwire_topology::model::{Revision, Text, check_name};
use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;
use std::fmt;

/// The identity of a cluster: random, made when the cluster is made or restored from a backup, so
/// that revisions of two histories are never taken for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// From the wire, where no bytes stand for no cluster.
    pub fn from_wire(bytes: &[u8]) -> Result<Option<ClusterId>, DecodeError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match bytes.try_into() {
            Ok(bytes) => Ok(Some(ClusterId(bytes))),
            Err(_) => Err(DecodeError::Value {
                what: "cluster id",
                found: format!("{} bytes", bytes.len()),
                expected: "16 bytes, or none",
            }),
        }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a host says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name of the host.
    pub host: Text,
    /// Random, kept in the agent's state directory: tells a reconnect from a second agent.
    pub instance: u64,
    /// Grows with each connection of an instance, over restarts of the agent; 0 if it is not known.
    pub attempt: u64,
    /// The cluster the held view came from; `None` if none is held.
    pub cluster_id: Option<ClusterId>,
    /// The revision held; 0 if none.
    pub revision: Revision,
    /// Digest of the keys and versions held.
    pub digest: u64,
    /// Version of the agent.
    pub agent_version: String,
    /// Name of the datapath driver.
    pub datapath: String,
    /// The [version](crate::digest::CHECK_VERSION) of the digests that the host can be checked by; 0 if
    /// by none.
    pub check_version: u32,
    /// The [version](crate::ranges::RANGES_VERSION) of the ranges that the host can be resumed by; 0 if
    /// by none.
    pub ranges_version: u32,
}

impl Hello {
    /// Takes the first message of a stream. The error is what to send before the stream is closed:
    /// the message is no hello, speaks another version, or has bad values.
    pub fn from_first_message(message: wire::HostMessage) -> Result<Hello, wire::Refused> {
        let Some(wire::host_message::Message::Hello(hello)) = message.message else {
            return Err(refused(Reason::Protocol, "the first message must be a hello"));
        };
        // Before all else, as another version may well mean other things by the fields.
        if hello.protocol_version != PROTOCOL_VERSION {
            let detail = format!(
                "the agent speaks version {} of the host protocol and this controller version \
                 {PROTOCOL_VERSION}: install matching releases",
                hello.protocol_version
            );
            return Err(refused(Reason::Version, detail));
        }
        Hello::from_wire(hello)
            .map_err(|error| refused(Reason::Protocol, format!("bad hello: {error}")))
    }

    fn from_wire(hello: wire::Hello) -> Result<Hello, DecodeError> {
        let wire::Hello {
            protocol_version: _,
            host,
            instance,
            cluster_id,
            revision,
            digest,
            agent_version,
            datapath,
            attempt,
            check_version,
            ranges_version,
        } = hello;
        if let Err(error) = check_name("host name", &host) {
            let found = error.to_string();
            return Err(DecodeError::Value { what: "host", found, expected: "a name" });
        }
        for (what, text) in [("agent version", &agent_version), ("datapath", &datapath)] {
            if text.len() > AGENT_TEXT_BYTES_MAX {
                let (count, max) = (text.len() as u64, AGENT_TEXT_BYTES_MAX as u64);
                return Err(DecodeError::Limit { what, count, max });
            }
        }
        let cluster_id = ClusterId::from_wire(&cluster_id)?;
        if cluster_id.is_none() && revision != 0 {
            return Err(DecodeError::Value {
                what: "revision",
                found: revision.to_string(),
                expected: "0, as no cluster is given that it is of",
            });
        }
        let host = host.into();
        Ok(Hello {
            host,
            instance,
            attempt,
            cluster_id,
            revision,
            digest,
            agent_version,
            datapath,
            check_version,
            ranges_version,
        })
    }

    /// For the wire.
    pub fn to_wire(&self) -> wire::Hello {
        let Hello {
            host,
            instance,
            attempt,
            cluster_id,
            revision,
            digest,
            agent_version,
            datapath,
            check_version,
            ranges_version,
        } = self;
        wire::Hello {
            protocol_version: PROTOCOL_VERSION,
            host: host.to_string(),
            instance: *instance,
            cluster_id: cluster_id.map_or_else(Vec::new, |id| id.0.to_vec()).into(),
            revision: *revision,
            digest: *digest,
            agent_version: cut(agent_version, AGENT_TEXT_BYTES_MAX).to_owned(),
            datapath: cut(datapath, AGENT_TEXT_BYTES_MAX).to_owned(),
            attempt: *attempt,
            check_version: *check_version,
            ranges_version: *ranges_version,
        }
    }
}

/// Something of the view that the datapath could not apply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// The item.
    pub key: ItemKey,
    /// Why, for the operator.
    pub reason: String,
}

/// Rejections within bounds: one an item, sorted by item, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rejections {
    pub(crate) list: Vec<Rejection>,
    pub(crate) omitted: u32,
}

impl Rejections {
    /// Sorts, cuts, and counts what is left out. Of two for one item the first is kept.
    pub(crate) fn new(list: impl IntoIterator<Item = Rejection>) -> Rejections {
        let mut by_key = BTreeMap::new();
        for Rejection { key, reason } in list {
            by_key.entry(key).or_insert(reason);
        }
        let omitted = u32::try_from(by_key.len().saturating_sub(REJECTIONS_MAX));
        let list = by_key.into_iter().take(REJECTIONS_MAX);
        Rejections {
            list: list
                .map(|(key, reason)| Rejection { key, reason: cut_detail(&reason).to_owned() })
                .collect(),
            omitted: omitted.unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn from_wire(
        list: Vec<wire::Rejection>,
        omitted: u32,
    ) -> Result<Rejections, DecodeError> {
        let list = list
            .into_iter()
            .map(|wire::Rejection { key, reason }| {
                Ok(Rejection { key: key_from_wire(key.as_ref())?, reason })
            })
            .collect::<Result<Vec<_>, DecodeError>>()?;
        let mut rejections = Rejections::new(list);
        rejections.omitted = rejections.omitted.saturating_add(omitted);
        Ok(rejections)
    }

    pub(crate) fn to_wire(&self) -> Vec<wire::Rejection> {
        let to_wire = |Rejection { key, reason }: &Rejection| wire::Rejection {
            key: Some(key_to_wire(*key)),
            reason: reason.clone(),
        };
        self.list.iter().map(to_wire).collect()
    }
}

/// What a host reports of its drift: the datapath differed from the view and was put right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    /// What was found, for the operator.
    pub findings: Vec<String>,
    /// All repairs since the agent started.
    pub repaired_total: u64,
}

impl Drift {
    /// Within bounds, whoever made it.
    pub(crate) fn new(findings: Vec<String>, repaired_total: u64) -> Drift {
        let findings = findings.iter().take(FINDINGS_MAX);
        Drift {
            findings: findings.map(|finding| cut_detail(finding).to_owned()).collect(),
            repaired_total,
        }
    }
}

/// A refusal, which ends the stream. For streams that never come to have a session; a session makes
/// its own.
pub fn refused(reason: Reason, detail: impl Into<String>) -> wire::Refused {
    let detail = detail.into();
    wire::Refused { reason: reason.into(), detail: cut_detail(&detail).to_owned() }
}

/// A refusal as a message.
pub fn refused_message(refused: wire::Refused) -> wire::ControllerMessage {
    wire::ControllerMessage { message: Some(wire::controller_message::Message::Refused(refused)) }
}

/// A text for the operator, cut to what the protocol carries.
pub(crate) fn cut_detail(text: &str) -> &str {
    cut(text, DETAIL_BYTES_MAX)
}

/// The longest beginning of at most so many bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::Uid;

    fn mk_hello() -> Hello {
        Hello {
            host: "host-01".into(),
            instance: 7,
            attempt: 9,
            cluster_id: Some(ClusterId([1; 16])),
            revision: 9,
            digest: 11,
            agent_version: "0.1.0".to_owned(),
            datapath: "record".to_owned(),
            check_version: 1,
            ranges_version: 1,
        }
    }

    fn first(hello: wire::Hello) -> Result<Hello, String> {
        let message = Some(wire::host_message::Message::Hello(hello));
        Hello::from_first_message(wire::HostMessage { message })
            .map_err(|refused| format!("{:?}: {}", refused.reason(), refused.detail))
    }

    #[test]
    fn hellos_come_back() {
        assert_eq!(first(mk_hello().to_wire()), Ok(mk_hello()));
        let none = Hello { cluster_id: None, revision: 0, ..mk_hello() };
        assert_eq!(first(none.to_wire()), Ok(none));
    }

    #[test]
    fn bad_hellos_are_told_why() {
        type Change = fn(&mut wire::Hello);
        let cases: [(Change, &str); 6] = [
            (|hello| hello.protocol_version = 9, "Version: the agent speaks version 9"),
            (|hello| hello.host = "a/b".to_owned(), "Protocol: bad hello: host is host name"),
            (|hello| hello.host.clear(), "Protocol: bad hello: host is host name is empty"),
            (|hello| hello.datapath = "x".repeat(129), "datapath: 129 is more than the limit"),
            (|hello| hello.cluster_id = vec![1; 3].into(), "cluster id is 3 bytes"),
            (|hello| hello.cluster_id.clear(), "revision is 9: expected 0"),
        ];
        for (change, expected) in cases {
            let mut hello = mk_hello().to_wire();
            change(&mut hello);
            let error = first(hello).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        let refused = Hello::from_first_message(wire::HostMessage { message: None }).unwrap_err();
        assert_eq!(refused.reason(), Reason::Protocol);
    }

    #[test]
    fn rejections_are_bounded() {
        let of = |uid| Rejection { key: ItemKey::Port(Uid(uid)), reason: "ä".repeat(400) };
        let many = (0..REJECTIONS_MAX as u64 + 5).rev().map(of).chain([of(3)]);
        let rejections = Rejections::new(many);
        assert_eq!((rejections.list.len(), rejections.omitted), (REJECTIONS_MAX, 5));
        assert_eq!(rejections.list[0].key, ItemKey::Port(Uid(0)));
        assert_eq!(rejections.list[0].reason.len(), DETAIL_BYTES_MAX);
        let back = Rejections::from_wire(rejections.to_wire(), rejections.omitted);
        assert_eq!(back, Ok(rejections));
    }
}
