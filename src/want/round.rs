//! What a query round showed: whom to follow, for whom to wait, or whether to claim.

use core::net::Ipv4Addr;

use super::{Answered, Condition, Phase, Reason, Round, Scope, Want, choose};
use crate::content::State;
use crate::limits::{
    AWAITED, CROWD_CLAIM, FEW, FEW_IN_A_ROW, QUEUE_PATIENCE, QUEUE_STEP, WAIT_JITTER, WAIT_ROUND, WIRE_PATIENCE,
};
use crate::random::Random;
use crate::rank::relieves;
use crate::time::{Duration, Instant};

impl Want {
    /// Whether a round may begin with a few: those find a source, or confirm somebody to wait for. Whether to claim is decided only by asking
    /// everybody, and so does whoever looks round while bytes flow: that is rare.
    pub fn may_ask_few(&self) -> bool {
        self.phase == Phase::Asked && self.few_left > 0
    }

    /// Those whom this device waits for: they are asked again with the few.
    pub fn awaited(&self, now: Instant, is_there: impl Fn(Ipv4Addr) -> bool) -> heapless::Vec<Ipv4Addr, FEW> {
        if !(self.may_ask_few() && self.asked_all) {
            return heapless::Vec::new();
        }
        let awaited: heapless::Vec<_, AWAITED> =
            self.rivals.first(now, |peer| is_there(peer) && !self.avoided.is_distrusted(now, peer));
        awaited.into_iter().collect()
    }

    /// Whether a source is to be hoped for there: nobody to leave alone for now.
    pub fn may_be_asked_first(&self, now: Instant, peer: Ipv4Addr) -> bool {
        !self.avoided.contains(now, peer)
    }

    /// Whom the next round asks where there are few, or none, of whom a source is likely.
    pub fn scope(&self, any_likely: bool) -> Scope {
        let queues = self.trouble == Some(Reason::AllBusy) && self.phase == Phase::Asked;
        match any_likely && self.may_ask_few() {
            true => Scope::Few,
            false if queues && !self.must_ask_all => Scope::Wide,
            false => Scope::All,
        }
    }

    /// A round begins.
    pub fn handle_asked(&mut self, scope: Scope) {
        self.scope = scope;
        self.asked_all |= scope == Scope::All;
        self.must_ask_all &= scope != Scope::All;
        self.few_left = if scope == Scope::Few { self.few_left.saturating_sub(1) } else { FEW_IN_A_ROW };
    }

    /// Whether this answer alone lets the round end soon. Who fetches wants to hear from everybody.
    pub fn is_enough(&self, now: Instant, answered: &Answered) -> bool {
        let fetches = matches!(self.phase, Phase::Hold { .. });
        !fetches && self.is_known_source(answered) && !self.avoided.contains(now, answered.peer)
    }

    /// Whether to ask this peer at all: not who just fell silent, whose answer would only be waited for, or who altered what it sent.
    pub fn is_worth_asking(&self, now: Instant, peer: Ipv4Addr) -> bool {
        !self.avoided.is_distrusted(now, peer)
    }

