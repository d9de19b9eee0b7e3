//! Keys on the wire.

use super::error::DecodeError;
use crate::wire;
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::ItemKey;

/// A key for the wire.
pub fn key_to_wire(key: ItemKey) -> wire::ItemKey {
    use wire::item_key::Type;
    let (kind, uid, vni) = match key {
        ItemKey::Domain(Vni(vni)) => (Type::Domain, 0, vni),
        ItemKey::Port(Uid(uid)) => (Type::Port, uid, 0),
        ItemKey::Policy(Uid(uid)) => (Type::Policy, uid, 0),
        ItemKey::Blocks(Uid(uid)) => (Type::Blocks, uid, 0),
        ItemKey::Shard { group: Uid(uid), domain: Vni(vni) } => (Type::Shard, uid, vni),
        ItemKey::Locators(Vni(vni)) => (Type::Locators, 0, vni),
    };
    wire::ItemKey { r#type: kind.into(), uid, vni }
}

/// A key from the wire. Every key has one form: what its type has no use for is zero.
pub fn key_from_wire(key: Option<&wire::ItemKey>) -> Result<ItemKey, DecodeError> {
    use wire::item_key::Type;
    let Some(&wire::ItemKey { r#type: number, uid, vni }) = key else {
        return Err(DecodeError::Missing { what: "key" });
    };
    let kind = match Type::try_from(number) {
        Ok(kind) if kind != Type::Unspecified => kind,
        _ => {
            return Err(DecodeError::Value {
                what: "type of key",
                found: number.to_string(),
                expected: "1 to 6",
            });
        }
    };
    let (has_uid, has_vni) = match kind {
        Type::Shard => (true, true),
        Type::Domain | Type::Locators => (false, true),
        Type::Port | Type::Policy | Type::Blocks | Type::Unspecified => (true, false),
    };
    let domain = vni_from_wire("domain of key", vni)?;
    let unused = |what, found: u64| {
        Err(DecodeError::Value {
            what,
            found: found.to_string(),
            expected: "0, as keys of this type have none",
        })
    };
    if !has_uid && uid != 0 {
        return unused("uid of key", uid);
    }
    if !has_vni && vni != 0 {
        return unused("domain of key", vni.into());
    }
    let uid = Uid(uid);
    Ok(match kind {
        Type::Domain => ItemKey::Domain(domain),
        Type::Port => ItemKey::Port(uid),
        Type::Policy => ItemKey::Policy(uid),
        Type::Blocks => ItemKey::Blocks(uid),
        Type::Shard => ItemKey::Shard { group: uid, domain },
        Type::Locators | Type::Unspecified => ItemKey::Locators(domain),
    })
}

/// A domain from the wire.
pub(super) fn vni_from_wire(what: &'static str, vni: u32) -> Result<Vni, DecodeError> {
    if vni > Vni::MAX.0 {
        return Err(DecodeError::Value {
            what,
            found: vni.to_string(),
            expected: "at most 16777215, which is what 24 bits hold",
        });
    }
    Ok(Vni(vni))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        for key in [
            ItemKey::Domain(Vni(0)),
            ItemKey::Domain(Vni::MAX),
            ItemKey::Port(Uid(u64::MAX)),
            ItemKey::Policy(Uid(0)),
            ItemKey::Blocks(Uid(7)),
            ItemKey::Shard { group: Uid(7), domain: Vni(8) },
            ItemKey::Locators(Vni(9)),
        ] {
            assert_eq!(key_from_wire(Some(&key_to_wire(key))), Ok(key));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases = [
            (None, "key is missing"),
            (Some((0, 0, 0)), "type of key is 0: expected 1 to 6"),
            (Some((7, 0, 0)), "type of key is 7: expected 1 to 6"),
            (Some((1, 3, 4)), "uid of key is 3: expected 0, as keys of this type have none"),
            (Some((2, 3, 4)), "domain of key is 4: expected 0, as keys of this type have none"),
            (
                Some((5, 3, 1 << 24)),
                "domain of key is 16777216: expected at most 16777215, which is what 24 bits hold",
            ),
        ];
        for (parts, expected) in cases {
            let key = parts.map(|(r#type, uid, vni)| wire::ItemKey { r#type, uid, vni });
            assert_eq!(key_from_wire(key.as_ref()).unwrap_err().to_string(), expected);
        }
    }
}
