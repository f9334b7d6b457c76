//! Why the content directory, or a file in it, cannot be used: one sentence each that says what, where and how to mend it.

use nix::errno::Errno;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why the content directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is something else at the path.
    NotADirectory(PathBuf),
    /// The agent's user may not list it or reach the files in it.
    NotReadable(PathBuf),
    /// Anything else.
    Failed(PathBuf, Errno),
}

/// Why a content that is there cannot be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The agent's user may not.
    NotReadable,
    /// The system refused; with `EMFILE`, `ENFILE`, `ENOMEM` or `EIO` it may work later.
    Failed(Errno),
}

impl StoreError {
    pub(super) fn at(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::ENOTDIR => Self::NotADirectory(path),
            Errno::EACCES | Errno::EPERM => Self::NotReadable(path),
            errno => Self::Failed(path, errno),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADirectory(path) => {
                write!(f, "content directory {} is not a directory; name another", path.display())
            }
            Self::NotReadable(path) => write!(
                f,
                "content directory {} is not accessible to the agent's user; give it the permissions r and x",
                path.display()
            ),
            Self::Failed(path, errno) => {
                write!(f, "content directory {} cannot be opened: {}", path.display(), errno.desc())
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReadable => f.write_str("the agent's user may not read the file"),
            Self::Failed(errno) => write!(f, "the file cannot be opened: {}", errno.desc()),
        }
    }
}

impl std::error::Error for OpenError {}
