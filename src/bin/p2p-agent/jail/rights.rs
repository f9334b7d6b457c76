//! Capabilities: none, and none to be had again.

use nix::libc;

use super::{Report, failure};
use crate::Failure;

/// Linux numbers at most this many capabilities; the first one that the kernel does not know ends the loop.
const CAPABILITIES: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words for each set.
const VERSION_3: u32 = 0x2008_0522;

/// As root: no program that is ever executed from here can have a capability.
pub fn empty_the_bounding_set() -> Result<(), Failure> {
    for capability in 0..CAPABILITIES {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(failure("empty its capability bounding set", error)),
        }
    }
    Ok(())
}

/// As the user: all sets of this process.
pub fn drop_all(report: &mut Report) -> Result<(), Failure> {
    // Kernels before 4.3 have no ambient set to empty.
    match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong) {
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
    report.add("user", format!("number {}, no capabilities, no new privileges", nix::unistd::geteuid()));
    Ok(())
}

fn prctl(option: libc::c_int, first: libc::c_ulong) -> std::io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: the options used here take integers only.
    match unsafe { libc::prctl(option, first, NONE, NONE, NONE) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}
