//! The MD5 of a content, which is its name, and an optional SHA-256, as they run along with the bytes.
//!
//! MD5 is the name, never a defence (design, section 4): where the sync file carries a SHA-256 it is checked as well.

use md5::{Digest, Md5};
use p2p_agent::content::ContentMd5;
use sha2::Sha256;

/// What the bytes so far hash to.
#[derive(Clone)]
pub struct Running {
    md5: Md5,
    sha256: Option<Sha256>,
}

impl Running {
    /// Of no bytes yet; SHA-256 costs four times as much as MD5 and runs only if somebody asks for it.
    pub fn new(with_sha256: bool) -> Self {
        Self { md5: Md5::new(), sha256: with_sha256.then(Sha256::new) }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Whether the bytes so far are the content.
    pub fn matches(&self, name: ContentMd5, sha256: Option<[u8; 32]>) -> bool {
        if self.md5.clone().finalize()[..] != *name.as_bytes() {
            return false;
        }
        match (sha256, &self.sha256) {
            (None, _) => true,
            (Some(expected), Some(running)) => running.clone().finalize()[..] == expected,
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_md5_with_a_wrong_sha256_does_not_match() {
        let name = ContentMd5::parse("d41d8cd98f00b204e9800998ecf8427e").unwrap();
        let right = p2p_agent::hex::parse("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        let nothing = Running::new(true);
        assert!(nothing.matches(name, None));
        assert!(nothing.matches(name, Some(right)));
        assert!(!nothing.matches(name, Some([0; 32])));
        assert!(!Running::new(false).matches(name, Some(right)));
    }
}
