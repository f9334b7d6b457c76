//! Every bound and interval of the agent, each with its reason. Nothing else in the code states a number of its own.

use crate::time::Duration;

// --- memory -------------------------------------------------------------------------------------------------

/// Transfers served to peers at once. One more is refused at once, never queued (behaviour 57).
pub const SLOTS: usize = 20;
/// Slots that one peer address may hold, so that no device starves the others.
pub const SLOTS_PER_ADDRESS: usize = 4;
/// Local responses at once: one per file that a sync client works on; each holds one record buffer.
pub const RELAYS: usize = 4;
/// Peers known at once. A site of 500 devices needs no more: the nearest 128 are plenty of sources.
pub const PEERS: usize = 128;
/// Clock samples kept per peer (RFC 5905 section 10 keeps eight).
pub const CLOCK_SAMPLES: usize = 8;
/// Connections accepted from peers at once: one kept-alive query connection for each peer.
pub const QUERY_CONNECTIONS: usize = 128;
/// Of those, connections from one address: for each of four downloads its transfer, and a query on the side.
pub const CONNECTIONS_PER_ADDRESS: usize = 8;
/// Who has proved something keeps its seat for so long without asking more, whoever comes: several rounds of queries.
pub const KEPT_SEAT: Duration = Duration::from_secs(5);
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
/// Contents in one batched query: as many as are wanted at once. Its body is 1 KiB, its answer less than 2 KiB.
pub const SURVEY_IDS: usize = WANTS;
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
/// With fewer peers a node is nobody's neighbour in a crowd, whatever the census says: it takes in whom it hears.
pub const SPARSE_TABLE: usize = NEIGHBOURS as usize / 2;
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
/// A clock that was found wrong so often in a row is not just being set.
pub const CLOCK_GUARD_LOOKS: u8 = 3;
/// Between two looks at the comparison: several exchanges with each peer.
pub const CLOCK_GUARD_INTERVAL: Duration = Duration::from_secs(20);
/// Between two restarts of the NTP client: peers that lie, and a client that cannot mend the clock, cause no more.
pub const CLOCK_GUARD_PAUSE: Duration = Duration::from_secs(3_600);
/// Wall and monotonic clock part by more only when the former is set, not by the time between reading the two.
pub const CLOCK_STEP: Duration = Duration::from_millis(10);
/// How fast a sample grows uncertain (PHI of RFC 5905).
pub const CLOCK_DRIFT_PPM: u32 = 15;
/// Resolution and reading time of the two clocks together: the mind's instants are whole microseconds.
pub const CLOCK_PRECISION: Duration = Duration::from_micros(2);

// --- query and transfer -------------------------------------------------------------------------------------

