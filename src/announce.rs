//! The announcement of a claim, and of every step of a download from the internet (design, section 7).
//!
//! It is broadcast, so that two devices that do not know each other still notice that both download. Its MAC shows that
//! the sender knows the content; a recorded one can be sent again, so it is a hint until the sender answered a nonce of
//! one's own.
//!
//! ```text
//! mac = HMAC-SHA256(claim key, version 1 ‖ node 8 ‖ public id 16 ‖ standing 36 ‖ claimed_ms u32 BE ‖ nonce 16)[..16]
//! ```

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::content::{NodeId, PublicId, Standing};
use crate::keys::ContentKeys;
use crate::limits::PROTOCOL_VERSION;

/// "I claim this content", "I am fetching it and have this much".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The sender.
    pub node: NodeId,
    /// The content.
    pub id: PublicId,
    /// What the sender does about it.
    pub standing: Standing,
    /// Age of the claim.
    pub claimed_ms: u32,
    /// Fresh in every announcement.
    pub nonce: [u8; 16],
    /// [`ContentKeys::announce_mac`] over all of the above.
    pub mac: [u8; 16],
}

impl ContentKeys {
    /// The MAC that belongs to `announce`, whatever stands in its `mac`.
    pub fn announce_mac(&self, announce: &Announce) -> [u8; 16] {
        self.claim_mac(|mut sink| {
            sink(&[PROTOCOL_VERSION]);
            sink(announce.node.as_bytes());
            sink(announce.id.as_bytes());
            announce.standing.feed(&mut sink);
            sink(&announce.claimed_ms.to_be_bytes());
            sink(&announce.nonce);
        })
    }

    /// Whether `announce` comes from somebody who knows the content; in constant time.
    pub fn verify_announce(&self, announce: &Announce) -> bool {
        self.announce_mac(announce).ct_eq(&announce.mac).into()
    }
}
