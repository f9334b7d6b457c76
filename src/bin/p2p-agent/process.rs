//! What the process is: its user, its share of the CPU and the disk, its inherited state.

use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Uid, User, chown, geteuid, setgid, setgroups, setuid};

use crate::Failure;
use crate::cli::{Priority, exit};

/// The user to become, when started as root.
pub fn user_to_become(name: &str) -> Result<Option<User>, Failure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let failure = |why: String| Failure::new(exit::NO_USER, why);
    match User::from_name(name) {
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(failure(format!(
            "there is no user \"{name}\"; create it with `useradd --system --user-group {name}` (BusyBox: `addgroup -S {name} && adduser -S -D -H -G {name} {name}`) or choose another with --user."
        ))),
        Err(error) => Err(failure(format!("the user \"{name}\" cannot be looked up: {error}."))),
    }
}

/// Lets the user's group connect to the socket at `path`.
pub fn hand_over(path: &Path, user: &User) -> Result<(), Failure> {
    chown(path, Some(user.uid), Some(user.gid))
        .map_err(|error| Failure::new(exit::OS, format!("cannot give {} to {}: {error}.", path.display(), user.name)))
}

/// Closes what was left open by whoever started this process: a directory outside would be a way out of the jail.
pub fn close_inherited() {
    // SAFETY: takes integers only; nothing of this process has a descriptor yet. Before Linux 5.9 there is no such call.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Becomes `user` for good.
pub fn become_user(user: &User) -> Result<(), Failure> {
    let failure = |error: Errno| Failure::new(exit::OS, format!("cannot become user {}: {error}.", user.name));
    setgroups(&[]).map_err(failure)?;
    setgid(user.gid).map_err(failure)?;
    setuid(user.uid).map_err(failure)?;
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(Failure::new(exit::OS, "gave up root and could take it back; refusing to run.".to_owned()));
    }
    Ok(())
}

/// Takes a back seat: before any thread exists, so that the reactor's helper inherits it.
pub fn step_back(priority: Priority) {
    let nice = match priority {
        Priority::Idle => 19,
        Priority::Low => 10,
    };
    // SAFETY: plain system call on the own process.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } != 0 {
        log::warn!("cannot lower the own priority: {}", Errno::last());
    }
    if priority == Priority::Idle {
        // SAFETY: as above; SCHED_IDLE takes no parameters, all zero is valid.
        let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
        // The bare system call: musl's function of that name only says ENOSYS.
        // SAFETY: `parameters` outlives the call.
        let entered =
            unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const parameters) };
        if entered != 0 {
            log::warn!("cannot enter SCHED_IDLE: {}", Errno::last());
        }
        // ioprio_set(2): who = this process, class 3 = idle.
        const WHO_PROCESS: libc::c_long = 1;
        const CLASS_IDLE: libc::c_long = 3 << 13;
        // SAFETY: takes integers only.
        if unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as libc::c_long, CLASS_IDLE) } != 0 {
            log::debug!("cannot enter the idle I/O class: {}", Errno::last());
        }
    }
}

/// Nothing that is executed from here on can gain rights, in the jail or not.
pub fn renounce_new_privileges() -> Result<(), Failure> {
    nix::sys::prctl::set_no_new_privs()
        .map_err(|error| Failure::new(exit::OS, format!("cannot set no_new_privs: {error}.")))
}

/// Unpredictable bytes from the kernel.
pub fn seed() -> Result<[u8; 16], Failure> {
    let mut seed = [0; 16];
    // SAFETY: `seed` is valid for its length; up to 256 bytes are given whole.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if usize::try_from(got) == Ok(seed.len()) {
        Ok(seed)
    } else {
        Err(Failure::new(exit::OS, format!("the kernel gives no random bytes: {}.", Errno::last())))
    }
}

/// PRETTY_NAME of os-release, or what stands in for it.
pub fn os_version() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or("Linux", |name| name.trim_matches(['"', '\''])).to_owned()
}
