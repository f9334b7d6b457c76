//! The upload slots: who may take a transfer now, and who is asked to come back.
//!
//! Twenty transfers run at once and one more is refused at once (behaviour 57). One address holds at most
//! [`SLOTS_PER_ADDRESS`]; a device that fails over while its dead transfer still occupies a slot displaces that one, never
//! somebody else's.

use core::net::Ipv4Addr;

use crate::content::PublicId;
use crate::limits::{RATE_WINDOW, READER_STALL, SLOT_DISPLACED_AFTER, SLOTS, SLOTS_PER_ADDRESS};
use crate::rate::Meter;
use crate::time::Instant;

/// Names a granted slot; a later owner of the same place has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId {
    place: u8,
    generation: u32,
}

impl SlotId {
    /// Index of the slot's buffers, below [`SLOTS`].
    pub fn place(self) -> usize {
        usize::from(self.place)
    }
}

/// What becomes of a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// The transfer may start.
    Granted(SlotId),
    /// The transfer may start once the named one, of the same address and stalled, has been ended and its slot released.
    Displaces(SlotId),
    /// 416: nothing is here that the reader lacks.
    NotAhead,
    /// 503: ask again later.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    address: Ipv4Addr,
    id: PublicId,
    admitted_at: Instant,
    progress_at: Instant,
    bytes: u64,
}

/// The fixed set of upload slots.
#[derive(Debug)]
pub struct Slots {
    slots: [Option<Slot>; SLOTS],
    generation: u32,
    upload: Meter,
}

impl Default for Slots {
    fn default() -> Self {
        Self { slots: [const { None }; SLOTS], generation: 0, upload: Meter::default() }
    }
}

impl Slots {
    /// Asks for a slot for `address`, which wants the content `id`.
    pub fn admit(&mut self, now: Instant, address: Ipv4Addr, id: PublicId) -> Admission {
        let full = Admission::Full;
        let own = || self.slots.iter().enumerate().filter_map(|(place, slot)| Some((place, slot.as_ref()?)));
        if own().filter(|(_, slot)| slot.address == address).count() >= SLOTS_PER_ADDRESS {
            let oldest = own().filter(|(_, slot)| slot.address == address).min_by_key(|(_, slot)| slot.progress_at);
            return match oldest {
                Some((place, slot)) if now.since(slot.progress_at) >= SLOT_DISPLACED_AFTER => {
                    Admission::Displaces(SlotId { place: place as u8, generation: slot.generation })
                }
                _ => full,
            };
        }
        let Some(place) = self.slots.iter().position(Option::is_none) else { return full };
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { generation: self.generation, address, id, admitted_at: now, progress_at: now, bytes: 0 };
        if let Some(free) = self.slots.get_mut(place) {
            *free = Some(slot);
        }
        Admission::Granted(SlotId { place: place as u8, generation: self.generation })
    }

    /// Whether one more reader of `id` would find bandwidth, on a link that has been seen to carry `best` bytes per second. While a
    /// content is wanted by many, each source feeds few, so that every link carries the file about once: a pipeline. The first reader of a
    /// content always finds room; another one when the upload has been below `percent` of the link's speed for a while, and when the last
    /// one has had time to show what it takes.
    pub fn has_bandwidth(&self, now: Instant, id: PublicId, best: u64, percent: u32) -> bool {
        let settled = self.slots.iter().flatten().all(|slot| now.since(slot.admitted_at) >= RATE_WINDOW * 2);
        let rate = u128::from(self.upload.high(now));
        let best = u128::from(best.max(self.upload.best()));
        self.readers(id) == 0 || settled && rate * 100 < best * u128::from(percent)
    }

    /// The links are others than before: what they carried says nothing about these.
    pub fn forget_best(&mut self) {
        self.upload.forget_best();
    }

    /// The reader took `bytes` more.
    pub fn handle_progress(&mut self, now: Instant, id: SlotId, bytes: u64) {
        self.upload.add(now, bytes);
        if let Some(slot) = self.get_mut(id) {
            slot.progress_at = now;
            slot.bytes = slot.bytes.saturating_add(bytes);
        }
    }

    /// Whether the transfer still owns its slot and its reader still moves; false means: end it.
    pub fn holds(&self, now: Instant, id: SlotId) -> bool {
        self.slots
            .get(id.place())
            .and_then(Option::as_ref)
            .is_some_and(|slot| slot.generation == id.generation && now.since(slot.progress_at) < READER_STALL)
    }

    /// Gives the slot back. Nothing happens when it already has another owner.
    pub fn release(&mut self, id: SlotId) {
        let owned = |slot: &Slot| slot.generation == id.generation;
        if let Some(slot) = self.slots.get_mut(id.place()).filter(|slot| slot.as_ref().is_some_and(owned)) {
            *slot = None;
        }
    }

    /// Transfers that run now: what a peer is told as `active`, 0..=20.
    pub fn active(&self) -> u8 {
        self.slots.iter().flatten().count() as u8
    }

