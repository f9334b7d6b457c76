//! What goes in and out of discovery.

use core::net::Ipv4Addr;

use crate::limits;
use crate::peer::IfIndex;
use crate::time::Timestamp;
use crate::wire::{Announce, Echo};

/// A datagram to send now, to `limits::PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Through this interface, with its address as source.
    pub interface: IfIndex,
    /// To whom.
    pub to: To,
    /// The whole datagram.
    pub bytes: [u8; limits::DATAGRAM_BYTES],
}

/// Destination of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// 255.255.255.255: everybody on the link.
    Broadcast,
    /// One address of the interface's subnet.
    Unicast(Ipv4Addr),
}

/// A datagram for somebody else than discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A claim or "fetching from K"; its MAC is not verified yet.
    Announce {
        /// Where it came in.
        interface: IfIndex,
        /// Its source, which is on the link and otherwise as unproven as any datagram's.
        from: Ipv4Addr,
        /// What it says.
        announce: Announce,
    },
}

/// What became of an interface that came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum InterfaceUp {
    /// It is new, or its address is; probing starts.
    Started,
    /// It was up already with this address.
    Unchanged,
    /// Not an address that can have peers: unspecified, broadcast, multicast, or alone in its subnet.
    Unusable,
    /// `limits::INTERFACES` are in use.
    Full,
}

/// A datagram that waits for its timestamps.
#[derive(Clone, Debug)]
pub(super) enum Outgoing {
    Probe { interface: IfIndex, to: Option<Ipv4Addr>, nonce: [u8; 16] },
    Reply { interface: IfIndex, to: Ipv4Addr, echo: Echo, receive: Timestamp, probe: Option<[u8; 16]> },
}

impl Outgoing {
    pub(super) fn interface(&self) -> IfIndex {
        match self {
            Self::Probe { interface, .. } | Self::Reply { interface, .. } => *interface,
        }
    }
}
