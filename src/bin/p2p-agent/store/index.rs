//! Which contents are in the directory, found by either name: the secret one (`content_md5`) that local clients use and
//! the public one (`public_id`, one per domain key) that peers use.
//!
//! Contents sit in slots, and one list of slot numbers per kind of name is kept sorted. All memory is reserved at the
//! start, about 500 KiB at [`CONTENTS`]; nothing grows afterwards. A scan of the directory
//! ([`begin`](Index::begin), [`see`](Index::see), [`commit`](Index::commit)) leaves contents that it finds again in their
//! slots, so that their public ids, which cost ten hashes each, are derived only once.

use super::{ContentMd5, PublicId};
use p2p_agent::limits::{CONTENTS, DOMAIN_KEYS};
use std::cmp::Ordering;

/// How a content is present: any of the three names of section 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u8);

impl Names {
    /// Not at all.
    pub const NONE: Self = Self(0);
    /// As `<md5>`.
    pub const OWN: Self = Self(1);
    /// As `<md5>.part`.
    pub const PART: Self = Self(2);
    /// In a line of `MD5SUMS`.
    pub const LISTED: Self = Self(4);

    /// Is it present under all of `names`?
    pub const fn has(self, names: Self) -> bool {
        self.0 & names.0 == names.0
    }

    /// With `names` as well.
    pub const fn and(self, names: Self) -> Self {
        Self(self.0 | names.0)
    }

    /// Only those of `names`.
    pub const fn only(self, names: Self) -> Self {
        Self(self.0 & names.0)
    }
}

/// One content.
pub struct Entry {
    /// Its secret name.
    pub md5: ContentMd5,
    /// Its public names, in the order of the domain keys.
    pub ids: [PublicId; DOMAIN_KEYS],
    /// How it is present.
    pub names: Names,
    /// Where its line in `MD5SUMS` starts, if it is [`Names::LISTED`].
    pub line: u32,
    seen: Names,
}

/// There are [`CONTENTS`] contents already.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The contents of the directory.
pub struct Index {
    entries: Vec<Entry>,
    /// Slots in the order of md5, then in the order of the ids under each domain key.
    orders: [Vec<u16>; 1 + DOMAIN_KEYS],
    /// How many domain keys there are.
    keys: usize,
}

impl Index {
    /// Room for [`CONTENTS`] contents under `keys` domain keys.
    pub fn new(keys: usize) -> Self {
        let keys = keys.min(DOMAIN_KEYS);
        let orders = std::array::from_fn(|order| Vec::with_capacity(if order <= keys { CONTENTS } else { 0 }));
        Self { entries: Vec::with_capacity(CONTENTS), orders, keys }
    }

    /// The content with this secret name.
    pub fn get(&self, md5: &ContentMd5) -> Option<&Entry> {
        let place = self.search(0, |entry| entry.md5.cmp(md5)).ok()?;
        self.at(0, place)
    }

    /// The content with this public name, and under which domain key.
    pub fn find(&self, id: &PublicId) -> Option<(&Entry, usize)> {
        (0..self.keys).find_map(|key| {
            let place = self.search(1 + key, |entry| entry.ids[key].cmp(id)).ok()?;
            Some((self.at(1 + key, place)?, key))
        })
    }

    /// All contents, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Is there no room for one more?
    pub fn is_full(&self) -> bool {
        self.entries.len() >= CONTENTS
    }

