//! How well the present source does, compared with the front of the content, and when to look for a better one (design section 7).
//!
//! The front is what the fetcher announces, or else the best that this device has ever received. Announcements are only a
//! reason to look: whom to move to is decided by proven answers.

use crate::limits::{
    FETCHER_LOOK, LAG_BELOW_PERCENT, LAG_GAP, LEASE_STALL, LOOK_AFTER, LOOK_MAX, MOVE_BELOW_PERCENT, MOVE_GAP,
    RATE_WINDOW,
};
use crate::rate::Meter;
use crate::time::{Duration, Instant};

/// How the bytes come to this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// It is wired itself.
    Wire,
    /// It is a Wi-Fi station, and its source is wired.
    WireToAir,
    /// It is a station and so is its source: every byte crosses the air twice.
    Air,
}

/// What the fetcher has announced.
#[derive(Clone, Copy, Debug, Default)]
struct Front {
    at: Instant,
    available: u64,
    rate: u64,
    heard_at: Instant,
    latest: u64,
}

/// The speed of one want.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    own: Meter,
    front: Front,
    look_at: Instant,
    pause: Duration,
    /// The present look is for a wire only: the source does well.
    for_wire: bool,
    /// The same for a fetcher.
    fetcher_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            own: Meter::default(),
            front: Front::default(),
            look_at: Instant::FAR,
            pause: LOOK_AFTER,
            for_wire: false,
            fetcher_pause: FETCHER_LOOK,
        }
    }
}

impl Pace {
    /// Bytes came.
    pub fn handle_bytes(&mut self, now: Instant, bytes: u64) {
        self.own.add(now, bytes);
    }

    /// The fetcher announced that it has `available` bytes.
    pub fn handle_front(&mut self, now: Instant, available: u64) {
        let front = &mut self.front;
        let span = now.since(front.at);
        if now.since(front.heard_at) >= LEASE_STALL || available < front.available {
            *front = Front { at: now, available, rate: 0, heard_at: now, latest: available };
        } else if span >= RATE_WINDOW * 2 {
            let grown = available.saturating_sub(front.available);
            let rate = u128::from(grown) * 1_000_000 / span.as_micros().max(1);
            *front = Front { at: now, available, rate: rate as u64, heard_at: now, latest: available };
        } else {
            (front.heard_at, front.latest) = (now, front.latest.max(available));
        }
    }

    /// A source was found, or a lease: it is given a moment.
    pub fn handle_start(&mut self, now: Instant) {
        self.look_at = now + LOOK_AFTER;
        self.fetcher_pause = FETCHER_LOOK;
    }

    /// Whether to look round now for a source that is better than the present one. A station that is fed by another one looks for a wire.
    pub fn poll_follower(&mut self, now: Instant, offset: u64, best: u64, path: Path) -> bool {
        if now < self.look_at {
            return false;
        }
        let own = self.own.rate(now);
        let Front { rate, heard_at, latest, .. } = self.front;
        let fresh = now.since(heard_at) < LEASE_STALL && rate > 0;
        let (reference, gap) = if fresh { (rate, latest.saturating_sub(offset)) } else { (best, u64::MAX) };
        let behind = |span: Duration| u128::from(gap) * 1_000 > u128::from(reference) * span.as_millis();
        let slower = |percent: u32| u128::from(own) * 100 < u128::from(reference) * u128::from(percent);
        // What slows a station is the air, and not its source.
        let lags = path == Path::Wire && fresh && behind(LAG_GAP) && slower(LAG_BELOW_PERCENT);
        let slow = lags || behind(MOVE_GAP) && slower(MOVE_BELOW_PERCENT);
        self.for_wire = !slow;
        if slow || path == Path::Air {
            self.look_at = now + self.pause;
            self.pause = (self.pause * 3 / 2).min(LOOK_MAX);
            return true;
        }
        self.look_at = now + RATE_WINDOW;
        self.pause = LOOK_AFTER;
        false
    }

    /// Whether the look that was just begun is for a wire only.
    pub fn looks_for_wire(&self) -> bool {
        self.for_wire
    }

    /// Whether looks for a source that is faster went on for a while and changed nothing.
    pub fn is_stuck(&self) -> bool {
        self.pause > LOOK_AFTER * 3 / 2
    }

    /// The same for a fetcher.
    pub fn poll_fetcher(&mut self, now: Instant) -> bool {
        let due = now >= self.look_at;
        if due {
            self.look_at = now + self.fetcher_pause;
            self.fetcher_pause = (self.fetcher_pause * 2).min(LOOK_MAX);
        }
        due
    }

    /// A fetcher's look showed what could be another one: the next comes soon.
    pub fn handle_rival(&mut self, now: Instant) {
        self.look_at = self.look_at.min(now + FETCHER_LOOK);
        self.fetcher_pause = FETCHER_LOOK;
    }

    /// How far ahead a source must be to be worth moving to.
    pub fn worth(&self, now: Instant) -> u64 {
        let ahead = u128::from(self.own.rate(now)) * MOVE_GAP.as_millis() / 1_000;
        u64::try_from(ahead).unwrap_or(u64::MAX)
    }

    /// The best rate at which anything came.
    pub fn best(&self) -> u64 {
        self.own.best()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    /// A fetcher at 5 MB/s and a follower at `rate`: how often it looks in ten seconds.
    fn looks(rate: u64) -> usize {
        let (mut pace, mut now) = (Pace::default(), Instant::from_micros(9_000_000));
        pace.handle_start(now);
        let mut looks = 0;
        for tick in 1..200 {
            now = now + TICK;
            pace.handle_bytes(now, rate / 20);
            if tick % 5 == 0 {
                pace.handle_front(now, 250_000 * tick);
            }
            looks += usize::from(pace.poll_follower(now, rate / 20 * tick, 0, Path::Wire));
        }
        looks
    }

    #[test]
    fn a_follower_that_keeps_up_never_looks_and_a_slow_one_looks_ever_more_rarely() {
        assert_eq!(looks(5_000_000), 0);
        assert_eq!(looks(4_700_000), 0);
        assert!((1..=6).contains(&looks(4_200_000)), "{}", looks(4_200_000));
        assert!((3..=6).contains(&looks(1_000_000)), "{}", looks(1_000_000));
    }

    #[test]
    fn without_a_fetcher_the_best_known_rate_is_the_measure() {
        let (mut pace, mut now) = (Pace::default(), Instant::from_micros(9_000_000));
        pace.handle_start(now);
        for _ in 0..40 {
            now = now + TICK;
            pace.handle_bytes(now, 50_000);
        }
        assert!(!pace.poll_follower(now, 2_000_000, 1_500_000, Path::Wire));
        assert!(pace.poll_follower(now + RATE_WINDOW, 2_000_000, 12_000_000, Path::Wire));
    }
}
