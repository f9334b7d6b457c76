//! Wants: what the mind decides, what comes of it, and what the local client does.

use p2p_agent::content::{PublicId, Standing, State};
use p2p_agent::limits::{CONTENT_BYTES, WAIT_WITHOUT_BYTES};
use p2p_agent::time::Duration;
use p2p_agent::want::{Answered, Condition, Round, SourceEnd, Step};
use std::net::Ipv4Addr;

use super::super::bytes::Bytes;
use super::{Driver, standing};

impl Driver {
    /// What the client has, as the mind counts it.
    pub(super) fn offset(&self, id: PublicId) -> u64 {
        let condition = Condition {
            starved: false,
            may_fetch: true,
            wired: true,
            speed: 0,
            fetching: 0,
            wires: false,
            followed: true,
            crowded: false,
        };
        self.agent.want(id).map_or(0, |want| want.standing(self.now, None, condition).available)
    }

    /// What the mind wants to do; true: ask everybody.
    pub(super) fn step(&mut self, id: PublicId) -> bool {
        for _ in 0..3 {
            match self.agent.poll_want(self.now, id) {
                None => return false,
                Some(Step::Query) => return true,
                Some(Step::Wait { until }) if until <= self.now => {}
                Some(Step::Wait { until }) => {
                    assert!(until <= self.now + WAIT_WITHOUT_BYTES, "all waits end");
                    return false;
                }
                Some(Step::Follow { peer, .. }) => {
                    assert_eq!(self.followed.get(&id), Some(&peer), "somebody who was not chosen");
                    return false;
                }
                Some(Step::Fetch { .. }) => return false,
            }
        }
        panic!("a want that cannot say what to do")
    }

    pub(super) fn answers(&self, input: &mut Bytes<'_>) -> Vec<Answered> {
        let count = input.below(6);
        let mut answers: Vec<Answered> = Vec::new();
        for _ in 0..count {
            let peer = self.stranger(input);
            let (wired, delay) = (input.flag(), Duration::from_micros(u64::from(input.short())));
            let answered = Answered { peer, standing: standing(input), wired, delay };
            // One answer from each peer.
            if answers.iter().all(|other| other.peer != peer) {
                answers.push(answered);
            }
        }
        answers
    }

    pub(super) fn round(&mut self, input: &mut Bytes<'_>) {
        let id = self.content(input);
        if !self.step(id) && input.flag() {
            return;
        }
        let asked = self.agent.whom_to_ask(self.now, id);
        let peers = self.agent.discovery.peers();
        assert!(asked.iter().all(|peer| peers.routable().any(|known| known.addr == *peer)), "nobody is there");
        let answers = self.answers(input);
        let silent = input.below(4);
        let offset = self.offset(id);
        self.agent.handle_round(self.now, id, Round { asked: answers.len() + silent, silent }, &answers);
        if let Some(Step::Follow { peer, .. }) = self.agent.poll_want(self.now, id) {
            if self.followed.get(&id) != Some(&peer) {
                strictly_ahead(&answers, peer, offset);
                self.followed.insert(id, peer);
            }
        }
        for answer in &answers {
            let _ = self.agent.is_enough(self.now, id, answer);
            let _ = self.agent.is_worth_asking(self.now, id, answer.peer);
            assert!(self.agent.patience(answer.peer) <= Duration::from_millis(600));
        }
    }

    pub(super) fn look(&mut self, input: &mut Bytes<'_>) {
        let id = self.content(input);
        let _ = self.agent.poll_look(self.now, id);
        let answers = self.answers(input);
        let offset = self.offset(id);
        let Some(better) = self.agent.handle_look(self.now, id, &answers) else { return };
        strictly_ahead(&answers, better, offset);
        assert_ne!(self.followed.get(&id), Some(&better), "to itself");
        let moved = match input.below(3) {
            0 => Ok(Standing { attempt: 1 + u8::from(input.flag()), ..Standing::default() }),
            1 => Err(SourceEnd::Busy),
            _ => Err(SourceEnd::Cut),
        };
        if let Some(want) = self.agent.want_mut(id) {
            want.handle_moved(self.now, better, moved);
            if moved.is_ok() {
                self.followed.insert(id, better);
            }
        }
    }

    pub(super) fn client(&mut self, input: &mut Bytes<'_>) {
        let (id, now) = (self.content(input), self.now);
        let bytes = input.number(CONTENT_BYTES);
        let Some(want) = self.agent.want_mut(id) else { return };
        match input.below(5) {
            0 => want.handle_content_failed(now),
            1 => want.handle_response_end(now),
            2 => want.handle_release(now),
            3 => want.handle_size_in_doubt(),
            _ => want.handle_growth(now, bytes),
        }
    }
}

fn strictly_ahead(answers: &[Answered], peer: Ipv4Addr, offset: u64) {
    let answer = answers.iter().find(|answer| answer.peer == peer).expect("somebody who answered");
    let Standing { state, size, available, .. } = answer.standing;
    let ahead = match state {
        State::Complete => size.is_some_and(|size| offset < size || size == 0 && offset == 0),
        State::Idle => false,
        _ => available > offset,
    };
    assert!(ahead, "{:?} is not ahead of {offset}", answer.standing);
}
