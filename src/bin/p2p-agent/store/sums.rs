//! `MD5SUMS`, as coreutils' `md5sum` writes it: existing files are offered under their own names.
//!
//! A line is 32 hex digits, a space, ` ` (text) or `*` (binary), and the file's name up to the end of the line. If the
//! line begins with a backslash, then `\\`, `\n` and `\r` in the name stand for a backslash, a line feed and a carriage return.
//! Names are relative to the content directory and stay beneath it. Where a line starts is all that is remembered; it is
//! read again when its file is wanted.

use super::ContentMd5;
use p2p_agent::limits::SUMS_BYTES;
use std::io;
use std::os::unix::fs::FileExt;

/// The name of the list in the content directory.
pub const NAME: &str = "MD5SUMS";

/// One line, as [`read`] finds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Bytes before it.
    pub offset: u32,
    /// Counted from one, for people.
    pub number: u32,
    /// The content that it offers; `None` for what is not a line of this format.
    pub md5: Option<ContentMd5>,
}

/// Calls `visit` with every line of the list but empty ones, and returns whether that is all of it: no more than
/// [`SUMS_BYTES`] are read. Lines that do not fit into `buffer` are not of this format.
pub fn read(file: &impl FileExt, buffer: &mut [u8], mut visit: impl FnMut(Line)) -> io::Result<bool> {
    let (mut offset, mut number, mut inside_long_line) = (0u64, 0u32, false);
    let mut pass = |offset: u64, number: u32, text: Option<&mut [u8]>| {
        let md5 = match text {
            Some([] | [b'\r']) => return,
            Some(text) => parse(text).map(|(md5, _)| md5),
            None => None,
        };
        visit(Line { offset: u32::try_from(offset).unwrap_or(u32::MAX), number, md5 });
    };
    while offset < SUMS_BYTES {
        let filled = fill(file, offset, buffer)?;
        let at_end = filled < buffer.len();
        let mut rest = buffer.get_mut(..filled).unwrap_or_default();
        let start = offset;
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            let (text, behind) = rest.split_at_mut(length + 1);
            if !std::mem::take(&mut inside_long_line) {
                number = number.saturating_add(1);
                pass(offset, number, text.get_mut(..length));
            }
            offset += text.len() as u64;
            rest = behind;
        }
        if at_end {
            if !inside_long_line {
                pass(offset, number.saturating_add(1), Some(rest));
            }
            return Ok(true);
        }
        if offset == start {
            if !std::mem::replace(&mut inside_long_line, true) {
                number = number.saturating_add(1);
                pass(offset, number, None);
            }
            offset += rest.len() as u64;
        }
    }
    Ok(false)
}

/// Reads the line that starts at `offset` again, and returns the name of the file that it gives for `md5`. A line that does not fit
/// into `buffer` gives none: the front of a name is another name.
pub fn name_at<'a>(
    file: &impl FileExt,
    offset: u32,
    md5: &ContentMd5,
    buffer: &'a mut [u8],
) -> io::Result<Option<&'a [u8]>> {
    let filled = fill(file, u64::from(offset), buffer)?;
    let at_end = filled < buffer.len();
    let text = buffer.get_mut(..filled).unwrap_or_default();
    let length = match text.iter().position(|byte| *byte == b'\n') {
        Some(length) => length,
        None if at_end => filled,
        None => return Ok(None),
    };
    let line = text.get_mut(..length).unwrap_or_default();
    Ok(parse(line).filter(|(found, _)| found == md5).map(|(_, name)| name))
}

/// The content and the file name in one line without its line feed. The name is unescaped where it stands.
fn parse(line: &mut [u8]) -> Option<(ContentMd5, &[u8])> {
    let (escaped, line) = match line {
        [b'\\', rest @ ..] => (true, rest),
        line => (false, line),
    };
    let (md5, rest) = line.split_at_mut_checked(32)?;
    let md5 = ContentMd5::parse(std::str::from_utf8(md5).ok()?)?;
    let name = match rest {
        [b' ', b' ' | b'*', name @ ..] => name,
        _ => return None,
    };
    let name = match name {
        [name @ .., b'\r'] => name,
        name => name,
    };
    let name = if escaped { unescape(name)? } else { &*name };
    is_beneath(name).then_some((md5, name))
}

fn unescape(name: &mut [u8]) -> Option<&[u8]> {
    let (mut from, mut to) = (0, 0);
    while let Some(byte) = name.get(from).copied() {
        let plain = match (byte, name.get(from + 1)) {
            (b'\\', Some(b'\\')) => b'\\',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', _) => return None,
            (byte, _) => byte,
        };
        from += if byte == b'\\' { 2 } else { 1 };
        *name.get_mut(to)? = plain;
        to += 1;
    }
    name.get(..to)
}

/// Can this be a file beneath the directory? The kernel checks the same again when the file is opened.
fn is_beneath(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(b"/")
        && !name.contains(&0)
        && name.split(|byte| *byte == b'/').all(|component| component != b"..")
}

