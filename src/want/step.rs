//! What a want asks of its driver, and what the driver tells it besides the answers.

use core::net::Ipv4Addr;

use super::Reason;
use crate::time::Instant;

/// What to do next for a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask every peer, then call [`Want::handle_round`](super::Want::handle_round).
    Query,
    /// Take the content from this peer, from the own offset on; report [`Want::handle_progress`](super::Want::handle_progress) and [`Want::handle_source_end`](super::Want::handle_source_end).
    Follow {
        /// Whom to ask.
        peer: Ipv4Addr,
        /// Whether this device can go elsewhere or wait. Who cannot is admitted wherever there is a slot.
        alternative: bool,
    },
    /// Nothing before this instant, unless something is heard.
    Wait {
        /// When to poll again at the latest.
        until: Instant,
    },
    /// The client takes it from the internet.
    Fetch {
        /// Told to the client and counted.
        reason: Reason,
    },
}

/// What the round found, besides the answers themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Peers asked.
    pub asked: usize,
    /// Peers that gave no answer in time.
    pub silent: usize,
}

/// What the node is, as far as its rank goes.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Its timers are late.
    pub starved: bool,
    /// It may use the uplink.
    pub may_fetch: bool,
    /// It is wired.
    pub wired: bool,
    /// The class of its link's speed, [`crate::rank::speed`].
    pub speed: u8,
    /// Contents it fetches now.
    pub fetching: u8,
    /// Wired devices are there that may fetch; does not matter to one of them.
    pub wires: bool,
    /// Somebody takes this content from it.
    pub followed: bool,
    /// There are more devices than it can know.
    pub crowded: bool,
}
