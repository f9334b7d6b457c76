//! The counters for collectors, as OpenMetrics text.

use std::fmt::Write as _;

use p2p_agent::discovery::Dropped;

use crate::device::Device;
use crate::heap;

/// All of them.
pub fn metrics(device: &Device) -> String {
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
    let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    metric("build_info", "gauge", "Always 1; the version is in the label.", &[(version, 1)]);
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
