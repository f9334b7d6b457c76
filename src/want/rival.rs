//! The other devices that want, claim or fetch the same content, as far as they were heard of lately.

use core::net::Ipv4Addr;

use crate::content::{Rank, Standing, State};
use crate::limits::{LEASE_STALL, RIVAL_LIFETIME, RIVALS, WANTER_PATIENCE};
use crate::time::Instant;

/// One other device.
#[derive(Clone, Copy, Debug)]
struct Rival {
    address: Ipv4Addr,
    standing: Standing,
    heard_at: Instant,
    /// Since when it is in its present state with the bytes it has: the clock of its stall.
    unchanged_since: Instant,
}

impl Rival {
    fn alive(&self, now: Instant) -> bool {
        let patience = if self.standing.state == State::Wanting { WANTER_PATIENCE } else { LEASE_STALL };
        now.since(self.heard_at) < RIVAL_LIFETIME && now.since(self.unchanged_since) < patience
    }
}

/// The best placed rivals of one content; when full, who is heard of no more makes room, or else the worst placed.
#[derive(Clone, Debug, Default)]
pub struct Rivals {
    known: heapless::Vec<Rival, RIVALS>,
}

impl Rivals {
    /// Takes in what `address` proved about itself.
    pub fn handle_standing(&mut self, now: Instant, address: Ipv4Addr, standing: Standing) {
        let place = self.known.iter().position(|rival| rival.address == address);
        if !matches!(standing.state, State::Wanting | State::Claiming | State::Fetching) {
            if let Some(place) = place {
                self.known.swap_remove(place);
            }
            return;
        }
        if let Some(rival) = place.and_then(|place| self.known.get_mut(place)) {
            // A rank holds whole MiB; growth within one is progress too.
            let same = rival.standing.state == standing.state && rival.standing.available == standing.available;
            rival.unchanged_since = if same { rival.unchanged_since } else { now };
            rival.standing = standing;
            rival.heard_at = now;
            return;
        }
        if self.known.is_full() {
            let place = |rival: &Rival| (rival.alive(now), key(&rival.standing));
            let worst = self.known.iter().enumerate().min_by_key(|(_, rival)| place(rival));
            if let Some((worst, _)) = worst.filter(|(_, rival)| place(rival) < (true, key(&standing))) {
                self.known.swap_remove(worst);
            }
        }
        // A table full of better placed rivals needs no further one.
        let _ = self.known.push(Rival { address, standing, heard_at: now, unchanged_since: now });
    }

    /// The best placed living rival in one of `states` that `counts`.
    pub fn best(
        &self,
        now: Instant,
        states: &[State],
        counts: impl Fn(Ipv4Addr, &Standing) -> bool,
    ) -> Option<(Ipv4Addr, Standing)> {
        let alive = self.known.iter().filter(|rival| rival.alive(now) && states.contains(&rival.standing.state));
        alive
            .filter(|rival| counts(rival.address, &rival.standing))
            .max_by_key(|rival| rival.standing.rank)
            .map(|rival| (rival.address, rival.standing))
    }

    /// Addresses of the living, the best placed first, up to `N`.
    pub fn first<const N: usize>(&self, now: Instant, counts: impl Fn(Ipv4Addr) -> bool) -> heapless::Vec<Ipv4Addr, N> {
        let mut first: heapless::Vec<(Ipv4Addr, (u8, Rank)), RIVALS> = heapless::Vec::new();
        let alive = self.known.iter().filter(|rival| rival.alive(now) && counts(rival.address));
        for rival in alive {
            // As many as the table holds.
            let _ = first.push((rival.address, key(&rival.standing)));
        }
        first.sort_unstable_by_key(|(_, key)| core::cmp::Reverse(*key));
        first.into_iter().map(|(address, _)| address).take(N).collect()
    }

    /// Whether this one was heard of lately and moves.
    pub fn lives(&self, now: Instant, address: Ipv4Addr) -> bool {
        self.known.iter().any(|rival| rival.address == address && rival.alive(now))
    }

    /// Whether anybody else is known to want this content.
    pub fn any(&self, now: Instant) -> bool {
        self.known.iter().any(|rival| rival.alive(now))
    }
}

/// Fetchers before claimants before wanters, then by rank.
fn key(standing: &Standing) -> (u8, Rank) {
    let state = match standing.state {
        State::Fetching => 2,
        State::Claiming => 1,
        _ => 0,
    };
    (state, standing.rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const NOW: Instant = Instant::ZERO;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn standing(state: State, rank: u8, available: u64) -> Standing {
        Standing { state, rank: Rank([rank; 16]), available, ..Standing::default() }
    }

    #[test]
    fn a_wanter_that_never_claims_is_passed_over() {
        let mut rivals = Rivals::default();
        let mut now = NOW;
        while now < NOW + WANTER_PATIENCE {
            rivals.handle_standing(now, address(1), standing(State::Wanting, 9, 0));
            assert!(rivals.best(now, &[State::Wanting], |_, _| true).is_some());
            now = now + Duration::from_millis(100);
        }
        rivals.handle_standing(now, address(1), standing(State::Wanting, 9, 0));
        assert!(rivals.best(now, &[State::Wanting], |_, _| true).is_none());
    }

    #[test]
    fn a_fetcher_lives_as_long_as_it_grows() {
        let mut rivals = Rivals::default();
        let mut now = NOW;
        for available in 0..100 {
            now = NOW + Duration::from_millis(500 * available);
            rivals.handle_standing(now, address(1), standing(State::Fetching, 9, available));
        }
        assert!(rivals.best(now, &[State::Fetching], |_, _| true).is_some());
        for _ in 0..6 {
            now = now + Duration::from_millis(500);
            rivals.handle_standing(now, address(1), standing(State::Fetching, 9, 99));
        }
        assert!(rivals.best(now, &[State::Fetching], |_, _| true).is_none());
    }

    #[test]
    fn silence_and_a_change_of_mind_both_end_a_rival() {
        let mut rivals = Rivals::default();
        rivals.handle_standing(NOW, address(1), standing(State::Claiming, 9, 0));
        assert!(!rivals.any(NOW + RIVAL_LIFETIME));
        rivals.handle_standing(NOW, address(1), standing(State::Idle, 9, 0));
        assert!(!rivals.any(NOW));
    }

    #[test]
    fn who_is_heard_of_no_more_keeps_no_place() {
        let mut rivals = Rivals::default();
        for n in 0..RIVALS as u8 {
            rivals.handle_standing(NOW, address(n), standing(State::Fetching, 0xff, 0));
        }
        let later = NOW + RIVAL_LIFETIME;
        rivals.handle_standing(later, address(100), standing(State::Wanting, 0, 0));
        assert!(rivals.any(later));
    }

    #[test]
    fn a_full_table_keeps_the_best_placed() {
        let mut rivals = Rivals::default();
        for n in 0..100 {
            rivals.handle_standing(NOW, address(n), standing(State::Wanting, n, 0));
        }
        rivals.handle_standing(NOW, address(200), standing(State::Fetching, 0, 0));
        assert_eq!(rivals.best(NOW, &[State::Wanting], |_, _| true).map(|(a, _)| a), Some(address(99)));
        assert_eq!(rivals.best(NOW, &[State::Fetching], |_, _| true).map(|(a, _)| a), Some(address(200)));
    }
}
