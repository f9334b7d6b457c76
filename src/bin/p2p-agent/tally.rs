//! The counters behind `/v1/status` and `/metrics`: how much came from where, and if not from peers, why.

use std::cell::Cell;

use p2p_agent::want::Reason;

/// Counters since the start.
#[derive(Default)]
pub struct Tally {
    /// Plaintext bytes handed to the local client that came from peers.
    pub from_peers: Cell<u64>,
    /// Plaintext bytes sent to peers.
    pub to_peers: Cell<u64>,
    /// Bytes that the local client reported to have taken from the internet.
    pub from_internet: Cell<u64>,
    /// Bytes handed to the local client from the own content directory.
    pub from_disk: Cell<u64>,
    /// Proven queries answered.
    pub queries_answered: Cell<u64>,
    /// Queries refused: no proof, or nothing known.
    pub queries_refused: Cell<u64>,
    /// Queries sent.
    pub queries_asked: Cell<u64>,
    /// Transfers started for peers.
    pub transfers_served: Cell<u64>,
    /// Transfers refused with 503.
    pub transfers_refused: Cell<u64>,
    /// Records dropped because their MAC was wrong, and the peer left.
    pub corrupt_records: Cell<u64>,
    /// Contents that did not hash to their name.
    pub corrupt_contents: Cell<u64>,
    /// Times that a peer was left alone for all contents.
    pub peers_left: Cell<u64>,
    /// Connections refused: from off the link, or too many.
    pub connections_refused: Cell<u64>,
    /// Connections ended for a newcomer: of strangers, or of its own address.
    pub connections_displaced: Cell<u64>,
    /// Requests that were not understood.
    pub bad_requests: Cell<u64>,
    /// Datagrams that could not be sent.
    pub send_failures: Cell<u64>,
    /// Local requests completed from peers or disk.
    pub completed: Cell<u64>,
    reasons: [Cell<u64>; Reason::ALL.len()],
}

/// Adds to a counter.
pub fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

impl Tally {
    /// The local client was sent to the internet for this reason.
    pub fn count_reason(&self, reason: Reason) {
        if let Some(counter) = self.reasons.get(reason as usize) {
            add(counter, 1);
        }
    }

    /// Every reason with its count.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Reason::ALL.iter().zip(&self.reasons).map(|(reason, counter)| (reason.as_str(), counter.get()))
    }
}
