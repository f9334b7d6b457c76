//! Every bound and interval of the agent, each with its reason. Nothing else in the code states a number of its own.

use crate::time::Duration;

// --- memory -------------------------------------------------------------------------------------------------

/// Transfers served to peers at once. One more is refused at once, never queued (behaviour 57).
pub const SLOTS: usize = 20;
/// Slots that one peer address may hold, so that no device starves the others.
pub const SLOTS_PER_ADDRESS: usize = 4;
/// Local responses at once: one per file that a sync client works on; each holds two record buffers.
pub const RELAYS: usize = 4;
/// Peers known at once. A site of 500 devices needs no more: the nearest 128 are plenty of sources.
pub const PEERS: usize = 128;
/// Clock samples kept per peer (RFC 5905 section 10 keeps eight).
pub const CLOCK_SAMPLES: usize = 8;
/// Connections accepted from peers at once: one kept-alive query connection for each peer.
pub const QUERY_CONNECTIONS: usize = 128;
/// Of those, connections from one address: its slots, its kept-alive queries and as many on the way out.
pub const CONNECTIONS_PER_ADDRESS: usize = 10;
/// Connections accepted on the local socket at once: the relays, status readers and reports.
pub const LOCAL_CONNECTIONS: usize = 16;
/// Contents indexed. Players hold some hundred files; more than this is reported, not indexed.
pub const CONTENTS: usize = 8_192;
/// Contents that this node wants, claims, fetches or remembers a reason for.
pub const WANTS: usize = 32;
/// Network interfaces used at once.
pub const INTERFACES: usize = 8;
/// Domain keys accepted at once: the old and the new one while keys are rotated.
pub const DOMAIN_KEYS: usize = 2;

// --- on the wire --------------------------------------------------------------------------------------------

/// UDP for discovery, TCP for query and transfer (behaviour 13).
pub const PORT: u16 = 11_111;
/// Protocol version in every datagram, path and transcript.
pub const PROTOCOL_VERSION: u8 = 1;
/// Every datagram is exactly this long, so that no reply is larger than its probe.
pub const DATAGRAM_BYTES: usize = 192;
/// Longest operating system version that is carried; the rest is cut off.
pub const OS_VERSION_BYTES: usize = 32;
/// Largest request or response head. Ours are under 700 bytes.
pub const HEAD_BYTES: usize = 2_048;
/// Header fields in one head.
pub const HEADER_FIELDS: usize = 24;
/// Plaintext bytes in one record: what a corrupt record costs.
pub const RECORD_BYTES: usize = 65_536;
/// Largest content. 2^32 records of 64 KiB are 2^48 bytes; far below any counter's end.
pub const CONTENT_BYTES: u64 = 1 << 44;

// --- discovery ----------------------------------------------------------------------------------------------

/// Between two broadcast probes on an interface (behaviour 39).
pub const PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// Probes right after an interface came up, so that a device that boots into a sync knows its peers at once.
pub const LINK_UP_PROBES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300)];
/// A reply that comes later than this after its probe is ignored.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(2);
/// A peer expires after this many announced intervals without a sign of life.
pub const MISSED_INTERVALS: u32 = 3;
/// Longest announced interval that is believed, so that no peer can make itself immortal.
pub const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Peers probed by unicast in every interval; beyond that the intervals stretch.
pub const PROBED_PEERS: usize = 8;
/// Datagrams an idle node sends per second on average, at any number of peers.
pub const IDLE_PACKETS_PER_SECOND: u32 = 3;
/// Replies to one source: burst, and refill per second.
pub const REPLIES_PER_SOURCE: (u32, u32) = (8, 4);
/// Replies to everybody: burst, and refill per second. A site of 128 boots at once and is answered.
pub const REPLIES_OVERALL: (u32, u32) = (256, 128);

/// Own unicast probes to strangers: burst, and refill per second. A whole table at boot; a flood of forged sources gets little.
pub const PROBES_TO_STRANGERS: (u32, u32) = (128, 16);
/// Bits of the census of nodes heard: good to a few percent for some thousand nodes, in 128 bytes each.
pub const CENSUS_BITS: usize = 1_024;
/// Beyond so many nodes on the links, each is a neighbour of some only: a full table and the census' error.
pub const CROWD: u32 = PEERS as u32 * 17 / 16;
/// So many neighbours are then expected; the table has room for more, because their number scatters.
pub const NEIGHBOURS: u32 = PEERS as u32 * 7 / 8;
/// A stranger is not probed again within this, so that each of its link-up probes may ask for one.
pub const REPROBE_AFTER: Duration = Duration::from_millis(90);
/// A unicast probe that found no room waits this long.
pub const PROBE_POSTPONED: Duration = Duration::from_millis(250);
/// Reply budgets kept; addresses that share the low bits share one. A power of two, and honest devices of a /23 share none.
pub const SOURCES: usize = 512;
/// Unicast probes whose reply is awaited: one for each peer.
pub const UNICAST_NONCES: usize = PEERS;
/// Broadcast probes whose replies are awaited, per interface: those of the link-up and the next.
pub const BROADCAST_NONCES: usize = LINK_UP_PROBES.len() + 1;
/// Datagrams waiting for the socket. They are sent right after what caused them; more than this waits only if the socket is stuck.
pub const OUTBOX: usize = 32;

