//! Names of contents and nodes, and what a node says about one content.
//!
//! A content is named by the MD5 of its bytes inside the device and by its [`PublicId`] on the wire (design, section 4):
//! [`ContentMd5`] therefore has no serialised form.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::hex::{self, Hex};
use crate::limits::{CONTENT_BYTES, LAST_ATTEMPT};

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

impl PublicId {
    /// Its first eight digits: enough to tell contents apart in a log, where the MD5 must not stand.
    pub fn short(&self) -> Hex<'_> {
        Hex(self.0.split_at(4).0)
    }
}

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

/// What is on disk of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// The first bytes, in a `.part`.
    Part(u64),
    /// All of it.
    Complete(u64),
}

impl Held {
    /// Whether there are bytes here for who has the first `offset` of them. Strictly ahead, when a source is chosen and again when
    /// it grants the bytes: two that are level could follow each other, and so could a circle of them.
    pub const fn is_ahead_of(self, offset: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Part(available) => offset < available,
            // An empty content is complete with nothing ahead.
            Self::Complete(size) => offset < size || size == 0 && offset == 0,
        }
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

/// Bytes of a standing in fixed width.
const STANDING_BYTES: usize = 36;

impl Standing {
    /// What the node can serve. Also who still looks for the rest serves what it has, so that leftovers of a power cut are used.
    pub fn held(&self) -> Held {
        match self.state {
            State::Complete => self.size.map_or(Held::Nothing, Held::Complete),
            State::Wanting | State::Claiming | State::Partial | State::Fetching => Held::Part(self.available),
            State::Idle => Held::Nothing,
        }
    }

    /// Whether the numbers fit each other and the bounds; whatever comes from outside is refused when they do not.
    pub fn is_plausible(&self) -> bool {
        let end = self.size.unwrap_or(CONTENT_BYTES);
        let whole = self.state != State::Complete || self.size == Some(self.available);
        end <= CONTENT_BYTES && self.available <= end && whole && self.attempt <= LAST_ATTEMPT
    }

    /// All fields in fixed width, as MACs cover them and batched queries carry them.
    pub(crate) fn bytes(&self) -> [u8; STANDING_BYTES] {
        let (mut bytes, mut at) = ([0; STANDING_BYTES], 0);
        self.feed(&mut |part| {
            if let Some(room) = bytes.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
            }
            at += part.len();
        });
        bytes
    }

    /// Reads what [`Standing::bytes`] wrote; None for what could not have been written, or contradicts itself.
    pub(crate) fn read(bytes: &[u8; STANDING_BYTES]) -> Option<Self> {
        let [state, known, rest @ ..] = bytes;
        let (size, rest) = rest.split_first_chunk()?;
        let (available, rest) = rest.split_first_chunk()?;
        let [active, rank @ .., attempt] = rest else { return None };
        let size = u64::from_be_bytes(*size);
        let standing = Self {
            state: State::ALL.into_iter().find(|known| known.code() == *state)?,
            size: (*known == 1).then_some(size),
            available: u64::from_be_bytes(*available),
            active: *active,
            rank: Rank(rank.try_into().ok()?),
            attempt: *attempt,
        };
        (standing.is_plausible() && standing.bytes() == *bytes).then_some(standing)
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

#[cfg(test)]
pub(crate) mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Any standing that is not refused.
    pub(crate) fn standings() -> impl Strategy<Value = Standing> {
        let state = prop::sample::select(State::ALL.to_vec());
        (state, any::<bool>(), 0..=CONTENT_BYTES, 0..=CONTENT_BYTES, any::<u8>(), any::<[u8; 16]>(), 0..=LAST_ATTEMPT)
            .prop_map(|(state, known, one, other, active, rank, attempt)| {
                let whole = state == State::Complete;
                let available = if whole { one.max(other) } else { one.min(other) };
                let size = (whole || known).then_some(one.max(other));
                Standing { state, size, available, active, rank: Rank(rank), attempt }
            })
    }

    #[test]
    fn a_name_has_one_spelling() {
        let name = "0123456789abcdef0123456789abcdef";
        assert_eq!(ContentMd5::parse(name).unwrap().to_string(), name);
        for other in
            ["0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef", "0123456789abcdef0123456789abcdef.part", ""]
        {
            assert_eq!(ContentMd5::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn ranks_compare_as_big_endian_numbers() {
        let (mut high, mut low) = ([0; 16], [0xff; 16]);
        high[0] = 1;
        low[0] = 0;
        assert!(Rank(high) > Rank(low));
    }

    #[test]
    fn every_state_is_read_from_its_own_word_only() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("Complete"), None);
        assert_eq!(State::parse(""), None);
    }

    #[test]
    fn only_who_is_strictly_ahead_has_something_to_give() {
        assert!(Held::Part(64).is_ahead_of(63) && !Held::Part(64).is_ahead_of(64));
        assert!(Held::Complete(64).is_ahead_of(63) && !Held::Complete(64).is_ahead_of(64));
        assert!(!Held::Nothing.is_ahead_of(0) && !Held::Part(0).is_ahead_of(0));
        assert!(Held::Complete(0).is_ahead_of(0) && !Held::Complete(0).is_ahead_of(1));
    }

    #[test]
    fn numbers_that_contradict_each_other_are_implausible() {
        let good = Standing { state: State::Partial, size: Some(10), available: 10, ..Standing::default() };
        assert!(good.is_plausible());
        assert!(Standing::default().is_plausible());
        for bad in [
            Standing { available: 11, ..good },
            Standing { size: Some(CONTENT_BYTES + 1), ..good },
            Standing { size: None, available: u64::MAX, ..good },
            Standing { state: State::Complete, available: 9, ..good },
            Standing { state: State::Complete, size: None, ..good },
            Standing { attempt: LAST_ATTEMPT + 1, ..good },
        ] {
            assert!(!bad.is_plausible(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn two_standings_never_look_alike_to_a_mac(one in standings(), other in standings()) {
            let bytes = |standing: &Standing| {
                let mut all = Vec::new();
                standing.feed(&mut |part| all.extend_from_slice(part));
                all
            };
            prop_assert_eq!(bytes(&one).len(), 36);
            prop_assert_eq!(bytes(&one) == bytes(&other), one == other);
        }
    }
}