/// How long an answer is awaited, on top of the measured round trip.
pub const QUERY_TIMEOUT: Duration = Duration::from_millis(300);
/// A round goes on for this once a source has answered: the others answer as fast, or are gone.
pub const ROUND_GRACE: Duration = Duration::from_millis(40);
/// From the first byte of a head to its last.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// From the connection to the first proof; a head more than one needs. Whoever proves nothing in it is a stranger.
pub const PROOF_TIMEOUT: Duration = Duration::from_secs(4);
/// A kept-alive connection without a request is closed after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same on the local socket, whose few places serve many short-lived programs.
pub const LOCAL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// A source that has nothing new says so this often, with an empty record.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// From a growing file at least this much is sent at once ...
pub const GROWTH_BATCH: u64 = 16_384;
/// ... or what is there after this: what each device of a chain adds to the last one's delay.
pub const GROWTH_LINGER: Duration = Duration::from_millis(10);
/// A source that sends neither data nor heartbeat for this long is left (promise 3).
pub const SOURCE_STALL: Duration = Duration::from_secs(2);
/// From the first byte of a record to its last, and for 64 KiB from a source that says that it has the whole: whoever is slower,
/// 13 kB/s, has stalled. Wi-Fi at its worst is ten times faster, and so is any uplink over which videos are sent.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(5);
/// A reader that takes no record for this long loses its slot: with full records the same least rate.
pub const READER_STALL: Duration = Duration::from_secs(5);
/// A transfer without progress for this long may be displaced by its own device's fail-over.
pub const SLOT_DISPLACED_AFTER: Duration = Duration::from_secs(1);
/// A local client that takes nothing for this long is dropped: longer than an SD card's worst pause.
pub const LOCAL_STALL: Duration = Duration::from_secs(30);
/// A local request may wait this long in all without received bytes; then the internet (promise 3).
pub const WAIT_WITHOUT_BYTES: Duration = Duration::from_secs(6);
/// Whoever has waited so long so often for others goes alone and yields to nobody any more.
pub const WAITS_IN_VAIN: u8 = 2;
/// Peers avoided per content: more than ever fail at once on a site; the soonest forgiven makes room.
pub const AVOIDED: usize = 16;
/// Peers remembered per content that contributed to what the client has: whom to blame if it is wrong.
pub const CONTRIBUTORS: usize = 4;
/// Number of the last attempt at a content: it takes no prefix of the first, whose bytes were wrong.
pub const LAST_ATTEMPT: u8 = 2;
/// A peer without a free slot or bandwidth is asked again after this: meanwhile others have got something to give.
pub const AVOID_BUSY: Duration = Duration::from_millis(500);
/// A source that was left because it was slow.
pub const AVOID_SLOW: Duration = Duration::from_secs(3);
/// A peer that has nothing more right now: about one round of progress on its side.
pub const AVOID_EXHAUSTED: Duration = Duration::from_millis(300);
/// A peer that broke off or fell silent.
pub const AVOID_STALLED: Duration = Duration::from_secs(5);
/// A peer whose record failed its MAC: whoever sits on that path stays there for a while.
pub const AVOID_CORRUPT: Duration = Duration::from_secs(600);
/// Contents with which a peer may fail within that time before it is left alone for all: more than one bad file.
pub const OFFENCES: usize = 3;
/// Peers remembered per content that have or want it: with the few that are asked first, four tries before everybody is.
pub const KNOWN_COMPANY: usize = 16;
/// Of them, asked at once: one of four has room, or is ahead, as a rule.
pub const FEW: usize = 4;
/// Of those, the best placed of whom this device waits for.
pub const AWAITED: usize = 2;
/// Rounds of a few in a row, and then everybody: who is not known has been there for two seconds at most, waits included.
pub const FEW_IN_A_ROW: u8 = 8;
/// Asked instead of everybody while there are sources and only room is missing: on a site of this size it is everybody.
pub const WIDE: usize = 16;
/// Peers asked at once in a batched query: each takes some KiB, and nobody waits for it.
pub const SURVEYS_AT_ONCE: usize = 8;
/// Between two batched queries about one content, however often the local client names it.
pub const SURVEY_PAUSE: Duration = Duration::from_secs(10);
/// Between two query rounds while another device prepares to fetch.
pub const WAIT_ROUND: Duration = Duration::from_millis(200);
/// Random part of that wait, so that the waiting do not ask in step.
pub const WAIT_JITTER: Duration = Duration::from_millis(100);
/// A better placed wanter that does not claim within this has lost its client; it is passed over.
pub const WANTER_PATIENCE: Duration = Duration::from_millis(1_500);
/// A claimant or fetcher without progress for this long is passed over; the lease goes to the next (design section 7).
pub const LEASE_STALL: Duration = Duration::from_secs(3);
/// Rates are measured over this: longer than the bursts of socket buffers, shorter than anybody's patience.
pub const RATE_WINDOW: Duration = Duration::from_millis(250);
/// A rate that is lower for less than this is a dip: where processors are the limit, all devices have them, and at the same moment.
pub const RATE_HOLD: Duration = Duration::from_secs(1);
/// Bytes per second from which on a link is no reason to let another device fetch: 100 Mbit/s.
pub const FAST_LINK: u64 = 12_500_000;
/// A source takes another follower while its upload is below this part of the best rate that its link has shown (design section 7).
pub const ADMIT_BELOW_PERCENT: u32 = 55;
/// A wire that carries this part of its best rate is full, also for Wi-Fi stations, which are better fed by it than by each other.
pub const FULL_PERCENT: u32 = 90;
/// Who finds every source fed to its speed asks again after this for each better placed device that waits, too: about
/// what one more link of a chain takes to have bytes to give.
pub const QUEUE_STEP: Duration = Duration::from_millis(25);
/// Who found no source with bandwidth for this long is admitted wherever there is a slot. With 1.4 s, which an election takes at the
/// longest where one packet of twenty is lost, the first byte comes within 3 s.
pub const QUEUE_PATIENCE: Duration = Duration::from_millis(1_500);
/// ... and of those the better placed goes first by this, up to twice: what it takes until somebody behind it finds bytes there. At
/// the same moment they would take the same source, and share its link.
pub const QUEUE_APART: Duration = Duration::from_millis(100);
/// A follower looks for another source when it is slower than this part of the front: also when two share one source.
pub const MOVE_BELOW_PERCENT: u32 = 60;
/// ... and when that puts it this far behind, or would: what is near enough needs no other source.
pub const MOVE_GAP: Duration = Duration::from_millis(300);
/// ... or when it is slower than the front at all, beyond what measuring tells, and this far behind: three that share one source may each
/// get four fifths of what the front does, and would fall back for ever.
pub const LAG_BELOW_PERCENT: u32 = 92;
/// See [`LAG_BELOW_PERCENT`]; a long chain is as far behind and no slower.
pub const LAG_GAP: Duration = Duration::from_secs(1);
/// A new source is judged after this. Looks that bring nothing lengthen it by half: the end of a chain has room for one of those who
/// wait behind a slow device, then the new end for the next ...
pub const LOOK_AFTER: Duration = Duration::from_millis(600);
/// ... up to this.
pub const LOOK_MAX: Duration = Duration::from_secs(8);
/// Who keeps step with another follower of its source lets that one's chain go ahead for this and up to twice this: at full rate even
/// the end of a long one is then ahead.
pub const STEP_BACK: Duration = Duration::from_millis(250);
/// A fetcher looks round after this, so that two that do not hear each other's announcements still merge; looks that find nobody double
/// it, up to [`LOOK_MAX`].
pub const FETCHER_LOOK: Duration = Duration::from_secs(1);
/// A Wi-Fi station lets a wired device go first for so long: a sync file reaches the devices of a site within it, and what a station
/// leads crosses the air twice for each of the others.
pub const WIRE_PATIENCE: Duration = Duration::from_secs(2);
/// Where no wired device came, stations do not wait for one again for so long.
pub const WIRES_UNWILLING: Duration = Duration::from_secs(600);
/// Between two announcements of a fetch (design section 7).
pub const FETCH_BEACON: Duration = Duration::from_millis(250);
/// Between two queries about what was announced of one content, so that recorded announcements cost little.
pub const HINT_INTERVAL: Duration = Duration::from_millis(150);
/// After a claim: three quick announcements, so that one lost datagram does not hide it.
pub const CLAIM_BEACONS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(60)];
/// Where there are more devices than one can ask, a claim is held out for so long before the second round: everybody who claims or
/// fetches has announced it again by then.
pub const CROWD_CLAIM: Duration = Duration::from_millis(300);
/// Who lost a lease ranks last for this long.
pub const LOST_LEASE: Duration = Duration::from_secs(600);
/// Devices remembered per content that also want or fetch it: the best placed are enough to decide.
pub const RIVALS: usize = 8;
/// What was heard from a rival counts this long without news.
pub const RIVAL_LIFETIME: Duration = Duration::from_millis(800);
/// How long a reason is remembered for the client that asks again.
pub const REASON_MEMORY: Duration = Duration::from_secs(60);
/// Contents of which the agent can say later what came from where and why not from peers; a sync has 30 files.
pub const REMEMBERED: usize = 64;
/// What a refused reader is told to wait: retries on a LAN are about a second (behaviour 57).
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Transfers of complete files remembered for an hour: who of them may say that a file is wrong.
pub const SERVED_REMEMBERED: usize = 64;
/// A complete file that was blamed is not hashed again within this (design section 7).
pub const REHASH_AGAIN: Duration = Duration::from_secs(3_600);
/// Between the beginnings of two such hashings, whatever is blamed.
pub const REHASH_PAUSE: Duration = Duration::from_secs(600);
/// After every [`READ_CHUNK_BYTES`] of one: 8 MB/s at most, a small part of a core.
pub const REHASH_BREATH: Duration = Duration::from_millis(2);
/// Query nonces remembered, so that a recorded query is not answered twice.
pub const NONCES_REMEMBERED: usize = 512;

