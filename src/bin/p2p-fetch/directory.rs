//! The content directory: is it there, is there room, and what became of old `.part` files.
//!
//! Disk-space policy is the sync client's (design, section 8): the agent never writes.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use p2p_agent::content::ContentMd5;

use crate::failure::{Failure, Kind};
use crate::limits::SPARE_BYTES;
use crate::options::Wanted;

/// The directory must exist: a typo must not become a directory that no player reads.
pub fn check(directory: &Path) -> Result<(), Failure> {
    if directory.is_dir() {
        return Ok(());
    }
    let directory = directory.display();
    Err(Failure::new(
        Kind::CannotCreate,
        format!("{directory} is not a directory: create it, or choose another directory with --content"),
    ))
}

/// Fails with a clear sentence when `missing` more bytes do not fit.
pub fn check_room(directory: &Path, missing: u64) -> Result<(), Failure> {
    let Ok(disk) = statvfs(directory) else { return Ok(()) }; // the write itself will tell
    #[allow(clippy::useless_conversion)] // both are narrower on 32-bit systems
    let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
    if free >= missing.saturating_add(SPARE_BYTES) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::CannotCreate,
        format!(
            "{} has {} KiB free, {} KiB are needed: make room and start again, what is already there is kept",
            directory.display(),
            free / 1024,
            missing.saturating_add(SPARE_BYTES) / 1024
        ),
    ))
}

/// Removes `.part` files that nobody touched for `keep`, that nobody works on and that are not `wanted` now.
/// It is house-keeping: whatever fails is left for the next time.
pub fn clean_up(directory: &Path, keep: Duration, wanted: &[Wanted]) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(|name| name.strip_suffix(".part")).and_then(ContentMd5::parse)
        else {
            continue;
        };
        if wanted.iter().any(|wanted| wanted.md5 == name) || !is_old(&entry, keep) {
            continue;
        }
        let Ok(file) = fs::File::open(entry.path()) else { continue };
        // The lock is held until the file is gone, so that no instance starts on it in between.
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_old(entry: &fs::DirEntry, keep: Duration) -> bool {
    let Ok(metadata) = entry.metadata() else { return false };
    // A file from the future is not old: the clock of a device without a battery jumps.
    metadata.is_file()
        && metadata
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok())
            .is_some_and(|age| age > keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_parts_go_and_everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_secs(40 * 86_400);
        let part = |digit: &str| format!("{}.part", digit.repeat(32));
        for name in [part("a"), part("b"), part("c"), part("d"), "e".repeat(32), "notes.part".into()] {
            let file = fs::File::create(directory.path().join(&name)).unwrap();
            if name != part("d") {
                file.set_modified(old).unwrap();
            }
        }
        let busy = fs::File::open(directory.path().join(part("c"))).unwrap();
        let _lock = Flock::lock(busy, FlockArg::LockExclusiveNonblock).unwrap();
        let wanted =
            Wanted { md5: ContentMd5::parse(&"b".repeat(32)).unwrap(), url: String::new(), sha256: None, size: None };
        clean_up(directory.path(), Duration::from_secs(30 * 86_400), &[wanted]);
        assert!(!directory.path().join(part("a")).exists());
        for name in [part("b"), part("c"), part("d"), "e".repeat(32), "notes.part".into()] {
            assert!(directory.path().join(&name).exists(), "{name}");
        }
    }

    #[test]
    fn too_little_room_is_told_before_the_download() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check_room(directory.path(), 1).is_ok());
        let failure = check_room(directory.path(), u64::MAX / 2).unwrap_err();
        assert_eq!(failure.exit_code(), 73);
    }
}
