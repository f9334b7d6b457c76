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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::tests::standings;
    use crate::content::{ContentMd5, Rank, State};
    use crate::keys::{DomainKey, tests::sample_keys};
    use crate::limits::DATAGRAM_BYTES;
    use crate::wire::Datagram;
    use crate::wire::tests::{NODE, NONCE, assert_golden};

    fn sample() -> Announce {
        let standing = Standing {
            state: State::Fetching,
            size: Some(500_000_000),
            available: 1_048_576,
            active: 7,
            rank: Rank([0xcc; 16]),
            attempt: 1,
        };
        sealed(Announce {
            node: NODE,
            id: sample_keys().id(),
            standing,
            claimed_ms: 12_345,
            nonce: NONCE,
            mac: [0; 16],
        })
    }

    fn sealed(announce: Announce) -> Announce {
        Announce { mac: sample_keys().announce_mac(&announce), ..announce }
    }

    #[test]
    fn an_announcement_is_the_golden_one_both_ways() {
        assert_golden("announce", &Datagram::Announce(sample()));
        assert!(sample_keys().verify_announce(&sample()));
    }

    #[test]
    fn nobody_can_change_a_word_of_an_announcement() {
        let said = sample();
        let stood = said.standing;
        let with = |standing: Standing| Announce { standing, ..said.clone() };
        for changed in [
            Announce { node: NodeId([0; 8]), ..said.clone() },
            Announce { id: PublicId([0; 16]), ..said.clone() },
            Announce { claimed_ms: 99_999, ..said.clone() },
            Announce { nonce: [0; 16], ..said.clone() },
            Announce { mac: [0; 16], ..said.clone() },
            with(Standing { state: State::Claiming, ..stood }),
            with(Standing { size: None, ..stood }),
            with(Standing { available: 1_048_577, ..stood }),
            with(Standing { active: 0, ..stood }),
            with(Standing { rank: Rank([0xff; 16]), ..stood }),
            with(Standing { attempt: 2, ..stood }),
        ] {
            assert!(!sample_keys().verify_announce(&changed), "{changed:?}");
        }
    }

    #[test]
    fn who_does_not_know_the_content_cannot_announce_it() {
        let stranger = ContentKeys::derive(&DomainKey::open(), &ContentMd5([1; 16]));
        let forged = Announce { mac: stranger.announce_mac(&sample()), ..sample() };
        assert!(!sample_keys().verify_announce(&forged));
    }

    #[test]
    fn an_announcement_of_more_than_there_is_is_refused() {
        let standing = Standing { available: 500_000_001, ..sample().standing };
        let mut bytes = [0; DATAGRAM_BYTES];
        Datagram::Announce(Announce { standing, ..sample() }).encode(&mut bytes);
        assert!(Datagram::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_announcement_makes_the_round_trip(standing in standings(), claimed_ms: u32, nonce: [u8; 16], node: [u8; 8]) {
            let said = Announce { node: NodeId(node), standing, claimed_ms, nonce, ..sample() };
            let datagram = Datagram::Announce(sealed(said));
            let mut bytes = [0; DATAGRAM_BYTES];
            datagram.encode(&mut bytes);
            prop_assert_eq!(Datagram::decode(&bytes), Ok(datagram));
        }
    }
}
