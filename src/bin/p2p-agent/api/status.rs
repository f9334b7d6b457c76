//! What the device tells about itself: JSON for programs, text for people.

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::Async;
use p2p_agent::agent::Held;
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::limits::{INTERFACES, SLOTS};
use p2p_agent::want::{Reason, Want};
use serde::{Serialize, Serializer};

use super::asked::Look;
use super::metrics::metrics;
use super::response::{Problem, answer as respond};
use crate::clock;
use crate::device::Device;
use crate::heap;
use crate::history::{Entry, Source};
use crate::store::OpenError;
use crate::tally::Tally;

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
        Look::Recent if json => ("application/json", list(device.history.latest().iter().map(Recent::of))),
        Look::Recent => ("text/plain", recent(device)),
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
    disabled_because: Option<heapless::String<256>>,
    uptime_seconds: u64,
    os_version: &'a str,
    interfaces: heapless::Vec<heapless::String<36>, INTERFACES>,
    peers: usize,
    contents: usize,
    content_directory_present: bool,
    transfers_active: u8,
    transfers_max: usize,
    relays_free: usize,
    bytes_from_peers: u64,
    bytes_to_peers: u64,
    bytes_from_internet: u64,
    fetch_advice: Advice<'a>,
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
            disabled_because: (!device.enabled.get()).then(|| device.off_because.borrow().chars().take(64).collect()),
            uptime_seconds: clock::now().since(device.started_at).as_secs(),
            os_version: &device.os_version,
            interfaces: device.interfaces.borrow().iter().map(name).take(INTERFACES).collect(),
            peers: agent.discovery.peers().routable().count(),
            contents: stats.contents,
            content_directory_present: stats.present,
            transfers_active: agent.slots.active(),
            transfers_max: SLOTS,
            relays_free: device.relays_free(),
            bytes_from_peers: device.tally.from_peers.get(),
            bytes_to_peers: device.tally.to_peers.get(),
            bytes_from_internet: device.tally.from_internet.get(),
            fetch_advice: Advice(&device.tally),
            heap_bytes: heap::live_bytes(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let state = self.disabled_because.as_ref().map_or("on".into(), |why| format!("off, because {why}"));
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
        let _ = writeln!(text, "internet   {} bytes{}", self.bytes_from_internet, self.fetch_advice.text());
        text
    }
}

/// How often the client was sent to the internet, and why.
struct Advice<'a>(&'a Tally);

impl Serialize for Advice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.reasons())
    }
}

impl Advice<'_> {
    fn text(&self) -> String {
        let mut times = 0;
        let mut why = String::new();
        for (reason, count) in self.0.reasons().filter(|(_, count)| *count > 0) {
            let _ = write!(why, "{}{reason} {count}", if times > 0 { ", " } else { "" });
            times += count;
        }
        if times == 0 { why } else { format!("; sent there {times} times: {why}") }
    }
}

#[derive(Serialize)]
struct Recent {
    public_id: heapless::String<32>,
    seconds_ago: u64,
    complete: bool,
    bytes_from_peers: u64,
    bytes_from_internet: u64,
    bytes_from_disk: u64,
    last_reason: Option<&'static str>,
}

impl Recent {
    fn of(entry: &Entry) -> Self {
        Self {
            public_id: digits(entry.id),
            seconds_ago: clock::now().since(entry.at).as_secs(),
            complete: entry.complete,
            bytes_from_peers: entry.bytes(Source::Peers),
            bytes_from_internet: entry.bytes(Source::Internet),
            bytes_from_disk: entry.bytes(Source::Disk),
            last_reason: entry.reason.map(Reason::as_str),
        }
    }
}

fn digits(id: PublicId) -> heapless::String<32> {
    let mut text = heapless::String::new();
    // 32 digits fit.
    let _ = write!(text, "{id}");
    text
}

