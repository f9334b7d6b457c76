//! Every bound and interval of the sync client, each with its reason. Those of the agent are in `p2p_agent::limits`.

use std::time::Duration;

/// Files at once: the agent runs this many local transfers, a fifth would only be told to wait.
pub const JOBS: usize = p2p_agent::limits::RELAYS;
/// After so many files of a list the agent is told the next 32 of it: it always knows some that are not begun.
pub const NAMED_EVERY: usize = p2p_agent::limits::SURVEY_IDS / 2;
/// Bytes moved at once, between the network, the hash and the disk.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait between the download and the disk: enough to ride out a short stall of an SD card.
pub const QUEUED_CHUNKS: usize = 8;
/// The `.part` is synced every so many bytes, so that a power cut costs only the tail that was not.
pub const SYNC_BYTES: u64 = 8 << 20;
/// Free space that must remain on the disk beyond the file itself.
pub const SPARE_BYTES: u64 = 1 << 20;
/// Days after which a `.part` that nobody touched is removed.
pub const KEEP_PARTS_DAYS: u64 = 30;

/// The agent takes up to 6 s for the head of its answer, as it may wait for another device's lease.
pub const AGENT_HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// The agent fails over within 6 s without bytes or ends the response; a longer silence is a dead agent, and so is one from which
/// 64 KiB take longer: 6.5 kB/s is less than any uplink over which videos are sent.
pub const AGENT_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines behind the last chunk of an agent's answer. It sends none; a proxy may.
pub const TRAILER_LINES: usize = 24;
/// A report is answered at once or not waited for.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two reports while fetching: a device that should follow another one learns it within this.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Relays in a row that were cut before 64 KiB, after which the internet is tried.
pub const RELAYS_WITHOUT_PROGRESS: u32 = 4;
/// So many advices to follow in a row may have brought less than 64 KiB from peers, and the next is obeyed at once; up to twice as
/// many, and the next is obeyed after 64 KiB from the internet: where the uplink is down all devices try in turn, and when it comes back one has to fetch for all. After
/// that an agent that says `fetch` and `follow` in turn is not obeyed any more.
pub const FOLLOWS_IN_VAIN: u32 = 4;
/// All waiting together for an agent that answers 503; then the internet. Without an agent it would have been asked at once, so
/// this is what a busy agent may cost; four transfers of other programs that take longer are no reason to wait with this one.
pub const BUSY_AGENT_PATIENCE: Duration = Duration::from_secs(60);
/// Longest single wait that a Retry-After can impose.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Name resolution, connection and TLS, each.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// From the request to the head of the response; some origins fetch from their own origin first.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence within a download, after which the connection counts as cut.
pub const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections in a row that brought no byte before the lease is given back and the agent is asked again.
pub const CONNECTIONS_WITHOUT_PROGRESS: u32 = 3;
/// Rounds (agent, internet) without a byte from anywhere before it is called unreachable; `--retries`.
pub const RETRIES: u32 = 4;
/// Whole downloads that failed verification before the content is called wrong. The last is from the internet alone.
pub const ATTEMPTS: u32 = 3;

/// First wait after a failure; doubles from one failure in a row to the next.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest wait between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Between two requests to the agent that did bring bytes: long enough not to spin, too short to be seen.
pub const BREATH: Duration = Duration::from_millis(50);
/// Without a terminal a line is printed at every tenth of the file or after this.
pub const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Files of a list that change places with each other: twice as many as are worked on at once.
pub const SHUFFLED: usize = 2 * JOBS;
