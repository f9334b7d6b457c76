//! Discovery against hand-made datagrams, and against whoever wishes it ill.

use super::*;
use crate::wire::Echo;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

pub(super) const ETH: IfIndex = IfIndex(2);
const BOOT: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

pub(super) fn millis_in(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

pub(super) fn wall(now: Instant) -> Timestamp {
    Timestamp::from_nanos(BOOT.as_nanos() + now.as_micros() as i64 * 1_000)
}

pub(super) fn addr(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0001 + n as u32)
}

pub(super) fn node(n: usize) -> NodeId {
    // Scattered as real node ids are: nearness needs that.
    NodeId(Random::from_seed((n as u128).to_be_bytes()).bytes())
}

pub(super) fn up(now: Instant, n: usize) -> Discovery {
    let mut discovery = Discovery::new(node(n), "test 1");
    assert_eq!(discovery.handle_interface_up(now, ETH, addr(n), 16, true), InterfaceUp::Started);
    discovery
}

fn drain(discovery: &mut Discovery, now: Instant) -> Vec<Transmit> {
    core::iter::from_fn(|| discovery.poll_transmit(now, wall(now))).collect()
}

fn probe_of(sender: NodeId, nonce: [u8; 16]) -> [u8; limits::DATAGRAM_BYTES] {
    encoded(Datagram::Probe(Probe {
        node: sender,
        os: OsVersion::new(),
        nonce,
        origin: BOOT,
        interval_ms: 3_000,
        flags: Flags::default(),
    }))
}

fn encoded(datagram: Datagram) -> [u8; limits::DATAGRAM_BYTES] {
    let mut bytes = [0; limits::DATAGRAM_BYTES];
    datagram.encode(&mut bytes);
    bytes
}

/// What node `n` would answer to this probe.
fn reply_of(n: usize, probe: &Transmit) -> Reply {
    let probe = asked(probe).expect("a probe");
    Reply {
        node: node(n),
        os: OsVersion::new(),
        interval_ms: 3_000,
        flags: Flags::default(),
        echo: Echo::from(&probe),
        receive: probe.origin,
        transmit: probe.origin,
        probe: None,
    }
}

/// The probe that was sent, alone or within a reply.
fn asked(transmit: &Transmit) -> Option<Probe> {
    match Datagram::decode(&transmit.bytes) {
        Ok(Datagram::Probe(probe)) => Some(probe),
        Ok(Datagram::Reply(reply)) => reply.asked(),
        _ => None,
    }
}

/// One node under test and the hand-made datagrams that it gets.
struct Bench {
    own: Discovery,
    random: Random,
}

impl Bench {
    fn new() -> Self {
        Self { own: up(Instant::ZERO, 0), random: Random::from_seed([9; 16]) }
    }

    fn hears(&mut self, now: Instant, from: usize, bytes: &[u8]) -> Vec<Transmit> {
        self.hears_from(now, ETH, addr(from), bytes)
    }

    fn hears_from(&mut self, now: Instant, interface: IfIndex, from: Ipv4Addr, bytes: &[u8]) -> Vec<Transmit> {
        assert_eq!(self.own.handle_datagram(now, wall(now), interface, from, bytes, &mut self.random), None);
        drain(&mut self.own, now)
    }

    fn timeout(&mut self, now: Instant) -> Vec<Transmit> {
        self.own.handle_timeout(now, wall(now), &mut self.random);
        drain(&mut self.own, now)
    }

    /// Lets a well-behaved node 1 become a peer.
    fn befriends(&mut self, now: Instant, n: usize) {
        let sent = self.hears(now, n, &probe_of(node(n), [n as u8; 16]));
        let back = sent.iter().find(|sent| is_probe(sent)).expect("a stranger is probed back");
        let answer = encoded(Datagram::Reply(reply_of(n, back)));
        self.hears(now, n, &answer);
        assert_eq!(self.state(n), Some(PeerState::Probed));
    }

    fn state(&self, n: usize) -> Option<PeerState> {
        self.own.peers().get(ETH, addr(n)).map(|peer| peer.state)
    }

    fn dropped(&self, reason: Dropped) -> u64 {
        self.own.counters().dropped(reason)
    }
}

fn is_probe(transmit: &Transmit) -> bool {
    asked(transmit).is_some()
}