    /// A query round is over; `answers` are the proven ones.
    pub fn handle_round(
        &mut self,
        now: Instant,
        round: Round,
        answers: &[Answered],
        condition: Condition,
        random: &mut Random,
    ) {
        let certain = self.size().filter(|_| self.size_is_certain);
        let fits =
            |answer: &&Answered| certain.is_none() || answer.standing.size.is_none_or(|size| Some(size) == certain);
        let answers = || answers.iter().filter(fits);
        for answer in answers() {
            self.rivals.handle_standing(now, answer.peer, answer.standing);
            if self.size().is_none() {
                self.size = answer.standing.size;
            }
        }
        let claimed = match self.phase {
            Phase::Asked => false,
            Phase::Claimed => true,
            // Something heard meanwhile has already decided.
            _ => return,
        };
        let partial = self.scope != Scope::All && !claimed;
        // Other devices that have the content, look for a source, or have just found one: with them a chain forms.
        let company = answers().count() > 1;
        self.elsewhere = company || self.scope == Scope::Few && self.elsewhere;
        if let Some(source) = choose(answers(), self.offset, self.attempt, condition.wired, &self.avoided, now, random)
        {
            let queued = self.queued_at.is_none_or(|at| now.since(at) < QUEUE_PATIENCE);
            let alternative = self.elsewhere && queued;
            self.source_attempt = source.standing.attempt;
            self.enter(now, Phase::Follow { peer: source.peer, alternative });
            return;
        }
        let own = self.standing(now, None, condition).rank;
        // Every source is fed to its speed: one after the other, best placed first, joins whoever has got something meanwhile.
        let still = self.scope == Scope::Few || answers().any(|answer| self.is_known_source(answer));
        if self.trouble == Some(Reason::AllBusy) && still {
            let ahead = |answer: &&Answered| answer.standing.state == State::Wanting && answer.standing.rank > own;
            if !partial {
                self.queue_place = u32::try_from(answers().filter(ahead).count()).unwrap_or(u32::MAX);
            }
            let pause = QUEUE_STEP.saturating_mul(self.queue_place.saturating_add(1)).min(WAIT_ROUND * 4);
            let pause = pause.max((QUEUE_STEP / 4).saturating_mul(self.queue_rounds).min(WAIT_ROUND));
            self.queue_rounds = self.queue_rounds.saturating_add(1);
            let jitter = random.below(QUEUE_STEP.as_micros() as u64);
            self.enter(now, Phase::Wait { until: now + pause + Duration::from_micros(jitter) });
            return;
        }
        // A fetcher and, for who merely wants, a claimant go first whatever their rank: the lease is theirs unless they yield.
        let best = |states: &[State]| self.rivals.best(now, states, |peer, standing| self.counts(now, peer, standing));
        let taken = best(&[State::Fetching]).is_some();
        let claimant = best(&[State::Claiming]).is_some_and(|(_, s)| !claimed || s.rank > own);
        let wanter = !claimed && best(&[State::Wanting]).is_some_and(|(_, s)| s.rank > own);
        if partial && !(taken || claimant || wanter) {
            // What they say decides nothing.
            (self.few_left, self.must_ask_all) = (0, true);
            self.enter(now, Phase::Ask);
            return;
        }
        // A source that is only avoided for a moment is worth waiting for.
        let resting = answers().any(|answer| answer.is_source(self.offset, self.attempt)) && self.trouble_is_brief();
        // Those for whom this device stepped back still have to notice.
        let heirs = |answer: &Answered| relieves(answer.standing.rank, own) && answer.standing.state != State::Idle;
        let stepping_back = self.stepping_back && answers().any(heirs);
        // Whoever may not fetch for the others gives those who may the time to ask, while anybody is there at all.
        let waiting_for_others = !condition.may_fetch && (self.rivals.any(now) || round.silent < round.asked);
        let for_wire = !claimed && self.waits_for_wire(now, condition);
        if taken || claimant || wanter || resting || stepping_back || waiting_for_others || for_wire {
            let jitter = random.below(WAIT_JITTER.as_micros() as u64);
            self.enter(now, Phase::Wait { until: now + WAIT_ROUND + Duration::from_micros(jitter) });
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

    pub(super) fn is_known_source(&self, answer: &Answered) -> bool {
        answer.is_source(self.offset, self.attempt)
    }

    /// A station gives the wired devices that are there the time to ask: once for each content, and only from the start.
    fn waits_for_wire(&mut self, now: Instant, condition: Condition) -> bool {
        if condition.wired || !condition.wires || self.offset > 0 {
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

    fn trouble_is_brief(&self) -> bool {
        matches!(self.trouble, Some(Reason::AllBusy) | None)
    }
}
