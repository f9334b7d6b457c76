//! What the tests of the sync client need: an origin with faults, a scripted local API, and the program itself.

pub mod client;
pub mod local_api;
pub mod origin;
pub mod tls;

use md5::{Digest, Md5};
use p2p_agent::random::Random;

/// Pseudo-random bytes, the same for the same seed.
pub fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    Random::from_seed([seed; 16]).fill(&mut content);
    content
}

/// The MD5 as hex.
pub fn md5(content: &[u8]) -> String {
    Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
