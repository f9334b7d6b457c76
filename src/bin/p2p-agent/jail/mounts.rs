//! The table of mounts (proc_pid_mountinfo(5)), and paths as they are without links.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

/// The mounts of a namespace: of the one in which it was opened, also later.
pub const TABLE: &str = "/proc/self/mountinfo";

/// As many symlinks as the kernel follows in one path.
const SYMLINKS: usize = 40;

/// Number of a mount and of its device. The first is given anew at once; the second not as long as the jail holds the file system.
pub type Identity = (u32, u32, u32);

/// A line of proc_pid_mountinfo(5).
pub struct Mount {
    pub identity: Identity,
    pub point: PathBuf,
    pub shared: bool,
}

impl Mount {
    /// The one that holds `path`: of the longest that lead there, the last, which covers the others.
    pub fn of(table: &[u8], path: &Path) -> Option<Self> {
        let mounts = table.split(|byte| *byte == b'\n').filter_map(Self::parse);
        mounts.filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// Number, parent, device, root, mount point, options, optional fields up to "-".
    pub fn parse(line: &[u8]) -> Option<Self> {
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

/// Without symlinks, `.` and `..`, also where the end does not exist yet: the jail has the path, but not the links to it.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    follow(path, &mut Vec::new())
}

/// The same; `links` gets where the links were.
pub fn follow(path: &Path, links: &mut Vec<PathBuf>) -> io::Result<PathBuf> {
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
pub fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;
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
}
