//! Brings the index up to date: with the whole directory, or with one name.
//!
//! A scan goes through the names twice. First it marks what is known already, which needs no file to be opened and no hash
//! to be computed; what was not seen is then removed, which makes room; and only if there were unknown names, the second
//! pass adds those, up to [`CONTENTS`].

use super::directory::{Directory, Name, Refused, complete_name, part_name};
use super::index::Names;
use super::{ContentMd5, PublicId, Store, sums};
use p2p_agent::limits::{CONTENTS, SUMS_BYTES};
use std::cell::Cell;

/// What a scan meets.
#[derive(Default)]
struct Report {
    /// Names that the first pass did not know.
    unknown: Cell<usize>,
    /// Contents for which there was no room.
    left_out: Cell<usize>,
    unreadable: Cell<usize>,
    first_unreadable: Cell<Option<PublicId>>,
    refused_lines: Cell<usize>,
    first_refused_line: Cell<u32>,
    list_too_long: Cell<bool>,
}

impl Store {
    /// Reads the whole directory.
    pub fn rescan(&self) {
        let Some(directory) = self.directory() else { return };
        self.tally.scans.set(self.tally.scans.get().saturating_add(1));
        let report = Report::default();
        self.index.borrow_mut().begin();
        let whole = self.pass(&directory, &report, |md5, names, line| {
            if !self.mark(&directory, md5, names, line, &report) {
                count(&report.unknown);
            }
        });
        if !whole {
            // What was not seen may be there all the same: nothing is forgotten, and a later scan looks again.
            self.tally.undecided.set(true);
            return;
        }
        self.index.borrow_mut().commit();
        if report.unknown.get() > 0 {
            // The index is what the first pass found; the second adds to that.
            for counter in [&report.unreadable, &report.refused_lines] {
                counter.set(0);
            }
            if !self.pass(&directory, &report, |md5, names, line| self.add(&directory, md5, names, line, &report)) {
                self.tally.undecided.set(true);
            }
            self.index.borrow_mut().commit();
        }
        self.conclude(&report);
        self.shared.names_changed();
    }

    /// Looks at one content again, after an event about one of its names. `settled`: nobody is about to change its mode.
    pub(super) fn refresh(&self, md5: &ContentMd5, settled: bool) {
        let Some(directory) = self.directory() else { return };
        let known = self.index.borrow().get(md5).map(|entry| entry.names);
        let mut names = known.unwrap_or_default().only(Names::LISTED);
        for (name, text) in [(Names::OWN, complete_name(md5)), (Names::PART, part_name(md5))] {
            match directory.check_file(text.as_bytes()) {
                Ok(()) => names = names.and(name),
                Err(Refused::Unreadable) if settled => {
                    if self.tally.unreadable.replace(self.tally.unreadable.get().max(1)) == 0 {
                        self.warn_of_unreadable(1, self.ids(md5)[0]);
                    }
                }
                Err(Refused::Failed(_)) => {
                    self.tally.undecided.set(true);
                    names = names.and(known.unwrap_or_default().only(name));
                }
                Err(Refused::Missing | Refused::NotAFile | Refused::Unreadable) => {}
            }
        }
        if known.is_none() && names != Names::NONE && self.index.borrow_mut().insert(*md5, self.ids(md5)).is_err() {
            if !self.tally.warned_of_limit.get() {
                // A scan knows the number.
                self.rescan();
            }
            return;
        }
        self.index.borrow_mut().set(md5, names);
        self.shared.names_changed();
    }

    /// Is there something in the directory that would be offered if there were room?
    pub(super) fn has_left_out(&self) -> bool {
        self.tally.warned_of_limit.get() && !self.index.borrow().is_full()
    }

    /// Calls `visit` with every content name and every line of `MD5SUMS`; `false` if they could not all be read.
    fn pass(&self, directory: &Directory, report: &Report, visit: impl Fn(&ContentMd5, Names, u32)) -> bool {
        let listing = directory.for_each(|name| match name {
            Name::Complete(md5) => visit(&md5, Names::OWN, 0),
            Name::Part(md5) => visit(&md5, Names::PART, 0),
            Name::Sums => {}
        });
        if let Err(errno) = listing {
            self.warn(format_args!("the content directory cannot be read to its end: {}", errno.desc()));
            return false;
        }
        let list = match directory.open_file(sums::NAME.as_bytes()) {
            Ok((list, _)) => list,
            Err(Refused::Unreadable) => {
                count(&report.unreadable);
                return true;
            }
            Err(Refused::Failed(_)) => return false,
            Err(Refused::Missing | Refused::NotAFile) => return true,
        };
        let whole = sums::read(&list, &mut self.line.borrow_mut(), |line| match line.md5 {
            Some(md5) => visit(&md5, Names::LISTED, line.offset),
            None => {
                if report.refused_lines.get() == 0 {
                    report.first_refused_line.set(line.number);
                }
                count(&report.refused_lines);
            }
        });
        match whole {
            Ok(whole) => report.list_too_long.set(!whole),
            Err(error) => self.warn(format_args!("MD5SUMS cannot be read to its end: {error}")),
        }
        true
    }

