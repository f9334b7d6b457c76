//! The contents that this device can offer: a directory that the sync client writes and the daemon only reads (design,
//! sections 8 and 9).
//!
//! `<md5>` is a complete content, `<md5>.part` one that grows, and a line of `MD5SUMS` offers a file under its own name.
//! [`Store::watch`] follows the directory; [`Store::find`] and [`Store::state`] answer from memory (but for listed files,
//! which are looked for in the directory); [`Store::open_content`] opens a file. No path, and no MD5 above the debug
//! level, gets into the log: contents appear there as the start of their public id.

mod directory;
mod error;
mod file;
mod index;
mod read;
mod scan;
mod signal;
mod sums;
mod watch;

pub use error::{OpenError, StoreError};
use file::Fingerprint;
#[cfg(test)]
use file::Gone;
pub use file::{Extent, Opened};
pub use signal::Signal;

use directory::{Directory, Refused, complete_name, part_name};
use index::{Index, Names};
use nix::errno::Errno;
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::keys::{ContentKeys, DomainKey};
use p2p_agent::limits::{DOMAIN_KEYS, GROWTH_POLL, SUMS_LINE_BYTES, WRONG_FILES};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::stream::Watchdog;

/// The contents of one directory.
pub struct Store {
    path: PathBuf,
    keys: heapless::Vec<DomainKey, DOMAIN_KEYS>,
    index: RefCell<Index>,
    shared: Rc<Shared>,
    /// One line of `MD5SUMS` or one block of it.
    line: RefCell<Box<[u8]>>,
    /// Complete files that are not what their names say; the oldest makes room.
    wrong: RefCell<heapless::Vec<Fingerprint, WRONG_FILES>>,
    tally: Tally,
}

/// What open contents need of the store.
struct Shared {
    /// `None` while the directory is gone.
    directory: RefCell<Option<Rc<Directory>>>,
    /// A `.part` has grown, or a name has changed.
    growth: Signal,
    /// A name has changed.
    names: Signal,
}

/// What has been counted and warned about.
#[derive(Default)]
struct Tally {
    unreadable: Cell<usize>,
    refused_lines: Cell<usize>,
    found: Cell<usize>,
    scans: Cell<u64>,
    warnings: Cell<u64>,
    /// The system could not say whether a name is a file; a later scan asks again.
    undecided: Cell<bool>,
    warned_of_limit: Cell<bool>,
    warned_of_long_list: Cell<bool>,
    warned_of_no_events: Cell<bool>,
}

/// How much of a content is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of it.
    Complete,
    /// A start that grows.
    Part,
}

/// A content that a peer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its secret name.
    pub md5: ContentMd5,
    /// Which of the domain keys the peer used.
    pub key: usize,
}

/// Counts, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Is the directory there?
    pub present: bool,
    /// Contents that are offered, in any way.
    pub contents: usize,
    /// Of those, named `<md5>`.
    pub complete: usize,
    /// Of those, only named `<md5>.part`.
    pub parts: usize,
    /// Of those, only listed in `MD5SUMS` (whether their files exist is seen when they are asked for).
    pub listed: usize,
    /// Contents in the directory at the last scan, offered or not.
    pub found: usize,
    /// Files of the last scan that may not be read.
    pub unreadable: usize,
    /// Lines of `MD5SUMS` that are none.
    pub refused_lines: usize,
    /// Scans of the whole directory.
    pub scans: u64,
    /// Warnings written to the log.
    pub warnings: u64,
}

impl Store {
    /// Opens the directory and scans it. One that does not exist may not be mounted yet: [`watch`](Self::watch) finds it when it
    /// comes. `keys` are the domain keys in the order in which [`Found::key`] counts them; none
    /// is the same as [`DomainKey::open`].
    pub fn open(path: &Path, keys: &[DomainKey]) -> Result<Self, StoreError> {
        let directory = match Directory::open(path) {
            Ok(directory) => Some(directory),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(StoreError::at(path, errno)),
        };
        let within_reach = directory.as_ref().map_or(Ok(()), Directory::check_files_can_be_reached);
        within_reach.map_err(|errno| StoreError::at(path, errno))?;
        let mut known: heapless::Vec<_, DOMAIN_KEYS> = keys.iter().take(DOMAIN_KEYS).cloned().collect();
        if known.is_empty() {
            // There is room.
            let _ = known.push(DomainKey::open());
        }
        let store = Self {
            path: path.to_owned(),
            index: RefCell::new(Index::new(known.len())),
            keys: known,
            shared: Rc::new(Shared {
                directory: RefCell::new(directory.map(Rc::new)),
                growth: Signal::default(),
                names: Signal::default(),
            }),
            line: RefCell::new(vec![0; SUMS_LINE_BYTES].into_boxed_slice()),
            wrong: RefCell::default(),
            tally: Tally::default(),
        };
        if store.directory().is_none() {
            store.warn(format_args!("the content directory {} does not exist; waiting for it", path.display()));
        }
        store.rescan();
        Ok(store)
    }

    /// The content with this public name, if it is in the directory.
    pub fn find(&self, id: &PublicId) -> Option<Found> {
        let index = self.index.borrow();
        let (entry, key) = index.find(id)?;
        (entry.names != Names::NONE).then_some(Found { md5: entry.md5, key })
    }

