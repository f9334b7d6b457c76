//! Which peer to take a content from (design: least active, then wired, then furthest ahead, then least delay, then chance),
//! and whom to leave alone for a while.
//!
//! A Wi-Fi station puts the wire first: what comes from another station crosses the air twice, and the air is what all of them share.

use core::cmp::Reverse;
use core::net::Ipv4Addr;

use crate::content::{Standing, State};
use crate::limits::{AVOID_BUSY, AVOID_CORRUPT, AVOID_EXHAUSTED, AVOID_SLOW, AVOID_STALLED, AVOIDED};
use crate::random::Random;
use crate::time::{Duration, Instant};

/// A peer's proven answer to a query about one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whose.
    pub peer: Ipv4Addr,
    /// What it has and does.
    pub standing: Standing,
    /// It reaches the site by wire.
    pub wired: bool,
    /// Measured round trip.
    pub delay: Duration,
}

impl Answered {
    /// Whether this peer can give bytes from `offset` on ([`crate::content::Held::is_ahead_of`]).
    pub fn is_source(&self, offset: u64, attempt: u8) -> bool {
        fits(&self.standing, offset, attempt) && self.standing.held().is_ahead_of(offset)
    }
}

/// Whether its bytes are of an attempt with which this one can go on: what came whole and wrong once is not taken again from whoever
/// knows of one attempt less, and a prefix of an earlier attempt is not continued with bytes of a later one.
pub fn fits(standing: &Standing, offset: u64, attempt: u8) -> bool {
    standing.attempt >= attempt && (offset == 0 || standing.attempt == attempt)
}

/// The preferred one of the answers that are sources, for a device that is wired itself or a station.
pub fn choose<'a>(
    answers: impl Iterator<Item = &'a Answered>,
    offset: u64,
    attempt: u8,
    wired: bool,
    avoided: &Avoided,
    now: Instant,
    random: &mut Random,
) -> Option<Answered> {
    answers
        .filter(|answer| answer.is_source(offset, attempt) && !avoided.contains(now, answer.peer))
        .map(|answer| {
            let ahead = if answer.standing.state == State::Complete { u64::MAX } else { answer.standing.available };
            let (far, near) = if wired { (false, !answer.wired) } else { (!answer.wired, false) };
            let key = (far, answer.standing.active, near, Reverse(ahead), answer.delay, random.below(1 << 32));
            (key, answer)
        })
        .min_by_key(|(key, _)| *key)
        .map(|(_, answer)| *answer)
}

/// How the bytes of a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// Its last record was the content's last.
    Finished,
    /// It had no slot.
    Busy,
    /// It has no more than this and does not grow.
    Exhausted,
    /// The connection broke or it refused.
    Cut,
    /// Heartbeats without growth, after all that it had said it had: whoever it gets the bytes from has stopped.
    Dry,
    /// Neither data nor heartbeat, or heartbeats instead of what it said it had.
    Stalled,
    /// A record failed its MAC.
    Corrupt,
    /// It was left for a faster one.
    Slow,
}

impl SourceEnd {
    fn avoided_for(self) -> Option<Duration> {
        match self {
            Self::Finished => None,
            Self::Busy => Some(AVOID_BUSY),
            Self::Slow => Some(AVOID_SLOW),
            Self::Exhausted => Some(AVOID_EXHAUSTED),
            Self::Cut | Self::Dry | Self::Stalled => Some(AVOID_STALLED),
            Self::Corrupt => Some(AVOID_CORRUPT),
        }
    }
}

/// Peers that are not asked for bytes of one content for a while; when full, the one due soonest makes room.
#[derive(Clone, Debug, Default)]
pub struct Avoided {
    peers: heapless::Vec<(Ipv4Addr, Instant, SourceEnd), AVOIDED>,
}

impl Avoided {
    /// Notes how the bytes of `peer` ended.
    pub fn handle_end(&mut self, now: Instant, peer: Ipv4Addr, end: SourceEnd) {
        let Some(span) = end.avoided_for() else { return };
        let until = now + span;
        if let Some(known) = self.peers.iter_mut().find(|(address, ..)| *address == peer) {
            if until > known.1 {
                (known.1, known.2) = (until, end);
            }
            return;
        }
        if self.peers.is_full() {
            let soonest = self.peers.iter().enumerate().min_by_key(|(_, (_, until, _))| *until);
            if let Some((soonest, _)) = soonest {
                self.peers.swap_remove(soonest);
            }
        }
        // There is room now.
        let _ = self.peers.push((peer, until, end));
    }