// --- sockets ------------------------------------------------------------------------------------------------

/// TTL of everything sent and the least TTL of everything accepted: a router would have taken one off (RFC 5082).
pub const LINK_TTL: u8 = 255;
/// Type-of-service byte of everything sent: the lower-effort DSCP, 000001 (RFC 8622).
pub const LOWER_EFFORT_TOS: u8 = 0x04;
/// Queueing priority of everything sent: bulk, the last band of the kernel's default queue (tc-prio(8)).
pub const BULK_PRIORITY: u8 = 2;
/// A neighbour that acknowledges nothing for this long is gone; twice the patience with a reader.
pub const GONE_AFTER: Duration = Duration::from_secs(10);
/// Send and receive buffer of a TCP connection as asked for; the kernel doubles it. Two records, or 1 Gbit/s at 1 ms;
/// a fixed size bounds the kernel's memory where its own tuning would grow to 6 MiB per connection.
pub const TCP_BUFFER_BYTES: u32 = 131_072;
/// Send and receive buffer of the datagram socket as asked for: a probe and a reply from each of 128 peers that boot at once.
pub const UDP_BUFFER_BYTES: u32 = 131_072;
/// Datagrams taken in a row before other tasks get their turn, so that a flood does not stop the agent.
pub const DATAGRAMS_IN_A_ROW: u8 = 16;
/// Sockets for connections to peers, all made at the start because none can be made in the jail: one kept for each peer, and as many for
/// rounds at the same time. Who finds none free waits for one. Some KiB of the kernel's memory each.
pub const CONNECTING_SOCKETS: usize = 2 * PEERS;
/// Sockets for the two ports, made at the start for the same reason: one set for each time that P2P comes on. After the last one
/// the daemon wants to be started again.
pub const PORT_SETS: usize = 8;
/// Longest name of a network interface (IFNAMSIZ without its NUL).
pub const INTERFACE_NAME_BYTES: usize = 15;

