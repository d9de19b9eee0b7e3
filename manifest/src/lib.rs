//! Resource documents in YAML and JSON.
//!
//! ```text
//!  files, text ──► tree (nodes with places) ──► Document { resource, expected_revision, origin }
//!                                                    │
//!  YAML, JSON ◄──────────────────────────────────────┘
//! ```
//!
//! A document has a `kind`, `metadata` and a `spec`. A file has one or several, separated by `---`.
//! JSON is read as well, and `kind: List` with `items`, as `kubectl` has it. Unknown fields, bad
//! values and objects that are there twice are errors; each names the file, the line, the field
//! and what was expected, and one run reports all of them.
//!
//! ```yaml
//! kind: LogicalPort
//! metadata:
//!   project: shop            # the default project if it is left out; none for hosts
//!   name: web-0
//!   labels: {app: web}
//!   revision: 17             # optional: refuse if the object has changed since
//! spec:
//!   switch: web              # same project; another one's is project/name
//!   addresses: [10.20.0.10]
//!   mac: 0a:58:0a:14:00:0a   # derived from the first address if it is left out
//!   host: host-01
//!   interface: eth1          # or hostStack: true; a name derived from the port otherwise
//!   portSecurity: true       # the default
//! ```
//!
//! The fields of the other specs, with what they are if they are left out:
//!
//! * `Host`: `vtep` (none)
//! * `LogicalSwitch`: `subnets`
//! * `LogicalRouter`: `interfaces: [{switch, addresses}]`, `advertise` (true), `uplinks`, `peerings`
//! * `Group`: see below
//! * `Service`: `entries: [{protocol, ports, sourcePorts, type, code}]`
//! * `SecurityPolicy`: `appliedTo`, `tier` (500), `priority` (1000), `defaults: {in, out}`, and
//!   `rules: [{name, direction, peers, services, action, log}]`
//!
//! A **group** is the union of its fields: `selector` (kubectl's syntax, or `matchLabels` and
//! `matchExpressions`) with `projects` (a list, or `"*"`) beside it, `selectors` (a list of such
//! pairs), `switches`, `routers`, `ports`, `groups`, `intersection` (of a list of groups),
//! `difference: {of, minus}`, and `cidrs` (`10.0.0.0/8`, or `{cidr, except}`). What needs several
//! intersections or differences, or an order of its own, is written as `terms`: a list of entries
//! with one of `selector`, `switch`, `router`, `port`, `group`, `intersection`, `difference`.
//!
//! A **rule** without `peers` is about everyone, one without `services` about every packet. A peer
//! is a group, or `{group, negate: true}`; a service is a name, or an entry written in place.
//!
//! Texts are taken as they are written: `version: 1.10` is the text `1.10`. A field without a
//! value is an error, and so are tags and merge keys (`<<`).

mod emit;
mod error;
mod files;
mod read;
mod tree;
mod write;

pub use error::{ERRORS_MAX, ManifestError, ManifestErrors, Place};
pub use files::{Document, FILE_BYTES_MAX, ManifestReader, read_bytes, read_files, read_str};
pub use write::{to_json_value, to_json_value_at, write_yaml, write_yaml_at};