#[test]
fn a_silent_peer_is_asked_once_more_alone_and_then_dropped_after_three_intervals() {
    let mut bench = Bench::new();
    bench.befriends(millis_in(0), 1);
    let mut asked_alone = 0;
    for ms in 0..9_500 {
        let sent = bench.timeout(millis_in(ms));
        asked_alone += sent.iter().filter(|sent| sent.to == To::Unicast(addr(1))).count();
    }
    assert_eq!((asked_alone, bench.state(1)), (1, Some(PeerState::Probed)));
    bench.timeout(millis_in(9_600));
    assert_eq!(bench.state(1), None);
}

#[test]
fn three_probes_leave_within_300_ms_of_the_link_up() {
    let mut bench = Bench::new();
    let sent: Vec<u64> = (0..=300).filter(|&ms| !bench.timeout(millis_in(ms)).is_empty()).collect();
    assert_eq!(sent, std::vec![0, 100, 300]);
}

#[test]
fn a_probe_from_an_unknown_node_is_answered_and_probed_back_in_one_datagram() {
    let mut bench = Bench::new();
    let sent = bench.hears(millis_in(5), 1, &probe_of(node(1), [1; 16]));
    let [answer] = sent.as_slice() else { panic!("{sent:?}") };
    let Ok(Datagram::Reply(answer_body)) = Datagram::decode(&answer.bytes) else { panic!() };
    assert_eq!((answer_body.echo.node, answer_body.echo.nonce, answer_body.echo.origin), (node(1), [1; 16], BOOT));
    assert_eq!((answer_body.receive, answer_body.transmit), (wall(millis_in(5)), wall(millis_in(5))));
    assert_eq!((answer.to, is_probe(answer)), (To::Unicast(addr(1)), true));
    assert_eq!((bench.state(1), bench.own.peers().routable().count()), (Some(PeerState::Heard), 0));
    bench.hears(millis_in(6), 1, &encoded(Datagram::Reply(reply_of(1, answer))));
    assert_eq!(bench.state(1), Some(PeerState::Probed));
    let sent = bench.hears(millis_in(7), 1, &probe_of(node(1), [2; 16]));
    assert!(sent.len() == 1 && !is_probe(&sent[0]), "who is known is only answered");
}

#[test]
fn a_probe_within_a_reply_is_answered_once_and_only_if_the_reply_was_asked_for() {
    let mut bench = Bench::new();
    let broadcast = bench.timeout(millis_in(0)).remove(0);
    let with_probe = Reply { probe: Some([7; 16]), ..reply_of(1, &broadcast) };
    let unasked = Echo { nonce: [0; 16], ..with_probe.echo.clone() };
    let unasked = encoded(Datagram::Reply(Reply { echo: unasked, ..with_probe.clone() }));
    assert_eq!(bench.hears(millis_in(1), 1, &unasked), []);
    let sent = bench.hears(millis_in(1), 1, &encoded(Datagram::Reply(with_probe.clone())));
    let [answer] = sent.as_slice() else { panic!("{sent:?}") };
    let Ok(Datagram::Reply(said)) = Datagram::decode(&answer.bytes) else { panic!() };
    assert_eq!((said.echo.nonce, said.echo.origin), ([7; 16], with_probe.transmit));
    // The stranger becomes a peer by its answer to the probe in there.
    assert_eq!(bench.state(1), Some(PeerState::Heard));
    bench.hears(millis_in(2), 1, &encoded(Datagram::Reply(reply_of(1, answer))));
    assert_eq!(bench.state(1), Some(PeerState::Probed));
}

#[test]
fn a_reply_to_a_broadcast_alone_makes_no_peer() {
    let mut bench = Bench::new();
    let broadcast = bench.timeout(millis_in(0)).remove(0);
    let sent = bench.hears(millis_in(1), 1, &encoded(Datagram::Reply(reply_of(1, &broadcast))));
    assert_eq!(bench.state(1), Some(PeerState::Heard));
    let [alone] = sent.as_slice() else { panic!("{sent:?}") };
    assert_ne!(reply_of(1, alone).echo.nonce, reply_of(1, &broadcast).echo.nonce);
    bench.hears(millis_in(2), 1, &encoded(Datagram::Reply(reply_of(1, alone))));
    assert_eq!(bench.state(1), Some(PeerState::Probed));
}

