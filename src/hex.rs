//! Fixed-width lower-case hexadecimal, the only spelling of names, nonces and proofs in heads, paths and file names.
//! Upper case is refused: one content has one name.

use core::fmt;

/// Shows bytes as lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The `N` bytes that `text` names; `None` unless it is exactly `2 N` lower-case digits.
pub fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    parse_digits(text.as_bytes(), lower_digit)
}

/// Like [`parse`], in either case: for files that people write.
pub fn parse_any_case<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    parse_digits(text, |digit| lower_digit(digit.to_ascii_lowercase()))
}

fn parse_digits<const N: usize>(text: &[u8], value: impl Fn(u8) -> Option<u8>) -> Option<[u8; N]> {
    let pairs = text.chunks_exact(2);
    if pairs.len() != N || !pairs.remainder().is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let &[high, low] = pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(bytes)
}

fn lower_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn upper_case_is_another_name_and_so_refused_except_in_files_of_people() {
        assert_eq!(parse::<2>("ab01"), Some([0xab, 1]));
        assert_eq!(parse::<2>("AB01"), None);
        assert_eq!(parse_any_case::<2>(b"aB01"), Some([0xab, 1]));
    }

    #[test]
    fn a_digit_more_or_less_is_refused() {
        for text in ["", "a", "ab0", "ab012", "ab0123", "ab0g", "ab0 ", "+b01", "äb1"] {
            assert_eq!(parse::<2>(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(bytes: [u8; 16]) {
            prop_assert_eq!(parse::<16>(&Hex(&bytes).to_string()), Some(bytes));
        }

        #[test]
        fn any_text_is_refused_or_is_the_one_spelling(text in "\\PC{0,9}|[0-9a-fA-F]{8}") {
            if let Some(bytes) = parse::<4>(&text) {
                prop_assert_eq!(Hex(&bytes).to_string(), text);
            }
        }
    }
}
