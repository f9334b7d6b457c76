//! Looking round while bytes come: for a better source, or for another fetcher.

use core::net::Ipv4Addr;

use super::{Answered, Condition, Path, Phase, SourceEnd, Want, choose};
use crate::content::{Standing, State};
use crate::limits::{PEERS, STEP_BACK, WAITS_IN_VAIN};
use crate::random::Random;
use crate::time::{Duration, Instant};

/// What the looks round showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Answers of the present look, by their place, whose devices were asked already.
    tried: u128,
    /// At the last look of a fetcher: who is furthest without fetching, and how far.
    fed: Option<(Ipv4Addr, u64)>,
}

impl Want {
    /// While a source is followed or the lease is held: whether to ask every peer now and hand the answers to
    /// [`Want::handle_look`](super::Want::handle_look). A follower looks when it is much slower than the front, or than `best`; a fetcher looks for another
    /// one that it did not hear.
    pub fn poll_look(&mut self, now: Instant, best: u64, path: Path) -> bool {
        let due = match self.phase {
            Phase::Follow { .. } => self.pace.poll_follower(now, self.bytes.offset, best.max(self.pace.best()), path),
            Phase::Hold { .. } | Phase::Lost { .. } => self.lease.is_told && self.pace.poll_fetcher(now),
            _ => false,
        };
        if due {
            self.look.tried = 0;
        }
        due
    }

    /// What the look showed: whom to follow instead, if anybody. After a refusal the same answers show the next one. Where this
    /// device has to let another one go ahead first, [`Want::source`](super::Want::source) is nobody afterwards.
    pub fn handle_look(
        &mut self,
        now: Instant,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) -> Option<Ipv4Addr> {
        let Phase::Follow { peer, .. } = self.phase else {
            for answer in answers {
                let _ = self.handle_standing(now, answer.peer, answer.standing, condition);
            }
            self.yield_to_unheard(now, answers, condition);
            return None;
        };
        let Some(better) = self.better(now, peer, answers, condition, random) else {
            if self.keeps_step(now, peer, answers, condition) && random.below(2) == 0 {
                let pause = random.below(STEP_BACK.as_micros() as u64);
                self.enter(now, Phase::StepBack { until: now + STEP_BACK + Duration::from_micros(pause) });
            }
            return None;
        };
        self.look.tried |= bit(answers, better);
        Some(better)
    }

    /// Whether this device shares its source with one that has as much, so that neither is ahead and could feed the other, and
    /// each gets half: unless one of them lets the other go ahead. Chance says which.
    fn keeps_step(&self, now: Instant, peer: Ipv4Addr, answers: &[Answered], condition: Condition) -> bool {
        let is_shared = |answer: &Answered| answer.peer == peer && answer.standing.active > 1;
        let is_near = |standing: &Standing| standing.available.saturating_add(self.pace.worth(now)) > self.bytes.offset;
        let keeps_up = |answer: &Answered| {
            let Answered { peer: other, standing, .. } = answer;
            *other != peer
                && standing.state == State::Partial
                && is_near(standing)
                && !self.avoided.contains(now, *other)
        };
        // Through the air nothing is gained by a chain; and who has refused in this look had no room, which a pause does not change.
        let may_gain = condition.wired && self.look.tried == 0 && self.pace.is_stuck();
        may_gain && answers.iter().any(is_shared) && answers.iter().any(keeps_up)
    }

    /// Whom to follow instead of `peer`, of those that were not asked in this look.
    fn better(
        &self,
        now: Instant,
        peer: Ipv4Addr,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) -> Option<Ipv4Addr> {
        let source = answers.iter().find(|answer| answer.peer == peer);
        let station = !condition.wired;
        // A station that a wire feeds leaves it for a wire only: whatever slows it, a way through the air twice is no better.
        let kept = |answer: &&Answered| !station || answer.wired || source.is_some_and(|source| !source.wired);
        let fresh = |answer: &&Answered| answer.peer != peer && self.look.tried & bit(answers, answer.peer) == 0;
        let others = || answers.iter().filter(fresh).filter(kept);
        // One that another station feeds takes any wire that is ahead at all.
        if station && source.is_none_or(|source| !source.wired) {
            let wires = others().filter(|answer| answer.wired);
            if let Some(wire) = choose(wires, self.bytes.offset, self.bytes.attempt, false, &self.avoided, now, random)
            {
                return Some(wire.peer);
            }
            if self.pace.looks_for_wire() {
                return None;
            }
        }
        let offset = self.bytes.offset.saturating_add(self.pace.worth(now));
        if let Some(better) = choose(others(), offset, self.bytes.attempt, condition.wired, &self.avoided, now, random)
        {
            return Some(better.peer);
        }
        // Nobody is far ahead, but the source is crowded: behind the next one ahead that feeds fewer all go faster.
        let active = |answer: &&Answered| answer.standing.active;
        let crowd = source.as_ref().map_or(0, active);
        let freer = |answer: &&Answered| answer.standing.active.saturating_add(1) < crowd && self.is_source(answer);
        let open = others().filter(freer).filter(|answer| !self.avoided.contains(now, answer.peer));
        open.min_by_key(|answer| answer.standing.available).map(|next| next.peer)
    }

    /// A fetcher whom nobody follows, and somebody near it gets more and more: there is another fetcher, out of hearing.
    fn yield_to_unheard(&mut self, now: Instant, answers: &[Answered], condition: Condition) {
        let fed = |answer: &&Answered| {
            let Answered { peer, standing, .. } = answer;
            standing.state == State::Partial
                && standing.attempt == self.bytes.attempt
                && self.counts(now, *peer, standing)
        };
        let front = answers.iter().filter(fed).max_by_key(|answer| answer.standing.available);
        let front = front.map(|answer| (answer.peer, answer.standing.available));
        let before = core::mem::replace(&mut self.look.fed, front);
        // Who is there for the first time is looked at again soon: only the second look says whether it grows.
        if front.is_some_and(|now| before.is_none_or(|before| before.0 != now.0)) && !condition.followed {
            self.pace.handle_rival(now);
        }
        let grows = front.zip(before).is_some_and(|(now, before)| now.0 == before.0 && now.1 > before.1);
        if grows && self.is_fetching() && !condition.followed && self.dried < WAITS_IN_VAIN {
            self.lease.is_yielding = true;
            self.enter(now, Phase::Over);
        }
    }

    /// The better source, which stands like this, granted the bytes, or refused them.
    pub fn handle_moved(&mut self, now: Instant, to: Ipv4Addr, moved: Result<Standing, SourceEnd>) {
        let Phase::Follow { peer, .. } = self.phase else { return };
        match moved {
            Ok(standing) => {
                self.avoided.handle_end(now, peer, SourceEnd::Slow);
                self.follow(now, to, true, &standing);
            }
            // It may have room at the next look; there are more of them than can be avoided.
            Err(SourceEnd::Busy) => {}
            Err(end) => self.avoided.handle_end(now, to, end),
        }
    }

    /// The best rate at which this content came, in bytes per second.
    pub fn best_rate(&self) -> u64 {
        self.pace.best()
    }
}

/// The place of a device's answer as a bit; there are no more answers than peers.
fn bit(answers: &[Answered], peer: Ipv4Addr) -> u128 {
    let place = answers.iter().position(|answer| answer.peer == peer);
    place.and_then(|place| 1_u128.checked_shl(u32::try_from(place).ok()?)).unwrap_or(0)
}

const _: () = assert!(PEERS <= u128::BITS as usize);