#[test]
fn a_reply_counts_only_with_an_outstanding_nonce_in_time_and_from_its_address() {
    let mut bench = Bench::new();
    let broadcast = bench.timeout(millis_in(0)).remove(0);
    let good = reply_of(1, &broadcast);
    let echo = |echo: Echo| encoded(Datagram::Reply(Reply { echo, ..good.clone() }));
    for wrong in [
        echo(Echo { nonce: [0; 16], ..good.echo.clone() }),
        echo(Echo { node: node(7), ..good.echo.clone() }),
        echo(Echo { origin: Timestamp::from_nanos(1), ..good.echo.clone() }),
    ] {
        bench.hears(millis_in(1), 1, &wrong);
    }
    let good = encoded(Datagram::Reply(good));
    bench.hears(millis_in(2_001), 1, &good);
    assert_eq!((bench.dropped(Dropped::Nonce), bench.state(1)), (4, None));
    let alone = bench.hears(millis_in(2_000), 1, &good).remove(0);
    bench.hears(millis_in(2_001), 2, &encoded(Datagram::Reply(reply_of(1, &alone))));
    assert_eq!((bench.dropped(Dropped::Nonce), bench.state(1)), (5, Some(PeerState::Heard)));
}

#[test]
fn a_peer_answers_one_broadcast_once() {
    let mut bench = Bench::new();
    bench.befriends(millis_in(0), 1);
    let broadcast = bench.timeout(millis_in(0)).remove(0);
    let reply = encoded(Datagram::Reply(reply_of(1, &broadcast)));
    bench.hears(millis_in(1), 1, &reply);
    bench.hears(millis_in(2), 1, &reply);
    assert_eq!(bench.dropped(Dropped::Duplicate), 1);
}

#[test]
fn what_is_not_for_us_is_counted_by_reason_and_not_answered() {
    let mut bench = Bench::new();
    let probe = probe_of(node(1), [1; 16]);
    let with = |at: usize, byte: u8| {
        let mut bytes = probe;
        bytes[at] = byte;
        bytes
    };
    let own = probe_of(node(0), [1; 16]);
    let far = Ipv4Addr::new(192, 168, 0, 1);
    for (interface, from, bytes, reason) in [
        (IfIndex(9), addr(1), probe.as_slice(), Dropped::Interface),
        (ETH, far, &probe, Dropped::OffLink),
        (ETH, addr(0), &probe, Dropped::OffLink),
        (ETH, Ipv4Addr::new(10, 0, 255, 255), &probe, Dropped::OffLink),
        (ETH, addr(1), &probe[1..], Dropped::Length),
        (ETH, addr(1), &[], Dropped::Length),
        (ETH, addr(1), &with(0, 99), Dropped::Version),
        (ETH, addr(1), &with(1, 99), Dropped::Kind),
        (ETH, addr(1), &with(191, 1), Dropped::Malformed),
        (ETH, addr(1), &own, Dropped::Own),
    ] {
        let before = bench.dropped(reason);
        assert_eq!(bench.hears_from(millis_in(0), interface, from, bytes), []);
        assert_eq!(bench.dropped(reason), before + 1, "{reason:?}");
    }
    assert!(bench.own.peers().is_empty() && bench.own.counters().accepted == 0);
    let names: std::collections::HashSet<_> = Dropped::ALL.iter().map(|reason| reason.as_str()).collect();
    assert!(names.len() == Dropped::ALL.len() && Dropped::ALL.iter().enumerate().all(|(n, &one)| one as usize == n));
}

#[test]
fn an_authenticated_query_makes_a_peer_that_is_then_probed() {
    let mut bench = Bench::new();
    bench.timeout(millis_in(0));
    bench.own.handle_authenticated(millis_in(1), ETH, Ipv4Addr::new(8, 8, 8, 8));
    bench.own.handle_authenticated(millis_in(1), ETH, addr(1));
    assert_eq!((bench.own.peers().len(), bench.state(1)), (1, Some(PeerState::Proven)));
    assert_eq!(bench.own.poll_timeout(), millis_in(1));
    let alone = bench.timeout(millis_in(1)).remove(0);
    bench.hears(millis_in(2), 1, &encoded(Datagram::Reply(reply_of(1, &alone))));
    let peer = bench.own.peers().get(ETH, addr(1)).unwrap();
    assert_eq!((peer.node, peer.state), (Some(node(1)), PeerState::Proven));
    assert!(peer.delay().is_some());
}