fn recent(device: &Device) -> String {
    let mut text = String::from(
        "id        ago s        complete  peers bytes  internet bytes  disk bytes  last sent to the internet\n",
    );
    for entry in device.history.latest() {
        let line = Recent::of(&entry);
        let _ = writeln!(
            text,
            "{}  {:<11}  {:<8}  {:<11}  {:<14}  {:<10}  {}",
            entry.id.short(),
            line.seconds_ago,
            if line.complete { "yes" } else { "no" },
            line.bytes_from_peers,
            line.bytes_from_internet,
            line.bytes_from_disk,
            line.last_reason.unwrap_or("never"),
        );
    }
    text
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
    list(agent.discovery.peers().routable().map(|peer| {
        let mut address = heapless::String::new();
        // An IPv4 address has at most 15 characters.
        let _ = write!(address, "{}", peer.addr);
        PeerLine {
            address,
            interface: peer.interface.0,
            os_version: &peer.os,
            wired: peer.flags.wired,
            proven: peer.state == p2p_agent::peer::PeerState::Proven,
            delay_us: peer.delay().map(|delay| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)),
            offset_us: peer.estimate(now).map(|estimate| estimate.offset_ns / 1_000),
            last_heard_ms: u64::try_from(now.since(peer.last_heard).as_millis()).unwrap_or(u64::MAX),
        }
    }))
}

/// A JSON array with an item in a line.
fn list(items: impl Iterator<Item = impl Serialize>) -> String {
    let mut text = String::from("[");
    for item in items {
        text.push_str(if text.len() > 1 { ",\n " } else { "" });
        text.push_str(to_json(&item).trim_end());
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
    bytes_from_peers: u64,
    bytes_from_internet: u64,
    bytes_from_disk: u64,
    readers: usize,
    peers: usize,
}

impl Explanation {
    fn of(device: &Device, md5: &ContentMd5) -> Self {
        let id = device.keys(md5).id();
        let held = device.held(md5);
        let agent = device.agent.borrow();
        let standing = agent.standing(clock::now(), id, held);
        let lately = device.history.find(id);
        let bytes = |source| lately.map_or(0, |entry| entry.bytes(source));
        let reason = lately.and_then(|entry| entry.reason);
        let unreadable = matches!(device.store.open_content(md5), Err(OpenError::NotReadable));
        let sentence = match (held, reason) {
            _ if unreadable => "It is in the content directory, but the user of the agent may not read it.",
            (Held::Complete(_), _) => "It is here, complete.",
            (_, Some(reason)) => reason.sentence(),
            _ if agent.want(id).is_some_and(Want::is_live) => "It is being transferred.",
            _ => "Nobody here asked for it lately.",
        };
        Self {
            public_id: digits(id),
            state: standing.state.as_str(),
            available: standing.available,
            size: standing.size,
            last_reason: reason.map(Reason::as_str),
            sentence,
            bytes_from_peers: bytes(Source::Peers),
            bytes_from_internet: bytes(Source::Internet),
            bytes_from_disk: bytes(Source::Disk),
            readers: agent.slots.readers(id),
            peers: agent.discovery.peers().routable().count(),
        }
    }

    fn text(&self) -> String {
        let size = self.size.map_or("unknown size".into(), |size| format!("{size} bytes"));
        let (state, have, peers, readers) = (self.state, self.available, self.peers, self.readers);
        let id = self.public_id.get(..8).unwrap_or_default();
        let mut text = format!(
            "{}\n{state}: {have} of {size} here; {peers} peers known; {readers} peers read it from here\nits id in the log is {id}\n",
            self.sentence
        );
        let got = (self.bytes_from_peers, self.bytes_from_internet, self.bytes_from_disk);
        if got != (0, 0, 0) || self.last_reason.is_some() {
            let (peers, internet, disk) = got;
            let why = self.last_reason.map_or(String::new(), |reason| format!("; last sent to the internet: {reason}"));
            let _ = writeln!(
                text,
                "lately {peers} bytes from peers, {internet} from the internet, {disk} from this device{why}"
            );
        }
        text
    }
}

/// One line of JSON. Every text in it is bounded, so it always fits.
fn to_json(value: &impl Serialize) -> String {
    let mut line = vec![0; 4_096];
    let length = serde_json_core::to_slice(value, &mut line).unwrap_or(0);
    line.truncate(length);
    line.push(b'\n');
    String::from_utf8(line).unwrap_or_default()
}