    /// Adds a content that is not there yet, without any names.
    pub fn insert(&mut self, md5: ContentMd5, ids: [PublicId; DOMAIN_KEYS]) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        let Ok(slot) = u16::try_from(self.entries.len()) else { return Err(Full) };
        let entry = Entry { md5, ids, names: Names::NONE, line: 0, seen: Names::NONE };
        for order in 0..=self.keys {
            let place = match self.search(order, |other| compare(order, other, &entry)) {
                Ok(place) | Err(place) => place,
            };
            self.orders[order].insert(place, slot);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Sets how a known content is present; present in no way, it is removed.
    pub fn set(&mut self, md5: &ContentMd5, names: Names) {
        if let Some(slot) = self.slot(md5) {
            self.entries[slot].names = names;
            if names == Names::NONE {
                self.remove(slot);
            }
        }
    }

    /// The directory has gone: no content is present, but their ids stay known for when it is back.
    pub fn hide(&mut self) {
        for entry in &mut self.entries {
            entry.names = Names::NONE;
        }
    }

    /// Starts a scan: nothing has been seen yet.
    pub fn begin(&mut self) {
        for entry in &mut self.entries {
            entry.seen = Names::NONE;
        }
    }

    /// The scan saw a known content under these names (`line` is that of the first [`Names::LISTED`]); `false` if it
    /// is not known.
    pub fn see(&mut self, md5: &ContentMd5, names: Names, line: u32) -> bool {
        let Some(slot) = self.slot(md5) else { return false };
        let entry = &mut self.entries[slot];
        if names.has(Names::LISTED) && !entry.seen.has(Names::LISTED) {
            entry.line = line;
        }
        entry.seen = entry.seen.and(names);
        true
    }

    /// Ends a scan: what it saw is there, everything else is not.
    pub fn commit(&mut self) {
        for slot in (0..self.entries.len()).rev() {
            self.entries[slot].names = self.entries[slot].seen;
            if self.entries[slot].names == Names::NONE {
                self.remove(slot);
            }
        }
    }

    fn slot(&self, md5: &ContentMd5) -> Option<usize> {
        let place = self.search(0, |entry| entry.md5.cmp(md5)).ok()?;
        Some(usize::from(self.orders[0][place]))
    }

    fn at(&self, order: usize, place: usize) -> Option<&Entry> {
        self.entries.get(usize::from(*self.orders[order].get(place)?))
    }

    fn search(&self, order: usize, compare: impl Fn(&Entry) -> Ordering) -> Result<usize, usize> {
        self.orders[order].binary_search_by(|slot| compare(&self.entries[usize::from(*slot)]))
    }

    /// Frees a slot; the content in the last slot moves into it.
    fn remove(&mut self, slot: usize) {
        let last = self.entries.len() - 1;
        for order in 0..=self.keys {
            let place_of = |slot: usize| self.search(order, |other| compare(order, other, &self.entries[slot]));
            let (place, moved) = (place_of(slot), place_of(last));
            let list = &mut self.orders[order];
            if let (Ok(place), Ok(moved)) = (place, moved) {
                list[moved] = list[place];
                list.remove(place);
            }
        }
        self.entries.swap_remove(slot);
    }
}

fn compare(order: usize, left: &Entry, right: &Entry) -> Ordering {
    match order {
        0 => left.md5.cmp(&right.md5),
        order => left.ids[order - 1].cmp(&right.ids[order - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn md5(number: u16) -> ContentMd5 {
        ContentMd5::parse(&format!("{:032x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15)).expect("hex")
    }

    fn ids(number: u16) -> [PublicId; DOMAIN_KEYS] {
        std::array::from_fn(|key| {
            let text = format!("{:032x}", (u128::from(number) ^ 0xffff) * (0x1234_5678_9abc_def1 + key as u128));
            PublicId::parse(&text).expect("hex")
        })
    }

    proptest! {
        #[test]
        fn contents_are_found_by_every_name_as_long_as_they_are_there(
            steps in prop::collection::vec((any::<bool>(), 0..40u16), 0..200),
        ) {
            let mut index = Index::new(2);
            let mut model = BTreeSet::new();
            for (put, number) in steps {
                if put && model.insert(number) {
                    index.insert(md5(number), ids(number)).expect("room");
                    index.set(&md5(number), Names::OWN);
                } else if !put && model.remove(&number) {
                    index.set(&md5(number), Names::NONE);
                }
                for number in 0..40 {
                    prop_assert_eq!(index.get(&md5(number)).is_some(), model.contains(&number));
                    for (key, id) in ids(number).iter().enumerate() {
                        let found = index.find(id).map(|(entry, key)| (entry.md5, key));
                        prop_assert_eq!(found, model.contains(&number).then(|| (md5(number), key)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_scan_keeps_what_it_sees_and_removes_the_rest() {
        let mut index = Index::new(1);
        for number in 0..100 {
            index.insert(md5(number), ids(number)).expect("room");
            index.set(&md5(number), Names::PART);
        }
        index.begin();
        for number in (0..100).step_by(2) {
            assert!(index.see(&md5(number), Names::OWN, 0));
        }
        assert!(!index.see(&md5(100), Names::OWN, 0));
        index.commit();
        assert_eq!(index.iter().count(), 50);
        assert_eq!(index.get(&md5(4)).map(|entry| entry.names), Some(Names::OWN));
        assert!(index.get(&md5(5)).is_none());
        assert!(index.find(&ids(98)[0]).is_some());
    }

    #[test]
    fn the_index_has_room_for_its_limit_and_never_grows() {
        let mut index = Index::new(2);
        let reserved = (index.entries.capacity(), index.orders.each_ref().map(Vec::capacity));
        for number in 0..CONTENTS as u16 {
            index.insert(md5(number), ids(number)).expect("room");
        }
        assert_eq!(index.insert(md5(u16::MAX), ids(u16::MAX)), Err(Full));
        assert_eq!((index.entries.capacity(), index.orders.each_ref().map(Vec::capacity)), reserved);
        let bytes = reserved.0 * size_of::<Entry>() + reserved.1.iter().sum::<usize>() * 2;
        assert!(bytes <= 700 * 1024, "{bytes}");
    }
}
