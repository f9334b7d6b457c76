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
use crate::hex::{self, Hex};
use crate::limits::DOMAIN_KEYS;
pub use crate::transcript::{Role, Transcript};

/// Shared by the devices that may share contents. Unset, any two devices that hold the same file may.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DomainKey([u8; 32]);

/// Why a key file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFileError {
    /// There is no key in it.
    Empty,
    /// A line is not 64 hexadecimal digits.
    NotAKey,
    /// More keys than a rotation needs.
    TooMany,
    /// A key of 32 zero bytes is the same as none.
    Zero,
}

impl DomainKey {
    /// The key of devices without a domain: empty, which HMAC pads to the same block as 32 zero bytes (RFC 2104, section 2).
    pub const fn open() -> Self {
        Self([0; 32])
    }

    /// A key from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key file: exactly 32 raw bytes, or one or two lines of 64 hexadecimal digits; the first key is the current one.
    pub fn parse_file(file: &[u8]) -> Result<heapless::Vec<Self, DOMAIN_KEYS>, KeyFileError> {
        let mut keys = heapless::Vec::new();
        if let Ok(raw) = <[u8; 32]>::try_from(file) {
            keys.push(Self::some(raw)?).map_err(|_| KeyFileError::TooMany)?;
            return Ok(keys);
        }
        for line in file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            let key = hex::parse_any_case(line).ok_or(KeyFileError::NotAKey)?;
            keys.push(Self::some(key)?).map_err(|_| KeyFileError::TooMany)?;
        }
        if keys.is_empty() { Err(KeyFileError::Empty) } else { Ok(keys) }
    }

    fn some(bytes: [u8; 32]) -> Result<Self, KeyFileError> {
        if bytes == [0; 32] { Err(KeyFileError::Zero) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DomainKey(…)")
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the key file is empty",
            Self::NotAKey => "the key file holds something other than 32 raw bytes or lines of 64 hexadecimal digits",
            Self::TooMany => "the key file holds more than two keys",
            Self::Zero => "a key of zeros is the same as no key",
        })
    }
}

impl core::error::Error for KeyFileError {}

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
        let root = hmac(&domain.0, |mac| mac.update(md5.as_bytes()));
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
