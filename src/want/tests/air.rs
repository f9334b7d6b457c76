//! Wi-Fi stations and wires.

use super::*;
use crate::limits::{FETCHER_LOOK, LOOK_AFTER, WIRE_PATIENCE};

const STATION: Condition = Condition { wired: false, wires: true, ..HERE };

fn over_air(answer: Answered) -> Answered {
    Answered { wired: false, ..answer }
}

/// One round of a station.
fn station_round(want: &mut Want, now: Instant, answers: &[Answered], condition: Condition) -> Step {
    assert_eq!(want.poll(now, 3, START), Step::Query);
    want.handle_round(now, Round { asked: 3, silent: 0 }, answers, condition, &mut Random::from_seed([1; 16]));
    want.poll(now, 3, START)
}

/// A station that follows device `source`.
fn station_behind(source: Answered) -> Want {
    let mut want = want();
    assert!(matches!(station_round(&mut want, START, &[source], STATION), Step::Follow { .. }));
    want
}

#[test]
fn a_station_lets_the_wired_devices_go_first_for_two_seconds_and_once() {
    let mut want = want();
    let mut now = START;
    while let Step::Wait { until } = station_round(&mut want, now, &[], STATION) {
        now = until;
    }
    assert!(now >= START + WIRE_PATIENCE && now < START + WIRE_PATIENCE * 3 / 2, "{now:?}");
    assert_eq!(want.standing(now, None, STATION).state, State::Claiming);
    // Nobody waits where no wired device is, or when the bytes stopped in the middle.
    let no_wires = Condition { wires: false, ..STATION };
    assert_eq!(station_round(&mut super::want(), START, &[], no_wires), Step::Query);
    let mut later = Want::new(START, NodeId([1; 8]), keys(), 1, None);
    assert_eq!(station_round(&mut later, START, &[], STATION), Step::Query);
}

#[test]
fn a_station_prefers_a_busy_wire_to_an_idle_station_and_a_wired_device_does_not() {
    let mut busy = says(2, State::Complete, 100, WORST);
    busy.standing.active = 7;
    let answers = [busy, over_air(says(3, State::Complete, 100, WORST))];
    let step = station_round(&mut want(), START, &answers, STATION);
    assert!(matches!(step, Step::Follow { peer: chosen, .. } if chosen == peer(2)));
    assert!(matches!(round(&mut want(), START, &answers), Step::Follow { peer: chosen, .. } if chosen == peer(3)));
}

#[test]
fn a_station_that_a_station_feeds_looks_for_a_wire_and_for_nothing_else_while_it_keeps_up() {
    let source = over_air(says(2, State::Complete, 1 << 30, WORST));
    let mut want = station_behind(source);
    let now = START + LOOK_AFTER;
    assert!(want.poll_look(now, 0, Path::Air) && !want.poll_look(now, 0, Path::Air));
    let other = over_air(says(3, State::Complete, 1 << 30, WORST));
    let wire = says(4, State::Partial, 1, WORST);
    let random = &mut Random::from_seed([1; 16]);
    assert_eq!(want.handle_look(now, &[source, other], STATION, random), None);
    assert_eq!(want.handle_look(now, &[source, other, wire], STATION, random), Some(peer(4)));
}

#[test]
fn a_station_that_a_wire_feeds_leaves_it_for_a_wire_only() {
    let source = says(2, State::Partial, 1 << 20, WORST);
    let mut want = station_behind(source);
    let now = START + LOOK_AFTER;
    assert!(want.poll_look(now, 12_500_000, Path::WireToAir), "it is slow");
    let station = over_air(says(3, State::Complete, 1 << 30, WORST));
    let random = &mut Random::from_seed([1; 16]);
    assert_eq!(want.handle_look(now, &[source, station], STATION, random), None);
    let wire = says(4, State::Complete, 1 << 30, WORST);
    assert_eq!(want.handle_look(now, &[source, station, wire], STATION, random), Some(peer(4)));
}

#[test]
fn a_fetcher_whom_nobody_follows_yields_when_somebody_near_it_is_fed_out_of_its_hearing() {
    let fed = |available| [says(2, State::Partial, available, WORST)];
    let unfollowed = Condition { followed: false, ..HERE };
    let mut now = START;
    let mut looks = |condition, lengths: [u64; 3]| {
        let mut want = fetching_want();
        for available in lengths {
            now = now + Duration::from_secs(1);
            want.handle_look(now, &fed(available), condition, &mut Random::from_seed([1; 16]));
        }
        want.is_fetching()
    };
    assert!(!looks(unfollowed, [10, 20, 30]));
    assert!(looks(unfollowed, [10, 10, 10]), "what a power cut left does not grow");
    assert!(looks(HERE, [10, 20, 30]), "its own followers get more, too");
}

#[test]
fn what_may_be_fed_out_of_a_fetchers_hearing_is_looked_at_again_soon() {
    let unfollowed = Condition { followed: false, ..HERE };
    let (mut want, mut now) = (fetching_want(), START);
    let next = |want: &mut Want, now: &mut Instant, answers: &[Answered]| {
        let since = *now;
        while !want.poll_look(*now, 0, Path::Wire) {
            *now = *now + Duration::from_millis(50);
        }
        want.handle_look(*now, answers, unfollowed, &mut Random::from_seed([1; 16]));
        now.since(since)
    };
    let alone: std::vec::Vec<Duration> = (0..4).map(|_| next(&mut want, &mut now, &[])).collect();
    assert!(alone.is_sorted() && alone[3] >= FETCHER_LOOK * 4, "{alone:?}");
    let there = [says(2, State::Partial, 10, WORST)];
    next(&mut want, &mut now, &there);
    assert!(next(&mut want, &mut now, &there) <= FETCHER_LOOK);
    // It does not grow: no reason to hurry any more.
    next(&mut want, &mut now, &there);
    assert!(next(&mut want, &mut now, &there) > FETCHER_LOOK);
}

#[test]
fn a_look_asks_every_device_once_however_many_refuse() {
    let source = says(100, State::Partial, 1, WORST);
    let mut want = want();
    assert!(matches!(round(&mut want, START, &[source]), Step::Follow { .. }));
    let now = START + LOOK_AFTER;
    let answers: std::vec::Vec<Answered> =
        (0..50).map(|last| says(last, State::Complete, 1 << 30, WORST)).chain([source]).collect();
    for _ in 0..2 {
        let now = now + LOOK_AFTER;
        assert!(
            want.poll_look(now, 12_500_000, Path::Wire) || want.poll_look(now + LOOK_AFTER, 12_500_000, Path::Wire)
        );
        let mut asked = std::collections::BTreeSet::new();
        while let Some(peer) = want.handle_look(now, &answers, HERE, &mut Random::from_seed([1; 16])) {
            assert!(asked.insert(peer), "{peer} again");
            want.handle_moved(now, peer, Err(SourceEnd::Busy));
        }
        assert_eq!(asked.len(), 50);
    }
}
