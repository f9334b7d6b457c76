//! Looks for a better source, and what becomes of two that have the same one.

use super::*;
use crate::limits::{LOOK_AFTER, LOOK_MAX, STEP_BACK};

/// An answer of device `last`, which has so much and feeds so many.
fn partial(last: u8, available: u64, active: u8) -> Answered {
    let mut answer = says(last, State::Partial, available, WORST);
    answer.standing.active = active;
    answer
}

/// Follows device 2 from the first byte and gets 5 MB of it in half a second; when.
fn fed(want: &mut Want, active: u8, from: Instant) -> Instant {
    assert!(matches!(round(want, from, &[partial(2, 1, active)]), Step::Follow { .. }));
    let mut now = from;
    for chunk in 1..=50 {
        now = now + Duration::from_millis(10);
        want.handle_progress(now, chunk * 100_000);
    }
    now
}

#[test]
fn a_slow_follower_moves_to_who_is_ahead_and_tries_the_next_when_that_one_is_full() {
    let mut want = want();
    let sources = [says(2, State::Partial, 50, WORST), says(3, State::Complete, 1 << 30, WORST)];
    assert!(matches!(round(&mut want, START, &sources[..1]), Step::Follow { .. }));
    let now = START + Duration::from_secs(1);
    assert!(want.poll_look(now, 12_500_000, Path::Wire));
    assert!(!want.poll_look(now, 12_500_000, Path::Wire));
    let better = [sources[0], sources[1], says(4, State::Complete, 1 << 30, WORST)];
    let random = &mut Random::from_seed([1; 16]);
    let first = want.handle_look(now, &better, HERE, random).expect("somebody is ahead");
    want.handle_moved(now, first, Err(SourceEnd::Busy));
    let second = want.handle_look(now, &better, HERE, random).expect("there is another one");
    assert_ne!(first, second);
    want.handle_moved(now, second, Ok(Standing { attempt: 1, ..Standing::default() }));
    assert!(matches!(want.poll(now, 3, START), Step::Follow { peer, .. } if peer == second));
}

#[test]
fn the_first_byte_is_of_the_attempt_of_whom_it_came_from() {
    let mut want = want();
    let (first, mut second) = (says(2, State::Partial, 50, WORST), says(3, State::Complete, 1 << 30, WORST));
    second.standing.attempt = 2;
    assert!(matches!(round(&mut want, START, &[first]), Step::Follow { .. }));
    let now = START + Duration::from_secs(1);
    assert!(want.poll_look(now, 12_500_000, Path::Wire));
    let better = want.handle_look(now, &[first, second], HERE, &mut Random::from_seed([1; 16]));
    assert_eq!(better, Some(peer(3)));
    want.handle_moved(now, peer(3), Ok(second.standing));
    want.handle_progress(now, 10);
    assert_eq!(want.standing(now, None, HERE).attempt, 2);
}

#[test]
fn a_peer_that_tells_the_most_transfers_that_can_be_told_is_not_taken_for_an_idle_one() {
    let mut want = want();
    let now = fed(&mut want, 20, START);
    // At 10 MB/s a few bytes ahead are not worth a move; a freer source would be.
    let look = |want: &mut Want, active| {
        let answers = [partial(2, 5_000_100, 20), partial(3, 5_000_050, active)];
        want.handle_look(now, &answers, HERE, &mut Random::from_seed([1; 16]))
    };
    assert_eq!(look(&mut want, u8::MAX), None);
    assert_eq!(look(&mut want, 18), Some(peer(3)));
}

/// Ten slow looks behind a source that feeds so many, with device 3 so far behind this one; until when it steps back, if it does.
fn steps_back(active: u8, lag: u64, condition: Condition) -> Option<(Want, Instant, Instant)> {
    let mut want = want();
    let mut now = fed(&mut want, active, START);
    for seed in 0..10 {
        let next = now + LOOK_MAX;
        while now < next {
            now = now + Duration::from_millis(50);
            want.handle_progress(now, want.offset() + 10_000);
        }
        assert!(want.poll_look(now, 12_500_000, Path::Wire));
        let answers = [partial(2, want.offset() + 100_000, active), partial(3, want.offset() - lag, 1)];
        assert_eq!(want.handle_look(now, &answers, condition, &mut Random::from_seed([seed; 16])), None);
        if want.source().is_none() {
            let Step::Wait { until } = want.poll(now, 3, START) else { panic!("it waits") };
            return Some((want, now, until));
        }
    }
    None
}

#[test]
fn of_two_that_keep_step_behind_one_source_one_lets_the_other_go_ahead_whatever_is_heard_meanwhile() {
    let (mut want, now, until) = steps_back(2, 1_000, HERE).expect("it does");
    assert!(until >= now + STEP_BACK && until <= now + STEP_BACK * 2);
    // Its own followers wait for it, and the fetcher's announcements bring nothing new.
    assert!(want.is_live());
    let fetcher = says(2, State::Fetching, 50_000_000, WORST);
    assert!(
        !want.takes_hint(now, &fetcher.standing) && !want.handle_standing(now, fetcher.peer, fetcher.standing, HERE)
    );
    assert_eq!(want.poll(now, 3, START), Step::Wait { until });
    // Then whoever feeds nobody and is ahead now.
    assert_eq!(want.poll(until, 3, START), Step::Query);
    let answers = [partial(2, 50_000_000, 1), partial(3, 40_000_000, 1), partial(4, 39_000_000, 0)];
    want.handle_round(until, Round { asked: 3, silent: 0 }, &answers, HERE, &mut Random::from_seed([1; 16]));
    assert!(matches!(want.poll(until, 3, START), Step::Follow { peer: to, .. } if to == peer(4)));
}

#[test]
fn nobody_steps_back_who_gains_nothing_by_it() {
    assert!(steps_back(1, 1_000, HERE).is_none(), "it has the source for itself");
    assert!(steps_back(2, 5_000_000, HERE).is_none(), "who is far behind is not soon ahead");
    let station = Condition { wired: false, ..HERE };
    assert!(steps_back(2, 1_000, station).is_none(), "a chain through the air is no faster");
}

#[test]
fn one_slow_look_is_no_reason_to_step_back() {
    let mut want = want();
    let now = fed(&mut want, 2, START) + LOOK_AFTER;
    assert!(want.poll_look(now, 12_500_000, Path::Wire));
    for seed in 0..10 {
        let answers = [partial(2, 9_000_000, 2), partial(3, 5_000_000, 1)];
        want.handle_look(now, &answers, HERE, &mut Random::from_seed([seed; 16]));
    }
    assert_eq!(want.source(), Some(peer(2)));
}
