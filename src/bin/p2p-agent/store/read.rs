//! Reads a file without holding up the one thread: what is in the page cache is taken at once, what is not is asked for
//! and taken a little later.
//!
//! preadv2 with `RWF_NOWAIT` (Linux 4.14) answers `EAGAIN` for a cold page; posix_fadvise starts reading it. Where the
//! file system does not know the flag, small plain reads alternate with the other tasks.

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use p2p_agent::limits::{READ_AHEAD_BYTES, READ_CHUNK_BYTES, READ_TRIES, READ_WAIT};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Reads at `offset` until `buffer` is full or the file ends. `plain` remembers that `RWF_NOWAIT` is of no use here.
pub async fn fill(file: &File, plain: &Cell<bool>, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0usize;
    let mut tries = 0u32;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(filled as u64);
        let result = if plain.get() {
            smol::future::yield_now().await;
            read_chunk(file, at, rest)
        } else if tries >= READ_TRIES {
            // Pages may be dropped as fast as they are read. One chunk is had anyway.
            tries = 0;
            read_chunk(file, at, rest)
        } else {
            read_nowait(file, at, rest)
        };
        match result {
            Ok(0) => break,
            Ok(more) => {
                filled += more;
                tries = 0;
            }
            Err(Errno::EAGAIN) => {
                if tries == 0 {
                    ask_for(file, at);
                }
                async_io::Timer::after(READ_WAIT * (1 << tries.min(4))).await;
                tries += 1;
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) if !plain.get() => plain.set(true),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(filled)
}

fn read_chunk(file: &File, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let length = buffer.len().min(READ_CHUNK_BYTES);
    file.read_at(buffer.get_mut(..length).unwrap_or_default(), offset).map_err(super::directory::errno)
}

/// A hint; where it does not fit into a 32-bit `off_t` the plain read of [`READ_TRIES`] helps.
fn ask_for(file: &File, offset: u64) {
    if let (Ok(offset), Ok(length)) = (libc::off_t::try_from(offset), libc::off_t::try_from(READ_AHEAD_BYTES)) {
        let _ = posix_fadvise(file, offset, length, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
}

/// The bare system call: musl has a wrapper only since 1.2.5, and glibc's takes a 32-bit offset on 32-bit machines.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the kernel wants the halves of the offset"
)]
fn read_nowait(file: &File, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // A 64-bit kernel takes all of the offset from the first half and shifts the second one out.
    let (low, high) = (offset as libc::c_long, (offset >> 32) as libc::c_long);
    // SAFETY: `part` describes `buffer`, which is borrowed exclusively until the call has returned; the kernel writes
    // no more than its length. The descriptor is open as long as `file` is borrowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            file.as_raw_fd(),
            &raw const part,
            1 as libc::c_long,
            low,
            high,
            libc::c_long::from(libc::RWF_NOWAIT),
        )
    };
    Errno::result(result).map(|length| usize::try_from(length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::block_on;
    use std::io::Write;

    fn sample() -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..300_000u32).flat_map(|number| number.to_le_bytes()).collect();
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(&bytes).expect("write");
        (file, bytes)
    }

    #[test]
    fn a_cold_file_is_read_whole() {
        let (file, bytes) = sample();
        file.sync_all().expect("sync");
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("drop the cache");
        let mut read = vec![0; bytes.len() + 10];
        assert_eq!(block_on(fill(&file, &Cell::new(false), 0, &mut read)).expect("read"), bytes.len());
        assert!(read.starts_with(&bytes));
    }

    #[test]
    fn plain_reads_give_the_same_bytes() {
        let (file, bytes) = sample();
        for (offset, length) in [(0, 10), (65_535, 65_536), (1_199_990, 100), (2_000_000, 5)] {
            for plain in [false, true] {
                let mut read = vec![0; length];
                let filled = block_on(fill(&file, &Cell::new(plain), offset as u64, &mut read)).expect("read");
                let expected = bytes.get(offset..).unwrap_or_default();
                assert_eq!(read[..filled], expected[..expected.len().min(length)], "{offset}");
            }
        }
    }

    #[test]
    fn an_offset_beyond_32_bits_arrives_whole() {
        let file = tempfile::tempfile().expect("file");
        let offset = (1u64 << 33) + 7;
        file.write_all_at(b"far", offset).expect("a sparse file");
        for plain in [false, true] {
            let mut read = [0; 3];
            assert_eq!(block_on(fill(&file, &Cell::new(plain), offset, &mut read)).expect("read"), 3);
            assert_eq!(&read, b"far");
        }
    }
}
