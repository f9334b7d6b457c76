//! A root directory of its own: an empty one with the content directory, the configuration and what the kernel tells about network
//! interfaces in it, under the paths that they have outside, read-only. (What is mounted there later has the flags of its own mount.)
//!
//! A chroot would not do: who keeps a descriptor of a directory outside gets out by `..`. So the old root is taken out of the
//! process's mount namespace altogether (pivot_root(2)).
//!
//! What is mounted below these directories later must still appear, as a data partition that is checked first. So the namespace is
//! a slave of the machine's: it gets what is mounted there, and gives nothing back. That needs a mount that is shared out there,
//! which systemd makes of all and BusyBox of none; where it is not, it is made so.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::{Places, Report, failure};
use crate::Failure;
use crate::cli::exit;

/// Names, kinds and speeds of network interfaces: links in the first to directories in the second.
pub const SYSFS: [&str; 2] = ["/sys/class/net", "/sys/devices"];

/// Where the new root is put together: an empty file system is mounted here, in the new namespace only.
const WORKPLACE: &str = "/proc";

/// The mounts of a namespace: of the one in which it was opened, also later.
const MOUNTS: &str = "/proc/self/mountinfo";

/// As many symlinks as the kernel follows in one path.
const SYMLINKS: usize = 40;

/// Whether the directories are where they can be taken into a new root; changes nothing.
pub fn check(content: &Path, config: &Path) -> Result<(), Failure> {
    let mut links = Vec::new();
    bind_of_content(&resolve(content, "content directory", &mut links)?)?;
    resolve(config, "configuration directory", &mut links).map(drop)
}

/// Makes the new root and goes there. As root.
pub fn enter(content: &Path, config: &Path, report: &mut Report) -> Result<Places, Failure> {
    let mut links = Vec::new();
    let content = resolve(content, "content directory", &mut links)?;
    let config = resolve(config, "configuration directory", &mut links)?;
    let mut binds = vec![bind_of_content(&content)?];
    match existing(&config) {
        // It may be made later, and the root directory itself cannot be in the jail.
        ancestor if ancestor == Path::new("/") => {}
        ancestor => binds.push(ancestor),
    }
    let changes = Changes::watch(&binds, &config, &links)
        .map_err(|error| failure("watch what lies around its directories", error))?;
    make_shared(binds.iter().chain([&content, &config]))?;
    binds.extend(SYSFS.map(PathBuf::from).into_iter().filter(|path| path.is_dir()));
    binds.sort();
    // The outer one of two comes with the inner one.
    binds.dedup_by(|inner, outer| inner.starts_with(outer));
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| failure("leave the machine's mounts", errno.desc()))?;
    build(&binds).map_err(|(step, errno)| failure(step, errno.desc()))?;
    let names: Vec<_> = binds.iter().map(|path| path.display().to_string()).collect();
    report.add("root directory", format!("its own, read-only; in it {}", names.join(", ")));
    Ok(Places { content, config, changes })
}

/// The parent of the content directory, so that one that is exchanged or mounted later is found; itself where that is the
/// machine's root.
fn bind_of_content(content: &Path) -> Result<PathBuf, Failure> {
    let root = Path::new("/");
    let parent = content.parent().unwrap_or(root);
    match existing(parent) {
        ancestor if ancestor != root => Ok(ancestor),
        _ if content.is_dir() && content != root => Ok(content.to_owned()),
        _ => Err(Failure::new(
            exit::UNAVAILABLE,
            format!(
                "neither the content directory {} nor a directory to wait for it in exists; create {}.",
                content.display(),
                if parent == root { content.display() } else { parent.display() }
            ),
        )),
    }
}

fn build(binds: &[PathBuf]) -> Result<(), (&'static str, Errno)> {
    let at = |step| move |errno| (step, errno);
    let nothing = None::<&Path>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)
        .map_err(at("become a slave of the machine's mounts"))?;
    let bare = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let workplace = Path::new(WORKPLACE);
    mount(Some("tmpfs"), workplace, Some("tmpfs"), bare, Some("mode=755,size=64k"))
        .map_err(at("make its root directory"))?;
    for bind in binds {
        let inside = workplace.join(bind.strip_prefix("/").unwrap_or(bind));
        std::fs::create_dir_all(&inside).map_err(|error| ("make a directory in its root", errno(&error)))?;
        let deep = if bind.starts_with("/sys") { MsFlags::empty() } else { MsFlags::MS_REC };
        mount(Some(bind), &inside, nothing, MsFlags::MS_BIND | deep, nothing)
            .map_err(at("take a directory into its root"))?;
        make_read_only(&inside).map_err(at("make a directory in its root read-only"))?;
    }
    mount(nothing, workplace, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | bare, nothing)
        .map_err(at("make its root directory read-only"))?;
    nix::unistd::chdir(workplace).map_err(at("enter its root directory"))?;
    match nix::unistd::pivot_root(".", ".") {
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).map_err(at("leave the old root directory"))?,
        // The first root of all, from an initramfs, cannot be taken out: it is covered, and with no descriptor left, no
        // `chroot` and no mounts, nothing leads below.
        Err(Errno::EINVAL) => {
            mount(Some("."), "/", nothing, MsFlags::MS_MOVE, nothing).map_err(at("cover the old root directory"))?;
            nix::unistd::chroot(".").map_err(at("change its root directory"))?;
        }
        Err(errno) => return Err(("change its root directory", errno)),
    }
    nix::unistd::chdir("/").map_err(at("enter its new root directory"))
}

