//! The content directory as an open descriptor: nothing outside of it can be reached through these calls.
//!
//! A name is walked one component at a time with `O_NOFOLLOW`, so that no symlink counts, and `..` is refused: what
//! openat2 would do with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`. The filter of system calls sees the flags of openat
//! and allows reading alone; those of openat2 lie in memory, where it cannot look, so openat2 is not allowed at all.
//! A file is opened without waiting (a FIFO without a writer would block for ever), and is one only if fstat says so.

use super::ContentMd5;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fmt::Write as _;
use std::fs::{File, Metadata, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// An open directory.
pub struct Directory {
    fd: OwnedFd,
    identity: Identity,
}

/// What makes a file or directory the same one under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// Why a name cannot be read as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is nothing of that name.
    Missing,
    /// A symlink, directory, FIFO, socket or device, or a path that leaves the directory.
    NotAFile,
    /// A file that the agent's user may not read.
    Unreadable,
    /// The system could not open it now.
    Failed(Errno),
}

/// The name of a directory entry, if it concerns the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `<md5>`
    Complete(ContentMd5),
    /// `<md5>.part`
    Part(ContentMd5),
    /// `MD5SUMS`
    Sums,
}

/// Room for `<md5>.part`.
type Text = heapless::String<40>;

impl Directory {
    /// Opens a directory, by a path that may contain symlinks.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = (OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(errno)?;
        let identity = Identity::of(&file.metadata().map_err(errno)?);
        Ok(Self { fd: file.into(), identity })
    }

    /// Fails with `EACCES` where the directory can be listed, but the files in it cannot be reached.
    pub fn check_files_can_be_reached(&self) -> Result<(), Errno> {
        open_in(self.fd.as_fd(), b".", OFlag::O_PATH | OFlag::O_DIRECTORY).map(drop)
    }

    /// Is this what the path leads to?
    pub fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|found| Identity::of(&found) == self.identity)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, name: &[u8]) -> Result<(File, Metadata), Refused> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_LARGEFILE;
        let file = File::from(self.open_beneath(name, flags).map_err(Refused::from)?);
        let metadata = file.metadata().map_err(|error| Refused::Failed(errno(error)))?;
        if metadata.is_file() { Ok((file, metadata)) } else { Err(Refused::NotAFile) }
    }

    /// Is there a regular file that can be read?
    pub fn check_file(&self, name: &[u8]) -> Result<(), Refused> {
        self.open_file(name).map(drop)
    }

    /// What is behind a name now.
    pub fn identity_of(&self, name: &[u8]) -> Option<Identity> {
        let file = File::from(self.open_beneath(name, OFlag::O_PATH).ok()?);
        Some(Identity::of(&file.metadata().ok()?))
    }

    /// Calls `visit` with every name that concerns the agent and that may be a regular file.
    pub fn for_each(&self, mut visit: impl FnMut(Name)) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut entries = Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        for entry in entries.iter() {
            let entry = entry?;
            // Some file systems do not tell the type here.
            if matches!(entry.file_type(), None | Some(Type::File)) {
                if let Some(name) = Name::parse(entry.file_name().to_bytes()) {
                    visit(name);
                }
            }
        }
        Ok(())
    }

    /// Opens what a relative path leads to: every component in the directory before it, none a symlink, none `..`.
    fn open_beneath(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let mut components = path.split(|byte| *byte == b'/').peekable();
        if components.peek().is_none_or(|first| first.is_empty()) {
            return Err(Errno::EXDEV); // nothing, or a path from the root
        }
        let mut components = components.filter(|component| !matches!(*component, b"" | b".")).peekable();
        let mut directory: Option<OwnedFd> = None;
        while let Some(component) = components.next() {
            if component == b".." {
                return Err(Errno::EXDEV);
            }
            let inside = directory.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            if components.peek().is_none() {
                return open_in(inside, component, flags);
            }
            let next = open_in(inside, component, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
            directory = Some(next);
        }
        Err(Errno::EISDIR)
    }
}

/// Opens one name that is no symlink. (With `O_PATH` a symlink can be opened, and is then no file.)
fn open_in(directory: BorrowedFd<'_>, name: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    loop {
        match openat(directory, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

impl Identity {
    /// From what fstat says.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Name {
    /// Exactly one of the three forms.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        if name == super::sums::NAME {
            return Some(Self::Sums);
        }
        match name.strip_suffix(".part") {
            Some(md5) => ContentMd5::parse(md5).map(Self::Part),
            None => ContentMd5::parse(name).map(Self::Complete),
        }
    }
}

/// `<md5>`
pub fn complete_name(md5: &ContentMd5) -> Text {
    let mut text = Text::new();
    // 32 digits fit.
    let _ = write!(text, "{md5}");
    text
}

/// `<md5>.part`
pub fn part_name(md5: &ContentMd5) -> Text {
    let mut text = Text::new();
    let _ = write!(text, "{md5}.part");
    text
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => Self::Missing,
            // A symlink; a way out; a socket or a device without a driver; a name that no file can have.
            Errno::ELOOP
            | Errno::EXDEV
            | Errno::EISDIR
            | Errno::ENXIO
            | Errno::ENODEV
            | Errno::EINVAL
            | Errno::ENAMETOOLONG => Self::NotAFile,
            Errno::EACCES | Errno::EPERM => Self::Unreadable,
            errno => Self::Failed(errno),
        }
    }
}

/// The number in an error of the standard library's file calls, which always have one.
pub fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_lower_case_hex_digits_are_a_content_name() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let parsed = ContentMd5::parse(md5).expect("hex");
        assert_eq!(Name::parse(md5.as_bytes()), Some(Name::Complete(parsed)));
        assert_eq!(Name::parse(format!("{md5}.part").as_bytes()), Some(Name::Part(parsed)));
        assert_eq!(Name::parse(b"MD5SUMS"), Some(Name::Sums));
        for name in
            [&md5.to_uppercase(), &md5[1..], &format!("{md5}0"), &format!("{md5}.part.part"), ".part", "md5sums"]
        {
            assert_eq!(Name::parse(name.as_bytes()), None, "{name}");
        }
        assert_eq!(Name::parse(&[0xff; 32]), None);
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        let md5 = ContentMd5::parse("0123456789abcdef0123456789abcdef").expect("hex");
        assert_eq!(Name::parse(complete_name(&md5).as_bytes()), Some(Name::Complete(md5)));
        assert_eq!(Name::parse(part_name(&md5).as_bytes()), Some(Name::Part(md5)));
    }
}
