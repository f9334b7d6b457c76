//! Strangers at the agent's ports: whatever they send, they get one short answer or none, and everybody else is served as before.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use p2p_agent::content::NodeId;
use p2p_agent::hex::Hex;
use p2p_agent::limits::{CONNECTIONS_PER_ADDRESS, DATAGRAM_BYTES, HEAD_BYTES, PROOF_TIMEOUT, REPLIES_PER_SOURCE};
use p2p_agent::random::Random;
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Datagram, Flags, Probe, os_version};

use crate::lab::neighbour::{Neighbour, datagrams, fresh};
use crate::lab::{Agent, Content, Site, wait_for};

/// An agent that holds one content, and somebody on its link.
struct Scene {
    site: Site,
    agent: Agent,
    content: Content,
    stranger: Ipv4Addr,
}

impl Scene {
    fn new() -> Self {
        let site = Site::new();
        let [agent] = site.agents();
        let content = Content::random(120, 100_000);
        agent.hold(&content);
        let stranger = site.address();
        Self { site, agent, content, stranger }
    }

    fn connect(&self) -> Neighbour {
        Neighbour::connect(self.stranger, &self.agent).unwrap()
    }

    /// Sends these bytes on a fresh connection; the status of the answer.
    fn status(&self, bytes: &[u8]) -> u16 {
        let mut stranger = self.connect();
        stranger.send(bytes).unwrap();
        stranger.head().unwrap().status
    }

    /// Somebody who knows the content still gets it.
    #[track_caller]
    fn assert_serves(&self) {
        let keys = self.content.keys();
        let mut honest = Neighbour::connect(self.site.address(), &self.agent).unwrap();
        let opener = honest.ask_and_take(&keys, 0).unwrap().unwrap();
        assert!(honest.receive(opener).unwrap() == self.content.bytes);
    }
}

#[test]
fn a_head_of_more_than_2_kib_is_answered_431_and_the_connection_ends() {
    let scene = Scene::new();
    for length in [HEAD_BYTES - 30, 4 * HEAD_BYTES] {
        let mut stranger = scene.connect();
        let padding = "x".repeat(length);
        stranger.send(format!("HEAD /p2p/1/0 HTTP/1.1\r\nHost: a\r\nPadding: {padding}").as_bytes()).unwrap();
        assert_eq!(stranger.head().unwrap().status, 431);
        stranger.closed_after();
    }
    scene.assert_serves();
}

#[test]
fn what_is_no_http_is_answered_once_and_the_connection_ends() {
    let scene = Scene::new();
    for (bytes, status) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\0\0\0\0", 400),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", 400),
        (b"HEAD /p2p/1/0 HTTP/1.1\nHost: a\n\n", 400),
        (b"HEAD /p2p/1/0 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"HEAD /p2p/1/0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    ] {
        let mut stranger = scene.connect();
        stranger.send(bytes).unwrap();
        assert_eq!(stranger.head().unwrap().status, status, "{}", bytes.escape_ascii());
        stranger.closed_after();
    }
    assert!(scene.agent.metric("p2p_bad_requests_total") >= 7);
    scene.assert_serves();
}

#[test]
fn other_paths_and_methods_are_refused() {
    let scene = Scene::new();
    let id = scene.content.keys().id();
    for (request, status) in [
        ("GET / HTTP/1.1", 404),
        ("GET /v1/status HTTP/1.1", 404),
        ("GET /metrics HTTP/1.1", 404),
        (&format!("HEAD /p2p/2/{id} HTTP/1.1"), 404),
        (&format!("HEAD /p2p/1/{id} HTTP/1.1"), 404),
        (&format!("HEAD /p2p/1/../{id} HTTP/1.1"), 404),
        ("HEAD /p2p/1/0123 HTTP/1.1", 404),
        (&format!("POST /p2p/1/{id} HTTP/1.1"), 405),
        (&format!("PUT /p2p/1/{id} HTTP/1.1"), 405),
    ] {
        assert_eq!(scene.status(format!("{request}\r\nHost: a\r\n\r\n").as_bytes()), status, "{request}");
    }
    let proof = "00".repeat(16);
    let with_body =
        format!("HEAD /p2p/1/{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nP2P-Proof: {proof}\r\n\r\nabcde");
    assert_eq!(scene.status(with_body.as_bytes()), 400);
    scene.assert_serves();
}

