//! What discovery sent, accepted and dropped, by reason.

use crate::wire::WireError;

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It came in on an interface that is not in use.
    Interface,
    /// Its source is not a host of the interface's subnet, or is the own address.
    OffLink,
    /// Not as long as ours are.
    Length,
    /// Another protocol version.
    Version,
    /// An unknown kind.
    Kind,
    /// Not a well-formed body, or something behind it.
    Malformed,
    /// Its sender has the own node id: the own broadcast, heard.
    Own,
    /// A reply whose nonce is not outstanding for its source, or is too old.
    Nonce,
    /// A second reply to the same broadcast.
    Duplicate,
    /// The source's budget is used up.
    SourceBusy,
    /// The budget for all is used up, or the outbox is full.
    Busy,
    /// The table is full of better peers, or the site is so large that this node is left to others.
    TableFull,
}

impl Dropped {
    /// All reasons, for metrics.
    pub const ALL: [Self; 12] = [
        Self::Interface,
        Self::OffLink,
        Self::Length,
        Self::Version,
        Self::Kind,
        Self::Malformed,
        Self::Own,
        Self::Nonce,
        Self::Duplicate,
        Self::SourceBusy,
        Self::Busy,
        Self::TableFull,
    ];

    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::OffLink => "off-link",
            Self::Length => "length",
            Self::Version => "version",
            Self::Kind => "kind",
            Self::Malformed => "malformed",
            Self::Own => "own",
            Self::Nonce => "nonce",
            Self::Duplicate => "duplicate",
            Self::SourceBusy => "source-busy",
            Self::Busy => "busy",
            Self::TableFull => "table-full",
        }
    }
}

impl From<WireError> for Dropped {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Length => Self::Length,
            WireError::Version => Self::Version,
            WireError::Kind => Self::Kind,
            WireError::Body | WireError::Trailing => Self::Malformed,
        }
    }
}

/// Datagrams counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Broadcast probes sent.
    pub broadcasts: u64,
    /// Unicast probes sent.
    pub probes: u64,
    /// Replies sent.
    pub replies: u64,
    /// Probes, replies and announcements accepted.
    pub accepted: u64,
    dropped: [u64; Dropped::ALL.len()],
}

impl Counters {
    /// Datagrams dropped for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    pub(super) fn on_dropped(&mut self, reason: Dropped) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}