// --- the content directory ----------------------------------------------------------------------------------

/// Bytes of `MD5SUMS` that are read: 512 for each content that may be listed.
pub const SUMS_BYTES: u64 = 512 * CONTENTS as u64;
/// Longest line of `MD5SUMS`; the kernel's own limit for a path is as much. Longer lines are skipped and counted.
pub const SUMS_LINE_BYTES: usize = 4_096;
/// How often the content directory is compared with what its path names now, so that a remount is noticed.
pub const DIRECTORY_CHECK: Duration = Duration::from_secs(3);
/// Least time between two scans of the directory, whatever happens in it. 8,192 names are read in some milliseconds.
pub const RESCAN_PAUSE: Duration = Duration::from_millis(250);
/// Pause after a batch of directory events that came this soon after another: the kernel merges the writes of that time into one event.
pub const EVENT_PAUSE: Duration = Duration::from_millis(5);
/// The same while nobody waits for a file to grow: a download that nobody follows need not wake the agent often.
pub const EVENT_PAUSE_UNWATCHED: Duration = Duration::from_millis(50);
/// Bytes of directory events taken at once; room for some hundred content names.
pub const EVENT_BYTES: usize = 16_384;
/// A follower looks at its growing file this often even if no event says so: some file systems have none.
pub const GROWTH_POLL: Duration = Duration::from_millis(250);
/// Wrong files remembered, so that they are not offered: more than ever rot at once on a card that still works.
pub const WRONG_FILES: usize = 16;
/// Asked of the kernel ahead of a cold read: a few records, so that the next ones are warm.
pub const READ_AHEAD_BYTES: u64 = 4 * RECORD_BYTES as u64;
/// Read at once where a read cannot be told not to wait: under a millisecond on an SD card.
pub const READ_CHUNK_BYTES: usize = 16_384;
/// First wait for a cold page; it doubles up to 16 times this.
pub const READ_WAIT: Duration = Duration::from_millis(1);
/// Waits for a cold page (half a second in all) until one chunk is read the plain way.
pub const READ_TRIES: u32 = 36;

