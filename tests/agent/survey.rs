//! Many contents in one query: what the local client names in advance, and what others learn from it.

use std::thread;
use std::time::Duration;

use p2p_agent::content::State;
use p2p_agent::keys::ContentKeys;
use p2p_agent::keys::Proof;
use p2p_agent::survey::{Frame, Survey, TOLD_BYTES};

use crate::lab::neighbour::{Neighbour, fresh};
use crate::lab::{Agent, Content, Site, local, wait_for};

const ASKED: &str = "p2p_queries_total{kind=\"asked\"}";

fn name(agent: &Agent, contents: &[Content]) {
    let form: Vec<String> = contents.iter().map(|content| format!("content={}", content.md5)).collect();
    let reply = local::post(&agent.socket(), "/v1/wanted", &form.join("&")).unwrap();
    assert_eq!((reply.status, reply.text()), (200, format!("{{\"wanted\":{}}}\n", contents.len())));
}

#[test]
fn contents_named_in_advance_are_asked_about_once_and_then_only_where_they_are() {
    let site = Site::new();
    let [holder, _one, _two, _three, client] = site.agents();
    let contents: Vec<Content> = (0..6).map(|n| Content::random(200 + n, 50_000)).collect();
    contents.iter().for_each(|content| holder.hold(content));
    name(&client, &contents);
    wait_for("everybody is asked", || client.metric(ASKED) == 4);
    // The answer is on its way.
    thread::sleep(Duration::from_millis(300));
    name(&client, &contents);
    for content in &contents {
        client.get(&content.path()).assert_is(&content.bytes);
    }
    let asked = client.metric(ASKED);
    assert!((10..=13).contains(&asked), "4 at once and 1 for each, where there are 4 to ask: {asked}");
    assert_eq!(client.metric("p2p_bytes_total{from=\"peers\"}"), 6 * 50_000);
}

#[test]
fn a_holder_that_is_gone_since_it_was_asked_costs_no_more_than_its_timeout() {
    let site = Site::new();
    let [mut gone, holder, client] = site.agents();
    let content = Content::random(210, 50_000);
    gone.hold(&content);
    name(&client, std::slice::from_ref(&content));
    wait_for("everybody is asked", || client.metric(ASKED) == 2);
    thread::sleep(Duration::from_millis(300));
    gone.kill();
    holder.hold(&content);
    client.get(&content.path()).assert_is(&content.bytes);
}

/// What the agent tells about each content, or the status.
fn ask(
    neighbour: &mut Neighbour,
    frame: Frame,
    survey: &Survey,
    keys: &[ContentKeys],
) -> Result<Vec<Option<State>>, u16> {
    neighbour.send(&survey.message(frame.server).unwrap()).unwrap();
    let head = neighbour.head().unwrap();
    if head.status != 200 {
        return Err(head.status);
    }
    let told = neighbour.body(keys.len() * TOLD_BYTES).unwrap();
    let read = |(keys, told)| frame.read(keys, told).map(|standing| standing.state);
    Ok(keys.iter().zip(told.chunks(TOLD_BYTES)).map(read).collect())
}

#[test]
fn only_what_is_proven_and_known_is_told_once_and_no_bytes_are_given_for_it() {
    let site = Site::new();
    let [agent] = site.agents();
    let contents: Vec<Content> = (0..3).map(|n| Content::random(220 + n, 10_000)).collect();
    agent.hold(&contents[0]);
    agent.hold(&contents[1]);
    let keys: Vec<ContentKeys> = contents.iter().map(Content::keys).collect();
    let own = site.address();
    let mut neighbour = Neighbour::connect(own, &agent).unwrap();
    let frame = Frame { client: own, server: agent.address, nonce: fresh() };
    let mut survey = frame.ask(keys.iter());
    // The second is held, too, but not known to who asks.
    survey.asked[1].1 = Proof([7; 16]);
    assert_eq!(ask(&mut neighbour, frame, &survey, &keys), Ok(vec![Some(State::Complete), None, None]));
    assert_eq!(ask(&mut neighbour, frame, &survey, &keys), Err(404), "a replay");

    let frame = Frame { nonce: fresh(), ..frame };
    let mut unproven = frame.ask(keys.iter());
    unproven.asked.iter_mut().for_each(|(_, proof)| *proof = Proof([7; 16]));
    assert_eq!(ask(&mut neighbour, frame, &unproven, &keys), Err(404), "nothing proven");
    let unknown = frame.ask(keys[2..].iter());
    assert_eq!(ask(&mut neighbour, frame, &unknown, &keys[2..]), Err(404), "nothing known looks alike");
    // Recorded and sent on from another address.
    let frame = Frame { nonce: fresh(), ..frame };
    let mut other = Neighbour::connect(site.address(), &agent).unwrap();
    assert_eq!(ask(&mut other, frame, &frame.ask(keys.iter()), &keys), Err(404));
    // The same connection goes on, and bytes want a challenge.
    let (asker, _) = neighbour.query(&keys[0]).unwrap().unwrap();
    assert!(ask(&mut neighbour, frame, &frame.ask(keys.iter()), &keys).is_ok());
    assert!(neighbour.take(&keys[0], asker, 0).unwrap().is_ok(), "of the query before");
}
