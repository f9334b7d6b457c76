//! Datagrams: discovery (design, section 5) and the announcement of claims (section 7).
//!
//! | byte | |
//! |---|---|
//! | 0 | protocol version |
//! | 1 | kind: 1 probe, 2 reply, 3 announce |
//! | 2… | body, in postcard |
//! | …191 | zeros |
//!
//! Every datagram has the same length, so that a reply is never larger than its probe. Whatever is shorter, longer, of
//! another version or kind, or has anything but zeros behind its body, is refused.

use core::fmt;

use heapless::String;
use serde::{Deserialize, Serialize};

pub use crate::announce::Announce;
use crate::content::NodeId;
use crate::limits::{DATAGRAM_BYTES, OS_VERSION_BYTES, PROTOCOL_VERSION};
use crate::time::Timestamp;

/// Version of the operating system, printable ASCII.
pub type OsVersion = String<OS_VERSION_BYTES>;

/// `text` as it fits into a datagram: cut off where it is too long, `?` for everything that is not printable ASCII.
pub fn os_version(text: &str) -> OsVersion {
    let mut version = OsVersion::new();
    for letter in text.chars().take(OS_VERSION_BYTES) {
        // Cannot be full: as many ASCII letters as it holds.
        let _ = version.push(if is_printable(&letter) { letter } else { '?' });
    }
    version
}

/// What a sender says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub struct Flags {
    /// Sends over a cable on this interface.
    pub wired: bool,
    /// Pays for what it takes from the internet.
    pub metered: bool,
    /// Has no time: its timers are late.
    pub starved: bool,
}

impl From<u8> for Flags {
    /// Bits of later versions are ignored.
    fn from(bits: u8) -> Self {
        Self { wired: bits & 1 != 0, metered: bits & 2 != 0, starved: bits & 4 != 0 }
    }
}

impl From<Flags> for u8 {
    fn from(flags: Flags) -> Self {
        Self::from(flags.wired) | Self::from(flags.metered) << 1 | Self::from(flags.starved) << 2
    }
}

/// "Who is there, and what time is it?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The sender.
    pub node: NodeId,
    /// Its operating system.
    pub os: OsVersion,
    /// Known to nobody before this probe.
    pub nonce: [u8; 16],
    /// T1: the sender's clock when it sent this.
    #[serde(with = "nanos")]
    pub origin: Timestamp,
    /// Until the sender's next probe.
    pub interval_ms: u16,
    /// What the sender says about itself.
    pub flags: Flags,
}

/// The answer to a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The sender.
    pub node: NodeId,
    /// Its operating system.
    pub os: OsVersion,
    /// Until the sender's next probe.
    pub interval_ms: u16,
    /// What the sender says about itself.
    pub flags: Flags,
    /// What the sender received (behaviour 41).
    pub echo: Echo,
    /// T2: the sender's clock when the probe came.
    #[serde(with = "nanos")]
    pub receive: Timestamp,
    /// T3: the sender's clock when it sent this.
    #[serde(with = "nanos")]
    pub transmit: Timestamp,
    /// Where the asker is unknown there: the nonce of a probe that this reply is at the same time, so that one datagram from a stranger is never
    /// answered by two.
    pub probe: Option<[u8; 16]>,
}

impl Reply {
    /// The probe that it is, too; its T1 is the reply's T3.
    pub fn asked(&self) -> Option<Probe> {
        let Self { node, interval_ms, flags, transmit, .. } = *self;
        self.probe.map(|nonce| Probe { node, os: self.os.clone(), nonce, origin: transmit, interval_ms, flags })
    }
}

/// The received probe, as a [`Reply`] repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Who sent the probe.
    pub node: NodeId,
    /// Its nonce.
    pub nonce: [u8; 16],
    /// Its T1.
    #[serde(with = "nanos")]
    pub origin: Timestamp,
    /// Its operating system.
    pub os: OsVersion,
}

impl From<&Probe> for Echo {
    fn from(probe: &Probe) -> Self {
        Self { node: probe.node, nonce: probe.nonce, origin: probe.origin, os: probe.os.clone() }
    }
}

/// Everything that travels over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// Kind 1.
    Probe(Probe),
    /// Kind 2.
    Reply(Reply),
    /// Kind 3.
    Announce(Announce),
}

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Not exactly [`DATAGRAM_BYTES`].
    Length,
    /// Another protocol version.
    Version,
    /// A kind that this version does not know.
    Kind,
    /// A body that does not parse, or says something that cannot be.
    Body,
    /// Something other than zeros behind the body.
    Trailing,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::Kind => "kind",
            Self::Body => "body",
            Self::Trailing => "trailing",
        })
    }
}

impl core::error::Error for WireError {}

impl Datagram {
    /// Writes the datagram over all of `out`. The largest body fits (tested); one that did not would leave only zeros, which
    /// everybody ignores.
    pub fn encode(&self, out: &mut [u8; DATAGRAM_BYTES]) {
        out.fill(0);
        let [version, kind, body @ ..] = out;
        let (said, written) = match self {
            Self::Probe(probe) => (1, postcard::to_slice(probe, body)),
            Self::Reply(reply) => (2, postcard::to_slice(reply, body)),
            Self::Announce(announce) => (3, postcard::to_slice(announce, body)),
        };
        if written.is_ok() {
            (*version, *kind) = (PROTOCOL_VERSION, said);
        } else {
            body.fill(0);
        }
    }

    /// The probe that this is, or carries.
    pub fn asked(&self) -> Option<Probe> {
        match self {
            Self::Probe(probe) => Some(probe.clone()),
            Self::Reply(reply) => reply.asked(),
            Self::Announce(_) => None,
        }
    }

    /// Reads one received datagram.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; DATAGRAM_BYTES] = bytes.try_into().map_err(|_| WireError::Length)?;
        let [version, kind, body @ ..] = bytes;
        if *version != PROTOCOL_VERSION {
            return Err(WireError::Version);
        }
        match kind {
            1 => Ok(Self::Probe(whole(body, |probe: &Probe| is_clean(&probe.os))?)),
            2 => Ok(Self::Reply(whole(body, |reply: &Reply| is_clean(&reply.os) && is_clean(&reply.echo.os))?)),
            3 => Ok(Self::Announce(whole(body, |announce: &Announce| announce.standing.is_plausible())?)),
            _ => Err(WireError::Kind),
        }
    }
}

fn whole<'a, T: Deserialize<'a>>(body: &'a [u8], is_possible: impl FnOnce(&T) -> bool) -> Result<T, WireError> {
    let (said, rest) = postcard::take_from_bytes(body).map_err(|_| WireError::Body)?;
    if rest.iter().any(|&byte| byte != 0) {
        return Err(WireError::Trailing);
    }
    if is_possible(&said) { Ok(said) } else { Err(WireError::Body) }
}

/// What peers say ends up in logs and reports.
fn is_clean(os: &OsVersion) -> bool {
    os.chars().all(|letter| is_printable(&letter))
}

fn is_printable(letter: &char) -> bool {
    matches!(letter, ' '..='~')
}

mod nanos {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Timestamp;

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.as_nanos())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_nanos)
    }
}

#[cfg(test)]
pub(crate) mod tests;
