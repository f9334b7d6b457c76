//! The arithmetic of a record: AES-128 in counter mode and a Poly1305 tag with a one-time key from the record's own keystream.
//!
//! Keystream blocks 0 and 1 are the one-time key, data starts at block 2. The tag covers the header's front and the ciphertext with
//! the padding and the lengths of RFC 8439 section 2.8. What a record is, and in which order records come, is the business of the
//! agent's `record` module, where the tests are, too.
#![no_std]
#![forbid(unsafe_code)]

use aes::Aes128;
use aes::cipher::{InnerIvInit as _, KeyInit as _, StreamCipher as _};
use ctr::{Ctr64BE, CtrCore, flavors};
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash as _;
use zeroize::Zeroize as _;

/// Bytes of keystream at a time: many blocks side by side for the cipher, little of the first cache.
const APPLIED_AT_ONCE: usize = 1024;

/// Bytes that Poly1305 takes at a time.
const MAC_BLOCK: usize = 16;

/// Bytes that its implementation with vectors takes at a time.
const MAC_GROUP: usize = 4 * MAC_BLOCK;

/// The key of one transfer; the AES key schedule is made once.
pub struct RecordCipher {
    aes: Aes128,
    iv: [u8; 8],
}

/// The keystream of one record, behind its one-time key.
pub struct Keystream<'a> {
    stream: Ctr64BE<&'a Aes128>,
    mac: Poly1305,
}

impl RecordCipher {
    /// Expands the key.
    pub fn new(key: &[u8; 16], iv: &[u8; 8]) -> Self {
        Self { aes: Aes128::new(key.into()), iv: *iv }
    }

    /// The keystream whose first block has this counter.
    pub fn keystream(&self, counter: u64) -> Keystream<'_> {
        let block = u128::from(u64::from_be_bytes(self.iv)) << 64 | u128::from(counter);
        let core = CtrCore::<_, flavors::Ctr64BE>::inner_iv_init(&self.aes, &block.to_be_bytes().into());
        let mut stream = Ctr64BE::from_core(core);
        let mut key = [0; 32];
        stream.apply_keystream(&mut key);
        let mac = Poly1305::new(&key.into());
        key.zeroize();
        Keystream { stream, mac }
    }
}

impl Keystream<'_> {
    /// The tag over the front of the header and the ciphertext.
    pub fn tag(&self, front: &[u8; 8], ciphertext: &[u8]) -> [u8; 16] {
        let mut mac = self.mac.clone();
        // The front alone would leave all that follows beside the groups in which the implementation with vectors works.
        let (beside, behind) = ciphertext.split_at(ciphertext.len().min(MAC_GROUP - MAC_BLOCK));
        let mut group = [0; MAC_GROUP];
        group[..front.len()].copy_from_slice(front);
        group[MAC_BLOCK..][..beside.len()].copy_from_slice(beside);
        mac.update_padded(&group[..MAC_BLOCK + beside.len()]);
        mac.update_padded(behind);
        let lengths = (front.len() as u128) | ((ciphertext.len() as u128) << 64);
        mac.update(&[lengths.to_le_bytes().into()]);
        mac.finalize().into()
    }

    /// Encrypts in place and gives the tag.
    pub fn seal(mut self, front: &[u8; 8], data: &mut [u8]) -> [u8; 16] {
        self.apply(data);
        self.tag(front, data)
    }

    /// Decrypts in place; verify the tag before.
    pub fn open(mut self, data: &mut [u8]) {
        self.apply(data);
    }

    /// The cipher's own way to apply a keystream joins it to the data byte by byte, which takes longer than AES itself where the
    /// processor has instructions for AES. Link-time optimisation of an agent that is built for size makes no vectors of bytes, either.
    fn apply(&mut self, data: &mut [u8]) {
        let mut keystream = [0; APPLIED_AT_ONCE];
        for chunk in data.chunks_mut(APPLIED_AT_ONCE) {
            let keystream = &mut keystream[..chunk.len()];
            self.stream.write_keystream(keystream);
            join(chunk, keystream);
        }
        keystream.zeroize();
    }
}

/// Exclusive or, by words.
fn join(data: &mut [u8], keystream: &[u8]) {
    const WORD: usize = size_of::<u64>();
    let mut words = data.chunks_exact_mut(WORD);
    let mut keys = keystream.chunks_exact(WORD);
    for (word, key) in words.by_ref().zip(keys.by_ref()) {
        let (mut left, mut right) = ([0; WORD], [0; WORD]);
        left.copy_from_slice(word);
        right.copy_from_slice(key);
        word.copy_from_slice(&(u64::from_ne_bytes(left) ^ u64::from_ne_bytes(right)).to_ne_bytes());
    }
    words.into_remainder().iter_mut().zip(keys.remainder()).for_each(|(byte, key)| *byte ^= *key);
}
