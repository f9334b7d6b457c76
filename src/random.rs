//! Unpredictable bytes from one seed: AES-128 in counter mode, rekeyed from its own output after every request
//! ("fast key erasure"), so that a later look at the state does not tell earlier nonces.

use aes::Aes128;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Deterministic generator; the body seeds it from the kernel, the simulator from its seed.
#[derive(ZeroizeOnDrop)]
pub struct Random {
    key: [u8; 16],
}

impl Random {
    /// A generator that gives the same bytes for the same seed.
    pub const fn from_seed(seed: [u8; 16]) -> Self {
        Self { key: seed }
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut cipher = Ctr64BE::<Aes128>::new(&self.key.into(), &[0; 16].into());
        let mut next = [0; 16];
        cipher.apply_keystream(&mut next);
        out.fill(0);
        cipher.apply_keystream(out);
        self.key = next;
        next.zeroize();
    }

    /// `N` fresh bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A number below `bound`, near enough to uniform for jitter and tie-breaks; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(u64::from_be_bytes(self.bytes()));
        ((wide * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_no_two_requests_agree() {
        let (mut a, mut b) = (Random::from_seed([7; 16]), Random::from_seed([7; 16]));
        let first: [u8; 32] = a.bytes();
        assert_eq!(first, b.bytes());
        assert_ne!(first, a.bytes());
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let mut random = Random::from_seed([1; 16]);
        let mut seen = [false; 3];
        for _ in 0..200 {
            seen[random.below(3) as usize] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(random.below(0), 0);
    }
}
