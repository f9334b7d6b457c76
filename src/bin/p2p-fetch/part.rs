//! `<md5>.part`: what is there so far, growing by appending, locked against a second instance.
//!
//! - Other devices read it while it grows, so that every byte in it must be one that was meant: it is opened for
//!   appending and never preallocated, overwritten or shortened. A wrong one is unlinked, and a new file begun.
//! - The hash runs over what is appended; the prefix that was there is hashed once at the start. After a power cut the
//!   tail that was not synced may be missing or read as zeros: that shows in the final hash, and costs a new download.
//! - Synced every 8 MiB by a thread of its own, as an fsync on an SD card may take a second and the followers of this
//!   file should not wait for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, PosixFadviseAdvice, posix_fadvise};
use p2p_agent::content::ContentMd5;

use crate::digest::Running;
use crate::failure::{Failure, Kind};
use crate::limits::{CHUNK_BYTES, SYNC_BYTES};

/// What [`Part::open`] found.
pub enum Opened {
    /// `<md5>` is there: nothing to do.
    Complete {
        /// Its size.
        size: u64,
    },
    /// There is something to do, and nobody else is doing it.
    Part(Box<Part>),
}

/// The growing file, locked.
pub struct Part {
    path: PathBuf,
    whole: PathBuf,
    name: ContentMd5,
    sha256: Option<[u8; 32]>,
    file: Flock<File>,
    running: Running,
    len: u64,
    unsynced: u64,
    syncer: Syncer,
}

impl Part {
    /// Opens or creates `<md5>.part`, locks it and hashes what is there.
    pub fn open(directory: &Path, name: ContentMd5, sha256: Option<[u8; 32]>) -> Result<Opened, Failure> {
        let whole = directory.join(name.to_string());
        let path = directory.join(format!("{name}.part"));
        loop {
            if let Some(size) = regular_file(&whole)? {
                return Ok(Opened::Complete { size });
            }
            let file = open_locked(&path)?;
            // Between the open and the lock another instance may have finished and renamed the file, or dropped it.
            if !is_at(&file, &path) || regular_file(&whole)?.is_some() {
                if file.metadata().is_ok_and(|found| found.len() == 0) && is_at(&file, &path) {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let mut part = Self {
                syncer: Syncer::start(&file).map_err(|error| disk(&path, "cannot be used", &error))?,
                path,
                whole,
                name,
                sha256,
                running: Running::new(sha256.is_some()),
                file,
                len: 0,
                unsynced: 0,
            };
            part.distrust_cache().map_err(|error| disk(&part.path, "cannot be synced", &error))?;
            part.hash_prefix().map_err(|error| disk(&part.path, "cannot be read", &error))?;
            return Ok(Opened::Part(Box::new(part)));
        }
    }

    /// Bytes in the file, all of them hashed.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is the content.
    pub fn is_whole(&self) -> bool {
        self.running.matches(self.name, self.sha256)
    }

    /// Appends, visibly for the agent at once.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| disk(&self.path, "cannot be written", &error))?;
        self.running.update(bytes);
        let added = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.len = self.len.saturating_add(added);
        self.unsynced = self.unsynced.saturating_add(added);
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.syncer.sync();
        }
        Ok(())
    }

    /// Makes the file the content: synced, then renamed, then the directory synced. Call it only when [`Self::is_whole`].
    pub fn finish(mut self) -> Result<(), Failure> {
        self.syncer.stop().map_err(|error| disk(&self.path, "cannot be synced", &error))?;
        self.file.sync_all().map_err(|error| disk(&self.path, "cannot be synced", &error))?;
        let on_disk = self.file.metadata().map_err(|error| disk(&self.path, "cannot be read", &error))?.len();
        if on_disk != self.len || !is_at(&self.file, &self.path) {
            let path = self.path.display();
            return Err(Failure::new(
                Kind::Disk,
                format!("{path} was changed by somebody else meanwhile: start again"),
            ));
        }
        fs::rename(&self.path, &self.whole).map_err(|error| disk(&self.whole, "cannot be created", &error))?;
        let directory = self.whole.parent().unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|handle| handle.sync_all())
            .map_err(|error| disk(directory, "cannot be synced", &error))
    }

    /// Unlinks what is there and begins again with an empty file.
    pub fn discard(&mut self) -> Result<(), Failure> {
        let _ = self.syncer.stop(); // nobody wants these bytes on disk any more
        fs::remove_file(&self.path).map_err(|error| disk(&self.path, "is wrong and cannot be removed", &error))?;
        self.file = open_locked(&self.path)?;
        self.syncer = Syncer::start(&self.file).map_err(|error| disk(&self.path, "cannot be used", &error))?;
        self.running = Running::new(self.sha256.is_some());
        (self.len, self.unsynced) = (0, 0);
        self.hash_prefix().map_err(|error| disk(&self.path, "cannot be read", &error))
    }

    /// Removes the file: nothing in it is worth keeping.
    pub fn remove(mut self) {
        let _ = self.syncer.stop();
        let _ = fs::remove_file(&self.path);
    }

    /// What is there is hashed as the disk has it. After a write that failed the page cache still holds what was meant, a
    /// second sync succeeds, and the hash would be right of bytes that are nowhere else.
    fn distrust_cache(&self) -> io::Result<()> {
        if self.file.metadata()?.len() > 0 {
            self.file.sync_data()?;
            let _ = posix_fadvise(&*self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED); // advice, no order
        }
        Ok(())
    }

    fn hash_prefix(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match self.file.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.running.update(chunk.get(..read).unwrap_or_default());
            self.len += u64::try_from(read).unwrap_or(0);
        }
    }
}

