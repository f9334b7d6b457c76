//! `MD5SUMS`: any bytes, read in any pieces.
//!
//! - What is offered does not depend on how the reads are cut, as long as a line fits.
//! - A line that was found is found again, under a name that stays beneath the directory; what was no line gives no name.

use super::bytes::Bytes;
use p2p_agent::content::ContentMd5;
use p2p_agent::limits::SUMS_LINE_BYTES;
use std::io;
use std::os::unix::fs::FileExt;

#[path = "../../src/bin/p2p-agent/store/sums.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod list;

/// A file that gives at most so many bytes at once.
struct Text<'a>(&'a [u8], usize);

impl FileExt for Text<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let count = rest.len().min(out.len()).min(self.1);
        out[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// The first byte says how large the buffer and the reads are; the rest is the list.
pub fn sums(data: &[u8]) {
    let mut input = Bytes(data);
    let (how, text) = (input.byte(), input.0);
    let room = 36 + 4 * usize::from(how & 31);
    let file = Text(text, 1 + usize::from(how >> 5) * 20);
    let mut found = Vec::new();
    let whole = list::read(&file, &mut vec![0; room], |line| found.push(line)).expect("it can be read");
    assert!(whole, "far below the bound");
    assert!(found.windows(2).all(|two| two[0].offset < two[1].offset && two[0].number < two[1].number));

    let fits = text.split(|byte| *byte == b'\n').all(|line| line.len() < room);
    if fits {
        let mut again = Vec::new();
        let all = Text(text, usize::MAX);
        list::read(&all, &mut vec![0; SUMS_LINE_BYTES], |line| again.push(line)).expect("it can be read");
        assert_eq!(found, again, "the same in other pieces");
    }
    for line in &found {
        let at = usize::try_from(line.offset).expect("small");
        assert!(at == 0 || text[at - 1] == b'\n', "a line starts where one ended");
        let mut buffer = vec![0; room];
        match line.md5 {
            Some(md5) => {
                let name = list::name_at(&file, line.offset, &md5, &mut buffer).expect("it can be read");
                let name = name.expect("what was a line is one");
                assert!(!name.is_empty() && !name.starts_with(b"/") && !name.contains(&0));
                assert!(name.split(|byte| *byte == b'/').all(|part| part != b".."));
                let other = ContentMd5([!md5.0[0]; 16]);
                assert_eq!(list::name_at(&file, line.offset, &other, &mut buffer).expect("it can be read"), None);
            }
            None => {
                // Whatever it says it is: of a line that is none, or too long, no name is read.
                let start = at + usize::from(text[at] == b'\\');
                let claimed = text.get(start..start + 32).and_then(|hex| std::str::from_utf8(hex).ok());
                if let Some(md5) = claimed.and_then(ContentMd5::parse) {
                    let name = list::name_at(&file, line.offset, &md5, &mut buffer).expect("it can be read");
                    assert_eq!(name, None);
                }
            }
        }
    }
}
