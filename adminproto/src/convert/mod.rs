//! Conversions between the wire and the model.
//!
//! `to_*` check everything and name the field that is wrong; `from_*` never fail. Both destructure
//! every field, so a field that is added asks for a decision here.

mod error;
mod fields;
mod finding;
mod group;
mod impact;
mod member;
mod policy;
mod refusal;
mod resource;
mod service;
mod transaction;
mod verdict;
mod view;

pub use error::{ConvertError, Problem};
pub use fields::{from_key, to_key};
pub use finding::{from_finding, from_report, from_severity, to_severity};
pub use impact::from_impact;
pub use member::{Member, to_member};
pub use policy::{from_action, from_direction};
pub use refusal::{from_refusal, query_status, refusal_of, refusal_status};
pub use resource::{from_object, from_resource, to_resource};
pub use service::{from_entry, to_service_entry};
pub use transaction::{
    from_change, from_outcome, from_puts, to_apply_transaction, to_delete_transaction,
    to_impact_transaction,
};
pub use verdict::{
    SOURCE_PORT_DEFAULT, VERDICT_QUERIES_MAX, VerdictEnd, VerdictPacket, VerdictQuery,
    answer_verdicts, from_verdict_query, to_verdict_queries,
};
pub use view::{from_explanation, from_host_view};
