//! Discovery against itself: N nodes with their own clocks on one simulated link, their datagrams counted.

use std::collections::{BTreeMap, BinaryHeap};
use std::vec::Vec;

use super::tests::{ETH, addr, millis_in, node, up, wall};
use super::*;

/// One node of a link.
struct Station {
    mind: Discovery,
    random: Random,
    /// Its wall clock minus true time.
    skew_ns: i64,
    sent: u64,
    wakes_at: Instant,
}

/// N nodes on one link: everything arrives after 200 µs, or is lost.
struct Link {
    nodes: Vec<Station>,
    /// Earliest first: (time, order, node).
    events: BinaryHeap<core::cmp::Reverse<(u64, u64, usize)>>,
    in_flight: BTreeMap<u64, (usize, [u8; limits::DATAGRAM_BYTES])>,
    order: u64,
    /// One datagram in so many is lost; 0 for none.
    lose_every: u64,
    random: Random,
    now: Instant,
}

impl Link {
    /// All boot within a second; clocks differ by `skew_ns` per node.
    fn boot(count: usize, skew_ns: i64) -> Self {
        let mut link = Self {
            nodes: Vec::new(),
            events: BinaryHeap::new(),
            in_flight: BTreeMap::new(),
            order: 0,
            lose_every: 0,
            random: Random::from_seed([3; 16]),
            now: Instant::ZERO,
        };
        for n in 0..count {
            let at = millis_in(n as u64 * 997 % 1_000);
            let random = Random::from_seed((n as u128 + 1).to_le_bytes());
            let skew_ns = n as i64 * skew_ns;
            link.nodes.push(Station { mind: up(at, n), random, skew_ns, sent: 0, wakes_at: Instant::FAR });
            link.schedule(n);
        }
        link
    }

    /// Wakes the node when it wants to be woken, unless it will be woken before.
    fn schedule(&mut self, n: usize) {
        let at = self.nodes[n].mind.poll_timeout();
        if at < self.nodes[n].wakes_at {
            self.nodes[n].wakes_at = at;
            self.push_event(n, at);
        }
    }

    fn push_event(&mut self, n: usize, at: Instant) {
        self.order += 1;
        self.events.push(core::cmp::Reverse((at.as_micros(), self.order, n)));
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(core::cmp::Reverse((at, order, n))) = self.events.peek().copied() {
            if at > end.as_micros() {
                break;
            }
            self.events.pop();
            let now = Instant::from_micros(at);
            self.now = now;
            let datagram = self.in_flight.remove(&order);
            let Station { mind, random, skew_ns, wakes_at, .. } = &mut self.nodes[n];
            let wall = Timestamp::from_nanos(wall(now).as_nanos() + *skew_ns);
            if let Some((from, bytes)) = datagram {
                assert_eq!(mind.handle_datagram(now, wall, ETH, addr(from), &bytes, random), None);
            } else {
                *wakes_at = if *wakes_at == now { Instant::FAR } else { *wakes_at };
                if mind.poll_timeout() <= now {
                    mind.handle_timeout(now, wall, random);
                    assert!(mind.poll_timeout() > now, "node {n} wants to be woken at once again");
                }
            }
            while let Some(transmit) = self.nodes[n].mind.poll_transmit(now, wall) {
                self.send(n, transmit);
            }
            self.schedule(n);
        }
        self.now = end;
    }

    fn send(&mut self, n: usize, transmit: Transmit) {
        self.nodes[n].sent += 1;
        let arrives = self.now + Duration::from_micros(200);
        let to = match transmit.to {
            To::Broadcast => 0..self.nodes.len(),
            To::Unicast(to) => {
                let to = (to.to_bits() - addr(0).to_bits()) as usize;
                to..to + 1
            }
        };
        for receiver in to {
            self.push_event(receiver, arrives);
            if self.lose_every == 0 || self.random.below(self.lose_every) != 0 {
                self.in_flight.insert(self.order, (n, transmit.bytes));
            }
        }
    }

    fn routable(&self, n: usize) -> usize {
        self.nodes[n].mind.peers().routable().count()
    }

    /// Average and greatest number of datagrams per node and second from now on.
    fn rate_over(&mut self, span: Duration) -> (f64, f64) {
        let before: Vec<u64> = self.nodes.iter().map(|node| node.sent).collect();
        self.run_until(self.now + span);
        let sent = self.nodes.iter().zip(before).map(|(node, before)| node.sent - before);
        let rates: Vec<f64> = sent.map(|sent| sent as f64 / span.as_secs_f64()).collect();
        (rates.iter().sum::<f64>() / rates.len() as f64, rates.iter().copied().fold(0.0, f64::max))
    }
}

