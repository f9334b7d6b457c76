//! Follows the content directory: events for what happens in it, and a look at its path now and then for what happens to
//! it (unmounted, mounted again, replaced).
//!
//! Events are inotify's. A write to a `.part` only wakes the readers of growing files; another event looks at that one
//! name; a change of `MD5SUMS`, or a queue that ran over, means a scan. While the path leads to no directory, nothing is
//! offered; the public ids are kept for its return. Without inotify the directory is scanned at every look.

use super::Store;
use super::directory::{Directory, Name};
use super::index::Names;
use async_io::{Async, Timer};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use p2p_agent::limits::{DIRECTORY_CHECK, EVENT_BYTES, EVENT_PAUSE, EVENT_PAUSE_UNWATCHED, RESCAN_PAUSE};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use crate::stream::Watchdog;

/// A scan that events asked for.
struct Scan {
    due: bool,
    last: Instant,
}

/// What a batch of events was about, apart from single contents.
#[derive(Default)]
struct Seen {
    /// Something that only a scan can tell.
    lost: bool,
    /// The directory itself.
    itself: bool,
    /// There will be no more events.
    ended: bool,
}

/// One inotify event.
struct Event<'a> {
    mask: AddWatchFlags,
    name: &'a [u8],
}

impl Store {
    /// Keeps the index up to date for ever.
    pub async fn watch(self: &Rc<Self>) {
        let mut buffer = vec![0; EVENT_BYTES].into_boxed_slice();
        let mut scan = Scan { due: false, last: Instant::now() };
        let mut eyes = None;
        loop {
            if self.look_at_path() {
                eyes = None;
            }
            if eyes.is_none() && self.directory().is_some() {
                eyes = self.open_eyes();
                // After the eyes are open, so that nothing happens unseen.
                self.rescan();
                scan = Scan { due: false, last: Instant::now() };
            }
            let Some(inotify) = &eyes else {
                Timer::after(DIRECTORY_CHECK).await;
                continue;
            };
            match self.follow(inotify, &mut buffer, &mut scan).await {
                Ok(Seen { ended: false, .. }) => {}
                Ok(_) => eyes = None,
                Err(error) => {
                    self.warn(format_args!("the events of the content directory cannot be read: {error}"));
                    eyes = None;
                    Timer::after(DIRECTORY_CHECK).await;
                }
            }
        }
    }

    /// Compares the open directory with what its path names now, and takes that if it is another one. Returns whether
    /// it is.
    fn look_at_path(&self) -> bool {
        let current = self.directory();
        if current.as_ref().is_some_and(|current| current.is_at(&self.path)) {
            return false;
        }
        let path = self.path.display();
        let next = match (&current, Directory::open(&self.path)) {
            (None, Err(_)) => return false,
            (None, Ok(next)) => {
                log::info!("the content directory {path} is there");
                Some(next)
            }
            (Some(_), Ok(next)) => {
                self.warn(format_args!("the content directory {path} is another one than before"));
                Some(next)
            }
            (Some(_), Err(errno)) => {
                self.warn(format_args!(
                    "the content directory {path} is gone ({}); nothing is offered until it is back",
                    errno.desc()
                ));
                None
            }
        };
        *self.shared.directory.borrow_mut() = next.map(Rc::new);
        self.index.borrow_mut().hide();
        self.shared.names_changed();
        true
    }

    fn open_eyes(&self) -> Option<Async<Inotify>> {
        match eyes_on(&self.path) {
            Ok(eyes) => {
                self.tally.warned_of_no_events.set(false);
                Some(eyes)
            }
            Err(error) => {
                if !self.tally.warned_of_no_events.replace(true) {
                    self.warn(format_args!(
                        "the content directory has no events ({error}); it is scanned every {} s instead",
                        DIRECTORY_CHECK.as_secs()
                    ));
                }
                None
            }
        }
    }

    /// Handles events until it is time to look at the path again.
    async fn follow(&self, inotify: &Async<Inotify>, buffer: &mut [u8], scan: &mut Scan) -> io::Result<Seen> {
        let until = Instant::now() + DIRECTORY_CHECK;
        let mut last: Option<Instant> = None;
        let mut watchdog = Watchdog::default();
        loop {
            let now = Instant::now();
            let scan_at = scan.last + RESCAN_PAUSE;
            if scan.due && scan_at <= now {
                *scan = Scan { due: false, last: now };
                self.rescan();
            }
            if until <= now {
                scan.due |= self.tally.undecided.take();
                return Ok(Seen::default());
            }
            let wake_at = if scan.due { scan_at.min(until) } else { until };
            let events = inotify.read_with(|inotify| Ok(nix::unistd::read(inotify, &mut *buffer)?));
            let filled = match watchdog.limit(wake_at.saturating_duration_since(now), events).await {
                Ok(filled) => filled,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
                Err(error) => return Err(error),
            };
            let seen = self.handle_events(buffer.get(..filled).unwrap_or_default());
            scan.due |= seen.lost || self.has_left_out();
            let pause = if self.shared.growth.is_awaited() { EVENT_PAUSE } else { EVENT_PAUSE_UNWATCHED };
            // After a longer silence there is nothing that more would come to, and who waits for bytes has waited long enough.
            if last.is_some_and(|last| last.elapsed() < pause) {
                Timer::after(pause).await;
            }
            last = Some(Instant::now());
            if seen.itself || seen.ended {
                return Ok(seen);
            }
        }
    }

    fn handle_events(&self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut grown = false;
        while let Some((event, rest)) = Event::parse(bytes) {
            bytes = rest;
            let written = event.mask == AddWatchFlags::IN_MODIFY;
            seen.lost |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            seen.ended |= event.mask.intersects(AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT);
            seen.itself |= event.name.is_empty();
            match Name::parse(event.name) {
                None => {}
                Some(Name::Sums) => seen.lost |= !written,
                Some(Name::Complete(_)) if written => {}
                Some(Name::Part(md5)) if written && self.knows_part(&md5) => grown = true,
                Some(Name::Complete(md5) | Name::Part(md5)) => {
                    let settled = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
                    self.refresh(&md5, event.mask.intersects(settled));
                }
            }
        }
        if grown {
            self.shared.growth.notify();
        }
        seen
    }

    fn knows_part(&self, md5: &super::ContentMd5) -> bool {
        self.index.borrow().get(md5).is_some_and(|entry| entry.names.has(Names::PART))
    }
}

impl<'a> Event<'a> {
    /// Takes the event in front: watch descriptor, mask, cookie and length of the name, 4 bytes each; then the name, filled
    /// up with zeros (inotify(7)).
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (_watch, bytes) = bytes.split_first_chunk::<4>()?;
        let (mask, bytes) = bytes.split_first_chunk::<4>()?;
        let (_cookie, bytes) = bytes.split_first_chunk::<4>()?;
        let (length, bytes) = bytes.split_first_chunk::<4>()?;
        let (name, rest) = bytes.split_at_checked(usize::try_from(u32::from_ne_bytes(*length)).ok()?)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some((Self { mask: AddWatchFlags::from_bits_retain(u32::from_ne_bytes(*mask)), name }, rest))
    }
}

fn eyes_on(path: &Path) -> io::Result<Async<Inotify>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let mask = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(path, mask)?;
    Async::new(inotify)
}