    /// Readers of one content.
    pub fn readers(&self, id: PublicId) -> usize {
        self.slots.iter().flatten().filter(|slot| slot.id == id).count()
    }

    /// Whether anybody reads such a content.
    pub fn is_read(&self, such: impl Fn(PublicId) -> bool) -> bool {
        self.slots.iter().flatten().any(|slot| such(slot.id))
    }

    fn get_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id.place())?.as_mut().filter(|slot| slot.generation == id.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ADMIT_BELOW_PERCENT;
    use crate::time::Duration;
    use std::vec::Vec;

    const ID: PublicId = PublicId([1; 16]);

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn granted(admission: Admission) -> SlotId {
        match admission {
            Admission::Granted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_twenty_first_transfer_is_refused_and_welcome_after_a_release() {
        let mut slots = Slots::default();
        let now = Instant::ZERO;
        let held: Vec<_> = (0..20).map(|n| granted(slots.admit(now, address(n / 4), ID))).collect();
        assert_eq!(slots.active(), 20);
        assert!(matches!(slots.admit(now, address(9), ID), Admission::Full));
        slots.release(held[3]);
        assert_eq!(granted(slots.admit(now, address(9), ID)).place(), 3);
    }

    #[test]
    fn a_second_reader_finds_bandwidth_only_when_the_first_leaves_some() {
        let mut slots = Slots::default();
        let mut now = Instant::from_micros(9_000_000);
        assert!(slots.has_bandwidth(now, ID, 10_000_000, ADMIT_BELOW_PERCENT));
        let first = granted(slots.admit(now, address(1), ID));
        let mut carries = |slots: &mut Slots, rate: u64, millis: u64| {
            for _ in 0..millis / 20 {
                now = now + Duration::from_millis(20);
                slots.handle_progress(now, first, rate / 50);
            }
            now
        };
        assert!(
            !slots.has_bandwidth(Instant::from_micros(9_000_000), ID, 10_000_000, ADMIT_BELOW_PERCENT),
            "not yet known"
        );
        let at = carries(&mut slots, 4_000_000, 2_000);
        assert!(slots.has_bandwidth(at, ID, 10_000_000, ADMIT_BELOW_PERCENT));
        assert!(!slots.has_bandwidth(at, ID, 0, ADMIT_BELOW_PERCENT), "the best that was seen");
        let at = carries(&mut slots, 9_000_000, 2_000);
        assert!(!slots.has_bandwidth(at, ID, 10_000_000, ADMIT_BELOW_PERCENT));
        let at = carries(&mut slots, 1_000_000, 800);
        assert!(!slots.has_bandwidth(at, ID, 10_000_000, ADMIT_BELOW_PERCENT), "a dip is no room");
        let at = carries(&mut slots, 1_000_000, 800);
        assert!(slots.has_bandwidth(at, ID, 10_000_000, ADMIT_BELOW_PERCENT));
        let at = carries(&mut slots, 9_000_000, 2_000);
        assert!(
            slots.has_bandwidth(at, PublicId([2; 16]), 10_000_000, ADMIT_BELOW_PERCENT),
            "another content has its own chain"
        );
    }

    #[test]
    fn one_address_holds_four_and_displaces_only_its_own_stalled_one() {
        let mut slots = Slots::default();
        let start = Instant::ZERO;
        let held: Vec<_> = (0..4).map(|_| granted(slots.admit(start, address(1), ID))).collect();
        assert!(matches!(slots.admit(start, address(1), ID), Admission::Full));
        let later = start + SLOT_DISPLACED_AFTER;
        for id in &held[1..] {
            slots.handle_progress(later, *id, 1);
        }
        assert_eq!(slots.admit(later, address(1), ID), Admission::Displaces(held[0]));
        slots.release(held[0]);
        granted(slots.admit(later, address(1), ID));
        assert!(matches!(slots.admit(later, address(1), ID), Admission::Full));
    }

    #[test]
    fn a_reader_that_takes_nothing_loses_its_slot() {
        let mut slots = Slots::default();
        let id = granted(slots.admit(Instant::ZERO, address(1), ID));
        assert!(slots.holds(Instant::ZERO + Duration::from_secs(4), id));
        assert!(!slots.holds(Instant::ZERO + READER_STALL, id));
        slots.handle_progress(Instant::ZERO + READER_STALL, id, 1);
        assert!(slots.holds(Instant::ZERO + READER_STALL, id));
    }

    #[test]
    fn an_old_owner_cannot_release_the_new_owners_slot() {
        let mut slots = Slots::default();
        let old = granted(slots.admit(Instant::ZERO, address(1), ID));
        slots.release(old);
        let new = granted(slots.admit(Instant::ZERO, address(2), ID));
        slots.release(old);
        assert_eq!(old.place(), new.place());
        assert!(slots.holds(Instant::ZERO, new));
        assert!(!slots.holds(Instant::ZERO, old));
    }
}
