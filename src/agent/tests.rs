use super::*;
use crate::content::ContentMd5;
use crate::exchange::PeerRequest;
use crate::keys::{ContentKeys, DomainKey};
use crate::limits::{OFFENCES, WIDE, WIRE_PATIENCE, WIRES_UNWILLING};
use crate::slots::Admission;
use crate::time::Duration;
use crate::want::{Answered, Round, SourceEnd, Step};
use std::boxed::Box;

const NOW: Instant = Instant::from_micros(5_000_000);
const LINK: IfIndex = IfIndex(2);
const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn node(seed: u8, address: Ipv4Addr) -> Box<Agent> {
    let mut agent = Box::new(Agent::new("test", Random::from_seed([seed; 16])));
    agent.handle_interface_up(NOW, LINK, address, 24, true);
    agent
}

fn keys() -> ContentKeys {
    ContentKeys::derive(&DomainKey::open(), &ContentMd5([7; 16]))
}

#[test]
fn a_proven_query_makes_a_peer_and_its_replay_makes_nothing() {
    let (mut a, mut b) = (node(1, A), node(2, B));
    let query = a.ask(NOW, &keys(), A, B, Held::Nothing).query(&keys());
    let answered = b.handle_query(NOW, LINK, (A, B), &keys(), &query, || Held::Complete(9));
    assert!(answered.is_some());
    assert!(b.discovery.peers().routable().any(|peer| peer.addr == A));
    assert!(b.handle_query(NOW, LINK, (A, B), &keys(), &query, || Held::Complete(9)).is_none());
}

#[test]
fn nothing_is_known_of_what_is_neither_held_nor_wanted() {
    let (mut a, mut b) = (node(1, A), node(2, B));
    let query = a.ask(NOW, &keys(), A, B, Held::Nothing).query(&keys());
    assert!(b.handle_query(NOW, LINK, (A, B), &keys(), &query, || Held::Nothing).is_none());
}

#[test]
fn a_second_local_client_is_told_that_the_first_is_served() {
    let mut a = node(1, A);
    assert_eq!(a.handle_request(NOW, keys(), 0, None), Ok(()));
    assert_eq!(a.handle_request(NOW, keys(), 0, None), Err(Refused::AlreadyServed));
}

#[test]
fn idle_entries_make_room_and_busy_ones_do_not() {
    let mut a = node(1, A);
    let content = |n: usize| ContentKeys::derive(&DomainKey::open(), &ContentMd5([n as u8; 16]));
    for n in 0..WANTS {
        assert_eq!(a.handle_request(NOW, content(n), 0, None), Ok(()));
    }
    assert_eq!(a.handle_request(NOW, content(WANTS), 0, None), Err(Refused::Full));
    let id = content(3).id();
    a.want_mut(id).expect("it is there").handle_response_end(NOW);
    assert_eq!(a.handle_request(NOW, content(WANTS), 0, None), Ok(()));
    assert!(a.want(id).is_none());
}

#[test]
fn a_claim_is_announced_and_only_believed_after_a_query() {
    let (mut a, mut b) = (node(1, A), node(2, B));
    for (agent, peer) in [(&mut a, B), (&mut b, A)] {
        agent.discovery.handle_authenticated(NOW, LINK, peer);
        agent.handle_request(NOW, keys(), 0, None).expect("room");
        assert_eq!(agent.poll_want(NOW, keys().id()), Some(Step::Query));
        agent.handle_round(NOW, keys().id(), Round { asked: 1, silent: 0 }, &[]);
    }
    let claim = core::iter::from_fn(|| a.poll_transmit(NOW, Timestamp::default()))
        .find(|transmit| transmit.interface.is_none())
        .expect("a claim is broadcast");
    let hint = b.handle_datagram(NOW, Timestamp::default(), LINK, A, &claim.bytes);
    assert_eq!(hint, Some(Hint { id: keys().id(), interface: LINK, peer: A }));
    // Another one right behind it costs no second query.
    assert_eq!(b.handle_datagram(NOW, Timestamp::default(), LINK, A, &claim.bytes), None);
    // An own announcement that comes back is nothing, nor is a forged one.
    assert_eq!(a.handle_datagram(NOW, Timestamp::default(), LINK, B, &claim.bytes), None);
    let mut forged = claim.bytes;
    forged[100] ^= 1;
    assert_eq!(b.handle_datagram(NOW + Duration::from_secs(1), Timestamp::default(), LINK, A, &forged), None);
}

