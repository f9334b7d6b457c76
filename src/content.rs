//! Names of contents and nodes, and what a node says about one content.
//!
//! A content is named by the MD5 of its bytes inside the device and by its [`PublicId`] on the wire (design, section 4):
//! [`ContentMd5`] therefore has no serialised form.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::hex::{self, Hex};
use crate::limits::CONTENT_BYTES;

macro_rules! spelled_in_hex {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// Reads the one spelling: lower-case hexadecimal digits, no more and no fewer.
            pub fn parse(text: &str) -> Option<Self> {
                hex::parse::<$bytes>(text).map(Self)
            }

            /// The bytes behind the spelling.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

/// MD5 of a content's bytes: its name on the device, never on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentMd5(pub [u8; 16]);
spelled_in_hex!(ContentMd5, 16);

/// Name of a content on the wire; tells nothing about the MD5 to who does not know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct PublicId(pub [u8; 16]);
spelled_in_hex!(PublicId, 16);

/// Random name of one running agent; a new one at every start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 8]);
spelled_in_hex!(NodeId, 8);

/// Who should use the uplink for a content: compared as a big-endian number, larger is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Rank(pub [u8; 16]);
spelled_in_hex!(Rank, 16);

/// What a node is doing about one content. The order of the variants is the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum State {
    /// Neither has it nor wants it.
    #[default]
    Idle = 0,
    /// Wants it and has no source.
    Wanting = 1,
    /// Is about to hold the lease.
    Claiming = 2,
    /// Holds the lease: its client downloads from the internet.
    Fetching = 3,
    /// Has a prefix, which grows from a peer or rests.
    Partial = 4,
    /// Has all of it.
    Complete = 5,
}

impl State {
    const ALL: [Self; 6] = [Self::Idle, Self::Wanting, Self::Claiming, Self::Fetching, Self::Partial, Self::Complete];

    /// The word in heads and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Wanting => "wanting",
            Self::Claiming => "claiming",
            Self::Fetching => "fetching",
            Self::Partial => "partial",
            Self::Complete => "complete",
        }
    }

    /// Reads the word; exactly as [`State::as_str`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    const fn code(self) -> u8 {
        self as u8
    }
}

/// What a node says about one content: in queries, answers and announcements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Standing {
    /// What the node is doing about it.
    pub state: State,
    /// Bytes of the whole content, where known.
    pub size: Option<u64>,
    /// Bytes from the start that the node can serve.
    pub available: u64,
    /// Transfers that the node serves at this moment, of any content.
    pub active: u8,
    /// Its claim to the uplink for this content.
    pub rank: Rank,
    /// 1 at first; one more after every content that arrived whole and wrong. 0 = not said.
    pub attempt: u8,
}

impl Standing {
    /// Whether the numbers fit each other and the bounds; whatever comes from outside is refused when they do not.
    pub fn is_plausible(&self) -> bool {
        let end = self.size.unwrap_or(CONTENT_BYTES);
        let whole = self.state != State::Complete || self.size == Some(self.available);
        end <= CONTENT_BYTES && self.available <= end && whole
    }

    /// Hands every field to `sink` in fixed width, 36 bytes in all: what MACs cover.
    ///
    /// state 1 · size known 1 · size 8 · available 8 · active 1 · rank 16 · attempt 1
    pub(crate) fn feed(&self, sink: &mut impl FnMut(&[u8])) {
        sink(&[self.state.code(), u8::from(self.size.is_some())]);
        sink(&self.size.unwrap_or(0).to_be_bytes());
        sink(&self.available.to_be_bytes());
        sink(&[self.active]);
        sink(&self.rank.0);
        sink(&[self.attempt]);
    }
}
