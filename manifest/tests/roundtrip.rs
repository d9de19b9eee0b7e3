//! What is written is read as it was, and nothing that is read can make the reader panic.

use proptest::prelude::*;
use spanwire_adminproto::testing::any_resource;
use spanwire_manifest::{
    read_bytes, read_str, to_json_value, to_json_value_at, write_yaml, write_yaml_at,
};
use spanwire_topology::Resource;

/// Reads one document, whose default project must not matter.
fn read_one(name: &str, text: &str) -> Result<(Resource, Option<u64>), TestCaseError> {
    let mut documents = read_str(name, text, "elsewhere")
        .map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
    prop_assert_eq!(documents.len(), 1);
    let document = documents.remove(0);
    Ok((document.resource, document.expected_revision))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn yaml_is_read_as_it_was_written(resource in any_resource(), revision: u64) {
        let yaml = write_yaml(&resource);
        prop_assert_eq!(read_one("x.yaml", &yaml)?, (resource.clone(), None), "{}", yaml);
        let yaml = write_yaml_at(&resource, revision);
        prop_assert_eq!(read_one("x.yaml", &yaml)?, (resource, Some(revision)), "{}", yaml);
    }

    #[test]
    fn json_is_read_as_it_was_written(resource in any_resource(), revision: u64) {
        for text in [
            to_json_value(&resource).to_string(),
            format!("{:#}", to_json_value(&resource)),
        ] {
            prop_assert_eq!(read_one("x.json", &text)?, (resource.clone(), None), "{}", text);
        }
        let text = to_json_value_at(&resource, revision).to_string();
        prop_assert_eq!(read_one("stdin", &text)?, (resource, Some(revision)), "{}", text);
    }

    #[test]
    fn several_documents_keep_their_order(
        resources in prop::collection::btree_map("[a-z]{1,3}", any_resource(), 1..5),
    ) {
        let resources: Vec<Resource> = resources
            .into_iter()
            .map(|(name, resource)| Resource {
                metadata: spanwire_topology::model::Metadata {
                    name: name.into(),
                    ..resource.metadata
                },
                ..resource
            })
            .collect();
        let yaml: Vec<String> = resources.iter().map(write_yaml).collect();
        let list = serde_json::json!({
            "kind": "List",
            "items": resources.iter().map(to_json_value).collect::<Vec<_>>(),
        });
        for text in [yaml.join("---\n"), list.to_string()] {
            let read = read_str("x", &text, "default").unwrap();
            let read: Vec<Resource> = read.into_iter().map(|document| document.resource).collect();
            prop_assert_eq!(&read, &resources);
        }
    }

    /// A document that somebody's hand slipped on is read, or refused with a place.
    #[test]
    fn damaged_documents_give_errors(
        resource in any_resource(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = write_yaml(&resource).into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(errors) = read_bytes("x.yaml", &bytes, "default") {
            for error in errors.errors() {
                prop_assert!(error.to_string().starts_with("x.yaml:"), "{}", error);
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z{}\\[\\]:,\"'&*!|>#%@\\- \n\t0-9]{0,80}") {
        for name in ["x.yaml", "x.json"] {
            if let Err(errors) = read_str(name, &text, "default") {
                prop_assert!(!errors.errors().is_empty());
            }
        }
    }
}
