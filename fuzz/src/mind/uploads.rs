//! Upload slots, beside a list of those that were granted.

use p2p_agent::agent::Held;
use p2p_agent::limits::{SLOT_DISPLACED_AFTER, SLOTS, SLOTS_PER_ADDRESS};
use p2p_agent::slots::Admission;

use super::super::bytes::Bytes;
use super::super::site::address;
use super::Driver;

impl Driver {
    pub(super) fn admit(&mut self, input: &mut Bytes<'_>) {
        let who = input.byte();
        let (peer, id, alternative) = (address(1, who % 8), self.content(input), input.flag());
        let (offset, held) = (u64::from(who >> 6), Held::Part(1));
        let own = self.slots.iter().filter(|(_, owner, _)| *owner == peer).count();
        match self.agent.admit(self.now, peer, id, (offset, alternative), held) {
            Admission::Granted(slot) => {
                assert!(own < SLOTS_PER_ADDRESS && self.slots.len() < SLOTS);
                assert!(self.slots.iter().all(|(other, ..)| other.place() != slot.place()), "two in one place");
                assert!(self.agent.slots.holds(self.now, slot));
                self.slots.push((slot, peer, self.now));
            }
            Admission::Displaces(old) => {
                let place = self.slots.iter().position(|(slot, ..)| *slot == old).expect("one that was granted");
                let (_, owner, moved_at) = self.slots.swap_remove(place);
                assert!(owner == peer && self.now.since(moved_at) >= SLOT_DISPLACED_AFTER, "only its own stalled one");
                self.agent.slots.release(old);
                assert!(!self.agent.slots.holds(self.now, old));
            }
            Admission::NotAhead => assert!(!held.is_ahead_of(offset)),
            Admission::Full => {
                assert!(alternative || own >= SLOTS_PER_ADDRESS || self.slots.len() == SLOTS, "there was room");
            }
        }
    }

    pub(super) fn upload(&mut self, input: &mut Bytes<'_>) {
        if self.slots.is_empty() {
            return;
        }
        let place = input.below(self.slots.len());
        let (slot, ..) = self.slots[place];
        if input.flag() {
            self.agent.slots.release(slot);
            self.agent.slots.release(slot);
            self.slots.swap_remove(place);
        } else {
            self.agent.slots.handle_progress(self.now, slot, input.number(u64::MAX));
            self.slots[place].2 = self.now;
        }
    }
}
