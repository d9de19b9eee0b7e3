//! Page tokens: opaque to clients, checked when they come back.

use spanwire_adminproto::wire::ListRequest;
use tonic::Status;

/// Where a listing goes on: after this project and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageToken {
    pub(super) project: String,
    pub(super) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Content {
    /// Of the question, so that a token of another listing is not taken for one of this.
    #[prost(fixed32, tag = "1")]
    question: u32,
    #[prost(string, tag = "2")]
    project: String,
    #[prost(string, tag = "3")]
    name: String,
}

impl PageToken {
    pub(super) fn encode(&self, request: &ListRequest) -> String {
        let content = Content {
            question: question(request),
            project: self.project.clone(),
            name: self.name.clone(),
        };
        let bytes = prost::Message::encode_to_vec(&content);
        let checksum = crc32c::crc32c(&bytes).to_be_bytes();
        checksum.iter().chain(&bytes).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The token of a request; `None` for the first page.
    pub(super) fn decode(request: &ListRequest) -> Result<Option<PageToken>, Status> {
        if request.page_token.is_empty() {
            return Ok(None);
        }
        let refused = |problem: &str| {
            Status::invalid_argument(format!(
                "page_token: {problem}: pass next_page_token of the page before, unaltered"
            ))
        };
        let content = parse(&request.page_token).ok_or_else(|| refused("not a token"))?;
        let Content { question: asked, project, name } = content;
        if asked != question(request) {
            return Err(refused("it belongs to a listing of another kind, project or selector"));
        }
        Ok(Some(PageToken { project, name }))
    }
}

fn parse(token: &str) -> Option<Content> {
    if !token.is_ascii() || !token.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(token.get(at..at + 2)?, 16).ok())
        .collect();
    let bytes = bytes?;
    let (checksum, content) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_be_bytes(*checksum) {
        return None;
    }
    prost::Message::decode(content).ok()
}

fn question(request: &ListRequest) -> u32 {
    let ListRequest { kind, project, all_projects, selector, page_size: _, page_token: _ } =
        request;
    crc32c::crc32c(format!("{kind:?}{project:?}{all_projects}{selector:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_or_are_refused() {
        let request = ListRequest { kind: "Host".to_owned(), ..ListRequest::default() };
        let token = PageToken { project: "system".to_owned(), name: "host-1".to_owned() };
        let text = token.encode(&request);
        let with = |token: &str| ListRequest { page_token: token.to_owned(), ..request.clone() };
        assert_eq!(PageToken::decode(&with(&text)).unwrap(), Some(token));
        assert_eq!(PageToken::decode(&request).unwrap(), None);
        let other = ListRequest { kind: "Group".to_owned(), ..with(&text) };
        let error = PageToken::decode(&other).unwrap_err();
        assert!(error.message().contains("of another kind"), "{error}");
        for bad in ["x", "zz", "é0", &text[..text.len() - 2], &text.replace('0', "1")] {
            let error = PageToken::decode(&with(bad)).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{bad:?}");
        }
    }
}
