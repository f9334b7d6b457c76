//! The line in front of a chunk (RFC 9112 section 7.1).

/// Bytes of the chunk that follows `line`, which is given without its CR LF; 0 ends the body. Hexadecimal digits alone: extensions are
/// nothing that anybody here sends, and a line without a digit is not the end.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    if !line.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(core::str::from_utf8(line).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_its_digits() {
        for (line, size) in [("0", 0), ("1f", 31), ("1F", 31), ("00a", 10), ("ffffffffffffffff", u64::MAX)] {
            assert_eq!(chunk_size(line.as_bytes()), Some(size), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_size_is_refused_and_ends_nothing() {
        for line in ["", " ", "+1", "-0", "0x1", "1 ", "1;a=b", "1\r", "g", "10000000000000000"] {
            assert_eq!(chunk_size(line.as_bytes()), None, "{line:?}");
        }
    }
}
