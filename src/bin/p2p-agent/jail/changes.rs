//! Notices that a directory in the jail is not the one outside any more.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::mounts::{Identity, Mount, TABLE};

/// Notices that a directory in the jail is not the one outside any more: made anew, renamed, unmounted, or behind a link that leads
/// elsewhere now. What it needs was opened before the jail and reaches nothing but that.
#[derive(Default)]
pub struct Changes {
    inotify: Option<Inotify>,
    watched: Vec<(WatchDescriptor, OsString)>,
    /// The mounts outside, and which of them hold what is in the jail.
    mounts: Option<RefCell<File>>,
    holders: Vec<Identity>,
}

impl Changes {
    /// Is there a root directory that could differ?
    pub fn own_root(&self) -> bool {
        self.mounts.is_some()
    }

    /// Of what is about to be taken into the jail: `binds`, with `links` on the way to them, and where `config` may come later.
    pub fn watch(binds: &[PathBuf], config: &Path, links: &[PathBuf]) -> io::Result<Self> {
        let table = std::fs::read(TABLE)?;
        let mut changes = Self {
            mounts: Some(RefCell::new(File::open(TABLE)?)),
            holders: binds.iter().filter_map(|bind| Mount::of(&table, bind)).map(|mount| mount.identity).collect(),
            ..Self::default()
        };
        // And the first directory on the way to the configuration that is not there yet.
        let missing = config.ancestors().take_while(|ancestor| !ancestor.is_dir()).last();
        let inotify = match Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC) {
            Ok(inotify) => inotify,
            Err(Errno::ENOSYS) => return Ok(changes),
            Err(errno) => return Err(errno.into()),
        };
        for path in binds.iter().chain(links).map(PathBuf::as_path).chain(missing) {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let mask = AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_MOVE
                | AddWatchFlags::IN_ONLYDIR;
            changes.watched.push((inotify.add_watch(parent, mask)?, name.to_owned()));
        }
        changes.inotify = Some(inotify);
        Ok(changes)
    }

    /// Is one of the mounts that were taken into the jail gone outside?
    fn unmounted(&self) -> bool {
        let Some(mounts) = &self.mounts else { return false };
        let (mut mounts, mut table) = (mounts.borrow_mut(), Vec::new());
        if mounts.rewind().and_then(|()| mounts.read_to_end(&mut table)).is_err() {
            return false;
        }
        let there: Vec<_> =
            table.split(|byte| *byte == b'\n').filter_map(Mount::parse).map(|mount| mount.identity).collect();
        !self.holders.iter().all(|holder| there.contains(holder))
    }

    /// Has anything of that happened?
    pub fn seen(&self) -> bool {
        self.named() || self.unmounted()
    }

    fn named(&self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let is_ours = |watch: WatchDescriptor, name: Option<&OsStr>| {
            self.watched.iter().any(|(number, watched)| *number == watch && name == Some(watched))
        };
        let mut seen = false;
        while let Ok(events) = inotify.read_events() {
            seen |= events.iter().any(|event| {
                event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) || is_ours(event.wd, event.name.as_deref())
            });
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::super::mounts::absolute;
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_that_is_made_anew_is_noticed_and_its_neighbours_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = absolute(directory.path()).unwrap();
        let content = root.join("content");
        std::fs::create_dir(&content).unwrap();
        let link = root.join("link");
        symlink(&root, &link).unwrap();
        let watch = |config: &Path| {
            Changes::watch(std::slice::from_ref(&content), config, std::slice::from_ref(&link)).unwrap()
        };
        let changes = watch(&root);
        std::fs::create_dir(root.join("neighbour")).unwrap();
        std::fs::write(content.join("file"), "").unwrap();
        assert!(!changes.seen());
        std::fs::rename(&content, root.join("old")).unwrap();
        assert!(changes.seen() && !changes.seen());
        std::fs::create_dir(&content).unwrap();
        assert!(changes.seen());

        std::fs::remove_file(&link).unwrap();
        assert!(changes.seen() && !changes.seen());
        symlink("/", &link).unwrap();
        assert!(changes.seen());

        let changes = watch(&root.join("config/inner"));
        std::fs::write(content.join("file"), "").unwrap();
        assert!(!changes.seen());
        std::fs::create_dir(root.join("config")).unwrap();
        assert!(changes.seen());
    }
}
