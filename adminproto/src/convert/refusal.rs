//! Refusals as gRPC statuses.
//!
//! The details of the status are what gRPC's tools expect there, a `google.rpc.Status` whose
//! details hold the [`wire::Refusal`]. All of it travels in a header, and headers are small
//! (clients take 16 KiB in all), so long texts and lists are cut.

use super::fields::from_key;
use crate::wire;
use prost::Message;
use spanwire_topology::Refusal;
use spanwire_topology::engine::QueryError;
use tonic::{Code, Status};

/// The longest message of a status, in bytes. Percent-encoding can triple it.
const STATUS_MESSAGE_BYTES_MAX: usize = 1_500;
/// The most bytes of [`wire::Refusal::others`], encoded. Base64 adds a third.
const STATUS_OTHERS_BYTES_MAX: usize = 3_000;
/// Where the type of the details is to be found by its name.
const REFUSAL_TYPE_URL: &str = "type.googleapis.com/spanwire.admin.v1.Refusal";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// A refusal as a message: the object at fault, the others concerned, and the text.
pub fn from_refusal(refusal: &Refusal) -> wire::Refusal {
    let (object, others) = refusal.objects();
    wire::Refusal {
        object: object.map(from_key),
        others: others.into_iter().map(from_key).collect(),
        message: refusal.to_string(),
    }
}

/// A refusal as a status, with a [`wire::Refusal`] in its details. Long lists in it are cut.
pub fn refusal_status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::NotFound { .. } => Code::NotFound,
        Refusal::NamedTwice { .. } | Refusal::Invalid { .. } | Refusal::TooLarge { .. } => {
            Code::InvalidArgument
        }
        Refusal::Conflict { .. }
        | Refusal::StateConflict { .. }
        | Refusal::DanglingReference { .. }
        | Refusal::StillUsed { .. }
        | Refusal::GroupCycle { .. }
        | Refusal::DuplicateAddress { .. } => Code::FailedPrecondition,
    };
    let mut details = from_refusal(refusal);
    cut(&mut details.message);
    let mut room = STATUS_OTHERS_BYTES_MAX;
    let fitting = details.others.iter().take_while(|key| {
        let len = key.encoded_len();
        let fits = len <= room;
        room = room.saturating_sub(len);
        fits
    });
    details.others.truncate(fitting.count());
    let message = details.message.clone();
    let status = RpcStatus {
        code: code.into(),
        message: String::new(), // stands in the status already, and headers are small
        details: vec![Any {
            type_url: REFUSAL_TYPE_URL.to_owned(),
            value: details.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// The refusal in the details of a status, if there is one.
pub fn refusal_of(status: &Status) -> Option<wire::Refusal> {
    let details = RpcStatus::decode(status.details()).ok()?;
    let refusal = details.details.iter().find(|detail| detail.type_url == REFUSAL_TYPE_URL)?;
    wire::Refusal::decode(refusal.value.as_slice()).ok()
}

/// The answer to a question that has none.
pub fn query_status(error: &QueryError) -> Status {
    let mut message = error.to_string();
    cut(&mut message);
    match error {
        QueryError::NotFound(_) | QueryError::NoSuchAddress(_) => Status::not_found(message),
        QueryError::Ambiguous { .. } | QueryError::Addresses(_) => {
            Status::invalid_argument(message)
        }
    }
}

fn cut(text: &mut String) {
    const MORE: &str = "...";
    if text.len() <= STATUS_MESSAGE_BYTES_MAX {
        return;
    }
    let mut end = STATUS_MESSAGE_BYTES_MAX - MORE.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MORE);
}
