//! Landlock (landlock(7)): below which directories files may be read, and nothing else; TCP on the own port; no signal and no
//! abstract socket outside. Best effort: some kernels of Raspberry Pi OS come without it.
//!
//! A rule holds for what is mounted below its directory later, but not for what is mounted on it. In a root directory of its own the rule is
//! about that root. Without one it is about the parent of the content directory; if the content directory does not exist
//! yet, whatever it will be mounted on is unknown, and reading is left to the permissions of the files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc;

use super::{Places, Report, failure, mounts, root};
use crate::Failure;

// include/uapi/linux/landlock.h. The numbers of the calls are the same on all architectures.
const CREATE_RULESET: libc::c_long = 444;
const ADD_RULE: libc::c_long = 445;
const RESTRICT_SELF: libc::c_long = 446;
const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
const RULE_NET_PORT: u32 = 2;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const SCOPES: u64 = 0b11; // abstract sockets, signals

#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scopes: u64,
}

#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    directory: i32,
}

#[repr(C)]
struct Port {
    allowed: u64,
    port: u64,
}

/// Gives up everything but reading below the places, and TCP on `port`.
pub fn restrict(places: &Places, port: u16, report: &mut Report) -> Result<(), Failure> {
    let version = match version() {
        Ok(version) => version,
        Err(error) => {
            report.lacks("Landlock", &format!("this kernel has none ({error})"));
            return Ok(());
        }
    };
    let directories = readable(places);
    apply(version, &directories, port).map_err(|error| failure("enter Landlock", error))?;
    let names: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
    let mut holds = format!("version {version}; reads below {}", names.join(", "));
    if version >= 4 {
        holds.push_str(&format!("; TCP port {port} only"));
    }
    if version >= 6 {
        holds.push_str("; no signals outside");
    }
    report.add("Landlock", holds);
    Ok(())
}

fn readable(places: &Places) -> Vec<PathBuf> {
    let everything = vec!["/".into()];
    if places.changes.own_root() || !places.content.is_dir() {
        return everything;
    }
    match mounts::absolute(&places.content) {
        Ok(content) => content.parent().into_iter().map(Path::to_owned).chain(root::SYSFS.map(PathBuf::from)).collect(),
        Err(_) => everything,
    }
}

fn version() -> io::Result<u32> {
    let nothing = std::ptr::null::<Ruleset>();
    // SAFETY: asked for its version, the kernel reads no memory.
    let version = unsafe { libc::syscall(CREATE_RULESET, nothing, 0_usize, CREATE_RULESET_VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

fn apply(version: u32, directories: &[PathBuf], port: u16) -> io::Result<()> {
    // All rights that this version knows are handled, so that all but those of a rule are refused.
    let rights = match version {
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    let (network, length) = match version {
        1..=3 => (0, 8),
        4 | 5 => (BIND_TCP | CONNECT_TCP, 16),
        _ => (BIND_TCP | CONNECT_TCP, 24),
    };
    let ruleset = Ruleset { files: (1 << rights) - 1, network, scopes: SCOPES };
    // SAFETY: the kernel reads `length` bytes, at most the size of `ruleset`.
    let fd = unsafe { libc::syscall(CREATE_RULESET, &raw const ruleset, length, 0_u32) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, owned by nobody else; descriptors fit into an int.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
    for directory in directories {
        let Some(directory) = reach(directory)? else { continue };
        let rule = Beneath { allowed: READ_FILE | READ_DIR, directory: directory.as_raw_fd() };
        // SAFETY: `rule` is laid out as the kernel wants it for this kind, and outlives the call.
        check(unsafe { libc::syscall(ADD_RULE, ruleset.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0_u32) })?;
    }
    if network != 0 {
        // A connection is bound to the address of its interface and any port: 0.
        for (allowed, port) in [(BIND_TCP | CONNECT_TCP, u64::from(port)), (BIND_TCP, 0)] {
            let rule = Port { allowed, port };
            // SAFETY: as above.
            check(unsafe { libc::syscall(ADD_RULE, ruleset.as_raw_fd(), RULE_NET_PORT, &raw const rule, 0_u32) })?;
        }
    }
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(RESTRICT_SELF, ruleset.as_raw_fd(), 0_u32) })
}

/// A directory to make a rule of; none where there is no sysfs.
fn reach(directory: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(directory) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
