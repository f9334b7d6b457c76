//! Peers that are known, asked and listened to, and that do not keep to it: what they cost is bounded and what they say never
//! reaches a client (behaviours 19, 27, 45, 52).

use std::time::{Duration, Instant};

use p2p_agent::limits::{OFFENCES, RECORD_BYTES, RECORD_TIMEOUT};

use crate::lab::impostor::{Impostor, Lie};
use crate::lab::local::End;
use crate::lab::neighbour::Neighbour;
use crate::lab::{Agent, Content, Site};

/// An agent that knows one peer, which lies like this about the content.
fn with_liar(lie: Lie) -> (Site, Agent, Impostor, Content) {
    let site = Site::new();
    let content = Content::random(110, 300_000);
    let liar = Impostor::start(site.address(), site.port, &content, lie);
    let [agent] = [site.device()].map(|mut agent| {
        agent.start(&[]);
        agent.wait_for_peers(1);
        agent
    });
    (site, agent, liar, content)
}

#[test]
fn the_impostor_of_these_tests_is_believed_when_it_is_honest() {
    let (_site, agent, honest, content) = with_liar(Lie::None);
    agent.get(&content.path()).assert_is(&content.bytes);
    assert_eq!(honest.takes(), 1);
}

#[test]
fn a_peer_without_a_proof_of_the_content_is_not_asked_for_it() {
    let (_site, agent, liar, content) = with_liar(Lie::WrongProof);
    agent.get(&content.path()).assert_fetch(&["nobody-has-it", "timeout"]);
    assert_eq!(liar.takes(), 0);
}