#[test]
fn a_head_that_comes_slowly_is_not_waited_for() {
    let scene = Scene::new();
    let mut stranger = scene.connect();
    let started = Instant::now();
    // One byte at a time: it is the whole head that counts, not the pause between two bytes.
    for byte in b"HEAD /p2p/1/00112233445566778899aabbccddeeff HTTP/1.1\r\nHost: a".iter().cycle() {
        if stranger.send(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
        assert!(started.elapsed() < Duration::from_secs(10), "it is still listened to");
    }
    assert!(started.elapsed() > Duration::from_millis(1_500), "{:?}", started.elapsed());
    scene.assert_serves();
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let scene = Scene::new();
    let mut silent = scene.connect();
    // Who knows a content may stay.
    let mut known = scene.connect();
    assert!(known.query(&scene.content.keys()).unwrap().is_ok());
    let after = silent.closed_after();
    assert!(after < Duration::from_secs(10), "{after:?}");
    assert!(known.query(&scene.content.keys()).unwrap().is_ok());
    scene.assert_serves();
}

#[test]
fn queries_that_come_together_are_answered_in_order() {
    let scene = Scene::new();
    let (known, unknown) = (scene.content.keys(), Content::random(121, 1).keys());
    let mut neighbour = scene.connect();
    let together: Vec<u8> = [&known, &unknown, &known, &known, &unknown]
        .iter()
        .flat_map(|keys| neighbour.query_bytes(keys, fresh()).1)
        .collect();
    neighbour.send(&together).unwrap();
    let statuses: Vec<_> = (0..5).map(|_| neighbour.head().unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200, 200, 404]);
    // Cut into single bytes they mean the same.
    let (_, query) = neighbour.query_bytes(&known, fresh());
    for byte in query {
        neighbour.send(&[byte]).unwrap();
    }
    assert_eq!(neighbour.head().unwrap().status, 200);
}

#[test]
fn a_half_closed_connection_gets_its_answer_and_is_closed() {
    let scene = Scene::new();
    let mut neighbour = scene.connect();
    let (_, query) = neighbour.query_bytes(&scene.content.keys(), fresh());
    neighbour.send(&query).unwrap();
    neighbour.half_close();
    assert_eq!(neighbour.head().unwrap().status, 200);
    assert!(neighbour.closed_after() < Duration::from_secs(5));
    let mut neighbour = scene.connect();
    neighbour.send(&query[..query.len() / 2]).unwrap();
    neighbour.half_close();
    assert!(neighbour.closed_after() < Duration::from_secs(5));
}

