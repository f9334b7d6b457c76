//! Twenty transfers, four for each address, and what becomes of one more (behaviour 57).

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use p2p_agent::limits::{READER_STALL, SLOT_DISPLACED_AFTER, SLOTS, SLOTS_PER_ADDRESS};

use crate::lab::neighbour::Neighbour;
use crate::lab::{Agent, Content, SOON, Site, wait_for};

/// More than the buffers between two devices take, so that a transfer that nobody reads stays one.
fn large() -> Content {
    Content::random(100, 8 << 20)
}

/// A transfer that nobody reads.
fn idle_transfer(own: Ipv4Addr, agent: &Agent, content: &Content) -> Result<Neighbour, u16> {
    let mut neighbour = Neighbour::connect(own, agent).unwrap();
    neighbour.ask_and_take(&content.keys(), 0).unwrap().map(|_| neighbour)
}

#[test]
fn the_twenty_first_transfer_is_refused_at_once_and_told_when_to_come_back() {
    let site = Site::new();
    let [holder] = site.agents();
    let content = large();
    holder.hold(&content);
    let addresses: Vec<_> = (0..SLOTS / SLOTS_PER_ADDRESS).map(|_| site.address()).collect();
    let mut transfers: Vec<_> = (0..SLOTS)
        .map(|number| idle_transfer(addresses[number % addresses.len()], &holder, &content).ok().unwrap())
        .collect();
    assert_eq!(holder.metric("p2p_transfers_active"), SLOTS as u64);

    let mut late = Neighbour::connect(site.address(), &holder).unwrap();
    let (asker, standing) = late.query(&content.keys()).unwrap().ok().unwrap();
    assert_eq!(usize::from(standing.active), SLOTS, "the answer says how busy it is");
    let asked = Instant::now();
    let take = late.take(&content.keys(), asker, 0).unwrap();
    assert_eq!(take.err(), Some(503));
    assert!(asked.elapsed() < Duration::from_secs(2), "refused, not queued: {:?}", asked.elapsed());
    assert_eq!(holder.metric("p2p_transfers_total{result=\"refused\"}"), 1);

    // One goes, one comes.
    drop(transfers.pop());
    wait_for("a slot is free again", || idle_transfer(site.address(), &holder, &content).is_ok());
}

#[test]
fn one_address_holds_four_slots() {
    let site = Site::new();
    let [holder] = site.agents();
    let content = large();
    holder.hold(&content);
    let (own, other) = (site.address(), site.address());
    let begun = Instant::now();
    let transfers: Vec<_> = (0..SLOTS_PER_ADDRESS).map(|_| idle_transfer(own, &holder, &content)).collect();
    assert!(transfers.iter().all(Result::is_ok));
    let fifth = idle_transfer(own, &holder, &content);
    // On a machine that stood still for a second the first one counts as stalled and makes room.
    if begun.elapsed() < SLOT_DISPLACED_AFTER {
        assert_eq!(fifth.err(), Some(503));
    }
    assert_eq!(holder.metric("p2p_transfers_active"), SLOTS_PER_ADDRESS as u64);
    assert!(idle_transfer(other, &holder, &content).is_ok(), "others are not affected");
}

#[test]
fn a_fail_over_displaces_an_own_stalled_transfer_and_nobody_elses() {
    let site = Site::new();
    let [holder] = site.agents();
    let content = large();
    holder.hold(&content);
    let (own, other) = (site.address(), site.address());
    let started = Instant::now();
    let foreign = idle_transfer(other, &holder, &content).ok().unwrap();
    let mut stalled: Vec<_> =
        (0..SLOTS_PER_ADDRESS).map(|_| idle_transfer(own, &holder, &content).ok().unwrap()).collect();
    // A device whose source died asks again and again; from the moment its old transfers count as stalled there is room.
    let (mut next, opener) = loop {
        let mut next = Neighbour::connect(own, &holder).unwrap();
        match next.ask_and_take(&content.keys(), 0).unwrap() {
            Ok(opener) => break (next, opener),
            Err(status) => assert_eq!((status, started.elapsed() < SOON), (503, true)),
        }
        thread::sleep(Duration::from_millis(200));
    };
    assert!(started.elapsed() >= SLOT_DISPLACED_AFTER);
    assert!(next.receive(opener).unwrap() == content.bytes);
    wait_for("the new one is over", || holder.metric("p2p_transfers_active") <= SLOTS_PER_ADDRESS as u64);
    if started.elapsed() < READER_STALL {
        assert_eq!(holder.metric("p2p_transfers_active"), SLOTS_PER_ADDRESS as u64, "the other four go on");
    }
    // Which of the own ones moved least is the kernel's affair; one of them has ended early.
    let read: Vec<_> = stalled.iter_mut().map(Neighbour::everything_or_reset).collect();
    assert!(read.iter().any(|read| *read < content.bytes.len()), "{read:?} bytes");
    drop(foreign);
}