    /// Whether nobody is to be left alone now.
    pub fn is_empty(&self, now: Instant) -> bool {
        self.peers.iter().all(|(_, until, _)| now >= *until)
    }

    /// Whether `peer` is to be left alone now.
    pub fn contains(&self, now: Instant, peer: Ipv4Addr) -> bool {
        self.peers.iter().any(|(address, until, _)| *address == peer && now < *until)
    }

    /// Whether `peer` lately fell silent in the middle, or sent something altered: what it says about itself does not count.
    pub fn is_distrusted(&self, now: Instant, peer: Ipv4Addr) -> bool {
        let bad = |end: &SourceEnd| matches!(end, SourceEnd::Dry | SourceEnd::Stalled | SourceEnd::Corrupt);
        self.peers.iter().any(|(address, until, end)| *address == peer && now < *until && bad(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(last: u8, state: State, available: u64, active: u8) -> Answered {
        let size = (state == State::Complete).then_some(available);
        let standing = Standing { state, size, available, active, attempt: 1, ..Standing::default() };
        Answered { peer: Ipv4Addr::new(10, 0, 0, last), standing, wired: true, delay: Duration::from_millis(1) }
    }

    fn chosen(answers: &[Answered], offset: u64) -> Option<u8> {
        let mut random = Random::from_seed([0; 16]);
        choose(answers.iter(), offset, 1, true, &Avoided::default(), Instant::ZERO, &mut random)
            .map(|a| a.peer.octets()[3])
    }

    #[test]
    fn the_least_active_peer_is_chosen() {
        let answers =
            [answer(1, State::Complete, 9, 3), answer(2, State::Complete, 9, 1), answer(3, State::Complete, 9, 2)];
        assert_eq!(chosen(&answers, 0), Some(2));
    }

    #[test]
    fn equally_active_peers_are_told_apart_by_wire_then_progress_then_delay() {
        let mut answers =
            [answer(1, State::Partial, 50, 0), answer(2, State::Partial, 70, 0), answer(3, State::Partial, 70, 0)];
        answers.iter_mut().for_each(|a| a.standing.attempt = 1);
        answers[1].delay = Duration::from_millis(9);
        assert_eq!(chosen(&answers, 0), Some(3));
        answers[2].wired = false;
        assert_eq!(chosen(&answers, 0), Some(2));
        answers[1].wired = false;
        answers[2].wired = false;
        assert_eq!(chosen(&answers, 0), Some(1));
    }

    #[test]
    fn only_who_is_strictly_ahead_is_a_source() {
        let mut behind = answer(1, State::Fetching, 64, 0);
        behind.standing.attempt = 1;
        assert_eq!(chosen(&[behind], 64), None);
        assert_eq!(chosen(&[behind], 63), Some(1));
        assert_eq!(chosen(&[answer(1, State::Idle, 64, 0)], 0), None);
        assert_eq!(chosen(&[answer(1, State::Complete, 64, 0)], 64), None);
        assert_eq!(chosen(&[answer(1, State::Complete, 0, 0)], 0), Some(1));
        assert_eq!(
            chosen(&[answer(1, State::Complete, 0, 0)], 1),
            None,
            "who says that there is nothing has nothing more"
        );
    }

    #[test]
    fn a_prefix_of_an_earlier_attempt_is_no_source() {
        assert!(!answer(1, State::Partial, 64, 0).is_source(0, 2));
    }

    #[test]
    fn a_corrupt_peer_is_avoided_longest_and_the_list_stays_bounded() {
        let mut avoided = Avoided::default();
        let bad = Ipv4Addr::new(10, 0, 0, 1);
        avoided.handle_end(Instant::ZERO, bad, SourceEnd::Corrupt);
        avoided.handle_end(Instant::ZERO, bad, SourceEnd::Busy);
        for n in 0..200 {
            avoided.handle_end(Instant::ZERO, Ipv4Addr::new(10, 0, 1, n), SourceEnd::Busy);
        }
        assert!(avoided.contains(Instant::ZERO + AVOID_STALLED, bad));
        assert!(!avoided.contains(Instant::ZERO + AVOID_CORRUPT, bad));
        avoided.handle_end(Instant::ZERO, Ipv4Addr::new(10, 0, 2, 1), SourceEnd::Finished);
        assert!(!avoided.contains(Instant::ZERO, Ipv4Addr::new(10, 0, 2, 1)));
    }
}
