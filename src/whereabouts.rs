//! Who is known to have, or to be about to have, a content that is wanted here: whom to ask first.
//!
//! A round that asks everybody costs three packets for each device of the site. Most rounds only look for a source, and whoever said
//! lately that it has the content, or wants it too, is one or will be. So those are asked first, and everybody only when none of
//! them is ([`crate::want::Want::handle_asked`]). What stands here is a hint and never a fact: it decides who is asked, and the proven answer
//! decides the rest. It comes from answers, from the queries of others, from announcements, and from the batched query
//! ([`crate::survey`]) about contents that the local client named in advance.

use core::net::Ipv4Addr;

use crate::content::{PublicId, Standing, State};
use crate::keys::ContentKeys;
use crate::limits::{KNOWN_COMPANY, SURVEY_PAUSE, WANTS};
use crate::random::Random;
use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Holder {
    peer: Ipv4Addr,
    /// Bytes that it had when it was heard; all of them when complete.
    available: u64,
}

struct Entry {
    keys: ContentKeys,
    told_at: Instant,
    surveyed_at: Option<Instant>,
    holders: heapless::Vec<Holder, KNOWN_COMPANY>,
}

/// Fixed table; the content that the client named longest ago makes room.
#[derive(Default)]
pub struct Whereabouts {
    entries: heapless::Vec<Entry, WANTS>,
}

impl Whereabouts {
    /// The local client wants this content, now or soon; true: nobody was asked about it lately.
    pub fn handle_wanted(&mut self, now: Instant, keys: &ContentKeys) -> bool {
        if let Some(entry) = self.entry_mut(keys.id()) {
            entry.told_at = now;
            let due = entry.surveyed_at.is_none_or(|at| now.since(at) >= SURVEY_PAUSE);
            return due;
        }
        if self.entries.is_full() {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.told_at).map(|(place, _)| place);
            oldest.map(|place| self.entries.swap_remove(place));
        }
        let entry = Entry { keys: keys.clone(), told_at: now, surveyed_at: None, holders: heapless::Vec::new() };
        // There is room now.
        let _ = self.entries.push(entry);
        true
    }

    /// Everybody is being asked about it in a batch.
    pub fn handle_surveyed(&mut self, now: Instant, id: PublicId) {
        if let Some(entry) = self.entry_mut(id) {
            entry.surveyed_at = Some(now);
        }
    }

    /// A peer said this about itself.
    pub fn handle_standing(&mut self, id: PublicId, peer: Ipv4Addr, standing: &Standing) {
        let Some(entry) = self.entry_mut(id) else { return };
        entry.holders.retain(|holder| holder.peer != peer);
        let available = match standing.state {
            State::Idle => return,
            State::Complete => u64::MAX,
            _ => standing.available,
        };
        if entry.holders.is_full() {
            entry.holders.remove(0);
        }
        // There is room now.
        let _ = entry.holders.push(Holder { peer, available });
    }

    /// Takes out up to `N` of those that `may_be_asked`, first those who were ahead of `offset`, else by chance. Who answers is put back
    /// by its answer; who does not is forgotten.
    pub fn take<const N: usize>(
        &mut self,
        id: PublicId,
        offset: u64,
        random: &mut Random,
        may_be_asked: impl Fn(Ipv4Addr) -> bool,
    ) -> heapless::Vec<Ipv4Addr, N> {
        let mut taken = heapless::Vec::new();
        let Some(entry) = self.entry_mut(id) else { return taken };
        while !taken.is_full() {
            let candidates = entry.holders.iter().enumerate().filter(|(_, holder)| may_be_asked(holder.peer));
            let best = candidates.min_by_key(|(_, holder)| (holder.available <= offset, random.below(1 << 16)));
            let Some(place) = best.map(|(place, _)| place) else { break };
            // It is not full.
            let _ = taken.push(entry.holders.remove(place).peer);
        }
        taken
    }

    /// Keys of a content that is wanted or was named in advance.
    pub fn keys(&self, id: PublicId) -> Option<&ContentKeys> {
        self.entries.iter().map(|entry| &entry.keys).find(|keys| keys.id() == id)
    }

    fn entry_mut(&mut self, id: PublicId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.keys.id() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ContentMd5;
    use crate::keys::DomainKey;
    use crate::time::Duration;

    const NOW: Instant = Instant::from_micros(9_000_000);

    fn keys(number: u8) -> ContentKeys {
        ContentKeys::derive(&DomainKey::open(), &ContentMd5([number; 16]))
    }

    fn peer(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn standing(state: State, available: u64) -> Standing {
        Standing { state, available, ..Standing::default() }
    }

    fn take(whereabouts: &mut Whereabouts, offset: u64) -> heapless::Vec<Ipv4Addr, 2> {
        whereabouts.take(keys(1).id(), offset, &mut Random::from_seed([1; 16]), |_| true)
    }

    #[test]
    fn who_is_ahead_is_asked_before_who_only_wants_and_nobody_twice_without_an_answer() {
        let mut whereabouts = Whereabouts::default();
        assert!(whereabouts.handle_wanted(NOW, &keys(1)));
        for (last, state, available) in
            [(1, State::Wanting, 0), (2, State::Partial, 50), (3, State::Wanting, 0), (4, State::Complete, 100)]
        {
            whereabouts.handle_standing(keys(1).id(), peer(last), &standing(state, available));
        }
        let mut first = take(&mut whereabouts, 10);
        first.sort_unstable();
        assert_eq!(first, [peer(2), peer(4)]);
        whereabouts.handle_standing(keys(1).id(), peer(2), &standing(State::Idle, 0));
        let mut second = take(&mut whereabouts, 10);
        second.sort_unstable();
        assert_eq!(second, [peer(1), peer(3)]);
        assert!(take(&mut whereabouts, 10).is_empty());
    }

    #[test]
    fn the_table_stays_bounded_and_keeps_what_was_heard_last() {
        let mut whereabouts = Whereabouts::default();
        for number in 0..=u8::MAX {
            let now = NOW + Duration::from_millis(number.into());
            whereabouts.handle_wanted(now, &keys(number));
            whereabouts.handle_standing(keys(255).id(), peer(number), &standing(State::Complete, 1));
        }
        assert!(whereabouts.keys(keys(0).id()).is_none() && whereabouts.keys(keys(254).id()).is_some());
        for number in 0..=u8::MAX {
            whereabouts.handle_standing(keys(255).id(), peer(number), &standing(State::Complete, 1));
        }
        let all: heapless::Vec<_, 128> = whereabouts.take(keys(255).id(), 0, &mut Random::from_seed([1; 16]), |_| true);
        assert!(all.len() == KNOWN_COMPANY && all.contains(&peer(255)) && !all.contains(&peer(0)));
    }

    #[test]
    fn a_content_that_is_named_again_and_again_is_asked_about_now_and_then() {
        let mut whereabouts = Whereabouts::default();
        assert!(whereabouts.handle_wanted(NOW, &keys(1)));
        whereabouts.handle_surveyed(NOW, keys(1).id());
        assert!(!whereabouts.handle_wanted(NOW + SURVEY_PAUSE / 2, &keys(1)));
        assert!(whereabouts.handle_wanted(NOW + SURVEY_PAUSE, &keys(1)));
    }
}