#[test]
fn two_nodes_know_each_other_within_a_second_and_stay_peers() {
    let mut link = Link::boot(2, 250_000_000);
    link.run_until(millis_in(1_000));
    assert_eq!((link.routable(0), link.routable(1)), (1, 1));
    link.run_until(millis_in(60_000));
    assert_eq!((link.routable(0), link.routable(1)), (1, 1));
    let peer = link.nodes[0].mind.peers().routable().next().unwrap().clone();
    let estimate = peer.estimate(link.now).unwrap();
    assert_eq!((peer.node, peer.os.as_str(), peer.flags.wired), (Some(node(1)), "test 1", true));
    assert_eq!((estimate.offset_ns, estimate.delay), (250_000_000, Duration::from_micros(400)));
}

/// Idle nodes send at most three datagrams per second at any N: counted over ten minutes (two where the compiler does not optimise and
/// N is large), after a minute in which all boot.
fn an_idle_node_among(count: usize, least_known: usize) {
    let mut link = Link::boot(count, 0);
    link.run_until(millis_in(60_000));
    let booting = link.nodes.iter().map(|node| node.sent).max().unwrap_or(0);
    let minutes = if cfg!(debug_assertions) && count > 100 { 2 } else { 10 };
    let (average, greatest) = link.rate_over(Duration::from_secs(60 * minutes));
    let known = (0..count).map(|n| link.routable(n)).min().unwrap();
    std::println!(
        "N = {count}: {average:.2}/s on average, {greatest:.2}/s at most, {booting} in the first minute, least known {known}"
    );
    assert!(greatest <= f64::from(limits::IDLE_PACKETS_PER_SECOND), "{greatest} at N = {count}");
    assert!(known >= least_known, "{known} of {count}");
}

#[test]
fn two_idle_nodes_send_less_than_three_datagrams_a_second() {
    an_idle_node_among(2, 1);
}

#[test]
fn eight_and_nine_idle_nodes_send_less_than_three_datagrams_a_second() {
    an_idle_node_among(8, 7);
    an_idle_node_among(9, 8);
}

#[test]
fn fifty_idle_nodes_send_less_than_three_datagrams_a_second_each() {
    an_idle_node_among(50, 49);
}

#[test]
fn a_full_table_of_idle_nodes_sends_less_than_three_datagrams_a_second_each() {
    an_idle_node_among(128, 127);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation: cargo test --release")]
fn more_idle_nodes_than_a_table_holds_send_less_than_three_datagrams_a_second_each() {
    for count in [134, 145, 200, 500] {
        an_idle_node_among(count, 60);
    }
}

#[test]
fn a_link_that_loses_five_percent_keeps_its_peers() {
    let mut link = Link::boot(10, 0);
    link.lose_every = 20;
    link.run_until(millis_in(4_500));
    assert!((0..10).all(|n| link.routable(n) == 9), "everybody is known after the first regular probe");
    let mut missing = 0;
    for second in 5..300 {
        link.run_until(millis_in(second * 1_000));
        missing += (0..10).map(|n| 9 - link.routable(n)).sum::<usize>();
    }
    assert!(missing <= 30, "{missing} of 26,550 peer-seconds were missed");
}

#[test]
fn when_most_peers_leave_the_others_are_not_forgotten() {
    let mut link = Link::boot(60, 0);
    link.run_until(millis_in(100_000));
    for n in 10..60 {
        link.nodes[n].mind.handle_interface_down(link.now, ETH);
    }
    for second in 100..300 {
        link.run_until(millis_in(second * 1_000));
        assert!((0..10).all(|n| link.routable(n) >= 9), "at {second} s");
    }
    assert!((0..10).all(|n| link.routable(n) == 9));
}

#[test]
fn a_step_of_the_own_clock_drops_what_was_measured_but_no_peer() {
    let mut link = Link::boot(5, 0);
    link.run_until(millis_in(20_000));
    let report = link.nodes[0].mind.clock(link.now);
    assert_eq!((report.peers_compared, report.offset_ns, report.off), (4, Some(0), false));
    link.nodes[0].skew_ns = -400_000_000;
    link.run_until(millis_in(30_000));
    let report = link.nodes[0].mind.clock(link.now);
    assert_eq!((report.offset_ns, report.off, link.routable(0)), (Some(400_000_000), true, 4));
    let others = link.nodes[1].mind.clock(link.now);
    assert_eq!((others.offset_ns, others.off), (Some(0), false), "one wrong clock convinces nobody");
    link.nodes[0].skew_ns = i64::MIN / 2;
    link.run_until(millis_in(40_000));
    assert!(link.nodes[0].mind.clock(link.now).off);
}