#[test]
fn another_node_at_a_peers_address_must_answer_alone_and_prove_itself_again() {
    let mut bench = Bench::new();
    bench.befriends(millis_in(0), 1);
    bench.own.handle_authenticated(millis_in(0), ETH, addr(1));
    let sent = bench.hears(millis_in(1_000), 1, &probe_of(node(2), [2; 16]));
    let peer = bench.own.peers().get(ETH, addr(1)).unwrap();
    assert_eq!((peer.node, peer.state), (Some(node(1)), PeerState::Proven), "a claim alone changes nothing");
    let alone = sent.iter().find(|sent| is_probe(sent)).unwrap();
    bench.hears(millis_in(1_001), 1, &encoded(Datagram::Reply(reply_of(2, alone))));
    let peer = bench.own.peers().get(ETH, addr(1)).unwrap();
    assert_eq!((peer.node, peer.state), (Some(node(2)), PeerState::Probed));
}

#[test]
fn an_interface_that_goes_down_takes_its_peers_and_what_waits_with_it() {
    let mut bench = Bench::new();
    let wlan = IfIndex(3);
    let at = millis_in(0);
    assert_eq!(bench.own.handle_interface_up(at, wlan, Ipv4Addr::new(172, 16, 0, 1), 24, false), InterfaceUp::Started);
    assert_eq!(
        bench.own.handle_interface_up(at, wlan, Ipv4Addr::new(172, 16, 0, 1), 24, false),
        InterfaceUp::Unchanged
    );
    bench.befriends(at, 1);
    let probe = probe_of(node(5), [5; 16]);
    bench.hears_from(at, wlan, Ipv4Addr::new(172, 16, 0, 2), &probe);
    assert_eq!(bench.own.peers().len(), 2);
    bench.own.handle_timeout(at, wall(at), &mut bench.random);
    bench.own.handle_interface_down(at, ETH);
    assert!(drain(&mut bench.own, at).iter().all(|sent| sent.interface == wlan));
    assert!(bench.own.peers().iter().all(|peer| peer.interface == wlan) && bench.own.peers().len() == 1);
    assert_eq!(bench.own.handle_interface_up(at, wlan, Ipv4Addr::new(172, 16, 9, 1), 24, false), InterfaceUp::Started);
    assert!(bench.own.peers().is_empty(), "another address is another link");
    bench.own.handle_interface_down(at, wlan);
    assert_eq!(bench.own.poll_timeout(), Instant::FAR);
}

#[test]
fn addresses_without_neighbours_and_a_ninth_interface_are_refused() {
    let mut own = Discovery::new(node(0), "");
    let at = Instant::ZERO;
    for (addr, prefix) in [([0, 0, 0, 0], 24), ([255; 4], 24), ([224, 0, 0, 1], 24), ([10, 0, 0, 1], 32)] {
        assert_eq!(own.handle_interface_up(at, ETH, addr.into(), prefix, true), InterfaceUp::Unusable);
    }
    for n in 0..=limits::INTERFACES {
        let expected = if n < limits::INTERFACES { InterfaceUp::Started } else { InterfaceUp::Full };
        assert_eq!(own.handle_interface_up(at, IfIndex(n as u32), addr(n), 24, true), expected);
    }
}

#[test]
fn what_a_device_says_about_itself_reaches_its_peers() {
    let mut bench = Bench::new();
    bench.own.handle_metered(ETH, true);
    bench.own.handle_starved(true);
    let Ok(Datagram::Probe(probe)) = Datagram::decode(&bench.timeout(millis_in(0)).remove(0).bytes) else { panic!() };
    assert_eq!(probe.flags, Flags { wired: true, metered: true, starved: true });
    assert_eq!(probe.interval_ms, 3_187, "the interval with its jitter");
}

