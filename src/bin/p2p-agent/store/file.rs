//! One open content: how much of it is there, and its bytes.
//!
//! A `<md5>.part` only grows, and ends by being renamed to `<md5>`. Anything else that happens to it (it shrinks, is
//! unlinked, another file takes its name) means that the bytes already sent are not those of the content any more: its
//! readers end. The bytes of a complete content do not change; where its size or modification time does, its readers
//! end as well.

use super::ContentMd5;
use super::directory::{Directory, Identity, complete_name, errno, part_name};
use super::{Kind, Shared};
use nix::errno::Errno;
use p2p_agent::content::Held;
use p2p_agent::limits::GROWTH_POLL;
use std::cell::Cell;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::Instant;

/// An open content. It stays readable when the file is renamed.
pub struct Opened {
    file: File,
    md5: ContentMd5,
    identity: Identity,
    state: State,
    /// Where the file was found; it is not offered any longer than that.
    directory: Rc<Directory>,
    shared: Rc<Shared>,
    /// Reads cannot be told not to wait here (tmpfs, overlayfs).
    plain: Cell<bool>,
}

enum State {
    Complete {
        stamp: Stamp,
    },
    Part {
        /// The most bytes seen.
        size: u64,
        /// When the names were looked at, and after how many changes of names.
        looked_at: Instant,
        changes: u64,
    },
}

/// Changes when somebody writes to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// A complete file as it was when it was found to be wrong.
pub(super) type Fingerprint = (ContentMd5, Identity, Stamp);

/// How much of a content is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the start.
    pub available: u64,
    /// Is that all of it?
    pub complete: bool,
}

impl Extent {
    /// The same in the words of the mind.
    pub const fn held(self) -> Held {
        if self.complete { Held::Complete(self.available) } else { Held::Part(self.available) }
    }
}

/// Why a content that was open cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The `.part` is shorter than it was.
    Shrunk,
    /// The complete file was written to.
    Changed,
    /// The file was deleted.
    Removed,
    /// Another file has its name.
    Replaced,
    /// The content directory is not there any more.
    Directory,
    /// fstat failed.
    Failed(Errno),
}

impl Opened {
    pub(super) fn new(
        (file, metadata): (File, Metadata),
        md5: ContentMd5,
        kind: Kind,
        directory: Rc<Directory>,
        shared: Rc<Shared>,
    ) -> Self {
        let state = match kind {
            Kind::Complete => State::Complete { stamp: Stamp::of(&metadata) },
            Kind::Part => State::Part {
                size: metadata.len(),
                looked_at: Instant::now(),
                // It may have been renamed while it was opened: look at the names at once.
                changes: shared.names.generation().wrapping_sub(1),
            },
        };
        Self { file, md5, identity: Identity::of(&metadata), state, directory, shared, plain: Cell::new(false) }
    }

    /// What tells this complete file from another one of its name, and from what somebody writes into it later.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        match self.state {
            State::Complete { stamp } => Some((self.md5, self.identity, stamp)),
            State::Part { .. } => None,
        }
    }

    /// Is the content complete, as far as [`available`](Self::available) saw?
    pub const fn kind(&self) -> Kind {
        match self.state {
            State::Complete { .. } => Kind::Complete,
            State::Part { .. } => Kind::Part,
        }
    }

    /// How much is there now. A `.part` that has got its final name is complete; it need not be opened again.
    pub fn available(&mut self) -> Result<Extent, Gone> {
        if !self.shared.is_current(&self.directory) {
            return Err(Gone::Directory);
        }
        // The names first, the size behind them: the size that is read after the renaming is the final one.
        let renamed = self.look_at_names()?;
        let metadata = self.file.metadata().map_err(|error| Gone::Failed(errno(error)))?;
        if metadata.nlink() == 0 {
            return Err(Gone::Removed);
        }
        let now = Stamp::of(&metadata);
        match &mut self.state {
            State::Complete { stamp } if *stamp != now => return Err(Gone::Changed),
            State::Complete { .. } => {}
            State::Part { size, .. } if now.size < *size => return Err(Gone::Shrunk),
            State::Part { size, .. } => *size = now.size,
        }
        if renamed {
            self.state = State::Complete { stamp: now };
        }
        Ok(Extent { available: now.size, complete: self.kind() == Kind::Complete })
    }

    /// Reads at `offset` until `buffer` is full or the file ends, and returns how much that was. The thread is never
    /// held up for longer than one small read from the disk.
    pub async fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        super::read::fill(&self.file, &self.plain, offset, buffer).await
    }

    /// Has the `.part` got its final name? Looks after every change of names, and now and then for file systems
    /// that report none.
    fn look_at_names(&mut self) -> Result<bool, Gone> {
        let State::Part { looked_at, changes, .. } = &mut self.state else { return Ok(false) };
        let generation = self.shared.names.generation();
        if *changes == generation && looked_at.elapsed() < GROWTH_POLL {
            return Ok(false);
        }
        (*changes, *looked_at) = (generation, Instant::now());
        let final_name = complete_name(&self.md5);
        // This order: a file that is renamed in between is seen twice, not overlooked.
        let part = self.directory.identity_of(part_name(&self.md5).as_bytes());
        match self.directory.identity_of(final_name.as_bytes()) {
            Some(found) if found == self.identity => Ok(true),
            // Whatever becomes of the `.part`: the content is there, in another file.
            Some(_) if self.directory.check_file(final_name.as_bytes()).is_ok() => Err(Gone::Replaced),
            _ if part == Some(self.identity) => Ok(false),
            _ if part.is_some() => Err(Gone::Replaced),
            _ => Err(Gone::Removed),
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shrunk => f.write_str("the file has become shorter"),
            Self::Changed => f.write_str("the complete file was written to"),
            Self::Removed => f.write_str("the file was deleted"),
            Self::Replaced => f.write_str("another file took its place"),
            Self::Directory => f.write_str("the content directory is gone"),
            Self::Failed(errno) => write!(f, "the file cannot be examined: {}", errno.desc()),
        }
    }
}
