//! Objects by uid.

use super::ids::Map;
use crate::model::{Kind, Uid};

/// Uids in one page.
const PAGE_UIDS: usize = 64;

/// Which object has a uid, in pages of neighbouring uids: they are given out one after the other, and
/// objects that were made together are looked up together.
#[derive(Debug, Default)]
pub(super) struct Uids {
    pages: Map<u64, Box<Page>>,
}

#[derive(Debug)]
struct Page {
    objects: [Option<(Kind, u32)>; PAGE_UIDS],
    used: usize,
}

impl Default for Page {
    fn default() -> Page {
        Page { objects: [None; PAGE_UIDS], used: 0 }
    }
}

/// The page of a uid, and the place in it.
fn place(uid: Uid) -> (u64, usize) {
    (uid.0 / PAGE_UIDS as u64, (uid.0 % PAGE_UIDS as u64) as usize)
}

impl Uids {
    /// The kind and slot of an object.
    pub(super) fn get(&self, uid: Uid) -> Option<(Kind, u32)> {
        let (page, at) = place(uid);
        self.pages.get(&page)?.objects[at]
    }

    /// Enters an object. Returns the one that had the uid before.
    pub(super) fn insert(&mut self, uid: Uid, object: (Kind, u32)) -> Option<(Kind, u32)> {
        let (page, at) = place(uid);
        let page = self.pages.entry(page).or_default();
        let before = page.objects[at].replace(object);
        page.used += usize::from(before.is_none());
        before
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, uid: Uid) {
        let (number, at) = place(uid);
        let Some(page) = self.pages.get_mut(&number) else { return };
        page.used -= usize::from(page.objects[at].take().is_some());
        if page.used == 0 {
            self.pages.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_is_found_until_it_is_removed() {
        let mut uids = Uids::default();
        let all = [0, 1, 63, 64, 65, 10_000, u64::MAX];
        for (slot, uid) in (0..).zip(all) {
            assert_eq!(uids.insert(Uid(uid), (Kind::Host, slot)), None);
        }
        assert_eq!(uids.insert(Uid(64), (Kind::Group, 9)), Some((Kind::Host, 3)));
        assert_eq!(uids.get(Uid(64)), Some((Kind::Group, 9)));
        assert_eq!(uids.get(Uid(u64::MAX)), Some((Kind::Host, 6)));
        assert_eq!([2, 66, 128].map(|uid| uids.get(Uid(uid))), [None; 3]);
        for uid in all.into_iter().chain(all) {
            uids.remove(Uid(uid));
            assert_eq!(uids.get(Uid(uid)), None);
        }
        assert!(uids.pages.is_empty());
    }
}