#[test]
fn a_peer_that_is_left_altogether_is_neither_asked_nor_heeded_but_still_served() {
    let (mut a, mut b) = (node(1, A), node(2, B));
    let other = ContentKeys::derive(&DomainKey::open(), &ContentMd5([8; 16]));
    b.handle_request(NOW, keys(), 0, None).expect("room");
    assert!(b.is_worth_asking(NOW, other.id(), A));
    for number in 0..OFFENCES {
        let id = PublicId([number as u8; 16]);
        let left = b.handle_source_end(NOW, id, A, SourceEnd::Corrupt);
        assert_eq!(left.is_some(), number + 1 == OFFENCES);
    }
    assert!(!b.is_worth_asking(NOW, other.id(), A) && !b.is_worth_asking(NOW, keys().id(), A));
    assert!(b.is_worth_asking(NOW, other.id(), Ipv4Addr::new(10, 0, 0, 3)));
    // Its word that it fetches would keep this device waiting.
    a.handle_report(NOW, keys(), 0, None);
    let query = a.ask(NOW, &keys(), A, B, Held::Part(5_000_000)).query(&keys());
    let PeerRequest::Query { asker, .. } = query else { panic!() };
    assert_eq!(asker.state, State::Fetching);
    let answered = b.handle_query(NOW, LINK, (A, B), &keys(), &query, || Held::Nothing);
    assert!(answered.is_some(), "it may take what it asks for");
    b.poll_want(NOW, keys().id());
    b.handle_round(NOW, keys().id(), Round { asked: 0, silent: 0 }, &[]);
    let standing = b.standing(NOW, keys().id(), Held::Nothing);
    assert_eq!(standing.state, State::Claiming, "nobody else counts");
}

/// B fetches, and its `.part` has grown by several MiB since that was last looked at; A reads it, and so is ahead of what was seen.
#[test]
fn who_reads_the_own_part_is_no_fetcher_that_is_ahead() {
    let (mut a, mut b) = (node(1, A), node(2, B));
    assert!(b.handle_report(NOW, keys(), 0, None));
    a.handle_request(NOW, keys(), 5_000_000, None).expect("room");
    let query = a.ask(NOW, &keys(), A, B, Held::Part(5_000_000)).query(&keys());
    b.handle_query(NOW, LINK, (A, B), &keys(), &query, || Held::Part(6_000_000)).expect("it is proven");
    assert!(b.handle_report(NOW, keys(), 6_000_000, None), "and goes on");
}

/// The client got all of it from peers, the agent found it wrong, and the `.part` is still there.
#[test]
fn a_whole_that_was_wrong_is_not_offered() {
    let mut a = node(1, A);
    a.handle_request(NOW, keys(), 0, Some(100)).expect("room");
    let want = a.want_mut(keys().id()).expect("it is there");
    want.handle_progress(NOW, 100);
    want.handle_content_failed(NOW);
    assert_eq!(a.standing(NOW, keys().id(), Held::Part(100)).available, 0);
    assert_eq!(a.admit(NOW, B, keys().id(), (0, false), Held::Part(100)), Admission::NotAhead);
    assert!(matches!(a.admit(NOW, B, keys().id(), (0, false), Held::Part(40)), Admission::Granted(_)), "a new one");
}

#[test]
fn a_late_timer_makes_the_device_rank_last_for_a_while() {
    let mut a = node(1, A);
    a.handle_request(NOW, keys(), 0, None).expect("room");
    let rested = a.standing(NOW, keys().id(), Held::Nothing).rank;
    a.handle_timeout(NOW, Timestamp::default(), Instant::from_micros(NOW.as_micros() - 500_000));
    assert!(a.standing(NOW, keys().id(), Held::Nothing).rank < rested);
    let later = NOW + STARVED_MEMORY;
    assert_eq!(a.standing(later, keys().id(), Held::Nothing).rank, rested);
}

/// A at address A and B at B find each other.
fn meet(a: &mut Agent, b: &mut Agent) {
    for turn in 0..8 {
        let (sender, receiver, address) = if turn % 2 == 0 { (&mut *a, &mut *b, A) } else { (&mut *b, &mut *a, B) };
        sender.handle_timeout(NOW, Timestamp::default(), Instant::ZERO);
        while let Some(transmit) = sender.poll_transmit(NOW, Timestamp::default()) {
            receiver.handle_datagram(NOW, Timestamp::default(), LINK, address, &transmit.bytes);
        }
    }
}

/// What A, a wired device with all of a content, says to a reader behind `wired` while it uploads at `percent` of its link's speed.
fn admission(wired: bool, percent: u64) -> Admission {
    admission_below(None, wired, percent)
}

/// The same where uploads may take `limit` per cent of the link.
fn admission_below(limit: Option<u64>, wired: bool, percent: u64) -> Admission {
    let mut a = node(1, A);
    let rate = 10_000_000;
    a.set_link_rate(rate);
    a.set_upload_limit(limit.map(|limit| rate * limit / 100));
    let mut b = Box::new(Agent::new("test", Random::from_seed([2; 16])));
    b.handle_interface_up(NOW, LINK, B, 24, wired);
    meet(&mut a, &mut b);
    let other = Ipv4Addr::new(10, 0, 0, 3);
    let Admission::Granted(slot) = a.admit(NOW, other, keys().id(), (0, true), Held::Complete(1 << 30)) else {
        panic!()
    };
    let mut now = NOW;
    for _ in 0..50 {
        now = now + Duration::from_millis(20);
        a.slots.handle_progress(now, slot, rate / 50 * percent / 100);
    }
    a.admit(now, B, keys().id(), (0, true), Held::Complete(1 << 30))
}

