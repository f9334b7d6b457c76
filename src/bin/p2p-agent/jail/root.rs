//! A root directory of its own: an empty one with the content directory, the configuration and what the kernel tells about network
//! interfaces in it, under the paths that they have outside, read-only. (What is mounted there later has the flags of its own mount.)
//!
//! A chroot would not do: who keeps a descriptor of a directory outside gets out by `..`. So the old root is taken out of the
//! process's mount namespace altogether (pivot_root(2)).
//!
//! What is mounted below these directories later must still appear, as a data partition that is checked first. So the namespace is
//! a slave of the machine's: it gets what is mounted there, and gives nothing back. That needs a mount that is shared out there,
//! which systemd makes of all and BusyBox of none; where it is not, it is made so.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::changes::Changes;
use super::mounts::{Mount, TABLE, existing, follow};
use super::{Places, Report, failure};
use crate::Failure;
use crate::cli::exit;

/// Names, kinds and speeds of network interfaces: links in the first to directories in the second.
pub const SYSFS: [&str; 2] = ["/sys/class/net", "/sys/devices"];

/// Where the new root is put together: an empty file system is mounted here, in the new namespace only.
const WORKPLACE: &str = "/proc";

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
    let table = std::fs::read(TABLE).map_err(|error| failure("read the table of mounts", error))?;
    let nothing = None::<&Path>;
    for directory in directories {
        let Some(holder) = Mount::of(&table, directory).filter(|mount| !mount.shared) else { continue };
        mount(nothing, &holder.point, nothing, MsFlags::MS_SHARED, nothing)
            .map_err(|errno| failure("learn of later mounts", errno.desc()))?;
    }
    Ok(())
}

fn resolve(path: &Path, what: &str, links: &mut Vec<PathBuf>) -> Result<PathBuf, Failure> {
    follow(path, links).map_err(|error| {
        Failure::new(exit::UNAVAILABLE, format!("the {what} {} cannot be found: {error}.", path.display()))
    })
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_the_content_is_taken_and_never_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = follow(directory.path(), &mut Vec::new()).unwrap();
        std::fs::create_dir(root.join("content")).unwrap();
        let taken = |path: &Path| bind_of_content(path).map_err(|failure| failure.sentence);
        assert_eq!(taken(&root.join("content")).unwrap(), root);
        assert_eq!(taken(&root.join("not/there/yet")).unwrap(), root);
        assert_eq!(taken(Path::new("/usr")).unwrap(), Path::new("/usr"));
        assert!(taken(Path::new("/no-such/content")).unwrap_err().contains("create /no-such."));
        assert!(taken(Path::new("/no-such-content")).unwrap_err().contains("create /no-such-content."));
    }
}