/// Not a symbolic link (who may write into the directory must not lead us out of it), not a FIFO that blocks.
fn open_locked(path: &Path) -> Result<Flock<File>, Failure> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    let no_file = || Failure::new(Kind::CannotCreate, format!("{} is not a file: remove it", path.display()));
    let file = file.map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => no_file(),
        _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => no_file(), // a symbolic link
        _ => disk(path, "cannot be created", &error),
    })?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(no_file());
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => {
            Failure::new(Kind::Busy, format!("another p2p-fetch is working on {}: let it finish", path.display()))
        }
        error => disk(path, "cannot be locked", &error.into()),
    })
}

/// The size of the complete content, if it is there.
fn regular_file(path: &Path) -> Result<Option<u64>, Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.len())),
        Ok(_) => {
            Err(Failure::new(Kind::CannotCreate, format!("{} is there but not a file: remove it", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk(path, "cannot be looked up", &error)),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

fn disk(path: &Path, what: &str, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::new(
            Kind::CannotCreate,
            format!("{path} {what}: the disk is full; make room and start again, what is already there is kept"),
        ),
        ErrorKind::FileTooLarge => Failure::new(
            Kind::CannotCreate,
            format!("{path} {what}: it exceeds the file size limit (see `ulimit -f`); what is already there is kept"),
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound => Failure::new(
            Kind::CannotCreate,
            format!("{path} {what}: {error}; check the directory and whom it belongs to"),
        ),
        _ => Failure::new(Kind::Disk, format!("{path} {what}: {error}; check the disk, what is already there is kept")),
    }
}

/// Syncs in a thread of its own. One sync may be under way and one may wait; then the writer waits too.
struct Syncer(Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>);

impl Syncer {
    fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (sender, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || {
            while receiver.recv().is_ok() {
                file.sync_data()?;
            }
            Ok(())
        })?;
        Ok(Self(Some((sender, thread))))
    }

    fn sync(&self) {
        if let Some((sender, _)) = &self.0 {
            let _ = sender.send(()); // a syncer that failed is gone; stop() tells why
        }
    }

    fn stop(&mut self) -> io::Result<()> {
        let Some((sender, thread)) = self.0.take() else { return Ok(()) };
        drop(sender);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the sync thread died")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "900150983cd24fb0d6963f7d28e17f72"; // RFC 1321, section A.5

    fn open(directory: &Path) -> Opened {
        Part::open(directory, ContentMd5::parse(ABC).unwrap(), None).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn part(directory: &Path) -> Part {
        match open(directory) {
            Opened::Part(part) => *part,
            Opened::Complete { .. } => panic!("complete"),
        }
    }

    #[test]
    fn a_part_is_continued_where_it_ends_and_renamed_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = part(directory.path());
        first.append(b"a").unwrap();
        drop(first);
        let mut second = part(directory.path());
        assert_eq!(second.len(), 1);
        second.append(b"bc").unwrap();
        assert!(second.is_whole());
        second.finish().unwrap();
        assert!(matches!(open(directory.path()), Opened::Complete { size: 3 }));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_instance_is_told_to_wait() {
        let directory = tempfile::tempdir().unwrap();
        let _first = part(directory.path());
        let Err(failure) = Part::open(directory.path(), ContentMd5::parse(ABC).unwrap(), None) else {
            panic!("no lock")
        };
        assert_eq!(failure.exit_code(), 75);
    }

    #[test]
    fn a_discarded_part_is_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut wrong = part(directory.path());
        wrong.append(b"xyz").unwrap();
        let reader = File::open(directory.path().join(format!("{ABC}.part"))).unwrap();
        wrong.discard().unwrap();
        assert_eq!(reader.metadata().unwrap().nlink(), 0);
        wrong.append(b"abc").unwrap();
        assert!(wrong.is_whole());
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.path().join(format!("{ABC}.part"))).unwrap();
        assert!(Part::open(directory.path(), ContentMd5::parse(ABC).unwrap(), None).is_err());
    }

    #[test]
    fn a_file_that_somebody_else_wrote_to_is_not_finished() {
        let directory = tempfile::tempdir().unwrap();
        let mut ours = part(directory.path());
        ours.append(b"abc").unwrap();
        fs::write(directory.path().join(format!("{ABC}.part")), b"abcd").unwrap();
        assert_eq!(ours.finish().unwrap_err().exit_code(), 74);
        assert!(!directory.path().join(ABC).exists());
    }
}
