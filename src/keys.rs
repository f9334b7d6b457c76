//! Keys of one content and what is made from them (design, section 4):
//!
//! ```text
//! root = HMAC-SHA256(domain key, content MD5)
//! public id = HMAC-SHA256(root, "p2p-agent/1 id")[..16]
//! proof key, claim key, content key = HMAC-SHA256(root, "p2p-agent/1 proof" | "p2p-agent/1 claim" | "p2p-agent/1 content")
//! tie break = HMAC-SHA256(root, "p2p-agent/1 rank" ‖ node)[..8]
//! proof = HMAC-SHA256(proof key, transcript)[..16]
//! transfer keys = HMAC-SHA256(content key, "p2p-agent/1 transfer" ‖ transcript of the give)[..24]
//! ```
//!
//! Who knows neither the MD5 nor, where one is set, the domain key gets none of this. Comparisons are constant time and
//! every key is wiped when it is dropped.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::content::{ContentMd5, NodeId, PublicId};
pub use crate::domain::{DomainKey, KeyFileError};
use crate::hex::{self, Hex};
pub use crate::transcript::{Role, Transcript};

/// All keys of one content in one domain.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ContentKeys {
    #[zeroize(skip)]
    id: PublicId,
    root: [u8; 32],
    proof: [u8; 32],
    claim: [u8; 32],
    content: [u8; 32],
}

impl ContentKeys {
    /// Derives everything from the domain key and the content's MD5.
    pub fn derive(domain: &DomainKey, md5: &ContentMd5) -> Self {
        let root = hmac(domain.as_bytes(), |mac| mac.update(md5.as_bytes()));
        let labelled = |label: &[u8]| hmac(&root, |mac| mac.update(label));
        Self {
            id: PublicId(first(&labelled(b"p2p-agent/1 id"))),
            proof: labelled(b"p2p-agent/1 proof"),
            claim: labelled(b"p2p-agent/1 claim"),
            content: labelled(b"p2p-agent/1 content"),
            root,
        }
    }

    /// The content's name on the wire.
    pub const fn id(&self) -> PublicId {
        self.id
    }

    /// Orders nodes that are otherwise equal, differently for every content.
    pub fn tie_break(&self, node: NodeId) -> [u8; 8] {
        first(&hmac(&self.root, |mac| {
            mac.update(b"p2p-agent/1 rank");
            mac.update(node.as_bytes());
        }))
    }

    /// Shows that this end knows the content and said what the transcript holds.
    pub fn proof(&self, role: Role, transcript: &Transcript) -> Proof {
        Proof(first(&hmac(&self.proof, |mac| transcript.feed(role, &mut |bytes| mac.update(bytes)))))
    }

    /// Whether the other end has shown the same; in constant time.
    pub fn verify(&self, role: Role, transcript: &Transcript, proof: &Proof) -> bool {
        self.proof(role, transcript) == *proof
    }

    /// Keys of the one transfer that the transcript led to.
    pub fn transfer(&self, transcript: &Transcript) -> TransferKeys {
        let mut block = hmac(&self.content, |mac| {
            mac.update(b"p2p-agent/1 transfer");
            transcript.feed(Role::Give, &mut |bytes| mac.update(bytes));
        });
        let keys = TransferKeys { aes: part::<0, 16>(&block), iv: part::<16, 8>(&block) };
        block.zeroize();
        keys
    }

    /// MAC under the claim key over whatever `feed` hands to its sink.
    pub(crate) fn claim_mac(&self, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; 16] {
        first(&hmac(&self.claim, |mac| feed(&mut |bytes| mac.update(bytes))))
    }
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Key and initial vector of one transfer; never used for another.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TransferKeys {
    /// AES-128 key.
    pub aes: [u8; 16],
    /// First half of every counter block.
    pub iv: [u8; 8],
}

impl fmt::Debug for TransferKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransferKeys(…)")
    }
}

/// Truncated HMAC over role and transcript. `==` takes the same time wherever the difference is.
#[derive(Clone, Copy)]
pub struct Proof(pub [u8; 16]);

impl Proof {
    /// Reads 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex::parse(text).map(Self)
    }
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Proof {}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({self})")
    }
}

fn hmac(key: &[u8; 32], feed: impl FnOnce(&mut Hmac<Sha256>)) -> [u8; 32] {
    // A whole block is a key of the only length that cannot be refused; HMAC would pad with the same zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    block.zeroize();
    feed(&mut mac);
    mac.finalize().into_bytes().into()
}

fn first<const N: usize>(block: &[u8; 32]) -> [u8; N] {
    part::<0, N>(block)
}