#[test]
fn bytes_are_only_given_to_who_has_proved_on_this_connection_to_know_the_content() {
    let scene = Scene::new();
    let keys = scene.content.keys();
    let id = keys.id();
    let proof = Hex(&[0; 16]).to_string();
    let take = format!("GET /p2p/1/{id} HTTP/1.1\r\nHost: a\r\nP2P-Proof: {proof}\r\n\r\n");
    assert_eq!(scene.status(take.as_bytes()), 403, "without a query");
    assert_eq!(scene.status(format!("GET /p2p/1/{id} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()), 403, "without a proof");
    let mut neighbour = scene.connect();
    assert!(neighbour.query(&keys).unwrap().is_ok());
    neighbour.send(take.as_bytes()).unwrap();
    assert_eq!(neighbour.head().unwrap().status, 403, "with a wrong proof");
    // With somebody else's challenge.
    let (asker, _) = scene.connect().query(&keys).unwrap().ok().unwrap();
    let mut other = scene.connect();
    assert!(other.query(&keys).unwrap().is_ok());
    assert_eq!(other.take(&keys, asker, 0).unwrap().err(), Some(403));
    assert_eq!(scene.agent.metric("p2p_transfers_total{result=\"started\"}"), 0);
    assert_eq!(scene.agent.metric("p2p_transfers_active"), 0);
    scene.assert_serves();
}

#[test]
fn a_recorded_query_is_not_answered_again() {
    let scene = Scene::new();
    let keys = scene.content.keys();
    let mut first = scene.connect();
    let (_, query) = first.query_bytes(&keys, fresh());
    first.send(&query).unwrap();
    assert_eq!(first.head().unwrap().status, 200);
    first.send(&query).unwrap();
    assert_eq!(first.head().unwrap().status, 404);
    assert_eq!(scene.status(&query), 404, "from the same address");
    let mut elsewhere = Neighbour::connect(scene.site.address(), &scene.agent).unwrap();
    elsewhere.send(&query).unwrap();
    assert_eq!(elsewhere.head().unwrap().status, 404, "from another address");
}

#[test]
fn who_does_not_know_the_content_cannot_tell_whether_it_is_here() {
    let scene = Scene::new();
    let mut stranger = scene.connect();
    let mut answer = |keys: &p2p_agent::keys::ContentKeys, spoil: bool| {
        let (_, query) = stranger.query_bytes(keys, fresh());
        let mut query = String::from_utf8(query).unwrap();
        if spoil {
            let at = query.find("P2P-Proof: ").unwrap() + 11;
            let digit = if query.as_bytes()[at] == b'0' { "1" } else { "0" };
            query.replace_range(at..=at, digit);
        }
        stranger.send(query.as_bytes()).unwrap();
        stranger.head().unwrap()
    };
    let held = answer(&scene.content.keys(), true);
    let not_held = answer(&Content::random(122, 1).keys(), true);
    let known_not_held = answer(&Content::random(122, 1).keys(), false);
    assert_eq!(held.status, 404);
    assert_eq!(held.bytes, not_held.bytes);
    assert_eq!(held.bytes, known_not_held.bytes);
}

#[test]
fn absurd_ranges_are_refused() {
    let scene = Scene::new();
    let keys = scene.content.keys();
    let id = keys.id();
    let proof = Hex(&[0; 16]).to_string();
    for range in [
        "bytes=99999999999999999999-",
        "bytes=18446744073709551615-",
        "bytes=17592186044417-",
        "bytes=5-1",
        "bytes=-5",
        "bytes=0-0,2-3",
        "bytes=a-",
        "lines=1-",
    ] {
        let take = format!("GET /p2p/1/{id} HTTP/1.1\r\nHost: a\r\nRange: {range}\r\nP2P-Proof: {proof}\r\n\r\n");
        assert_eq!(scene.status(take.as_bytes()), 416, "{range}");
    }
    for offset in [100_000, 100_001, 1 << 44] {
        let mut neighbour = scene.connect();
        assert_eq!(neighbour.ask_and_take(&keys, offset).unwrap().err(), Some(416), "{offset}");
    }
    let mut neighbour = scene.connect();
    let opener = neighbour.ask_and_take(&keys, 99_999).unwrap().unwrap();
    assert_eq!(neighbour.receive(opener).unwrap(), scene.content.bytes[99_999..]);
}

#[test]
fn one_address_has_eight_connections_and_gives_up_its_own_oldest_for_one_more() {
    let scene = Scene::new();
    let keys = scene.content.keys();
    let mut others = Neighbour::connect(scene.site.address(), &scene.agent).unwrap();
    assert!(others.query(&keys).unwrap().is_ok());
    let mut own: Vec<_> = (0..CONNECTIONS_PER_ADDRESS).map(|_| scene.connect()).collect();
    // Each says something, so that it counts as known and stays.
    for connection in &mut own {
        assert!(connection.query(&keys).unwrap().is_ok());
    }
    let mut ninth = scene.connect();
    assert!(ninth.query(&keys).unwrap().is_ok());
    assert!(own[0].closed_after() < Duration::from_secs(2));
    assert_eq!(scene.agent.metric("p2p_connections_displaced_total"), 1);
    for connection in own[1..].iter_mut().chain([&mut ninth, &mut others]) {
        assert!(connection.query(&keys).unwrap().is_ok(), "the others stay");
    }
    scene.assert_serves();
}

#[test]
fn who_proves_nothing_is_shown_out_also_when_it_keeps_asking() {
    let scene = Scene::new();
    let unknown = Content::random(124, 1).keys();
    let mut stranger = scene.connect();
    let started = Instant::now();
    let ended = loop {
        if stranger.query(&unknown).map_or(true, |answer| answer.is_ok()) {
            break started.elapsed();
        }
        assert!(started.elapsed() < PROOF_TIMEOUT * 3, "it is still answered");
        thread::sleep(Duration::from_millis(200));
    };
    assert!(ended >= PROOF_TIMEOUT - Duration::from_millis(500), "{ended:?}");
    scene.assert_serves();
}

#[test]
fn strangers_cannot_occupy_every_seat() {
    let scene = Scene::new();
    let addresses: Vec<_> = (0..14).map(|_| scene.site.address()).collect();
    let crowd: Vec<_> =
        (0..140).filter_map(|number| Neighbour::connect(addresses[number % 14], &scene.agent).ok()).collect();
    assert!(crowd.len() >= 128);
    let keys = scene.content.keys();
    wait_for("somebody who knows the content is served", || {
        let mut honest = Neighbour::connect(scene.site.address(), &scene.agent).unwrap();
        honest.query(&keys).is_ok_and(|answer| answer.is_ok())
    });
}

#[test]
fn somebody_behind_a_router_gets_no_answer() {
    let scene = Scene::new();
    let address = std::net::SocketAddr::from((scene.agent.address, scene.agent.port));
    for ttl in [64, 254] {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Datagram,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        );
        let socket = std::net::UdpSocket::from(socket.unwrap());
        socket.set_ttl(ttl).unwrap();
        socket.send_to(&probe(1), address).unwrap();
    }
    let error = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(scene.agent.metric("p2p_datagrams_total{kind=\"reply\"}"), 0);
    scene.assert_serves();
}

/// A probe of a node that is not there.
pub fn probe(node: u8) -> [u8; DATAGRAM_BYTES] {
    let probe = Probe {
        node: NodeId([node; 8]),
        os: os_version("stranger"),
        nonce: fresh(),
        origin: Timestamp::from_nanos(0),
        interval_ms: 3_000,
        flags: Flags::default(),
    };
    let mut bytes = [0; DATAGRAM_BYTES];
    Datagram::Probe(probe).encode(&mut bytes);
    bytes
}

#[test]
fn datagrams_that_are_none_of_ours_are_counted_and_dropped() {
    let scene = Scene::new();
    let (agent, port) = (&scene.agent, scene.agent.port);
    let socket = datagrams(scene.stranger, port);
    let dropped = |reason: &str| agent.metric(&format!("p2p_datagrams_dropped_total{{reason=\"{reason}\"}}"));
    let [mut version, mut kind, mut body, mut trailing] = [probe(2); 4];
    version[0] = 2;
    kind[1] = 9;
    body[2..].fill(0xff);
    trailing[DATAGRAM_BYTES - 1] = 1;
    let full = probe(2);
    let cases: [(&str, &[&[u8]]); 4] = [
        ("length", &[&full[..0], &full[..1], &full[..191], &[full.as_slice(), &[0]].concat(), &[0; 1_400]]),
        ("version", &[&version]),
        ("kind", &[&kind]),
        ("malformed", &[&body, &trailing]),
    ];
    for (reason, datagrams) in cases {
        let before = dropped(reason);
        for datagram in datagrams {
            socket.send_to(datagram, (agent.address, port)).unwrap();
        }
        wait_for(reason, || dropped(reason) == before + datagrams.len() as u64);
    }
    // A reply that nobody asked for makes no peer.
    let reply = p2p_agent::wire::Reply {
        node: NodeId([3; 8]),
        os: os_version("stranger"),
        interval_ms: 3_000,
        flags: Flags::default(),
        echo: p2p_agent::wire::Echo {
            node: NodeId([4; 8]),
            nonce: fresh(),
            origin: Timestamp::from_nanos(0),
            os: os_version(""),
        },
        receive: Timestamp::from_nanos(0),
        transmit: Timestamp::from_nanos(0),
        probe: None,
    };
    let mut bytes = [0; DATAGRAM_BYTES];
    Datagram::Reply(reply).encode(&mut bytes);
    socket.send_to(&bytes, (agent.address, port)).unwrap();
    wait_for("the reply is dropped", || dropped("nonce") == 1);
    assert_eq!(agent.metric("p2p_peers"), 0);
    scene.assert_serves();
}

#[test]
fn a_flood_of_probes_is_answered_within_a_budget_and_never_with_more_bytes() {
    let scene = Scene::new();
    let (agent, port) = (&scene.agent, scene.agent.port);
    let socket = datagrams(scene.stranger, port);
    let started = Instant::now();
    for _ in 0..500 {
        socket.send_to(&probe(5), (agent.address, port)).unwrap();
    }
    wait_for("the flood is over", || agent.metric("p2p_datagrams_dropped_total{reason=\"source-busy\"}") > 100);
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 2_000];
    let mut answers = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        assert_eq!(length, DATAGRAM_BYTES);
        answers += 1;
    }
    let (burst, per_second) = REPLIES_PER_SOURCE;
    let budget = burst + per_second * (u32::try_from(started.elapsed().as_secs()).unwrap() + 1);
    // One of them may be a broadcast probe of the agent's own, heard nowhere else.
    assert!((1..=budget + 1).contains(&answers), "{answers} answers, {budget} allowed");
    scene.assert_serves();
}

