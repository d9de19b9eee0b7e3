//! Every resource survives the wire, and no message, however odd, does more than give an error.

use proptest::prelude::*;
use prost::Message;
use spanwire_adminproto::convert::{
    from_key, from_object, from_resource, to_apply_transaction, to_key, to_resource,
};
use spanwire_adminproto::testing::any_resource;
use spanwire_adminproto::wire;
use spanwire_topology::engine::Object;
use spanwire_topology::model::{Operation, Uid};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn resources_survive_the_wire(resource in any_resource()) {
        let bytes = from_resource(&resource).encode_to_vec();
        let message = wire::Resource::decode(bytes.as_slice()).unwrap();
        let back = to_resource(&message).unwrap();
        prop_assert_eq!(&back, &resource);
        prop_assert_eq!(to_key(&from_key(&resource.key())).unwrap(), resource.key());
        // Equal values give equal bytes: what is stored can be compared.
        prop_assert_eq!(from_resource(&back).encode_to_vec(), bytes);
    }

    #[test]
    fn a_status_is_carried_and_ignored(resource in any_resource(), uid: u64, revision: u64) {
        let object = Object {
            uid: Uid(uid),
            created_revision: revision / 2,
            revision,
            resource: resource.clone(),
        };
        let message = from_object(&object);
        let status = message.status.unwrap();
        prop_assert_eq!((status.uid, status.created_revision, status.revision),
            (uid, revision / 2, revision));
        prop_assert_eq!(to_resource(&message).unwrap(), resource);
    }

    /// A byte changed anywhere gives another resource that survives as well, or an error.
    #[test]
    fn damaged_messages_give_errors(
        resource in any_resource(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = from_resource(&resource).encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = wire::Resource::decode(bytes.as_slice())
            && let Ok(resource) = to_resource(&message)
        {
            prop_assert_eq!(to_resource(&from_resource(&resource)).unwrap(), resource);
        }
    }

    #[test]
    fn transactions_keep_their_order(
        resources in prop::collection::vec((any_resource(), any::<Option<u64>>()), 0..4),
        expected_revision: Option<u64>,
    ) {
        let items = spanwire_adminproto::convert::from_puts(resources.clone());
        let request = wire::ApplyRequest { items, dry_run: true, expected_revision, request_id: Vec::new() };
        let transaction = to_apply_transaction(&request).unwrap();
        prop_assert_eq!(transaction.expected_revision, expected_revision);
        let expected: Vec<Operation> = resources
            .into_iter()
            .map(|(resource, expected_revision)| Operation::Put { resource, expected_revision })
            .collect();
        prop_assert_eq!(transaction.operations, expected);
    }
}