/// With everything that is mounted in it already, where the kernel can do that at once (Linux 5.12).
fn make_read_only(directory: &Path) -> Result<(), Errno> {
    let flags = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attributes = libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let path = std::ffi::CString::new(directory.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: path and attributes outlive the call, and the size is that of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS) => {
            let bare = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let nothing = None::<&Path>;
            mount(nothing, directory, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | bare, nothing)
        }
        Err(errno) => Err(errno),
    }
}

/// Lets the mounts that hold these directories tell their slaves what is mounted on them.
fn make_shared<'a>(directories: impl Iterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    let table = std::fs::read(MOUNTS).map_err(|error| failure("read the table of mounts", error))?;
    let nothing = None::<&Path>;
    for directory in directories {
        let Some(holder) = Mount::of(&table, directory).filter(|mount| !mount.shared) else { continue };
        mount(nothing, &holder.point, nothing, MsFlags::MS_SHARED, nothing)
            .map_err(|errno| failure("learn of later mounts", errno.desc()))?;
    }
    Ok(())
}

/// Number of a mount and of its device. The first is given anew at once; the second not as long as the jail holds the file system.
type Identity = (u32, u32, u32);

/// A line of proc_pid_mountinfo(5).
struct Mount {
    identity: Identity,
    point: PathBuf,
    shared: bool,
}

impl Mount {
    /// The one that holds `path`: of the longest that lead there, the last, which covers the others.
    fn of(table: &[u8], path: &Path) -> Option<Self> {
        let mounts = table.split(|byte| *byte == b'\n').filter_map(Self::parse);
        mounts.filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// Number, parent, device, root, mount point, options, optional fields up to "-".
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let device = std::str::from_utf8(fields.nth(1)?).ok()?.split_once(':')?;
        let identity = (number, device.0.parse().ok()?, device.1.parse().ok()?);
        let point = unescape(fields.nth(1)?);
        let _options = fields.next()?;
        let shared = fields.take_while(|field| *field != b"-").any(|field| field.starts_with(b"shared:"));
        Some(Self { identity, point, shared })
    }
}

/// The kernel writes blanks and the like as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

fn resolve(path: &Path, what: &str, links: &mut Vec<PathBuf>) -> Result<PathBuf, Failure> {
    follow(path, links).map_err(|error| {
        Failure::new(exit::UNAVAILABLE, format!("the {what} {} cannot be found: {error}.", path.display()))
    })
}

/// Without symlinks, `.` and `..`, also where the end does not exist yet: the jail has the path, but not the links to it.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    follow(path, &mut Vec::new())
}

/// The same; `links` gets where the links were.
fn follow(path: &Path, links: &mut Vec<PathBuf>) -> io::Result<PathBuf> {
    let mut todo: VecDeque<OsString> = parts(&std::path::absolute(path)?);
    let mut done = PathBuf::from("/");
    let before = links.len();
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(&part);
        let Ok(target) = std::fs::read_link(&done) else { continue };
        links.push(done.clone());
        if links.len() - before > SYMLINKS {
            return Err(Errno::ELOOP.into());
        }
        done.pop();
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        parts(&target).into_iter().rev().for_each(|part| todo.push_front(part));
    }
    Ok(done)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(named).collect()
}

/// The nearest directory on the way to `path` that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

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

    fn watch(binds: &[PathBuf], config: &Path, links: &[PathBuf]) -> io::Result<Self> {
        let table = std::fs::read(MOUNTS)?;
        let mut changes = Self {
            mounts: Some(RefCell::new(File::open(MOUNTS)?)),
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

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_is_followed_through_links_as_far_as_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let root = absolute(directory.path()).unwrap();
        std::fs::create_dir_all(root.join("disk/videos")).unwrap();
        symlink("disk/videos", root.join("content")).unwrap();
        symlink(root.join("later/videos"), root.join("later-link")).unwrap();
        symlink("../content", root.join("disk/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, leads_to) in [
            ("content", "disk/videos"),
            ("./content/../videos/new", "disk/videos/new"),
            ("disk/up/x", "disk/videos/x"),
            ("later-link", "later/videos"),
            ("not/there/yet", "not/there/yet"),
        ] {
            assert_eq!(absolute(&root.join(path)).unwrap(), root.join(leads_to), "{path}");
        }
        assert_eq!(absolute(&root.join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn the_mount_that_holds_a_path_is_the_longest_and_of_those_the_last() {
        let table = b"21 1 254:0 / / rw - ext4 /dev/a rw\n\
            22 21 254:1 / /data rw shared:7 - ext4 /dev/b rw\n\
            23 22 254:2 / /data rw master:3 - ext4 /dev/c rw\n\
            24 21 254:3 / /my\\040disk rw,noatime shared:1 master:2 - ext4 /dev/d rw\n\
            not a line\n";
        let holder = |path: &str| Mount::of(table, Path::new(path)).map(|mount| (mount.point, mount.shared)).unwrap();
        assert_eq!(holder("/data/content"), ("/data".into(), false));
        assert_eq!(holder("/database"), ("/".into(), false));
        assert_eq!(holder("/my disk/x"), ("/my disk".into(), true));
    }

    #[test]
    fn the_parent_of_the_content_is_taken_and_never_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = absolute(directory.path()).unwrap();
        std::fs::create_dir(root.join("content")).unwrap();
        let taken = |path: &Path| bind_of_content(path).map_err(|failure| failure.sentence);
        assert_eq!(taken(&root.join("content")).unwrap(), root);
        assert_eq!(taken(&root.join("not/there/yet")).unwrap(), root);
        assert_eq!(taken(Path::new("/usr")).unwrap(), Path::new("/usr"));
        assert!(taken(Path::new("/no-such/content")).unwrap_err().contains("create /no-such."));
        assert!(taken(Path::new("/no-such-content")).unwrap_err().contains("create /no-such-content."));
    }

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
