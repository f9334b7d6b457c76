//! Records: the encrypted, authenticated pieces of one transfer (design, section 4).
//!
//! ```text
//! header  = index: u32 | last: 1 bit, length: 31 bits | tag: 16 bytes       big endian, 24 bytes
//! counter = iv: 8 bytes | u64 big endian, index × 8,192 at the first block of a record
//! ```
//!
//! Keystream blocks 0 and 1 of a record are its one-time Poly1305 key, data starts at block 2. The tag covers the first 8
//! header bytes and the ciphertext, padded and followed by both lengths as in RFC 8439 section 2.8. It is verified before a
//! byte is decrypted; one failure ends the transfer, so that nobody gets a second guess at a tag. An empty record that is
//! not the last is a heartbeat.

use core::fmt;

use p2p_record_cipher::{Keystream, RecordCipher};
use subtle::ConstantTimeEq;

use crate::keys::TransferKeys;
use crate::limits::RECORD_BYTES;

/// Bytes of a record in front of its data.
pub const RECORD_HEADER: usize = 24;

const BLOCKS_PER_RECORD: u64 = 8_192;
const LAST: u32 = 1 << 31;
const LENGTH_MAX: u32 = {
    assert!(RECORD_BYTES < LAST as usize);
    RECORD_BYTES as u32
};

/// Why a record was refused or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Its index is not the next one.
    Order,
    /// It is longer than a record may be, or the data given is not what its header says.
    Length,
    /// Its tag is wrong: it was corrupted, or comes from somebody else.
    Tag,
    /// The transfer is over: after its last record, after a wrong tag, or out of indices.
    Over,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "a record out of order",
            Self::Length => "a record of a wrong length",
            Self::Tag => "a record with a wrong tag",
            Self::Over => "a record after the end of its transfer",
        })
    }
}

impl core::error::Error for RecordError {}

/// What a header says; nothing of it is proven before [`Opener::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of data behind the header.
    pub length: usize,
    /// Whether the content ends with this record.
    pub last: bool,
}

/// Encrypts the records of one transfer, in order.
pub struct Sealer {
    stream: Stream,
}

impl Sealer {
    /// Starts at record 0. The key schedule is made here, once.
    pub fn new(keys: &TransferKeys) -> Self {
        Self { stream: Stream::new(keys) }
    }

    /// Encrypts `data` in place and returns the header that goes in front of it.
    pub fn seal(&mut self, data: &mut [u8], last: bool) -> Result<[u8; RECORD_HEADER], RecordError> {
        let index = self.stream.next.ok_or(RecordError::Over)?;
        let length = u32::try_from(data.len()).ok().filter(|&n| n <= LENGTH_MAX).ok_or(RecordError::Length)?;
        let front = front(index, if last { length | LAST } else { length });
        let tag = self.stream.record(index).seal(&front, data);
        let mut header = [0; RECORD_HEADER];
        header[..8].copy_from_slice(&front);
        header[8..].copy_from_slice(&tag);
        self.stream.advance(index, last);
        Ok(header)
    }
}

/// Verifies and decrypts the records of one transfer, in order.
pub struct Opener {
    stream: Stream,
}

impl Opener {
    /// Starts at record 0. The key schedule is made here, once.
    pub fn new(keys: &TransferKeys) -> Self {
        Self { stream: Stream::new(keys) }
    }

    /// How many bytes to read next; says so before the tag can be checked, hence within bounds.
    pub fn header(&self, header: &[u8; RECORD_HEADER]) -> Result<Header, RecordError> {
        let expected = self.stream.next.ok_or(RecordError::Over)?;
        let (index, word, _) = split(header);
        if index != expected {
            return Err(RecordError::Order);
        }
        let length = word & !LAST;
        if length > LENGTH_MAX {
            return Err(RecordError::Length);
        }
        Ok(Header { length: usize::try_from(length).map_err(|_| RecordError::Length)?, last: word & LAST != 0 })
    }

    /// Verifies header and `data`, then decrypts `data` in place; `true` when the content ends here. On an error `data` is
    /// left as it came.
    pub fn open(&mut self, header: &[u8; RECORD_HEADER], data: &mut [u8]) -> Result<bool, RecordError> {
        let said = self.header(header)?;
        if data.len() != said.length {
            return Err(RecordError::Length);
        }
        let (index, word, claimed) = split(header);
        let keystream = self.stream.record(index);
        if !bool::from(keystream.tag(&front(index, word), data).ct_eq(&claimed)) {
            self.stream.next = None;
            return Err(RecordError::Tag);
        }
        keystream.open(data);
        self.stream.advance(index, said.last);
        Ok(said.last)
    }
}

struct Stream {
    cipher: RecordCipher,
    next: Option<u32>,
}

impl Stream {
    fn new(keys: &TransferKeys) -> Self {
        Self { cipher: RecordCipher::new(&keys.aes, &keys.iv), next: Some(0) }
    }

    fn record(&self, index: u32) -> Keystream<'_> {
        self.cipher.keystream(u64::from(index) * BLOCKS_PER_RECORD)
    }

    fn advance(&mut self, index: u32, last: bool) {
        self.next = if last { None } else { index.checked_add(1) };
    }
}

fn front(index: u32, word: u32) -> [u8; 8] {
    (u64::from(index) << 32 | u64::from(word)).to_be_bytes()
}

fn split(header: &[u8; RECORD_HEADER]) -> (u32, u32, [u8; 16]) {
    let [i0, i1, i2, i3, w0, w1, w2, w3, tag @ ..] = *header;
    (u32::from_be_bytes([i0, i1, i2, i3]), u32::from_be_bytes([w0, w1, w2, w3]), tag)
}

#[cfg(test)]
mod tests;