fn fill(file: &impl FileExt, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const A: &str = "0123456789abcdef0123456789abcdef";
    const B: &str = "fedcba9876543210fedcba9876543210";

    fn parsed(line: &str) -> Option<(String, Vec<u8>)> {
        let mut line = line.as_bytes().to_vec();
        parse(&mut line).map(|(md5, name)| (md5.to_string(), name.to_vec()))
    }

    fn listed(text: &[u8], buffer_bytes: usize) -> Vec<Line> {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(text).expect("write");
        let mut lines = Vec::new();
        assert!(read(&file, &mut vec![0; buffer_bytes], |line| lines.push(line)).expect("read"));
        lines
    }

    /// What coreutils 9 prints.
    fn md5sum(name: &[u8], binary: bool) -> Vec<u8> {
        let special = name.iter().any(|byte| b"\\\n\r".contains(byte));
        let mut line = if special { b"\\".to_vec() } else { Vec::new() };
        line.extend(A.bytes().chain([b' ', if binary { b'*' } else { b' ' }]));
        for byte in name {
            match byte {
                b'\\' => line.extend(b"\\\\"),
                b'\n' => line.extend(b"\\n"),
                b'\r' => line.extend(b"\\r"),
                byte => line.push(*byte),
            }
        }
        line
    }

    #[test]
    fn text_and_binary_lines_name_a_file() {
        assert_eq!(parsed(&format!("{A}  a b.mp4")), Some((A.into(), b"a b.mp4".to_vec())));
        assert_eq!(parsed(&format!("{A} *sub/b.mp4\r")), Some((A.into(), b"sub/b.mp4".to_vec())));
    }

    #[test]
    fn an_escaped_name_is_unescaped() {
        assert_eq!(parsed(&format!("\\{A}  a\\\\b\\nc\\rd")), Some((A.into(), b"a\\b\nc\rd".to_vec())));
        assert_eq!(parsed(&format!("\\{A}  a\\tb")), None);
        assert_eq!(parsed(&format!("\\{A}  a\\")), None);
        assert_eq!(parsed(&format!("{A}  a\\nb")), Some((A.into(), b"a\\nb".to_vec())));
    }

    #[test]
    fn what_is_not_a_line_of_md5sum_is_refused() {
        let upper = A.to_uppercase();
        for line in [
            "",
            "# a comment",
            A,
            &format!("{A} a"),
            &format!("{A}  "),
            &format!("{upper}  a"),
            &format!("MD5 (a) = {A}"),
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    #[test]
    fn a_path_that_leaves_the_directory_is_refused() {
        for name in ["/etc/passwd", "..", "../a", "a/../b", "a/..", "./../a", "a\0b"] {
            assert_eq!(parsed(&format!("{A}  {name}")), None, "{name}");
        }
        assert!(parsed(&format!("{A}  ./..a/b..c")).is_some());
    }

    #[test]
    fn lines_are_numbered_for_people_and_located_for_the_next_look() {
        let text = format!("# made by hand\n\n{A}  a\r\n{B} *b");
        let lines = listed(text.as_bytes(), 64);
        let [comment, a, b] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((comment.number, comment.md5), (1, None));
        assert_eq!((a.number, a.offset, a.md5), (3, 16, ContentMd5::parse(A)));
        assert_eq!((b.number, b.offset, b.md5), (4, 53, ContentMd5::parse(B)));
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let text = format!("{A}  {}\n{B}  b\n", "x".repeat(1000));
        let lines = listed(text.as_bytes(), 64);
        let found: Vec<_> = lines.iter().map(|line| (line.number, line.md5)).collect();
        assert_eq!(found, [(1, None), (2, ContentMd5::parse(B))]);
    }

    #[test]
    fn a_line_that_has_changed_names_nothing() {
        let mut file = tempfile::tempfile().expect("file");
        write!(file, "{A}  a\n{B}  b\n").expect("write");
        let (a, b) = (ContentMd5::parse(A).expect("hex"), ContentMd5::parse(B).expect("hex"));
        let mut buffer = [0; 64];
        assert_eq!(name_at(&file, 36, &b, &mut buffer).expect("read"), Some(&b"b"[..]));
        assert_eq!(name_at(&file, 36, &a, &mut buffer).expect("read"), None);
        assert_eq!(name_at(&file, 37, &b, &mut buffer).expect("read"), None);
        assert_eq!(name_at(&file, 999, &b, &mut buffer).expect("read"), None);
    }

    #[test]
    fn a_line_that_has_grown_too_long_names_nothing_and_not_what_fits() {
        let mut file = tempfile::tempfile().expect("file");
        write!(file, "{A}  a/b").expect("write");
        let a = ContentMd5::parse(A).expect("hex");
        let named =
            |file: &std::fs::File, bytes| name_at(file, 0, &a, &mut vec![0; bytes]).expect("read").map(<[u8]>::to_vec);
        assert_eq!(named(&file, 38), Some(b"a/b".to_vec()));
        assert_eq!(named(&file, 37), None, "it is not known whether the line ends here");
        assert_eq!(named(&file, 35), None);
        file.write_all(b"\n").expect("write");
        assert_eq!(named(&file, 38), Some(b"a/b".to_vec()));
        assert_eq!(named(&file, 37), None);
    }

    proptest! {
        #[test]
        fn anything_in_a_line_is_read_without_a_panic(mut line in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&mut line);
        }

        #[test]
        fn anything_in_a_list_is_read_the_same_with_any_buffer_that_holds_its_lines(
            lines in prop::collection::vec(prop_oneof!["[a-z \\\\\r]{0,60}", "\\\\?[0-9a-f]{32} [ *][a-z./\\\\]{1,20}"], 0..20),
        ) {
            let text = lines.join("\n");
            prop_assert_eq!(listed(text.as_bytes(), 70), listed(text.as_bytes(), 4096));
        }

        #[test]
        fn whatever_md5sum_writes_is_understood(
            name in prop::collection::vec(prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'\r'), 1..=255u8], 1..40),
            binary in any::<bool>(),
        ) {
            prop_assume!(is_beneath(&name));
            let mut line = md5sum(&name, binary);
            prop_assert_eq!(parse(&mut line).map(|(md5, name)| (md5.to_string(), name.to_vec())), Some((A.to_owned(), name)));
        }
    }
}