    /// Marks a known content as still present under a name; `false` if it is not known.
    fn mark(&self, directory: &Directory, md5: &ContentMd5, names: Names, line: u32, report: &Report) -> bool {
        let Some(before) = self.index.borrow().get(md5).map(|entry| entry.names) else { return false };
        // What could be read under this name before is not opened again.
        if before.has(names) || self.may_offer(directory, md5, names, report) {
            self.index.borrow_mut().see(md5, names, line);
        }
        true
    }

    /// Adds a name, and its content if that is not known yet.
    fn add(&self, directory: &Directory, md5: &ContentMd5, names: Names, line: u32, report: &Report) {
        if self.mark(directory, md5, names, line, report) || !self.may_offer(directory, md5, names, report) {
            return;
        }
        if self.index.borrow().is_full() {
            if !self.is_elsewhere(directory, md5, names) {
                count(&report.left_out);
            }
            return;
        }
        let mut index = self.index.borrow_mut();
        if index.insert(*md5, self.ids(md5)).is_ok() {
            index.see(md5, names, line);
        }
    }

    /// Can the file be read? Listed files are looked for when they are asked for.
    fn may_offer(&self, directory: &Directory, md5: &ContentMd5, names: Names, report: &Report) -> bool {
        let name = match names {
            Names::OWN => complete_name(md5),
            Names::PART => part_name(md5),
            _ => return true,
        };
        match directory.check_file(name.as_bytes()) {
            Ok(()) => true,
            Err(Refused::Unreadable) => {
                if report.first_unreadable.get().is_none() {
                    report.first_unreadable.set(Some(self.ids(md5)[0]));
                }
                count(&report.unreadable);
                false
            }
            Err(Refused::Failed(_)) => {
                self.tally.undecided.set(true);
                false
            }
            Err(Refused::Missing | Refused::NotAFile) => false,
        }
    }

    /// Is a content that is left out counted already, under another of its names?
    fn is_elsewhere(&self, directory: &Directory, md5: &ContentMd5, names: Names) -> bool {
        let complete = || directory.check_file(complete_name(md5).as_bytes()).is_ok();
        let part = || directory.check_file(part_name(md5).as_bytes()).is_ok();
        match names {
            Names::OWN => false,
            Names::PART => complete(),
            _ => complete() || part(),
        }
    }

    /// Says what there is, and each thing that is wrong once, until it changes.
    fn conclude(&self, report: &Report) {
        let tally = &self.tally;
        tally.found.set(self.stats().contents + report.left_out.get());
        let stats = self.stats();
        log::info!(
            "content directory: {} complete, {} growing, {} listed in MD5SUMS",
            stats.complete,
            stats.parts,
            stats.listed
        );
        let over = report.left_out.get() > 0;
        if over && !tally.warned_of_limit.get() {
            self.warn(format_args!(
                "{} contents are in the content directory, {CONTENTS} are offered to peers and the rest is not",
                stats.found
            ));
        }
        tally.warned_of_limit.set(over);
        let unreadable = report.unreadable.get();
        if tally.unreadable.replace(unreadable) != unreadable && unreadable > 0 {
            self.warn_of_unreadable(unreadable, report.first_unreadable.get().unwrap_or_default());
        }
        let refused = report.refused_lines.get();
        if tally.refused_lines.replace(refused) != refused && refused > 0 {
            let first = report.first_refused_line.get();
            self.warn(format_args!(
                "MD5SUMS: {refused} lines are not in the format of md5sum, or leave the directory (the first is line {first})"
            ));
        }
        let too_long = report.list_too_long.get();
        if !tally.warned_of_long_list.replace(too_long) && too_long {
            self.warn(format_args!("MD5SUMS is longer than {SUMS_BYTES} bytes; the rest of it is not read"));
        }
    }

    fn warn_of_unreadable(&self, number: usize, first: PublicId) {
        self.warn(format_args!(
            "files that the agent's user may not read are not offered: {number} (the first has the id {}…)",
            first.short()
        ));
    }
}

fn count(counter: &Cell<usize>) {
    counter.set(counter.get().saturating_add(1));
}