#[test]
fn peers_that_never_answer_delay_the_advice_by_no_more_than_their_timeout() {
    let (_site, agent, _liar, content) = with_liar(Lie::Silence);
    let asked = Instant::now();
    agent.get(&content.path()).assert_fetch(&["timeout"]);
    // Two rounds of 300 ms; the rest is for a machine that does much else.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[test]
fn an_altered_record_never_reaches_the_client_and_its_peer_is_left() {
    let (_site, agent, liar, content) = with_liar(Lie::AlteredRecord);
    let mut reply = agent.get(&content.path());
    assert_eq!(reply.status, 200);
    let (body, end) = reply.rest();
    assert!(body == content.bytes[..RECORD_BYTES], "{} bytes", body.len());
    assert_eq!(end, End::Cut);
    assert_eq!(agent.metric("p2p_corrupt_total{what=\"record\"}"), 1);
    // It is not asked again; the client takes the rest from the internet.
    let _part = agent.begin_part(&content, RECORD_BYTES);
    agent.resume(&content.path(), RECORD_BYTES).assert_fetch(&["mac-failed", "nobody-has-it"]);
    assert_eq!(liar.takes(), 1);
}

#[test]
fn with_another_source_the_client_does_not_notice_a_liar() {
    for lie in [Lie::AlteredRecord, Lie::BreaksOff, Lie::OnlyHeartbeats, Lie::TooMuch, Lie::WrongProof] {
        let (site, agent, liar, content) = with_liar(lie);
        let mut honest = site.device();
        honest.start(&[]);
        honest.hold(&content);
        agent.wait_for_peers(2);
        // The honest one has something to do already, so that the liar is asked first.
        let kept = Content::random(111, 8 << 20);
        honest.hold(&kept);
        let mut reader = Neighbour::connect(site.address(), &honest).unwrap();
        reader.ask_and_take(&kept.keys(), 0).unwrap().unwrap();
        let mut reply = agent.get(&format!("{}?size={}", content.path(), content.bytes.len()));
        assert_eq!(reply.status, 200, "{lie:?}");
        reply.assert_is(&content.bytes);
        let asked = if matches!(lie, Lie::WrongProof | Lie::TooMuch) { 0 } else { 1 };
        assert_eq!(liar.takes(), asked, "{lie:?}");
    }
}

#[test]
fn a_source_that_only_says_that_it_is_alive_is_left_within_its_stall_time() {
    let (_site, agent, _liar, content) = with_liar(Lie::OnlyHeartbeats);
    let asked = Instant::now();
    let mut reply = agent.get(&content.path());
    let (body, end) = reply.rest();
    assert!(reply.status == 404 || (body.is_empty() && end == End::Cut));
    // Promised are 3 s for a source and 6 s for a request that gets no byte.
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
}

/// Whether they only say that they are alive, or give the beginning of a record for as long as one may take, with a header that
/// takes nearly as long: the first of four is left after 3 or 5 s, and whoever comes next has no more than what is left of the 6.
#[test]
fn however_many_stall_the_client_hears_in_time_that_it_has_to_fetch() {
    for lie in [Lie::OnlyHeartbeats, Lie::RecordTrickles, Lie::HeaderTrickles] {
        let site = Site::new();
        let mut device = site.device();
        device.start(&[]);
        let content = Content::random(116, 300_000);
        let liar = |_| Impostor::start(site.address(), site.port, &content, lie);
        let liars: Vec<_> = (0..4).map(liar).collect();
        device.wait_for_peers(liars.len());
        let asked = Instant::now();
        device.get(&content.path()).assert_fetch(&["stalled"]);
        // Two in turn would already take 6 or 10 s, and all of them 12 or 20.
        assert!(asked.elapsed() < Duration::from_secs(9), "{lie:?}: {:?}", asked.elapsed());
        assert!(liars.iter().map(Impostor::takes).sum::<usize>() >= 2, "{lie:?}");
    }
}

#[test]
fn a_holder_that_trickles_is_left_like_one_that_stalls() {
    for lie in [Lie::Trickles, Lie::RecordTrickles] {
        let (_site, agent, _liar, content) = with_liar(lie);
        let asked = Instant::now();
        let mut reply = agent.get(&content.path());
        let (body, end) = reply.rest();
        let took = asked.elapsed();
        // A 404 where nothing of the content had come.
        let beginning = content.bytes.starts_with(&body) && body.len() < RECORD_BYTES && end == End::Cut;
        assert!(reply.status == 404 || beginning, "{lie:?}: {} bytes, {end:?}", body.len());
        assert!(took < RECORD_TIMEOUT + Duration::from_secs(6), "{lie:?}: {took:?}");
    }
}

/// The present source waits meanwhile, so they get one moment together: between two pieces of the body one of them is tried, or a
/// second one at the end of that moment, not all in turn.
#[test]
fn peers_that_grant_nothing_are_not_waited_for_in_turn_while_a_better_source_is_looked_for() {
    let site = Site::new();
    let mut device = site.device();
    device.start(&[]);
    let content = Content::random(114, 8 << 20);
    let impostor = |lie| Impostor::start(site.address(), site.port, &content, lie);
    let _source = impostor(Lie::SlowsDown);
    let liars: Vec<_> = (0..6).map(|_| impostor(Lie::GrantsNothing)).collect();
    device.wait_for_peers(1 + liars.len());
    let mut reply = device.get(&content.path());
    assert!(!reply.at_least(1).is_empty());
    let tried = || liars.iter().map(Impostor::takes).sum::<usize>();
    let (mut before, mut at_once) = (tried(), Vec::new());
    while tried() < 4 {
        assert!(!reply.some().is_empty(), "the source goes on, {at_once:?}");
        let now = tried();
        at_once.extend((now > before).then_some(now - before));
        before = now;
    }
    assert!(at_once.len() >= 2 && at_once.iter().all(|tried| *tried <= 2), "{at_once:?}");
}

/// Nobody lies here but about the other: what two followers of one source see that keep step, from one of them.
#[test]
fn who_keeps_step_with_another_follower_of_its_source_leaves_it_for_a_moment_and_loses_no_byte() {
    let site = Site::new();
    let mut device = site.device();
    device.start(&[]);
    let content = Content::random(115, 64 << 20);
    let source = Impostor::start(site.address(), site.port, &content, Lie::IsShared);
    let _other = Impostor::start(site.address(), site.port, &content, Lie::KeepsStep);
    device.wait_for_peers(2);
    let mut reply = device.get(&content.path());
    let (mut body, mut part) = (Vec::new(), device.begin_part(&content, 0));
    // Chance has a say in it each time.
    while source.takes() < 2 {
        let more = reply.some();
        assert!(!more.is_empty(), "the source goes on, {} takes", source.takes());
        body.extend(more);
        // As a sync client does: what is there is what the others are told.
        part.grow_to(&content, body.len());
    }
    body.extend(reply.at_least(1 << 20));
    assert!(content.bytes.starts_with(&body) && body.len() > 3 << 20);
    assert!(device.log().contains("is left for a moment"));
}

#[test]
fn who_claims_or_fetches_and_never_moves_is_waited_for_once_and_not_for_long() {
    for lie in [Lie::Claims, Lie::Fetches] {
        let (_site, agent, _liar, content) = with_liar(lie);
        let asked = Instant::now();
        let reply = agent.get(&content.path());
        let took = asked.elapsed();
        reply.assert_fetch(&["timeout", "elected", "nobody-has-it"]);
        // Promised are 3 s for who does not move and 6 s for a request that gets no byte.
        assert!(took < Duration::from_secs(9), "{lie:?}: {took:?}");
    }
}

#[test]
fn who_alters_one_content_after_the_other_is_not_even_asked_for_the_next() {
    let site = Site::new();
    let contents: Vec<_> = (130..).take(OFFENCES + 2).map(|seed| Content::random(seed, 100_000)).collect();
    let liar = Impostor::start_with(site.address(), site.port, &contents, Lie::AlteredRecord);
    let mut agent = site.device();
    agent.start(&[]);
    agent.wait_for_peers(1);
    for content in &contents[..OFFENCES] {
        assert_eq!(agent.get(&content.path()).rest().1, End::Cut);
    }
    assert_eq!((liar.takes(), agent.metric("p2p_peers_left_total")), (OFFENCES, 1));
    let asked = agent.metric("p2p_queries_total{kind=\"asked\"}");
    for content in &contents[OFFENCES..] {
        agent.get(&content.path()).assert_fetch(&["nobody-has-it"]);
    }
    assert_eq!(agent.metric("p2p_queries_total{kind=\"asked\"}"), asked, "it is not asked");
    assert_eq!(liar.takes(), OFFENCES);
    assert_eq!(agent.log().matches("failed with one content after the other").count(), 1);

    // Others are, and it does not find that it may not ask.
    let mut honest = site.device();
    honest.start(&[]);
    let [.., last] = &contents[..] else { unreachable!() };
    honest.hold(last);
    agent.wait_for_peers(2);
    agent.get(&last.path()).assert_is(&last.bytes);
}