// --- clock --------------------------------------------------------------------------------------------------

/// Peers that must agree before this node doubts its own clock.
pub const CLOCK_PEERS: usize = 3;
/// A peer with a larger error bound is not compared: Wi-Fi at its busiest stays below, and the alarm is well above.
pub const CLOCK_ERROR_MAX: Duration = Duration::from_millis(25);
/// Peers agree within this, beyond their error: NTP over a bad uplink leaves clocks this far apart.
pub const CLOCK_AGREEMENT: Duration = Duration::from_millis(50);
/// A clock that is wrong by more is worth a restart of the NTP client (behaviour 44).
pub const CLOCK_OFF: Duration = Duration::from_millis(100);
/// Wall and monotonic clock part by more only when the former is set, not by the time between reading the two.
pub const CLOCK_STEP: Duration = Duration::from_millis(10);
/// How fast a sample grows uncertain (PHI of RFC 5905).
pub const CLOCK_DRIFT_PPM: u32 = 15;
/// Resolution and reading time of the two clocks together: the mind's instants are whole microseconds.
pub const CLOCK_PRECISION: Duration = Duration::from_micros(2);

// --- query and transfer -------------------------------------------------------------------------------------

/// How long an answer is awaited, on top of the measured round trip.
pub const QUERY_TIMEOUT: Duration = Duration::from_millis(300);
/// From the first byte of a head to its last.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// A kept-alive connection without a request is closed after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A source that has nothing new says so this often, with an empty record.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// A source that sends neither data nor heartbeat for this long is left (promise 3).
pub const SOURCE_STALL: Duration = Duration::from_secs(2);
/// A reader that takes no record for this long loses its slot.
pub const READER_STALL: Duration = Duration::from_secs(5);
/// A local request may wait this long in all without received bytes; then the internet (promise 3).
pub const WAIT_WITHOUT_BYTES: Duration = Duration::from_secs(6);
/// Nobody reachable: the local client is told within this after link-up (promise 3).
pub const NOBODY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a reason is remembered for the client that asks again.
pub const REASON_MEMORY: Duration = Duration::from_secs(60);
/// What a refused reader is told to wait: retries on a LAN are about a second (behaviour 57).
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Query nonces remembered, so that a recorded query is not answered twice.
pub const NONCES_REMEMBERED: usize = 512;

// --- the device ---------------------------------------------------------------------------------------------

/// Bytes of log per second; beyond that lines are counted, not written.
pub const LOG_BYTES_PER_SECOND: u32 = 16_384;
/// Timers later than this mean that the device is too busy to be a good source.
pub const STARVED: Duration = Duration::from_millis(100);

const _: () = assert!(SLOTS_PER_ADDRESS < SLOTS);
const _: () = assert!(CONNECTIONS_PER_ADDRESS > SLOTS_PER_ADDRESS);
const _: () = assert!(QUERY_CONNECTIONS >= SLOTS + PEERS - SLOTS);
// The keystream of a record (two key blocks and its data) fits in the 8,192 blocks that separate two records.
const _: () = assert!(RECORD_BYTES / 16 + 2 <= 8_192);
// Wi-Fi and PPPoE carry a datagram in one frame.
const _: () = assert!(DATAGRAM_BYTES <= 512);
// The interval that a full table needs, with its jitter, is believed by the peers.
const _: () =
    assert!(PROBE_INTERVAL.as_millis() * (PEERS / PROBED_PEERS) as u128 * 17 / 16 <= INTERVAL_MAX.as_millis());
const _: () = assert!(INTERVAL_MAX.as_millis() <= u16::MAX as u128);
// Replies to eight peers and the own broadcast, every interval.
const _: () =
    assert!((PROBED_PEERS as u128 + 1) * 1_000 <= IDLE_PACKETS_PER_SECOND as u128 * PROBE_INTERVAL.as_millis());
const _: () = assert!(SOURCES.is_power_of_two() && CENSUS_BITS.is_power_of_two());
// A stalled source is noticed, and another one asked, within three seconds.
const _: () = assert!(SOURCE_STALL.as_millis() + 2 * QUERY_TIMEOUT.as_millis() < 3_000);
