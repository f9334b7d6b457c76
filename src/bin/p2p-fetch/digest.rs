//! The name of a content (its MD5), an optional SHA-256, and both as they run along with the bytes.
//!
//! MD5 is the name, never a defence (design, section 4): where the sync file carries a SHA-256 it is checked as well.

use std::fmt;

use md5::{Digest, Md5};
use sha2::Sha256;

/// A content's MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name([u8; 16]);

impl Name {
    /// 32 hex digits; capitals are accepted and written small.
    pub fn parse(text: &str) -> Option<Self> {
        hex(text).map(Self)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// `N` bytes from exactly `2 N` hex digits.
pub fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

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
    pub fn matches(&self, name: Name, sha256: Option<[u8; 32]>) -> bool {
        if self.md5.clone().finalize()[..] != name.0 {
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
    fn a_name_is_exactly_32_hex_digits_and_is_written_small() {
        let name = Name::parse("D41D8CD98F00B204E9800998ECF8427E").unwrap();
        assert_eq!(name.to_string(), "d41d8cd98f00b204e9800998ecf8427e");
        for wrong in ["", "d41d", "d41d8cd98f00b204e9800998ecf8427g", "../../../../../../../../etc/pass", "é"] {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_right_md5_with_a_wrong_sha256_does_not_match() {
        let name = Name::parse("d41d8cd98f00b204e9800998ecf8427e").unwrap();
        let right = hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        let nothing = Running::new(true);
        assert!(nothing.matches(name, None));
        assert!(nothing.matches(name, Some(right)));
        assert!(!nothing.matches(name, Some([0; 32])));
        assert!(!Running::new(false).matches(name, Some(right)));
    }
}
