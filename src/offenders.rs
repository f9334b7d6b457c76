//! Peers that failed with several contents, and are left alone for all of them for a while.
//!
//! Each content has its own list of whom to avoid ([`crate::want::Avoided`]). That is enough for a bad file or a bad moment. Who alters
//! records, or says that it has bytes and then falls silent, in one content after the other, would cost each of them the same again: after
//! [`OFFENCES`] contents it is neither asked nor listened to at all. For silence the time doubles with every further
//! one, because a device that lost its power in the middle of four transfers is no liar and is wanted again when it is back. A source
//! that has run dry is none at all: behind an uplink that pauses all of them do.

use core::net::Ipv4Addr;

use crate::content::PublicId;
use crate::limits::{AVOID_CORRUPT, AVOID_STALLED, AVOIDED, OFFENCES};
use crate::time::{Duration, Instant};
use crate::want::SourceEnd;

#[derive(Clone, Debug)]
struct Offender {
    peer: Ipv4Addr,
    /// With which contents it failed, and when the last time: of late, because those are too many only together.
    contents: heapless::Vec<(PublicId, Instant), OFFENCES>,
    /// Offences since `contents` was full.
    further: u32,
    last_at: Instant,
    until: Instant,
}

impl Offender {
    fn is_remembered(&self, now: Instant) -> bool {
        now.since(self.last_at) < AVOID_CORRUPT
    }
}

/// Fixed table of them; when it is full, who offended longest ago makes room.
#[derive(Clone, Debug, Default)]
pub struct Offenders {
    known: heapless::Vec<Offender, AVOIDED>,
}

impl Offenders {
    /// The bytes of `peer` for the content `id` ended like this; how long it is left alone for all contents now, if it is.
    pub fn handle_end(&mut self, now: Instant, peer: Ipv4Addr, id: PublicId, end: SourceEnd) -> Option<Duration> {
        let is_silence = match end {
            SourceEnd::Corrupt => false,
            SourceEnd::Stalled => true,
            SourceEnd::Finished
            | SourceEnd::Busy
            | SourceEnd::Exhausted
            | SourceEnd::Cut
            | SourceEnd::Dry
            | SourceEnd::Slow => return None,
        };
        self.known.retain(|offender| offender.is_remembered(now));
        let offender = self.entry(now, peer)?;
        offender.last_at = now;
        offender.contents.retain(|(content, at)| *content != id && now.since(*at) < AVOID_CORRUPT);
        if offender.contents.is_full() {
            offender.contents.remove(0);
        }
        // There is room now.
        let _ = offender.contents.push((id, now));
        if !offender.contents.is_full() {
            offender.further = 0;
            return None;
        }
        let doubled = AVOID_STALLED.saturating_mul(1 << offender.further.min(16));
        let span = if is_silence { doubled.min(AVOID_CORRUPT) } else { AVOID_CORRUPT };
        offender.further = offender.further.saturating_add(1);
        offender.until = offender.until.max(now + span);
        Some(span)
    }

    /// Whether this peer is to be left alone now.
    pub fn contains(&self, now: Instant, peer: Ipv4Addr) -> bool {
        self.known.iter().any(|offender| offender.peer == peer && now < offender.until)
    }

    fn entry(&mut self, now: Instant, peer: Ipv4Addr) -> Option<&mut Offender> {
        let place = self.known.iter().position(|offender| offender.peer == peer);
        if place.is_none() && self.known.is_full() {
            let oldest = self.known.iter().enumerate().min_by_key(|(_, offender)| offender.last_at);
            let oldest = oldest.map(|(place, _)| place)?;
            self.known.swap_remove(oldest);
        }
        let place = place.unwrap_or(self.known.len());
        if place == self.known.len() {
            let offender =
                Offender { peer, contents: heapless::Vec::new(), further: 0, last_at: now, until: Instant::ZERO };
            // There is room now.
            let _ = self.known.push(offender);
        }
        self.known.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const NOW: Instant = Instant::from_micros(9_000_000);

    fn content(number: u8) -> PublicId {
        PublicId([number; 16])
    }

    fn offends(offenders: &mut Offenders, now: Instant, contents: core::ops::Range<u8>, end: SourceEnd) {
        contents.for_each(|number| _ = offenders.handle_end(now, PEER, content(number), end));
    }

    #[test]
    fn one_bad_content_however_often_is_no_reason_to_leave_a_peer_altogether() {
        let mut offenders = Offenders::default();
        for _ in 0..20 {
            offends(&mut offenders, NOW, 1..2, SourceEnd::Corrupt);
        }
        assert!(!offenders.contains(NOW, PEER));
    }

    #[test]
    fn who_alters_several_contents_is_left_for_all_of_them_and_asked_again_in_the_end() {
        let mut offenders = Offenders::default();
        offends(&mut offenders, NOW, 0..OFFENCES as u8, SourceEnd::Corrupt);
        assert!(offenders.contains(NOW, PEER) && !offenders.contains(NOW, Ipv4Addr::new(10, 0, 0, 2)));
        assert!(!offenders.contains(NOW + AVOID_CORRUPT, PEER));
    }

    #[test]
    fn offences_far_apart_do_not_add_up() {
        let mut offenders = Offenders::default();
        for number in 0..20 {
            let now = NOW + AVOID_CORRUPT * u32::from(number);
            offends(&mut offenders, now, number..number + 1, SourceEnd::Corrupt);
            assert!(!offenders.contains(now, PEER));
        }
    }

    #[test]
    fn three_contents_count_only_within_ten_minutes_however_often_it_fails_in_between() {
        let mut offenders = Offenders::default();
        for number in 0..20 {
            let now = NOW + AVOID_CORRUPT * u32::from(number) * 9 / 10;
            offends(&mut offenders, now, number..number + 1, SourceEnd::Stalled);
            assert!(!offenders.contains(now, PEER), "{number}");
        }
    }

    #[test]
    fn who_falls_silent_is_left_for_longer_each_time_but_never_for_ever() {
        let mut offenders = Offenders::default();
        offends(&mut offenders, NOW, 1..OFFENCES as u8, SourceEnd::Stalled);
        assert!(!offenders.contains(NOW, PEER));
        let mut spans = (0..12).map(|_| offenders.handle_end(NOW, PEER, content(9), SourceEnd::Stalled));
        assert_eq!(spans.next(), Some(Some(AVOID_STALLED)));
        assert_eq!(spans.next(), Some(Some(AVOID_STALLED * 2)));
        assert_eq!(spans.last(), Some(Some(AVOID_CORRUPT)));
    }

    #[test]
    fn an_ordinary_end_is_no_offence() {
        let mut offenders = Offenders::default();
        use SourceEnd::{Busy, Cut, Dry, Exhausted, Finished, Slow};
        for end in [Finished, Busy, Exhausted, Cut, Dry, Slow] {
            offends(&mut offenders, NOW, 0..9, end);
        }
        assert!(!offenders.contains(NOW, PEER));
    }

    #[test]
    fn a_crowd_of_offenders_keeps_the_table_bounded_and_the_latest_in_it() {
        let mut offenders = Offenders::default();
        for last in 0..=255 {
            let now = NOW + Duration::from_millis(last.into());
            for number in 0..OFFENCES as u8 {
                let _ = offenders.handle_end(now, Ipv4Addr::new(10, 0, 1, last), content(number), SourceEnd::Corrupt);
            }
        }
        let later = NOW + Duration::from_millis(300);
        assert!(offenders.contains(later, Ipv4Addr::new(10, 0, 1, 255)));
        assert!(!offenders.contains(later, Ipv4Addr::new(10, 0, 1, 0)));
    }
}