#[test]
fn ten_thousand_forged_probes_leave_the_peers_in_the_table_and_answered() {
    let mut bench = Bench::new();
    for n in 1..=20 {
        bench.befriends(millis_in(n as u64), n);
    }
    for n in 1..=10 {
        bench.own.handle_authenticated(millis_in(30), ETH, addr(n));
    }
    let mut answered = 0;
    for n in 0..10_000u64 {
        let at = Instant::ZERO + Duration::from_micros(40_000 + n * 500);
        let mut stranger = [0xee; 8];
        stranger[..4].copy_from_slice(&(n as u32).to_be_bytes());
        bench.hears(at, 1_000 + n as usize, &probe_of(NodeId(stranger), [3; 16]));
        if n % 2_000 == 1_999 {
            // Source budgets are shared by addresses that are 512 apart; the attacker can forge the peer's own as well.
            let sent = bench.hears_from(at, ETH, addr(5), &probe_of(node(5), [4; 16]));
            answered += sent.iter().filter(|sent| sent.to == To::Unicast(addr(5))).count();
        }
        assert!(bench.own.peers().len() <= limits::PEERS);
    }
    for n in 1..=20 {
        let expected = if n <= 10 { PeerState::Proven } else { PeerState::Probed };
        assert_eq!(bench.state(n), Some(expected), "{n}");
    }
    assert!(answered >= 1, "{answered}");
}

#[test]
fn forged_node_ids_by_the_thousand_keep_no_newcomer_out_of_an_empty_table() {
    let mut bench = Bench::new();
    bench.befriends(millis_in(1), 1);
    for n in 0..10_000u64 {
        let at = Instant::ZERO + Duration::from_micros(40_000 + n * 500);
        bench.hears(at, 2 + n as usize % 200, &probe_of(NodeId((n * 7_919).to_be_bytes()), [3; 16]));
    }
    // Whatever was made of strangers is over.
    let mut at = millis_in(15_000);
    bench.timeout(at);
    for n in 201..=220 {
        at = at + Duration::from_millis(200);
        bench.befriends(at, n);
        assert!(bench.state(n) >= Some(PeerState::Probed), "{n}: {:?}", bench.state(n));
        if bench.own.peers().routable().count() >= limits::SPARSE_TABLE {
            return;
        }
    }
}

/// For every address: no more datagrams than probes came from there, each of the same length, and within the source's budget; those that are probes,
/// too, within that for strangers. Nothing follows later.
#[test]
fn a_forged_source_gets_no_more_than_its_budget() {
    let (burst, rate) = limits::REPLIES_PER_SOURCE;
    let mut bench = Bench::new();
    let mut to_victim = 0;
    for ms in 0..10_000u64 {
        let sent = bench.hears(millis_in(ms), 1, &probe_of(node(ms as usize % 7 + 1), [1; 16]));
        assert!(sent.len() <= 1 && sent.iter().all(|sent| sent.to == To::Unicast(addr(1))), "{sent:?}");
        to_victim += sent.len();
    }
    assert!(to_victim <= (burst + rate * 10) as usize, "{to_victim}");

    let (burst, rate) = limits::PROBES_TO_STRANGERS;
    let mut sent = BTreeMap::<Ipv4Addr, (u32, u32)>::new();
    for n in 0..20_000u64 {
        let at = Instant::ZERO + Duration::from_secs(60) + Duration::from_micros(n * 500);
        for transmit in bench.hears(at, 10 + n as usize, &probe_of(node(n as usize), [1; 16])) {
            let To::Unicast(to) = transmit.to else { panic!() };
            let counts = sent.entry(to).or_default();
            counts.0 += 1;
            counts.1 += u32::from(is_probe(&transmit));
        }
    }
    for ms in (71_000..75_000).step_by(50) {
        assert!(bench.timeout(millis_in(ms)).iter().all(|sent| sent.to == To::Broadcast), "nobody is probed later");
    }
    assert!(sent.values().all(|&(sent, _)| sent <= 1));
    let probes: u32 = sent.values().map(|counts| counts.1).sum();
    assert!(probes <= burst + rate * 10 + 1, "{probes}");
    let answers: u32 = sent.values().map(|counts| counts.0).sum();
    assert!(answers <= limits::REPLIES_OVERALL.0 + limits::REPLIES_OVERALL.1 * 10 + 1, "{answers}");
}