/// Sockets of the kernel's table that have this port at either end and wait for the last acknowledgement of their connection.
fn waiting_for_the_last_acknowledgement(port: u16) -> usize {
    /// TCP_LAST_ACK of include/net/tcp_states.h.
    const LAST_ACK: &str = "09";
    let (table, port) = (std::fs::read_to_string("/proc/net/tcp").unwrap(), format!(":{port:04X}"));
    let fields = table.lines().map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>());
    fields.filter(|of| of[2] == LAST_ACK && of[..2].iter().any(|end| end.ends_with(&port))).count()
}

#[test]
fn a_connection_is_over_when_both_ends_have_closed_it_whoever_was_first() {
    let site = Site::new();
    let [holder, client] = site.agents();
    let content = Content::random(123, 200_000);
    holder.hold(&content);
    let keys = content.keys();
    for round in 0..20 {
        let mut neighbour = Neighbour::connect(site.address(), &holder).unwrap();
        assert!(neighbour.query(&keys).unwrap().is_ok());
        drop(neighbour);
        // Every other response is given up in the middle.
        let mut reply = client.get(&content.path());
        if round % 2 == 0 { reply.assert_is(&content.bytes) } else { drop(reply) }
    }
    wait_for("every connection is over", || waiting_for_the_last_acknowledgement(site.port) == 0);
}

#[test]
fn the_agent_survives_anything_at_both_ports() {
    let scene = Scene::new();
    let mut random = Random::from_seed([8; 16]);
    let socket = datagrams(scene.stranger, scene.agent.port);
    let keys = scene.content.keys();
    for round in 0..300 {
        let mut datagram = probe(6).to_vec();
        let mut neighbour = scene.connect();
        let mut request = neighbour.query_bytes(&keys, fresh()).1;
        if round % 3 == 0 {
            random.fill(&mut request);
            random.fill(&mut datagram[2..]);
        }
        for bytes in [&mut request, &mut datagram] {
            for _ in 0..=round % 4 {
                let [at, value] = random.bytes::<16>()[..2] else { unreachable!() };
                let at = usize::from(at) * 2 % bytes.len();
                bytes[at] = value;
            }
        }
        let _ = socket.send_to(&datagram, (scene.agent.address, scene.agent.port));
        // It may have been refused half-way.
        let _ = neighbour.send(&request);
    }
    scene.assert_serves();
    assert!(!scene.agent.log().contains("panicked"));
}
