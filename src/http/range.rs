//! Byte ranges (RFC 9110 section 14): one, from its first byte on.

use core::fmt;

use super::fields::decimal;

/// `bytes=K-` or `bytes=K-L`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte wanted.
    pub first: u64,
    /// Last byte wanted; to the end when `None`. Never less than `first`.
    pub last: Option<u64>,
}

/// A range that is not served. Whether to answer 416 or as if there were none is the caller's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// Another unit than bytes, or no range at all; RFC 9110 section 14.2 wants it ignored.
    Unit,
    /// Of the last bytes, or of several parts: good, but nobody here needs it.
    Unsupported,
    /// Ends before it begins, or beyond every number, or is no number.
    Absurd,
}

impl Range {
    /// Reads the value of a `Range` field.
    pub fn parse(value: &str) -> Result<Self, RangeError> {
        let (unit, set) = value.split_once('=').ok_or(RangeError::Unit)?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return Err(RangeError::Unit);
        }
        if set.contains(',') || set.starts_with('-') {
            return Err(RangeError::Unsupported);
        }
        let (first, last) = set.split_once('-').ok_or(RangeError::Absurd)?;
        let first = decimal(first).ok_or(RangeError::Absurd)?;
        let last = if last.is_empty() { None } else { Some(decimal(last).ok_or(RangeError::Absurd)?) };
        if last.is_some_and(|last| last < first) {
            return Err(RangeError::Absurd);
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes={}-", self.first)?;
        self.last.map_or(Ok(()), |last| last.fmt(f))
    }
}

/// Value of a `Content-Range` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes K-L/S`: what a 206 carries; the size may be unknown.
    Part {
        /// First byte that follows.
        first: u64,
        /// Last byte that follows.
        last: u64,
        /// Bytes of the whole, where known.
        size: Option<u64>,
    },
    /// `bytes */S`: what a 416 says.
    Unsatisfied {
        /// Bytes of the whole.
        size: u64,
    },
}

impl ContentRange {
    /// From `first` to the end of `size` bytes; `None` when nothing is left there.
    pub fn rest(first: u64, size: u64) -> Option<Self> {
        let last = size.checked_sub(1).filter(|&last| first <= last)?;
        Some(Self::Part { first, last, size: Some(size) })
    }

    /// Reads the value; `None` when it is anything else or contradicts itself.
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, said) = value.split_once(' ')?;
        let (part, size) = said.split_once('/')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        if part == "*" {
            return decimal(size).map(|size| Self::Unsatisfied { size });
        }
        let (first, last) = part.split_once('-')?;
        let (first, last) = (decimal(first)?, decimal(last)?);
        let size = if size == "*" { None } else { Some(decimal(size)?) };
        (first <= last && size.is_none_or(|size| last < size)).then_some(Self::Part { first, last, size })
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part { first, last, size: Some(size) } => write!(f, "bytes {first}-{last}/{size}"),
            Self::Part { first, last, size: None } => write!(f, "bytes {first}-{last}/*"),
            Self::Unsatisfied { size } => write!(f, "bytes */{size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn from_a_byte_on_with_or_without_an_end() {
        assert_eq!(Range::parse("bytes=0-"), Ok(Range { first: 0, last: None }));
        assert_eq!(Range::parse("Bytes=5-9"), Ok(Range { first: 5, last: Some(9) }));
        assert_eq!(Range::parse("bytes=18446744073709551615-"), Ok(Range { first: u64::MAX, last: None }));
    }

    #[test]
    fn what_is_not_served_says_why() {
        for (value, error) in [
            ("lines=0-", RangeError::Unit),
            ("0-", RangeError::Unit),
            ("", RangeError::Unit),
            ("bytes=-5", RangeError::Unsupported),
            ("bytes=0-1,5-", RangeError::Unsupported),
            ("bytes=9-5", RangeError::Absurd),
            ("bytes=18446744073709551616-", RangeError::Absurd),
            ("bytes=0-18446744073709551616", RangeError::Absurd),
            ("bytes=+1-", RangeError::Absurd),
            ("bytes= 1-", RangeError::Absurd),
            ("bytes=1", RangeError::Absurd),
            ("bytes=", RangeError::Absurd),
            ("bytes=1-2-3", RangeError::Absurd),
        ] {
            assert_eq!(Range::parse(value), Err(error), "{value:?}");
        }
    }

    #[test]
    fn a_content_range_that_contradicts_itself_is_none() {
        assert_eq!(ContentRange::parse("bytes */10"), Some(ContentRange::Unsatisfied { size: 10 }));
        assert_eq!(ContentRange::parse("bytes 3-9/10"), ContentRange::rest(3, 10));
        assert_eq!(ContentRange::parse("bytes 3-9/*"), Some(ContentRange::Part { first: 3, last: 9, size: None }));
        for value in
            ["", "bytes", "bytes 3-9", "bytes 3-10/10", "bytes 9-3/10", "bytes */*", "bytes 3-/10", "bytes=3-9/10"]
        {
            assert_eq!(ContentRange::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn behind_the_end_there_is_no_rest() {
        assert_eq!(ContentRange::rest(10, 10), None);
        assert_eq!(ContentRange::rest(0, 0), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_not(text in "(bytes=)?[-0-9,/* a-z]{0,50}|\\PC{0,30}") {
            if let Ok(range) = Range::parse(&text) {
                prop_assert!(range.last.is_none_or(|last| range.first <= last));
            }
            let _ = ContentRange::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(one: u64, other: u64, open: bool) {
            let (first, last) = (one.min(other), one.max(other));
            let range = Range { first, last: (!open).then_some(last) };
            prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
            let size = if open { None } else { last.checked_add(1) };
            let part = ContentRange::Part { first, last, size };
            prop_assert_eq!(ContentRange::parse(&part.to_string()), Some(part));
        }
    }
}