#[test]
fn a_socket_that_is_stuck_does_not_make_the_node_spin() {
    let mut bench = Bench::new();
    bench.own.handle_timeout(millis_in(0), wall(millis_in(0)), &mut bench.random);
    for n in 1..100 {
        let probe = probe_of(node(n), [1; 16]);
        let at = millis_in(1);
        let heard = bench.own.handle_datagram(at, wall(at), ETH, addr(n), &probe, &mut bench.random);
        assert_eq!(heard, None);
    }
    assert!(bench.dropped(Dropped::Busy) > 0);
    bench.own.handle_timeout(millis_in(2), wall(millis_in(2)), &mut bench.random);
    assert!(bench.own.poll_timeout() > millis_in(2));
    assert_eq!(drain(&mut bench.own, millis_in(3)).len(), limits::OUTBOX);
}

/// Something that comes in, or time that passes.
#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Probe {
        node: u8,
        nonce: u8,
        origin: i64,
    },
    /// An answer to one of the probes sent so far.
    Reply {
        which: usize,
        node: u8,
        receive: i64,
        transmit: i64,
        interval_ms: u16,
    },
    Timeout,
    Authenticated,
    Down,
    Up {
        host: u8,
        prefix: u8,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Step::Bytes),
        (any::<u8>(), any::<u8>(), any::<i64>()).prop_map(|(node, nonce, origin)| Step::Probe { node, nonce, origin }),
        (any::<usize>(), any::<u8>(), any::<i64>(), any::<i64>(), any::<u16>()).prop_map(
            |(which, node, receive, transmit, interval_ms)| Step::Reply { which, node, receive, transmit, interval_ms }
        ),
        Just(Step::Timeout),
        Just(Step::Authenticated),
        Just(Step::Down),
        (any::<u8>(), 0u8..40).prop_map(|(host, prefix)| Step::Up { host, prefix }),
    ]
}

proptest! {
    #[test]
    fn arbitrary_input_at_arbitrary_times_never_panics_nor_overfills(
        script in prop::collection::vec((steps(), any::<u8>(), any::<u64>(), any::<i64>(), any::<bool>()), 0..120)
    ) {
        let mut own = up(Instant::ZERO, 0);
        let mut random = Random::from_seed([1; 16]);
        let mut sent: Vec<Transmit> = Vec::new();
        for (step, from, micros, clock, wild) in script {
            let now = Instant::from_micros(if wild { micros } else { micros % 20_000_000 });
            let wall = Timestamp::from_nanos(if wild { clock } else { clock % 1_000 });
            let from = addr(usize::from(from));
            let bytes = match step {
                Step::Bytes(bytes) => Some(bytes),
                Step::Probe { node, nonce, origin } => Some(encoded(Datagram::Probe(Probe {
                    node: NodeId([node; 8]),
                    os: OsVersion::new(),
                    nonce: [nonce; 16],
                    origin: Timestamp::from_nanos(origin),
                    interval_ms: 0,
                    flags: Flags::default(),
                })).to_vec()),
                Step::Reply { which, node, receive, transmit, interval_ms } => {
                    let probes: Vec<&Transmit> = sent.iter().filter(|sent| is_probe(sent)).collect();
                    probes.get(which % probes.len().max(1)).map(|probe| {
                        let [receive, transmit] = [receive, transmit].map(Timestamp::from_nanos);
                        let reply = Reply { node: NodeId([node; 8]), receive, transmit, interval_ms, ..reply_of(1, probe) };
                        encoded(Datagram::Reply(reply)).to_vec()
                    })
                }
                Step::Timeout => {
                    own.handle_timeout(now, wall, &mut random);
                    None
                }
                Step::Authenticated => {
                    own.handle_authenticated(now, ETH, from);
                    None
                }
                Step::Down => {
                    own.handle_interface_down(now, ETH);
                    None
                }
                Step::Up { host, prefix } => {
                    let _ = own.handle_interface_up(now, ETH, addr(host.into()), prefix, true);
                    None
                }
            };
            if let Some(bytes) = bytes {
                let _ = own.handle_datagram(now, wall, ETH, from, &bytes, &mut random);
            }
            while let Some(transmit) = own.poll_transmit(now, wall) {
                sent.push(transmit);
            }
            let _ = own.poll_timeout();
            let _ = own.clock(now);
            prop_assert!(own.peers().len() <= limits::PEERS);
            prop_assert!(own.peers().iter().all(|peer| peer.node != Some(node(0))), "a node never lists itself");
        }
    }
}
