//! The jail: what the process gives up for good, in order, with one error each. Here: capabilities and limits; groups and new privileges go in any case.
//!
//! Order: the bounding set while still root; then the user; then all other capabilities; then the event loop's helper thread
//! (any earlier, and it would keep what this one gave up); last the right to start threads.

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{SFlag, fstat};
use p2p_agent::limits::OPEN_FILES;

use crate::Failure;
use crate::cli::exit;

/// Linux numbers at most this many capabilities; the first one that the kernel does not know ends the loop.
const CAPABILITIES: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words for each set.
const VERSION_3: u32 = 0x2008_0522;

fn failure(step: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(exit::OS, format!("the jail cannot {step}: {error}; --jail off runs without it, for development."))
}

fn prctl(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> std::io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: the options used here take integers only.
    match unsafe { libc::prctl(option, first, second, NONE, NONE) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// While still root: the kernel kills it first when memory ends, and no later program can have a capability.
pub fn before_the_user() -> Result<(), Failure> {
    std::fs::write("/proc/self/oom_score_adj", "1000").map_err(|error| failure("set its OOM score", error))?;
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    for capability in 0..CAPABILITIES {
        match prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(failure("empty its capability bounding set", error)),
        }
    }
    Ok(())
}

/// As the user, before any thread exists.
pub fn before_the_threads() -> Result<(), Failure> {
    // Kernels before 4.3 have no ambient set to empty.
    match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
            return Err(failure("drop ambient capabilities", error));
        }
        _ => {}
    }
    let header = [VERSION_3, 0];
    let sets = [0_u32; 6];
    // SAFETY: both point to what capset(2) reads for this version: two words, and two times three.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } != 0 {
        return Err(failure("drop its capabilities", std::io::Error::last_os_error()));
    }
    for (resource, most) in
        [(Resource::RLIMIT_CORE, 0), (Resource::RLIMIT_MEMLOCK, 0), (Resource::RLIMIT_NOFILE, OPEN_FILES)]
    {
        limit(resource, most)?;
    }
    // The limit holds for a log as well: its first line would end the process.
    match fstat(std::io::stderr()) {
        Ok(found) if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG => {
            log::warn!("no limit on written bytes: the log goes to a file; send it through a pipe to have the limit");
            Ok(())
        }
        _ => limit(Resource::RLIMIT_FSIZE, 0),
    }
}

/// Last: starts the event loop's helper thread, and then no thread or process any more.
pub fn after_the_setup() -> Result<(), Failure> {
    async_io::block_on(async_io::Timer::after(std::time::Duration::ZERO));
    limit(Resource::RLIMIT_NPROC, 0)
}

fn limit(resource: Resource, most: u64) -> Result<(), Failure> {
    let most = most as libc::rlim_t;
    setrlimit(resource, most, most).map_err(|error| failure(&format!("set {resource:?}"), error))
}
