//! The domain key: what a site's devices share beyond the content itself (design, section 4).

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hex;
use crate::limits::DOMAIN_KEYS;

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

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_file_holds_raw_bytes_or_one_or_two_lines() {
        let (a, b) = ("00112233445566778899aabbccddeeff".repeat(2), "FFEEDDCCBBAA99887766554433221100".repeat(2));
        let keys =
            |file: &str| DomainKey::parse_file(file.as_bytes()).map(|keys| keys.iter().map(|k| k.0[0]).collect());
        assert_eq!(keys(&a), Ok(std::vec![0x00]));
        assert_eq!(keys(&std::format!("{a}\n")), Ok(std::vec![0x00]));
        assert_eq!(keys(&std::format!("{a}\r\n{b}\r\n")), Ok(std::vec![0x00, 0xff]));
        assert_eq!(keys(&"x".repeat(32)), Ok(std::vec![b'x']));
        assert_eq!(keys(""), Err(KeyFileError::Empty) as Result<Vec<u8>, _>);
        assert_eq!(keys("\n\n"), Err(KeyFileError::Empty));
        assert_eq!(keys(&"x".repeat(33)), Err(KeyFileError::NotAKey));
        assert_eq!(keys(&std::format!("{a}0")), Err(KeyFileError::NotAKey));
        assert_eq!(keys(&std::format!("{a}\n{b}\n{a}")), Err(KeyFileError::TooMany));
        assert_eq!(keys(&"0".repeat(64)), Err(KeyFileError::Zero));
    }

    proptest! {
        #[test]
        fn any_key_file_is_read_or_refused(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = DomainKey::parse_file(&file);
        }
    }
}