#[test]
fn a_wire_that_is_not_full_takes_one_more_station_and_no_wired_reader_that_can_go_elsewhere() {
    assert!(matches!(admission(false, 75), Admission::Granted(_)));
    assert!(matches!(admission(true, 75), Admission::Full));
    assert!(matches!(admission(true, 40), Admission::Granted(_)));
    assert!(matches!(admission(false, 95), Admission::Full));
}

#[test]
fn a_source_that_is_fed_to_its_upload_limit_has_no_room_for_who_can_go_elsewhere() {
    assert!(matches!(admission_below(Some(50), true, 40), Admission::Full));
    assert!(matches!(admission_below(Some(50), true, 20), Admission::Granted(_)));
}

#[test]
fn a_station_that_waited_in_vain_for_a_wire_does_not_wait_for_one_again_soon() {
    let mut a = Box::new(Agent::new("test", Random::from_seed([1; 16])));
    a.handle_interface_up(NOW, LINK, A, 24, false);
    meet(&mut a, &mut node(2, B));
    assert!(a.condition(NOW).wires);
    a.handle_request(NOW, keys(), 0, None).expect("room");
    let mut now = NOW;
    while a.standing(now, keys().id(), Held::Nothing).state == State::Wanting {
        match a.poll_want(now, keys().id()) {
            Some(Step::Query) => a.handle_round(now, keys().id(), Round { asked: 1, silent: 0 }, &[]),
            Some(Step::Wait { until }) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(now >= NOW + WIRE_PATIENCE);
    assert!(!a.condition(now).wires && a.condition(now + WIRES_UNWILLING).wires);
}

#[test]
fn a_few_are_asked_first_where_some_are_known_and_everybody_before_a_claim() {
    let mut a = node(1, A);
    let others: std::vec::Vec<Ipv4Addr> = (2..30).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    others.iter().for_each(|peer| a.discovery.handle_authenticated(NOW, LINK, *peer));
    let id = keys().id();
    assert!(a.handle_wanted_soon(NOW, &keys()));
    let holder = Standing { state: State::Complete, size: Some(9), available: 9, attempt: 1, ..Standing::default() };
    a.handle_surveyed(id, B, &holder);
    a.handle_request(NOW, keys(), 0, None).expect("room");
    assert_eq!(a.poll_want(NOW, id), Some(Step::Query));
    assert_eq!(a.whom_to_ask(NOW, id), [B]);
    // It is gone; what the few said decides nothing, and it is not asked first again.
    a.handle_round(NOW, id, Round { asked: 1, silent: 1 }, &[]);
    assert_eq!(a.standing(NOW, id, Held::Nothing).state, State::Wanting);
    assert_eq!(a.poll_want(NOW, id), Some(Step::Query));
    assert_eq!(a.whom_to_ask(NOW, id).len(), others.len());
    a.handle_round(NOW, id, Round { asked: others.len(), silent: 1 }, &[]);
    assert_eq!(a.standing(NOW, id, Held::Nothing).state, State::Claiming);
    // Whoever was heard meanwhile changes nothing about who is asked before the lease is held.
    a.handle_surveyed(id, B, &holder);
    assert_eq!(a.poll_want(NOW, id), Some(Step::Query));
    assert_eq!(a.whom_to_ask(NOW, id).len(), others.len());
}

#[test]
fn while_only_room_is_missing_a_part_is_asked_and_the_lease_never_decided_by_it() {
    let mut a = node(1, A);
    let others: std::vec::Vec<Ipv4Addr> = (2..60).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    others.iter().for_each(|peer| a.discovery.handle_authenticated(NOW, LINK, *peer));
    let id = keys().id();
    let standing = Standing { state: State::Complete, size: Some(9), available: 9, attempt: 1, ..Standing::default() };
    let answer = Answered { peer: B, standing, wired: true, delay: Duration::ZERO };
    a.handle_request(NOW, keys(), 0, None).expect("room");
    assert_eq!(a.poll_want(NOW, id), Some(Step::Query));
    assert_eq!(a.whom_to_ask(NOW, id).len(), others.len());
    a.handle_round(NOW, id, Round { asked: others.len(), silent: 0 }, &[answer]);
    assert!(matches!(a.poll_want(NOW, id), Some(Step::Follow { .. })));
    let _ = a.handle_source_end(NOW, id, B, SourceEnd::Busy);
    assert_eq!(a.poll_want(NOW, id), Some(Step::Query));
    let asked = a.whom_to_ask(NOW, id);
    assert_eq!(asked.len(), WIDE);
    // None of them has anything: the holder may have gone.
    a.handle_round(NOW, id, Round { asked: WIDE, silent: 0 }, &[]);
    assert_eq!(a.poll_want(NOW, id), Some(Step::Query));
    assert_eq!(a.whom_to_ask(NOW, id).len(), others.len());
    assert_eq!(a.standing(NOW, id, Held::Nothing).state, State::Wanting);
}