    /// Whether a content is there, and all of it.
    pub fn state(&self, md5: &ContentMd5) -> Option<Kind> {
        let names = self.index.borrow().get(md5)?.names;
        if self.wrong.borrow().iter().any(|(wrong, ..)| wrong == md5) {
            // It may have been replaced since; only the file itself can tell.
            return self.open_content(md5).ok().flatten().map(|opened| opened.kind());
        }
        if names.has(Names::OWN) {
            return Some(Kind::Complete);
        }
        if names.has(Names::LISTED)
            && self.directory().is_some_and(|directory| self.open_listed(&directory, md5).is_ok())
        {
            return Some(Kind::Complete);
        }
        names.has(Names::PART).then_some(Kind::Part)
    }

    /// Opens a content; `None` if it is not there. The directory itself is asked, so that a content is found even before
    /// its event has arrived.
    pub fn open_content(&self, md5: &ContentMd5) -> Result<Option<Opened>, OpenError> {
        let Some(directory) = self.directory() else { return Ok(None) };
        let complete = || directory.open_file(complete_name(md5).as_bytes());
        let part = || directory.open_file(part_name(md5).as_bytes());
        let attempts: [(Kind, &dyn Fn() -> Result<_, Refused>); 4] = [
            (Kind::Complete, &complete),
            (Kind::Complete, &|| self.open_listed(&directory, md5)),
            (Kind::Part, &part),
            // Once more: it may have been renamed between the first look and the third.
            (Kind::Complete, &complete),
        ];
        let mut unreadable = None;
        for (kind, open) in attempts {
            match open() {
                Ok(found) => {
                    let opened = Opened::new(found, *md5, kind, directory.clone(), self.shared.clone());
                    let is_wrong = |print| self.wrong.borrow().contains(&print);
                    if !opened.fingerprint().is_some_and(is_wrong) {
                        return Ok(Some(opened));
                    }
                }
                Err(Refused::Missing | Refused::NotAFile) => {}
                Err(Refused::Unreadable) => unreadable = Some(OpenError::NotReadable),
                Err(Refused::Failed(errno)) => return Err(OpenError::Failed(errno)),
            }
        }
        unreadable.map_or(Ok(None), Err)
    }

    /// This complete file is not what its name says: it is not there any more, until it changes.
    pub fn refuse(&self, opened: &Opened) {
        let Some(print) = opened.fingerprint() else { return };
        let mut wrong = self.wrong.borrow_mut();
        wrong.retain(|(md5, ..)| *md5 != print.0);
        if wrong.is_full() {
            wrong.remove(0);
        }
        // There is room now.
        let _ = wrong.push(print);
    }

    /// Counts the events that may mean that a `.part` has grown. Ask before looking at
    /// [`Opened::available`], wait with [`grown`](Self::grown) after.
    pub fn growth(&self) -> u64 {
        self.shared.growth.generation()
    }

    /// Waits until a `.part` may have grown, or anything has changed, since [`growth`](Self::growth) was `seen`; no longer than
    /// `patience`, and no longer than [`GROWTH_POLL`], because some file systems have no events.
    pub async fn grown(&self, seen: u64, watchdog: &mut Watchdog, patience: Duration) {
        let growth = async {
            self.shared.growth.past(seen).await;
            Ok(())
        };
        // Either way it is time to look.
        let _ = watchdog.limit(patience.min(GROWTH_POLL), growth).await;
    }

    /// Notified whenever contents come, go, or become complete.
    #[cfg(test)]
    pub fn changes(&self) -> &Signal {
        &self.shared.names
    }

    /// Counts everything, from memory.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            present: self.directory().is_some(),
            found: self.tally.found.get(),
            unreadable: self.tally.unreadable.get(),
            refused_lines: self.tally.refused_lines.get(),
            scans: self.tally.scans.get(),
            warnings: self.tally.warnings.get(),
            ..Stats::default()
        };
        for entry in self.index.borrow().iter().filter(|entry| entry.names != Names::NONE) {
            stats.contents += 1;
            if entry.names.has(Names::OWN) {
                stats.complete += 1;
            } else if entry.names.has(Names::LISTED) {
                stats.listed += 1;
            } else {
                stats.parts += 1;
            }
        }
        stats
    }

    fn directory(&self) -> Option<Rc<Directory>> {
        self.shared.directory.borrow().clone()
    }

    /// Opens the file that `MD5SUMS` lists for a content.
    fn open_listed(
        &self,
        directory: &Directory,
        md5: &ContentMd5,
    ) -> Result<(std::fs::File, std::fs::Metadata), Refused> {
        let offset = match self.index.borrow().get(md5) {
            Some(entry) if entry.names.has(Names::LISTED) => entry.line,
            _ => return Err(Refused::Missing),
        };
        let (list, _) = directory.open_file(sums::NAME.as_bytes())?;
        let mut line = self.line.borrow_mut();
        let name =
            sums::name_at(&list, offset, md5, &mut line).map_err(|error| Refused::Failed(directory::errno(error)))?;
        directory.open_file(name.ok_or(Refused::Missing)?)
    }

    /// Public ids under all domain keys; the places of missing keys repeat the first.
    fn ids(&self, md5: &ContentMd5) -> [PublicId; DOMAIN_KEYS] {
        let mut ids = self.keys.iter().map(|key| ContentKeys::derive(key, md5).id());
        let first = ids.next().unwrap_or_default();
        std::array::from_fn(|key| if key == 0 { first } else { ids.next().unwrap_or(first) })
    }

    fn warn(&self, message: fmt::Arguments<'_>) {
        self.tally.warnings.set(self.tally.warnings.get().saturating_add(1));
        log::warn!("{message}");
    }
}

impl Shared {
    fn is_current(&self, directory: &Rc<Directory>) -> bool {
        self.directory.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, directory))
    }

    fn names_changed(&self) {
        self.names.notify();
        self.growth.notify();
    }
}

#[cfg(test)]
mod tests;
