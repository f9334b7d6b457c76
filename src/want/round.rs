//! What a query round showed: whom to follow, for whom to wait, or whether to claim.

use super::{Answered, Condition, Phase, Reason, Round, Scope, Want, choose};
use crate::content::State;
use crate::limits::{CROWD_CLAIM, QUEUE_APART, QUEUE_PATIENCE, QUEUE_STEP, WAIT_JITTER, WAIT_ROUND, WIRE_PATIENCE};
use crate::random::Random;
use crate::rank::relieves;
use crate::time::{Duration, Instant};

/// The place in the queue before sources that are all fed to their speed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    /// Since when it waits without a byte.
    since: Option<Instant>,
    /// Better placed devices that waited, too, when everybody was asked.
    place: u32,
    rounds: u32,
}

impl Queue {
    /// A source had no room.
    pub fn handle_refusal(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A byte came.
    pub fn handle_progress(&mut self) {
        (self.since, self.rounds) = (None, 0);
    }

    /// The client asks anew.
    pub fn restart(&mut self) {
        self.place = 0;
    }

    /// Whether it is too long now: whoever has a slot takes it, one after the other again.
    fn is_too_long(&self, now: Instant) -> bool {
        let turn = QUEUE_APART * self.place.min(2);
        self.since.is_some_and(|since| now.since(since) >= QUEUE_PATIENCE + turn)
    }

    /// How long to wait before asking again: one after the other, best placed first, joins whoever has got something meanwhile.
    fn pause(&mut self) -> Duration {
        let turn = QUEUE_STEP.saturating_mul(self.place.saturating_add(1)).min(WAIT_ROUND * 4);
        let pause = turn.max((QUEUE_STEP / 4).saturating_mul(self.rounds).min(WAIT_ROUND));
        self.rounds = self.rounds.saturating_add(1);
        pause
    }
}

impl Want {
    /// A query round is over; `answers` are the proven ones.
    pub fn handle_round(
        &mut self,
        now: Instant,
        round: Round,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) {
        let certain = self.bytes.certain_size();
        let fits =
            |answer: &&Answered| certain.is_none() || answer.standing.size.is_none_or(|size| Some(size) == certain);
        let answers = || answers.iter().filter(fits);
        for answer in answers() {
            self.hear(now, answer.peer, answer.standing);
        }
        let claimed = match self.phase {
            Phase::Asked => false,
            Phase::Claimed => true,
            // Something heard meanwhile has already decided.
            _ => return,
        };
        self.search.handle_company(answers().count() > 1);
        let (offset, attempt) = (self.bytes.offset, self.bytes.attempt);
        if let Some(source) = choose(answers(), offset, attempt, condition.wired, &self.avoided, now, random) {
            let alternative = self.search.elsewhere && !self.queue.is_too_long(now);
            self.follow(now, source.peer, alternative, &source.standing);
            return;
        }
        let own = self.standing(now, None, condition).rank;
        let everybody = self.search.scope == Scope::All || claimed;
        // Every source is fed to its speed.
        let sources = self.search.scope == Scope::Few || answers().any(|answer| self.is_source(answer));
        if self.trouble == Some(Reason::AllBusy) && sources {
            let ahead = |answer: &&Answered| answer.standing.state == State::Wanting && answer.standing.rank > own;
            if everybody {
                self.queue.place = u32::try_from(answers().filter(ahead).count()).unwrap_or(u32::MAX);
            }
            let pause = self.queue.pause();
            return self.wait(now, pause, QUEUE_STEP, random);
        }
        // A fetcher and, for who merely wants, a claimant go first whatever their rank: the lease is theirs unless they yield.
        let best = |states: &[State]| self.rivals.best(now, states, |peer, standing| self.counts(now, peer, standing));
        let fetcher = best(&[State::Fetching]).is_some();
        let claimant = best(&[State::Claiming]).is_some_and(|(_, s)| !claimed || s.rank > own);
        let wanter = !claimed && best(&[State::Wanting]).is_some_and(|(_, s)| s.rank > own);
        let taken = fetcher || claimant || wanter;
        if !taken && !everybody {
            self.search.handle_undecided();
            self.enter(now, Phase::Ask);
            return;
        }
        // A source that is only avoided for a moment is worth waiting for.
        let is_brief = matches!(self.trouble, Some(Reason::AllBusy) | None);
        let resting = is_brief && answers().any(|answer| self.is_source(answer));
        // Those for whom this device stepped back still have to notice.
        let heirs = |answer: &Answered| relieves(answer.standing.rank, own) && answer.standing.state != State::Idle;
        let stepping_back = self.lease.is_stepping_back && answers().any(heirs);
        // Whoever may not fetch for the others gives those who may the time to ask, while anybody is there at all.
        let waiting_for_others = !condition.may_fetch && (self.rivals.any(now) || round.silent < round.asked);
        let for_wire = !claimed && self.waits_for_wire(now, condition);
        if taken || resting || stepping_back || waiting_for_others || for_wire {
            self.wait(now, WAIT_ROUND, WAIT_JITTER, random);
        } else if !claimed {
            // Who cannot ask everybody lets everybody's announcements come first.
            let listening = if condition.crowded { CROWD_CLAIM } else { Duration::ZERO };
            self.enter(now, Phase::Claim { until: now + listening });
        } else {
            let alone =
                if round.asked > 0 && round.silent == round.asked { Reason::Timeout } else { Reason::NobodyHasIt };
            let reason = if self.rivals.any(now) { Reason::Elected } else { alone };
            self.hold(now, self.trouble.unwrap_or(reason));
        }
    }

    fn wait(&mut self, now: Instant, pause: Duration, jitter: Duration, random: &mut Random) {
        let jitter = Duration::from_micros(random.below(jitter.as_micros() as u64));
        self.enter(now, Phase::Wait { until: now + pause + jitter });
    }

    /// A station gives the wired devices that are there the time to ask: once for each content, and only from the start.
    fn waits_for_wire(&mut self, now: Instant, condition: Condition) -> bool {
        if condition.wired || !condition.wires || self.bytes.offset > 0 {
            return false;
        }
        let since = *self.wire_awaited_since.get_or_insert(now);
        now.since(since) < WIRE_PATIENCE
    }

    /// Whether it has just given up waiting for a wired device.
    pub fn waited_in_vain_for_wire(&self, now: Instant) -> bool {
        let claims = matches!(self.phase, Phase::Claim { .. });
        claims && self.wire_awaited_since.is_some_and(|since| now.since(since) >= WIRE_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_too_long_comes_behind_the_better_placed_by_a_turn_and_nobody_by_more_than_two() {
        let since = Instant::from_micros(9_000_000);
        let too_long = |place, waited| Queue { since: Some(since), place, rounds: 0 }.is_too_long(since + waited);
        for (place, turns) in [(0, 0), (1, 1), (2, 2), (19, 2)] {
            let due = QUEUE_PATIENCE + QUEUE_APART * turns;
            assert!(too_long(place, due) && !too_long(place, due - Duration::from_millis(1)), "place {place}");
        }
    }
}