fn part<const AT: usize, const N: usize>(block: &[u8; 32]) -> [u8; N] {
    const { assert!(AT + N <= 32) };
    let mut out = [0; N];
    out.copy_from_slice(&block[AT..AT + N]);
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::content::{Rank, Standing, State};
    use crate::transcript::tests::{ROLES, sample};
    use crate::vectors;

    /// The keys of the golden vectors.
    pub(crate) fn sample_keys() -> ContentKeys {
        let domain = DomainKey::from_bytes(core::array::from_fn(|at| at as u8));
        ContentKeys::derive(&domain, &ContentMd5(vectors::array("md5")))
    }

    #[test]
    fn ids_and_tie_breaks_are_the_golden_ones_with_and_without_a_domain() {
        let open = ContentKeys::derive(&DomainKey::open(), &ContentMd5(vectors::array("md5")));
        for (keys, name) in [(open, "open"), (sample_keys(), "domain")] {
            assert_eq!(keys.id().0, vectors::array(&std::format!("{name} id")));
            let node = NodeId([1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(keys.tie_break(node), vectors::array(&std::format!("{name} tie break")));
        }
    }

    #[test]
    fn proofs_and_transfer_keys_are_the_golden_ones() {
        for (role, name) in ROLES {
            let golden = Proof(vectors::array(&std::format!("{name} proof")));
            assert_eq!(sample_keys().proof(role, &sample()), golden);
            assert!(sample_keys().verify(role, &sample(), &golden));
        }
        let TransferKeys { aes, iv } = &sample_keys().transfer(&sample());
        assert_eq!([aes.as_slice(), iv].concat(), vectors::bytes("transfer keys"));
    }

    #[test]
    fn a_proof_for_one_role_is_no_proof_for_another() {
        // Even where nothing was said after the query.
        let silent = Transcript { client_nonce: [9; 16], ..Transcript::default() };
        for (role, _) in ROLES {
            let proof = sample_keys().proof(role, &silent);
            for (other, _) in ROLES {
                assert_eq!(sample_keys().verify(other, &silent, &proof), role == other);
            }
        }
    }

    #[test]
    fn a_proof_does_not_survive_a_relay_a_replay_or_a_changed_word() {
        let said = sample();
        let standing = |change: fn(&mut Standing)| {
            let (mut asker, mut answer) = (said.asker, said.answer);
            change(&mut asker);
            change(&mut answer);
            [Transcript { asker, ..said }, Transcript { answer, ..said }]
        };
        let mut changed = std::vec![
            Transcript { client: [192, 168, 1, 11], ..said },
            Transcript { server: [192, 168, 1, 21], ..said },
            Transcript { client: said.server, server: said.client, ..said },
            Transcript { id: PublicId([0; 16]), ..said },
            Transcript { client_nonce: [0; 16], ..said },
            Transcript { challenge: [0; 16], ..said },
            Transcript { alternative: false, ..said },
            Transcript { server_nonce: [0; 16], ..said },
        ];
        changed.extend(standing(|it| it.state = State::Partial));
        changed.extend(standing(|it| it.size = Some(0)));
        changed.extend(standing(|it| it.available += 1));
        changed.extend(standing(|it| it.active += 1));
        changed.extend(standing(|it| it.rank = Rank([0; 16])));
        changed.extend(standing(|it| it.attempt += 1));
        let proof = sample_keys().proof(Role::Give, &said);
        let keys = sample_keys().transfer(&said);
        for other in changed {
            assert!(!sample_keys().verify(Role::Give, &other, &proof), "{other:?}");
            assert_ne!(sample_keys().transfer(&other).aes, keys.aes, "{other:?}");
        }
    }

    #[test]
    fn a_range_changed_in_flight_fails() {
        let proof = sample_keys().proof(Role::Take, &sample());
        assert!(sample_keys().verify(Role::Take, &sample(), &proof));
        assert!(!sample_keys().verify(Role::Take, &Transcript { offset: 0, ..sample() }, &proof));
    }

    #[test]
    fn another_content_or_another_domain_proves_nothing() {
        let proof = sample_keys().proof(Role::Query, &sample());
        let strangers = [
            ContentKeys::derive(&DomainKey::open(), &ContentMd5(vectors::array("md5"))),
            ContentKeys::derive(&DomainKey::from_bytes([7; 32]), &ContentMd5(vectors::array("md5"))),
            ContentKeys::derive(&DomainKey::from_bytes(core::array::from_fn(|at| at as u8)), &ContentMd5([0; 16])),
        ];
        assert!(strangers.iter().all(|keys| !keys.verify(Role::Query, &sample(), &proof)));
    }

    #[test]
    fn one_flipped_bit_in_a_proof_is_noticed_wherever_it_is() {
        let proof = sample_keys().proof(Role::Query, &sample());
        for bit in 0..128 {
            let mut other = proof;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!sample_keys().verify(Role::Query, &sample(), &other));
        }
    }

    #[test]
    fn no_key_shows_in_a_log() {
        let keys = sample_keys();
        let shown = std::format!("{:?} {:?} {keys:?}", DomainKey::from_bytes([0xab; 32]), keys.transfer(&sample()));
        assert_eq!(shown, std::format!("DomainKey(…) TransferKeys(…) ContentKeys {{ id: {:?}, .. }}", keys.id()));
    }
}