// --- the device ---------------------------------------------------------------------------------------------

/// Bytes of log per second; beyond that lines are counted, not written. Half of it is for warnings and errors alone.
pub const LOG_BYTES_PER_SECOND: u32 = 16_384;
/// Timers later than this mean that the device is too busy to be a good source.
pub const STARVED: Duration = Duration::from_millis(100);
/// Part of a link's speed, where known, that one upload may take.
pub const UPLOAD_SHARE_PERCENT: u32 = 90;
/// What one record takes under an upload limit, at most: twenty readers then wait less than their patience with a source.
pub const UPLOAD_PIECE: Duration = Duration::from_millis(50);
/// How often the file no-p2p is looked for: off is off within a second, at two system calls a second.
pub const SWITCH_CHECK: Duration = Duration::from_millis(400);
/// How often the interfaces are listed even if nothing announced a change.
pub const INTERFACE_CHECK: Duration = Duration::from_secs(10);
/// Heartbeats within the service manager's patience (WatchdogSec): sd_watchdog_enabled(3) asks for two.
pub const WATCHDOG_BEATS: u32 = 3;
/// How long a device that found its timers late ranks last.
pub const STARVED_MEMORY: Duration = Duration::from_secs(30);

/// Open files, sockets included, in the jail: the usual soft limit of a login, made hard.
pub const OPEN_FILES: u64 = 1_024;
/// Addresses in the jail: several times what program, libraries, heap and two stacks have (11 MiB), and far below what would hurt.
pub const ADDRESS_SPACE_BYTES: u64 = 64 << 20;

const _: () = assert!(SLOTS_PER_ADDRESS < SLOTS);
// Beside them a file for each transfer and relay, and the few of the event loop.
const _: () = assert!(
    (CONNECTING_SOCKETS + QUERY_CONNECTIONS + LOCAL_CONNECTIONS + 3 * PORT_SETS + SLOTS + RELAYS) as u64
        <= OPEN_FILES / 2
);
const _: () = assert!(UPLOAD_PIECE.as_millis() * (SLOTS as u128) < SOURCE_STALL.as_millis());
const _: () = assert!(CONNECTIONS_PER_ADDRESS >= SLOTS_PER_ADDRESS + RELAYS);
const _: () = assert!(PROOF_TIMEOUT.as_millis() > HEAD_TIMEOUT.as_millis());
const _: () = assert!(QUERY_CONNECTIONS >= PEERS);
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
// The content index counts in 16 bits, and remembers a line of `MD5SUMS` in 32.
const _: () = assert!(CONTENTS < u16::MAX as usize && SUMS_BYTES < u32::MAX as u64);
