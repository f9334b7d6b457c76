//! What the tests are made of: a site of agents, a local client, a neighbour that says what a test wants said.

pub mod agent;
pub mod impostor;
#[cfg(target_arch = "x86_64")]
#[path = "../../support/inside.rs"]
pub mod inside;
pub mod local;
pub mod neighbour;
pub mod site;

use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use p2p_agent::content::ContentMd5;
use p2p_agent::keys::{ContentKeys, DomainKey};
use p2p_agent::random::Random;

pub use agent::Agent;
pub use site::Site;

/// Longer than anything takes that should happen soon, on a machine that does much else.
pub const SOON: Duration = Duration::from_secs(15);

/// A content and its name.
pub struct Content {
    /// The MD5 as hex.
    pub md5: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Content {
    /// Pseudo-random bytes, the same for the same seed.
    pub fn random(seed: u8, len: usize) -> Self {
        let mut bytes = vec![0; len];
        Random::from_seed([seed; 16]).fill(&mut bytes);
        Self::of(bytes)
    }

    /// These bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        let md5 = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { md5, bytes }
    }

    /// Its keys on a site without a domain key.
    pub fn keys(&self) -> ContentKeys {
        self.keys_in(&DomainKey::open())
    }

    /// Its keys in a domain.
    pub fn keys_in(&self, domain: &DomainKey) -> ContentKeys {
        ContentKeys::derive(domain, &ContentMd5::parse(&self.md5).unwrap())
    }

    /// `/v1/content/…` on the local API.
    pub fn path(&self) -> String {
        format!("/v1/content/{}", self.md5)
    }
}

/// Waits until `condition` holds; panics with `what` when it never does.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "waited {SOON:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    started.elapsed()
}
