use super::*;
use crate::content::{ContentMd5, Rank, Standing, State};
use crate::keys::DomainKey;
use crate::limits::{AVOID_BUSY, LEASE_STALL, QUEUE_PATIENCE, QUEUE_STEP, WAIT_ROUND};
use crate::random::Random;
use crate::rank::Standpoint;
use crate::time::Duration;

mod air;
mod bytes;
mod chain;
mod crowd;

const START: Instant = Instant::from_micros(1_000_000);
const HERE: Condition = Condition {
    starved: false,
    may_fetch: true,
    wired: true,
    speed: 23,
    fetching: 0,
    wires: false,
    followed: true,
    crowded: false,
};
/// The best link and tie-break that a device without a byte can have.
const BEST: Rank = Rank([1, 1, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
const WORST: Rank = Rank([0; 16]);

fn keys() -> ContentKeys {
    ContentKeys::derive(&DomainKey::open(), &ContentMd5([7; 16]))
}

fn want() -> Want {
    Want::new(START, NodeId([1; 8]), keys(), 0, None)
}

fn peer(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn says(last: u8, state: State, available: u64, rank: Rank) -> Answered {
    let size = (state == State::Complete).then_some(available);
    let standing = Standing { state, size, available, rank, attempt: 1, active: 0 };
    Answered { peer: peer(last), standing, wired: true, delay: Duration::from_millis(1) }
}

/// Polls, answers the query with `answers`, and polls again.
fn round(want: &mut Want, now: Instant, answers: &[Answered]) -> Step {
    assert_eq!(want.poll(now, 3, START), Step::Query);
    want.handle_round(now, Round { asked: 3, silent: 0 }, answers, HERE, &mut Random::from_seed([1; 16]));
    want.poll(now, 3, START)
}

fn until(step: Step) -> Instant {
    match step {
        Step::Wait { until } => until,
        other => panic!("{other:?}"),
    }
}

fn fetching_want() -> Want {
    let mut want = want();
    let now = START;
    assert_eq!(round(&mut want, now, &[]), Step::Query);
    want.handle_round(now, Round::default(), &[], HERE, &mut Random::from_seed([1; 16]));
    assert!(matches!(want.poll(now, 3, START), Step::Fetch { .. }));
    want.handle_told(now, HERE);
    want.handle_response_end(now);
    want
}

#[test]
fn a_holder_is_followed_after_one_round() {
    let mut want = want();
    let step = round(&mut want, START, &[says(2, State::Complete, 100, WORST)]);
    assert_eq!(step, Step::Follow { peer: peer(2), alternative: false });
    assert_eq!(want.size(), Some(100));
}

#[test]
fn who_has_company_can_wait_for_a_chain() {
    // One that has just found a source has nothing yet, but will.
    for state in [State::Idle, State::Wanting] {
        let step = round(&mut want(), START, &[says(2, State::Complete, 100, WORST), says(3, state, 0, WORST)]);
        assert_eq!(step, Step::Follow { peer: peer(2), alternative: true });
    }
}

#[test]
fn nobody_there_is_told_as_soon_as_the_first_probes_went_unanswered() {
    let mut want = want();
    let settled = START + Duration::from_millis(600);
    assert_eq!(until(want.poll(START, 0, settled)), settled);
    assert_eq!(want.poll(settled, 0, settled), Step::Fetch { reason: Reason::NoPeers });
}

#[test]
fn who_ranks_best_claims_asks_once_more_and_fetches() {
    let mut want = want();
    let others = [says(2, State::Wanting, 0, WORST)];
    // The second query is the claim's round.
    assert_eq!(round(&mut want, START, &others), Step::Query);
    assert_eq!(want.standing(START, None, HERE).state, State::Claiming);
    want.handle_round(START, Round { asked: 1, silent: 0 }, &others, HERE, &mut Random::from_seed([1; 16]));
    assert_eq!(want.poll(START, 3, START), Step::Fetch { reason: Reason::Elected });
    assert_eq!(want.standing(START, None, HERE).state, State::Fetching);
}

#[test]
fn who_ranks_worse_waits_and_follows_the_fetcher_as_soon_as_it_is_ahead() {
    let mut want = want();
    let at = until(round(&mut want, START, &[says(2, State::Wanting, 0, BEST)]));
    let at = until(round(&mut want, at, &[says(2, State::Claiming, 0, BEST)]));
    until(round(&mut want, at, &[says(2, State::Fetching, 0, BEST)]));
    // A beacon's check: it has bytes now, no need to wait for the end of the pause.
    let ahead = says(2, State::Fetching, 10, BEST);
    assert!(want.handle_standing(at, ahead.peer, ahead.standing, HERE));
    assert_eq!(round(&mut want, at, &[ahead]), Step::Follow { peer: peer(2), alternative: false });
}

#[test]
fn a_claim_is_left_alone_by_a_better_placed_newcomer_but_not_by_a_better_claim() {
    // A newcomer that merely wants waits for whoever claims already, whatever its rank.
    let mut newcomer = want();
    until(round(&mut newcomer, START, &[says(2, State::Claiming, 0, WORST)]));
    // Of two claims the better one goes on.
    let mut claimant = want();
    assert_eq!(round(&mut claimant, START, &[]), Step::Query);
    let rival = [says(2, State::Claiming, 0, BEST)];
    claimant.handle_round(START, Round::default(), &rival, HERE, &mut Random::from_seed([1; 16]));
    until(claimant.poll(START, 3, START));
}

#[test]
fn a_wanter_that_does_not_move_is_passed_over_and_all_waits_end_in_six_seconds() {
    for (state, patience) in [(State::Wanting, 1_500), (State::Claiming, 3_000), (State::Fetching, 3_000)] {
        let mut want = want();
        let mut now = START;
        loop {
            match want.poll(now, 3, START) {
                Step::Query => {
                    let rival = [says(2, state, 0, BEST)];
                    want.handle_round(now, Round::default(), &rival, HERE, &mut Random::from_seed([1; 16]));
                }
                Step::Wait { until } => now = until,
                Step::Fetch { .. } => break,
                step @ Step::Follow { .. } => panic!("{step:?}"),
            }
        }
        let waited = now.since(START);
        assert!(waited >= Duration::from_millis(patience) && waited <= WAIT_WITHOUT_BYTES, "{state:?} {waited:?}");
    }
}

#[test]
fn a_source_that_fails_is_avoided_and_the_next_one_continues_at_the_byte_reached() {
    let mut want = want();
    let both = [says(2, State::Complete, 100, WORST), says(3, State::Complete, 100, WORST)];
    let Step::Follow { peer: first, alternative: true } = round(&mut want, START, &both) else { panic!() };
    want.handle_progress(START, 40);
    want.handle_source_end(START, first, SourceEnd::Stalled);
    let Step::Follow { peer: second, .. } = round(&mut want, START, &both) else { panic!() };
    assert_ne!(first, second);
    assert_eq!(want.standing(START, None, HERE).available, 40);
}

#[test]
fn busy_sources_are_asked_again_until_the_time_is_up() {
    let mut want = want();
    let mut now = START;
    loop {
        match want.poll(now, 3, START) {
            Step::Query => {
                let busy = [says(2, State::Complete, 100, WORST)];
                want.handle_round(now, Round::default(), &busy, HERE, &mut Random::from_seed([1; 16]));
            }
            Step::Follow { peer, .. } => want.handle_source_end(now, peer, SourceEnd::Busy),
            Step::Wait { until } => now = until,
            Step::Fetch { reason } => {
                assert_eq!(reason, Reason::AllBusy);
                break;
            }
        }
    }
    assert_eq!(now.since(START), WAIT_WITHOUT_BYTES);
}

#[test]
fn a_turn_that_comes_in_mid_relay_waits_for_the_repeated_request() {
    let mut want = want();
    let step = round(&mut want, START, &[says(2, State::Complete, 100, WORST)]);
    assert!(matches!(step, Step::Follow { .. }));
    want.handle_progress(START, 40);
    want.handle_source_end(START, peer(2), SourceEnd::Corrupt);
    assert_eq!(round(&mut want, START, &[]), Step::Query);
    want.handle_round(START, Round::default(), &[], HERE, &mut Random::from_seed([1; 16]));
    let Step::Fetch { reason } = want.poll(START, 3, START) else { panic!() };
    assert_eq!(reason, Reason::MacFailed);
    // The response is cut; the same reason answers the repeated request at once.
    want.handle_response_end(START);
    want.handle_request(START, 40, None);
    assert_eq!(want.poll(START, 3, START), Step::Fetch { reason });
    want.handle_told(START, HERE);
    want.handle_response_end(START);
    // Whoever asks once more gets a fresh look at the site.
    want.handle_request(START, 40, None);
    assert_eq!(want.poll(START, 3, START), Step::Query);
}

#[test]
fn of_two_fetchers_the_worse_placed_yields() {
    let mut better = fetching_want();
    let _ = better.handle_standing(START, peer(2), says(2, State::Fetching, 0, WORST).standing, HERE);
    assert!(better.handle_report(START, None, HERE));
    let mut worse = fetching_want();
    let _ = worse.handle_standing(START, peer(2), says(2, State::Fetching, 0, BEST).standing, HERE);
    assert!(!worse.handle_report(START, None, HERE));
}

#[test]
fn a_fetcher_hands_over_to_a_wanter_that_is_a_whole_step_ahead() {
    let ahead = Standpoint {
        starved: false,
        may_fetch: true,
        offset: 60 << 20,
        wired: true,
        speed: 23,
        fetching: 0,
        tie_break: [0; 8],
    };
    let mut fetcher = fetching_want();
    let _ = fetcher.handle_standing(START, peer(2), says(2, State::Wanting, 60 << 20, ahead.rank()).standing, HERE);
    assert!(!fetcher.handle_report(START, None, HERE));
}

#[test]
fn a_fetcher_announces_itself_and_loses_the_lease_when_it_does_not_move() {
    let mut want = fetching_want();
    let mut now = START;
    let mut beacons = 0;
    while want.is_fetching() {
        now = want.poll_timeout();
        want.handle_timeout(now);
        beacons += usize::from(want.poll_announce(now, HERE).is_some());
    }
    assert_eq!(now.since(START), LEASE_STALL);
    assert!((10..=16).contains(&beacons), "{beacons}");
    // It ranks last for a while: somebody else's turn.
    assert!(want.standing(now, None, HERE).rank < fetching_want().standing(now, None, HERE).rank);
}

#[test]
fn growth_keeps_the_lease() {
    let mut want = fetching_want();
    let mut now = START;
    for bytes in 1..20 {
        now = now + Duration::from_secs(2);
        want.handle_growth(now, bytes);
        want.handle_timeout(now);
        assert!(want.is_fetching());
    }
    want.handle_release(now);
    assert!(!want.is_fetching());
}

#[test]
fn a_metered_device_waits_for_others_and_holds_no_lease() {
    let metered = Condition { may_fetch: false, ..HERE };
    let mut want = want();
    assert_eq!(want.poll(START, 3, START), Step::Query);
    let other = [says(2, State::Wanting, 0, WORST)];
    want.handle_round(START, Round::default(), &other, metered, &mut Random::from_seed([1; 16]));
    until(want.poll(START, 3, START));
    // Also for somebody who does not want it yet: all are told within some seconds.
    let mut early = self::want();
    assert_eq!(early.poll(START, 3, START), Step::Query);
    early.handle_round(START, Round { asked: 3, silent: 2 }, &[], metered, &mut Random::from_seed([1; 16]));
    until(early.poll(START, 3, START));
    // Not where nobody answers.
    let mut lonely = self::want();
    assert_eq!(lonely.poll(START, 3, START), Step::Query);
    lonely.handle_round(START, Round { asked: 3, silent: 3 }, &[], metered, &mut Random::from_seed([1; 16]));
    assert!(!matches!(lonely.poll(START, 3, START), Step::Wait { .. }));
    // Alone it tells its client, which decides; it announces nothing.
    let mut alone = fetching_want();
    alone.handle_told(START, metered);
    alone.handle_response_end(START);
    let mut now = START;
    for _ in 0..200 {
        now = now + REASON_MEMORY / 60;
        alone.handle_timeout(now);
        assert!(alone.handle_report(now, None, metered), "its client goes on");
        assert!(!alone.is_fetching() && alone.poll_announce(now, metered).is_none());
        assert!(!alone.is_forgettable(now));
    }
    // Nor does a client that fetches without having asked.
    let mut unasked = self::want();
    unasked.handle_response_end(START);
    assert!(unasked.handle_report(START, None, metered) && !unasked.is_fetching());
}

#[test]
fn whose_origin_is_slow_goes_on_without_the_lease_until_somebody_is_ahead() {
    let later = START + LEASE_STALL;
    let lost = || {
        let mut want = fetching_want();
        want.handle_timeout(later);
        assert!(!want.is_fetching() && want.handle_report(later, None, HERE), "there is nobody to follow");
        want
    };
    // The first byte brings the lease back, and the rank: whoever began meanwhile has nothing yet.
    let mut late = lost();
    assert!(late.standing(later, None, HERE).rank < fetching_want().standing(later, None, HERE).rank);
    late.handle_growth(later, 5);
    assert!(late.is_fetching());
    assert_eq!(late.standing(later, None, HERE).rank, fetching_want().standing(later, None, HERE).rank);
    // Another one that has nothing either is no reason to stop; one that has bytes is, once it is known for sure.
    let mut followed = lost();
    let other = |available| says(2, State::Fetching, available, WORST).standing;
    assert!(!followed.takes_hint(later, &other(0)) && followed.takes_hint(later, &other(9)));
    let _ = followed.handle_standing(later, peer(2), other(0), HERE);
    assert!(followed.handle_report(later, None, HERE));
    let _ = followed.handle_standing(later, peer(2), other(9), HERE);
    assert!(!followed.handle_report(later, None, HERE));
}

#[test]
fn a_client_that_fetches_without_asking_is_known_as_a_fetcher() {
    let mut want = want();
    want.handle_response_end(START);
    assert!(want.handle_report(START, Some(9), HERE));
    assert!(want.is_fetching());
}

#[test]
fn entries_are_forgotten_a_minute_after_the_last_change() {
    let mut want = fetching_want();
    want.handle_release(START);
    assert!(!want.is_forgettable(START + REASON_MEMORY / 2));
    assert!(want.is_forgettable(START + REASON_MEMORY));
}

#[test]
fn a_corrupt_peer_is_remembered_beyond_the_reason() {
    let mut want = want();
    assert!(matches!(round(&mut want, START, &[says(2, State::Complete, 100, WORST)]), Step::Follow { .. }));
    want.handle_source_end(START, peer(2), SourceEnd::Corrupt);
    want.handle_response_end(START);
    assert!(!want.is_forgettable(START + REASON_MEMORY));
    assert!(want.is_forgettable(START + crate::limits::AVOID_CORRUPT));
}

#[test]
fn a_rank_beyond_the_bytes_that_a_device_has_moves_nobody() {
    let mut fetcher = fetching_want();
    let lie = says(2, State::Fetching, 0, Rank([255; 16]));
    let _ = fetcher.handle_standing(START, lie.peer, lie.standing, HERE);
    assert!(fetcher.handle_report(START, None, HERE));
    let mut wanter = want();
    assert_eq!(round(&mut wanter, START, &[lie]), Step::Query);
}

#[test]
fn a_fetcher_on_a_slow_link_steps_back_for_a_follower_on_a_fast_one_and_stays_behind_it() {
    let slow = Condition { speed: 20, ..HERE };
    let mut fetcher = fetching_want();
    fetcher.handle_growth(START, 500_000);
    let own = fetcher.standing(START, None, slow).rank;
    let follower = says(2, State::Partial, 490_000, fetcher.standing(START, None, HERE).rank);
    assert!(follower.standing.rank > own);
    let _ = fetcher.handle_standing(START, follower.peer, follower.standing, slow);
    assert!(!fetcher.handle_report(START, None, HERE));
    assert!(!fetcher.is_live());
    fetcher.handle_request(START, 500_000, None);
    assert_eq!(fetcher.poll(START, 3, START), Step::Query);
    fetcher.handle_round(START, Round::default(), &[follower], slow, &mut Random::from_seed([1; 16]));
    until(fetcher.poll(START, 3, START));
}

#[test]
fn the_rest_of_a_queue_comes_in_the_order_of_ranks_and_is_admitted_anywhere_after_a_while() {
    let (busy, company) = (says(2, State::Complete, 100, WORST), says(3, State::Wanting, 0, BEST));
    let mut want = want();
    let mut now = START;
    let waited = loop {
        match want.poll(now, 3, START) {
            Step::Query => {
                let answers = [busy, company];
                want.handle_round(now, Round::default(), &answers, HERE, &mut Random::from_seed([1; 16]));
            }
            Step::Follow { alternative: false, .. } => break now.since(START),
            Step::Follow { peer, .. } => want.handle_source_end(now, peer, SourceEnd::Busy),
            Step::Wait { until } => {
                // Behind one better placed device, and ever more patient.
                assert!(until.since(now) >= QUEUE_STEP * 2 && until.since(now) <= WAIT_ROUND + QUEUE_STEP);
                now = until;
            }
            Step::Fetch { reason } => panic!("{reason:?}"),
        }
    };
    assert!(waited >= QUEUE_PATIENCE && waited <= QUEUE_PATIENCE + AVOID_BUSY * 2, "{waited:?}");
}

/// The uplink is down: all fetch in turn, none has a byte, and when it is back one of them has to do it for all.
#[test]
fn who_waited_for_those_that_promised_nothing_still_yields() {
    let (mut want, mut now) = (want(), START);
    // One after the other, each for as long as it is believed.
    let fetcher = |now: Instant| says(2 + (now.since(START).as_micros() / 2_000_000) as u8, State::Fetching, 0, BEST);
    for _ in 0..2 {
        want.handle_request(now, 0, None);
        loop {
            match want.poll(now, 3, START) {
                Step::Query => {
                    let round = Round { asked: 3, silent: 0 };
                    want.handle_round(now, round, &[fetcher(now)], HERE, &mut Random::from_seed([1; 16]));
                }
                Step::Wait { until } => now = until,
                Step::Fetch { reason } => break assert_eq!(reason, Reason::Timeout),
                Step::Follow { .. } => panic!("there is nothing to follow"),
            }
        }
        want.handle_told(now, HERE);
        want.handle_response_end(now);
    }
    want.handle_growth(now, 5);
    let there = says(2, State::Fetching, 10, BEST);
    let _ = want.handle_standing(now, there.peer, there.standing, HERE);
    assert!(!want.handle_report(now, None, HERE), "and its client is told to follow");
}

/// Its bytes could not be continued, and those of the earlier attempt are not taken again.
#[test]
fn a_fetcher_in_another_attempt_is_neither_waited_for_nor_yielded_to() {
    let other = says(2, State::Fetching, 60 << 20, BEST);
    let mut fetcher = fetching_want();
    fetcher.handle_growth(START, 500_000);
    let later = Standing { attempt: 2, ..other.standing };
    let _ = fetcher.handle_standing(START, other.peer, later, HERE);
    assert!(fetcher.handle_report(START, None, HERE), "it goes on");
    let mut again = want();
    again.handle_progress(START, 9);
    again.handle_content_failed(START);
    again.handle_request(START, 0, None);
    assert_eq!(round(&mut again, START, &[other]), Step::Query, "it claims");
}

#[test]
fn whoever_was_left_dry_twice_yields_to_nobody_any_more() {
    let liar = says(2, State::Fetching, 60 << 20, BEST);
    let mut want = want();
    for _ in 0..2 {
        assert!(matches!(round(&mut want, START, &[liar]), Step::Follow { .. }));
        want.handle_source_end(START, liar.peer, SourceEnd::Stalled);
        want.avoided = Avoided::default();
    }
    let later = START + crate::limits::RIVAL_LIFETIME;
    assert_eq!(round(&mut want, later, &[]), Step::Query);
    want.handle_round(later, Round::default(), &[], HERE, &mut Random::from_seed([1; 16]));
    want.handle_told(later, HERE);
    want.handle_response_end(later);
    let _ = want.handle_standing(later, liar.peer, liar.standing, HERE);
    assert!(want.handle_report(later, None, HERE));
    // Its own download proves nothing about the others; bytes from one of them do.
    want.handle_growth(later, 5);
    assert_eq!(want.dried, 2);
}
