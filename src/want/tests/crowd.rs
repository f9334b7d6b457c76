//! Sites with more devices than one can ask.

use super::*;
use crate::limits::CROWD_CLAIM;

const CROWDED: Condition = Condition { crowded: true, ..HERE };

/// A want that has asked everybody it knows and found nobody.
fn claiming() -> Want {
    let mut want = want();
    assert_eq!(want.poll(START, 3, START), Step::Query);
    want.handle_round(START, Round { asked: 3, silent: 0 }, &[], CROWDED, &mut Random::from_seed([1; 16]));
    want
}

#[test]
fn in_a_crowd_a_claim_lasts_until_everybody_has_announced_itself_once_more() {
    let mut want = claiming();
    assert_eq!(until(want.poll(START, 3, START)), START + CROWD_CLAIM);
    assert_eq!(want.poll_announce(START, CROWDED).map(|standing| standing.state), Some(State::Claiming));
    // Another claim was heard meanwhile; its device is nobody whom a round would ask.
    let better = says(9, State::Claiming, 0, BEST);
    assert!(want.takes_hint(START, &better.standing));
    assert!(!want.handle_standing(START, better.peer, better.standing, CROWDED));
    let now = START + CROWD_CLAIM;
    assert_eq!(want.poll(now, 3, START), Step::Query);
    want.handle_round(now, Round::default(), &[], CROWDED, &mut Random::from_seed([1; 16]));
    assert!(until(want.poll(now, 3, START)) > now);
    assert_eq!(want.standing(now, None, CROWDED).state, State::Wanting);
}

#[test]
fn a_claim_that_is_held_out_ends_as_soon_as_somebody_has_bytes() {
    let mut want = claiming();
    until(want.poll(START, 3, START));
    let ahead = says(9, State::Fetching, 10, WORST);
    assert!(want.handle_standing(START, ahead.peer, ahead.standing, CROWDED));
    assert_eq!(want.poll(START, 3, START), Step::Query);
}

#[test]
fn who_yields_still_heeds_announcements_until_its_client_asks_again() {
    let mut want = fetching_want();
    let now = START + Duration::from_millis(100);
    let first = says(2, State::Fetching, 0, BEST);
    want.handle_standing(now, first.peer, first.standing, HERE);
    assert!(!want.is_fetching());
    // The one for which it yielded yields to a third.
    let third = says(3, State::Fetching, 0, BEST);
    assert!(want.takes_hint(now, &third.standing));
    want.handle_standing(now, third.peer, third.standing, HERE);
    want.handle_standing(now, first.peer, says(2, State::Wanting, 0, WORST).standing, HERE);
    want.handle_request(now, 0, None);
    let silent = Round { asked: 3, silent: 0 };
    assert_eq!(want.poll(now, 3, START), Step::Query);
    want.handle_round(now, silent, &[], HERE, &mut Random::from_seed([1; 16]));
    until(want.poll(now, 3, START));
}
