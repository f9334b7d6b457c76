//! What the device tells about itself: JSON for programs, text for people, OpenMetrics for collectors.

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::Async;
use p2p_agent::agent::Held;
use p2p_agent::content::ContentMd5;
use p2p_agent::discovery::Dropped;
use p2p_agent::limits::SLOTS;
use p2p_agent::want::Want;
use serde::Serialize;

use super::asked::Look;
use super::response::{Problem, answer as respond};
use crate::clock;
use crate::device::Device;
use crate::heap;

/// Answers with what is asked for.
pub async fn answer(
    device: &Rc<Device>,
    stream: &mut Async<UnixStream>,
    look: Look,
    json: bool,
) -> Result<(), Problem> {
    let (content_type, body) = match look {
        Look::Metrics => ("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics(device)),
        Look::Status if json => ("application/json", to_json(&Status::of(device))),
        Look::Status => ("text/plain", Status::of(device).text()),
        Look::Peers => ("application/json", peers(device)),
        Look::Clock => ("application/json", to_json(&Clock::of(device))),
        Look::Explain(md5) if json => ("application/json", to_json(&Explanation::of(device, &md5))),
        Look::Explain(md5) => ("text/plain", Explanation::of(device, &md5).text()),
    };
    // A client that is gone needs no answer.
    _ = respond(stream, content_type, None, body.as_bytes()).await;
    Ok(())
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    enabled: bool,
    uptime_seconds: u64,
    os_version: &'a str,
    interfaces: heapless::Vec<heapless::String<36>, 8>,
    peers: usize,
    contents: usize,
    content_directory_present: bool,
    transfers_active: u8,
    transfers_max: usize,
    relays_free: usize,
    bytes_from_peers: u64,
    bytes_to_peers: u64,
    bytes_from_internet: u64,
    heap_bytes: usize,
}

impl<'a> Status<'a> {
    fn of(device: &'a Device) -> Self {
        let stats = device.store.stats();
        let agent = device.agent.borrow();
        let name = |interface: &crate::net::interfaces::Interface| {
            let mut text = heapless::String::new();
            // Name, address and prefix fit.
            let _ = write!(text, "{} {}/{}", interface.name, interface.addr, interface.prefix);
            text
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            enabled: device.enabled.get(),
            uptime_seconds: clock::now().since(device.started_at).as_secs(),
            os_version: &device.os_version,
            interfaces: device.interfaces.borrow().iter().map(name).take(8).collect(),
            peers: agent.discovery.peers().routable().count(),
            contents: stats.contents,
            content_directory_present: stats.present,
            transfers_active: agent.slots.active(),
            transfers_max: SLOTS,
            relays_free: device.relays_free(),
            bytes_from_peers: device.tally.from_peers.get(),
            bytes_to_peers: device.tally.to_peers.get(),
            bytes_from_internet: device.tally.from_internet.get(),
            heap_bytes: heap::live_bytes(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let state = if self.enabled { "on" } else { "off (the file no-p2p is there)" };
        let links: Vec<&str> = self.interfaces.iter().map(|link| link.as_str()).collect();
        let links = if links.is_empty() { "none".to_owned() } else { links.join(", ") };
        let _ = writeln!(text, "p2p-agent {}: P2P is {state}, up for {} s", self.version, self.uptime_seconds);
        let _ = writeln!(text, "links      {links}");
        let _ = writeln!(text, "peers      {}", self.peers);
        let missing = if self.content_directory_present { "" } else { " (the content directory is missing)" };
        let _ = writeln!(text, "contents   {}{missing}", self.contents);
        let _ = writeln!(text, "transfers  {} of {}", self.transfers_active, self.transfers_max);
        let _ = writeln!(text, "from peers {} bytes", self.bytes_from_peers);
        let _ = writeln!(text, "to peers   {} bytes", self.bytes_to_peers);
        let _ = writeln!(text, "internet   {} bytes", self.bytes_from_internet);
        text
    }
}

#[derive(Serialize)]
struct PeerLine<'a> {
    address: heapless::String<15>,
    interface: u32,
    os_version: &'a str,
    wired: bool,
    proven: bool,
    delay_us: Option<u64>,
    offset_us: Option<i64>,
    last_heard_ms: u64,
}

fn peers(device: &Device) -> String {
    let now = clock::now();
    let agent = device.agent.borrow();
    let mut text = String::from("[");
    for peer in agent.discovery.peers().routable() {
        let mut address = heapless::String::new();
        // An IPv4 address has at most 15 characters.
        let _ = write!(address, "{}", peer.addr);
        let line = PeerLine {
            address,
            interface: peer.interface.0,
            os_version: &peer.os,
            wired: peer.flags.wired,
            proven: peer.state == p2p_agent::peer::PeerState::Proven,
            delay_us: peer.delay().map(|delay| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)),
            offset_us: peer.estimate(now).map(|estimate| estimate.offset_ns / 1_000),
            last_heard_ms: u64::try_from(now.since(peer.last_heard).as_millis()).unwrap_or(u64::MAX),
        };
        text.push_str(if text.len() > 1 { ",\n " } else { "" });
        text.push_str(to_json(&line).trim_end());
    }
    text.push_str("]\n");
    text
}

#[derive(Serialize)]
struct Clock {
    peers_compared: usize,
    peers_agreeing: usize,
    offset_us: Option<i64>,
    error_us: u64,
    off: bool,
}

impl Clock {
    fn of(device: &Device) -> Self {
        let report = device.agent.borrow().discovery.clock(clock::now());
        Self {
            peers_compared: report.peers_compared,
            peers_agreeing: report.peers_agreeing,
            offset_us: report.offset_ns.map(|nanos| nanos / 1_000),
            error_us: report.error_ns / 1_000,
            off: report.off,
        }
    }
}

#[derive(Serialize)]
struct Explanation {
    public_id: heapless::String<32>,
    state: &'static str,
    available: u64,
    size: Option<u64>,
    last_reason: Option<&'static str>,
    sentence: &'static str,
    readers: usize,
    peers: usize,
}

impl Explanation {
    fn of(device: &Device, md5: &ContentMd5) -> Self {
        let id = device.keys(md5).id();
        let held = device.held(md5);
        let agent = device.agent.borrow();
        let standing = agent.standing(clock::now(), id, held);
        let reason = agent.reason(id);
        let sentence = match (held, reason) {
            (Held::Complete(_), _) => "It is here, complete.",
            (_, Some(reason)) => reason.sentence(),
            _ if agent.want(id).is_some_and(Want::is_live) => "It is being transferred.",
            _ => "Nobody here asked for it lately.",
        };
        let mut public_id = heapless::String::new();
        // 32 digits fit.
        let _ = write!(public_id, "{id}");
        Self {
            public_id,
            state: standing.state.as_str(),
            available: standing.available,
            size: standing.size,
            last_reason: reason.map(p2p_agent::want::Reason::as_str),
            sentence,
            readers: agent.slots.readers(id),
            peers: agent.discovery.peers().routable().count(),
        }
    }

    fn text(&self) -> String {
        let size = self.size.map_or("unknown size".into(), |size| format!("{size} bytes"));
        let (state, have, peers, readers) = (self.state, self.available, self.peers, self.readers);
        format!(
            "{}\n{state}: {have} of {size} here; {peers} peers known; {readers} peers read it from here\n",
            self.sentence
        )
    }
}

/// One line of JSON. Every text in it is bounded, so it always fits.
fn to_json(value: &impl Serialize) -> String {
    let mut line = vec![0; 2_048];
    let length = serde_json_core::to_slice(value, &mut line).unwrap_or(0);
    line.truncate(length);
    line.push(b'\n');
    String::from_utf8(line).unwrap_or_default()
}

fn metrics(device: &Device) -> String {
    let mut text = String::with_capacity(4_096);
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let _ = writeln!(text, "# TYPE p2p_{name} {kind}\n# HELP p2p_{name} {help}");
        for (label, value) in values {
            let _ = writeln!(text, "p2p_{name}{suffix}{label} {value}");
        }
    };
    let tally = &device.tally;
    let agent = device.agent.borrow();
    let discovery = agent.discovery.counters();
    let stats = device.store.stats();
    metric("enabled", "gauge", "1 while P2P is on.", &[("", u64::from(device.enabled.get()))]);
    metric(
        "bytes",
        "counter",
        "Plaintext bytes of content.",
        &[
            ("{from=\"peers\"}", tally.from_peers.get()),
            ("{from=\"internet\"}", tally.from_internet.get()),
            ("{from=\"disk\"}", tally.from_disk.get()),
            ("{to=\"peers\"}", tally.to_peers.get()),
        ],
    );
    let labels: Vec<_> = tally.reasons().map(|(reason, count)| (format!("{{reason=\"{reason}\"}}"), count)).collect();
    let labels: Vec<_> = labels.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    metric("fetch_advice", "counter", "Times the local client was sent to the internet.", &labels);
    metric("completed", "counter", "Local requests completed without the internet.", &[("", tally.completed.get())]);
    metric("peers", "gauge", "Peers that can be asked.", &[("", agent.discovery.peers().routable().count() as u64)]);
    metric("contents", "gauge", "Contents offered.", &[("", stats.contents as u64)]);
    metric("transfers_active", "gauge", "Transfers to peers under way.", &[("", agent.slots.active().into())]);
    metric(
        "transfers",
        "counter",
        "Transfers to peers.",
        &[
            ("{result=\"started\"}", tally.transfers_served.get()),
            ("{result=\"refused\"}", tally.transfers_refused.get()),
        ],
    );
    metric(
        "queries",
        "counter",
        "Queries of peers and to peers.",
        &[
            ("{kind=\"answered\"}", tally.queries_answered.get()),
            ("{kind=\"refused\"}", tally.queries_refused.get()),
            ("{kind=\"asked\"}", tally.queries_asked.get()),
        ],
    );
    metric(
        "corrupt",
        "counter",
        "Records and contents dropped because they were altered.",
        &[("{what=\"record\"}", tally.corrupt_records.get()), ("{what=\"content\"}", tally.corrupt_contents.get())],
    );
    metric(
        "peers_left",
        "counter",
        "Times that a peer was left alone for all contents because it had failed with several.",
        &[("", tally.peers_left.get())],
    );
    metric(
        "connections_refused",
        "counter",
        "Connections from off the link or too many.",
        &[("", tally.connections_refused.get())],
    );
    metric(
        "connections_displaced",
        "counter",
        "Connections that proved nothing, or were the oldest of their address, and made room for another one.",
        &[("", tally.connections_displaced.get())],
    );
    metric(
        "bad_requests",
        "counter",
        "Requests that were not understood or not allowed.",
        &[("", tally.bad_requests.get())],
    );
    metric(
        "datagrams",
        "counter",
        "Datagrams sent and accepted.",
        &[
            ("{kind=\"broadcast\"}", discovery.broadcasts),
            ("{kind=\"probe\"}", discovery.probes),
            ("{kind=\"reply\"}", discovery.replies),
            ("{kind=\"accepted\"}", discovery.accepted),
            ("{kind=\"not-sent\"}", tally.send_failures.get()),
        ],
    );
    let dropped: Vec<_> =
        Dropped::ALL.iter().map(|why| (format!("{{reason=\"{}\"}}", why.as_str()), discovery.dropped(*why))).collect();
    let dropped: Vec<_> = dropped.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    metric("datagrams_dropped", "counter", "Datagrams dropped.", &dropped);
    metric("heap_bytes", "gauge", "Live bytes of the heap.", &[("", heap::live_bytes() as u64)]);
    metric("heap_peak_bytes", "gauge", "Most live bytes of the heap so far.", &[("", heap::peak_bytes() as u64)]);
    text.push_str("# EOF\n");
    text
}
