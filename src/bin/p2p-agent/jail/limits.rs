//! Resource limits (setrlimit(2)); the values are in the mind's `limits`.

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{SFlag, fstat};
use p2p_agent::limits::{ADDRESS_SPACE_BYTES, OPEN_FILES};

use super::{Report, failure};
use crate::Failure;

/// All but the one on threads.
pub fn set(report: &mut Report) -> Result<(), Failure> {
    one_heap();
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_AS, ADDRESS_SPACE_BYTES),
    ] {
        limit(resource, most)?;
    }
    // The limit holds for a log as well: its first line would end the process.
    let written = match fstat(std::io::stderr()) {
        Ok(found) if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG => {
            log::warn!("no limit on written bytes: the log goes to a file; send it through a pipe to have the limit");
            "any length of files, as the log is one"
        }
        _ => {
            limit(Resource::RLIMIT_FSIZE, 0)?;
            "not one byte in files"
        }
    };
    report.add("limits", format!("{} MiB of addresses, {OPEN_FILES} open files, {written}", ADDRESS_SPACE_BYTES >> 20));
    Ok(())
}

/// No thread or process from here on.
pub fn no_more_threads() -> Result<(), Failure> {
    limit(Resource::RLIMIT_NPROC, 0)
}

fn limit(resource: Resource, most: u64) -> Result<(), Failure> {
    // What was handed down may be less already, and cannot be raised.
    let most = getrlimit(resource).map_or(most as libc::rlim_t, |(_, hard)| hard.min(most as libc::rlim_t));
    setrlimit(resource, most, most).map_err(|error| failure(&format!("set {resource:?}"), error))
}

/// glibc reserves 64 MiB of addresses for the heap of a second thread, changes their protection as it grows, and maps what is large
/// apart: rights that nothing else here needs. With one heap for all, `brk` does. musl has one, and maps it.
fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: integers; no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_MAX, 0);
    }
}