#[test]
fn a_reader_that_takes_nothing_loses_its_slot() {
    let site = Site::new();
    let [holder] = site.agents();
    let content = large();
    holder.hold(&content);
    let _reader = idle_transfer(site.address(), &holder, &content).ok().unwrap();
    assert_eq!(holder.metric("p2p_transfers_active"), 1);
    wait_for("the slot is free", || holder.metric("p2p_transfers_active") == 0);
}

#[test]
fn a_take_from_where_the_source_itself_ends_is_refused_416_and_holds_no_slot() {
    let site = Site::new();
    let [agent] = site.agents();
    let (whole, grows) = (Content::random(101, 100_000), Content::random(102, 100_000));
    agent.hold(&whole);
    let _part = agent.begin_part(&grows, 50_000);
    let take = |content: &Content, offset| {
        let mut neighbour = Neighbour::connect(site.address(), &agent).unwrap();
        neighbour.ask_and_take(&content.keys(), offset).unwrap().map(|_| neighbour)
    };
    wait_for("the part is offered", || take(&grows, 49_999).is_ok());
    assert_eq!(take(&grows, 50_000).err(), Some(416));
    assert_eq!(take(&whole, 100_000).err(), Some(416));
    assert_eq!(take(&whole, 100_001).err(), Some(416));
    assert!(take(&whole, 99_999).is_ok());
    wait_for("every slot is free", || agent.metric("p2p_transfers_active") == 0);
}

#[test]
fn a_device_whose_sources_are_all_busy_waits_for_a_slot() {
    let site = Site::new();
    let [holder, client] = site.agents();
    let content = large();
    holder.hold(&content);
    let addresses: Vec<_> = (0..SLOTS / SLOTS_PER_ADDRESS).map(|_| site.address()).collect();
    let transfers: Vec<_> = (0..SLOTS)
        .map(|number| idle_transfer(addresses[number % addresses.len()], &holder, &content).ok().unwrap())
        .collect();
    thread::scope(|scope| {
        let asked = scope.spawn(|| client.get(&content.path()));
        thread::sleep(Duration::from_millis(1_500));
        drop(transfers);
        let mut reply = asked.join().unwrap();
        assert_eq!(reply.status, 200);
        reply.assert_is(&content.bytes);
    });
}

#[test]
fn when_every_source_stays_busy_the_client_is_told_so() {
    let site = Site::new();
    let [holder, client] = site.agents();
    let content = large();
    holder.hold(&content);
    let addresses: Vec<_> = (0..SLOTS / SLOTS_PER_ADDRESS).map(|_| site.address()).collect();
    // Readers that read a little now and then keep their slots.
    let mut transfers: Vec<_> = (0..SLOTS)
        .map(|number| idle_transfer(addresses[number % addresses.len()], &holder, &content).ok().unwrap())
        .collect();
    thread::scope(|scope| {
        let asked = scope.spawn(|| client.get(&content.path()));
        while !asked.is_finished() {
            transfers.iter_mut().for_each(|transfer| transfer.sip(100_000));
            thread::sleep(Duration::from_millis(300));
        }
        asked.join().unwrap().assert_fetch(&["all-busy"]);
    });
}

#[test]
fn the_lowest_upload_limit_stalls_no_reader() {
    let site = Site::new();
    let [holder, client] = site.agents_with([&["--max-upload", "132kbit"], &[]]);
    let content = Content::random(57, 100_000);
    holder.hold(&content);
    client.get(&content.path()).assert_is(&content.bytes);
}
