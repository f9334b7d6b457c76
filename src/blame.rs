//! Which complete content to hash again, because somebody who had it from here got a wrong one (design, section 7, Poison).
//!
//! The blame travels in what is said anyway: after a wrong content a device asks as attempt 2, and its query proves that it knows the content. Where that
//! device was given bytes of a complete file by this one lately, the file may be what is wrong. So only who took a transfer can blame, only for what
//! it took, once an hour for each content, and all of them together once in [`REHASH_PAUSE`]: an insider costs a device one slow hashing of a
//! file now and then.

use core::net::Ipv4Addr;

use crate::content::PublicId;
use crate::limits::{LAST_ATTEMPT, REHASH_AGAIN, REHASH_PAUSE, SERVED_REMEMBERED};
use crate::time::Instant;

/// Whom this device served, and what it has hashed lately.
#[derive(Clone, Debug, Default)]
pub struct Blame {
    served: heapless::Deque<(PublicId, Ipv4Addr, Instant), SERVED_REMEMBERED>,
    /// The pause between two makes room for all of an hour.
    hashed: heapless::Deque<(PublicId, Instant), HASHED>,
    due: Option<PublicId>,
    under_way: bool,
}

const HASHED: usize = (REHASH_AGAIN.as_secs() / REHASH_PAUSE.as_secs()) as usize;

impl Blame {
    /// A transfer of a complete file began.
    pub fn handle_served(&mut self, now: Instant, id: PublicId, to: Ipv4Addr) {
        if self.served.is_full() {
            self.served.pop_front();
        }
        // There is room now.
        let _ = self.served.push_back((id, to, now));
    }

    /// A proven query about a content that is complete here.
    pub fn handle_query(&mut self, now: Instant, id: PublicId, from: Ipv4Addr, attempt: u8) {
        let lately = |at: &Instant| now.since(*at) < REHASH_AGAIN;
        let served = self.served.iter().any(|(what, to, at)| (*what, *to) == (id, from) && lately(at));
        let hashed = self.hashed.iter().any(|(what, at)| *what == id && lately(at));
        let rests = self.hashed.back().is_none_or(|(_, at)| now.since(*at) >= REHASH_PAUSE);
        if attempt >= LAST_ATTEMPT && served && !hashed && rests && !self.under_way && self.due.is_none() {
            self.due = Some(id);
        }
    }

    /// A content whose file is to be hashed now; tell [`Blame::handle_hashed`] when that is over.
    pub fn poll(&mut self, now: Instant) -> Option<PublicId> {
        let id = self.due.take()?;
        if self.hashed.is_full() {
            self.hashed.pop_front();
        }
        // There is room now.
        let _ = self.hashed.push_back((id, now));
        self.under_way = true;
        Some(id)
    }

    /// The hashing is over, however it ended.
    pub fn handle_hashed(&mut self) {
        self.under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const NOW: Instant = Instant::from_micros(9_000_000);
    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn content(number: u8) -> PublicId {
        PublicId([number; 16])
    }

    #[test]
    fn only_who_was_given_the_content_and_found_it_wrong_can_blame() {
        let mut blame = Blame::default();
        blame.handle_served(NOW, content(1), A);
        blame.handle_query(NOW, content(1), A, 1);
        blame.handle_query(NOW, content(1), B, 2);
        blame.handle_query(NOW, content(2), A, 2);
        assert_eq!(blame.poll(NOW), None);
        blame.handle_query(NOW + REHASH_AGAIN, content(1), A, 2);
        assert_eq!(blame.poll(NOW), None, "too long ago");
        blame.handle_query(NOW, content(1), A, 2);
        assert_eq!((blame.poll(NOW), blame.poll(NOW)), (Some(content(1)), None));
    }

    #[test]
    fn an_insider_with_all_contents_makes_a_device_hash_one_after_each_pause_and_none_twice_an_hour() {
        let mut blame = Blame::default();
        let (mut now, mut hashed) = (NOW, std::vec::Vec::new());
        while now < NOW + REHASH_AGAIN {
            for number in 0..200 {
                blame.handle_served(now, content(number), A);
                blame.handle_query(now, content(number), A, 2);
            }
            if let Some(id) = blame.poll(now) {
                assert!(!hashed.contains(&id));
                hashed.push(id);
                // It takes a while, and nothing else begins meanwhile.
                blame.handle_query(now + REHASH_PAUSE, content(7), A, 2);
                assert_eq!(blame.poll(now + REHASH_PAUSE), None);
                blame.handle_hashed();
            }
            now = now + Duration::from_secs(10);
        }
        assert_eq!(hashed.len(), HASHED);
    }
}
