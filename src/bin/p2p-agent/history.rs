//! What became of the contents that local clients asked for lately: what came from where, and if not from peers, why. The counters of
//! [`crate::tally`] are sums; this is what answers "why did this file come from the internet?" later on.

use std::cell::RefCell;

use log::info;
use p2p_agent::content::PublicId;
use p2p_agent::limits::REMEMBERED;
use p2p_agent::time::Instant;
use p2p_agent::want::Reason;

use crate::clock;

/// Where the local client's bytes come from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Other devices.
    Peers,
    /// The own content directory.
    Disk,
    /// The internet, as the client reports.
    Internet,
}

/// One content.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which content.
    pub id: PublicId,
    /// When the last of it happened.
    pub at: Instant,
    /// The client has all of it.
    pub complete: bool,
    /// Bytes from each source, in the order of [`Source`].
    bytes: [u64; 3],
    /// Why the client was sent to the internet the last time, if it was.
    pub reason: Option<Reason>,
}

impl Entry {
    /// Bytes from this source.
    pub fn bytes(&self, source: Source) -> u64 {
        self.bytes.get(source as usize).copied().unwrap_or(0)
    }
}

/// The contents of late, the latest last.
#[derive(Default)]
pub struct History(RefCell<heapless::Vec<Entry, REMEMBERED>>);

impl History {
    /// Bytes were handed or reported.
    pub fn handle_bytes(&self, id: PublicId, source: Source, bytes: u64) {
        self.change(id, |entry| {
            if let Some(sum) = entry.bytes.get_mut(source as usize) {
                *sum = sum.saturating_add(bytes);
            }
        });
    }

    /// The client was sent to the internet.
    pub fn handle_reason(&self, id: PublicId, reason: Reason) {
        let known = self.find(id).is_some_and(|entry| !entry.complete && entry.reason == Some(reason));
        self.change(id, |entry| (entry.reason, entry.complete) = (Some(reason), false));
        // Who asks again and again is told the same, and the log once.
        if !known {
            info!("{}: to the internet ({}): {}", id.short(), reason.as_str(), reason.sentence());
        }
    }

    /// The client has all of it.
    pub fn handle_complete(&self, id: PublicId) {
        let known = self.find(id).is_some_and(|entry| entry.complete);
        self.change(id, |entry| entry.complete = true);
        // A client may tell what the agent saw by itself.
        if let Some(entry) = self.find(id).filter(|_| !known) {
            let [peers, disk, internet] = entry.bytes;
            info!(
                "{}: complete; bytes from peers {peers}, from the internet {internet}, from this device {disk}",
                id.short()
            );
        }
    }

    /// What is remembered of a content.
    pub fn find(&self, id: PublicId) -> Option<Entry> {
        self.0.borrow().iter().find(|entry| entry.id == id).copied()
    }

    /// The latest first.
    pub fn latest(&self) -> heapless::Vec<Entry, REMEMBERED> {
        self.0.borrow().iter().rev().copied().collect()
    }

    /// The changed one becomes the latest; the one that nothing happened to for longest makes room.
    fn change(&self, id: PublicId, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.0.borrow_mut();
        let known = entries.iter().position(|entry| entry.id == id);
        let fresh = Entry { id, at: Instant::ZERO, complete: false, bytes: [0; 3], reason: None };
        let mut entry = match known {
            Some(place) => entries.remove(place),
            None if entries.is_full() => {
                entries.remove(0);
                fresh
            }
            None => fresh,
        };
        entry.at = clock::now();
        change(&mut entry);
        // One was removed, or there was room.
        let _ = entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_that_nothing_happened_to_for_longest_makes_room() {
        let history = History::default();
        let id = |number: usize| PublicId([number as u8; 16]);
        (0..REMEMBERED).for_each(|number| history.handle_bytes(id(number), Source::Peers, 1));
        history.handle_bytes(id(0), Source::Internet, 2);
        history.handle_reason(id(REMEMBERED), Reason::Elected);
        assert!(history.find(id(1)).is_none());
        let first = history.find(id(0)).unwrap();
        assert_eq!([Source::Peers, Source::Disk, Source::Internet].map(|source| first.bytes(source)), [1, 0, 2]);
        let latest = history.latest();
        assert_eq!((latest.len(), latest[0].id, latest[0].reason), (REMEMBERED, id(REMEMBERED), Some(Reason::Elected)));
        assert_eq!(latest[1].id, id(0));
    }
}
