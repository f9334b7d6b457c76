//! The system calls that the jailed daemon makes once it is set up, each with its reason. `.ci/calls` runs the tests of the
//! whole daemon under strace and fails for a call that is here and not made, and for one that is made and not here.
//!
//! The most frequent ones first: the filter looks for a call from the top.

use nix::libc;

/// The whole table.
pub fn calls() -> impl Iterator<Item = &'static Call> {
    CALLS.iter().chain(OF_THIS_LIBRARY).chain(OF_THIS_ARCHITECTURE)
}

/// A system call that is allowed.
pub struct Call {
    /// As the kernel names it.
    pub name: &'static str,
    /// On this architecture.
    pub number: i64,
    /// With arguments that pass all of these.
    pub only: &'static [Only],
}

/// What an argument must be; the first one is number 0, and of each the low 32 bits count, as for the kernel.
pub enum Only {
    /// None of these bits.
    Without { argument: u32, bits: u32 },
    /// One of these values.
    OneOf { argument: u32, values: &'static [i64] },
    /// It and the next one are one of these pairs.
    PairOf { argument: u32, values: &'static [(i64, i64)] },
}

macro_rules! call {
    ($name:literal, $number:expr) => {
        call!($name, $number,)
    };
    ($name:literal, $number:expr, $($only:expr),*) => {
        Call { name: $name, number: $number as i64, only: &[$($only),*] }
    };
}

/// `MSG_FASTOPEN`: sending that connects, past Landlock's rule about ports.
const CONNECTING: u32 = 0x2000_0000;
/// Options of a socket, by level. Not among them is whatever leads off the link: SO_DONTROUTE is set on each before the filter comes, and
/// IP_OPTIONS, IP_TRANSPARENT or IP_MULTICAST_TTL on none.
const OPTIONS: &[(i64, i64)] = &[
    (libc::IPPROTO_IP as i64, libc::IP_TOS as i64), // what is accepted is lower effort, too
    (libc::IPPROTO_IP as i64, libc::IP_MINTTL as i64), // once connected, and back for the end
    (libc::SOL_SOCKET as i64, libc::SO_PRIORITY as i64),
    (libc::SOL_SOCKET as i64, 47), // SO_MAX_PACING_RATE
    (libc::SOL_SOCKET as i64, 62), // SO_BINDTOIFINDEX, the first time only
    (libc::IPPROTO_TCP as i64, libc::TCP_NODELAY as i64),
];
/// Opening for anything but reading.
const WRITING: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | O_TMPFILE_ALONE) as u32;
/// `O_TMPFILE` without the `O_DIRECTORY` that is part of it.
const O_TMPFILE_ALONE: libc::c_int = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// On all architectures.
const CALLS: &[Call] = &[
    // The event loop. epoll_create1, eventfd2 and timerfd_create came before the filter.
    call!("epoll_pwait", libc::SYS_epoll_pwait),
    call!("epoll_ctl", libc::SYS_epoll_ctl),
    call!("timerfd_settime", libc::SYS_timerfd_settime),
    call!("futex", libc::SYS_futex),             // the two threads and their locks
    call!("sched_yield", libc::SYS_sched_yield), // the same
    call!("read", libc::SYS_read),               // eventfd, timerfd, inotify, lists of names
    call!("write", libc::SYS_write),             // eventfd, log
    // Sockets.
    call!("recvmsg", libc::SYS_recvmsg), // datagrams with their time and TTL
    call!("sendmsg", libc::SYS_sendmsg, Only::Without { argument: 2, bits: CONNECTING }), // datagrams with their interface
    call!("recvfrom", libc::SYS_recvfrom),                                                // connections
    call!("sendto", libc::SYS_sendto, Only::Without { argument: 3, bits: CONNECTING }), // connections, service manager, netlink
    call!("accept4", libc::SYS_accept4),
    call!("connect", libc::SYS_connect),
    call!(
        "socket", // to list the interfaces and be told of changes (rtnetlink); those of the network came before the filter
        libc::SYS_socket,
        Only::OneOf { argument: 0, values: &[libc::AF_NETLINK as i64] },
        Only::OneOf { argument: 2, values: &[libc::NETLINK_ROUTE as i64] }
    ),
    call!("bind", libc::SYS_bind),
    call!("listen", libc::SYS_listen), // when P2P comes back
    call!("getsockname", libc::SYS_getsockname),
    call!("getpeername", libc::SYS_getpeername),
    call!("getsockopt", libc::SYS_getsockopt), // outcome of a connect; who is at the local socket
    call!("setsockopt", libc::SYS_setsockopt, Only::PairOf { argument: 1, values: OPTIONS }),
    call!("ioctl", libc::SYS_ioctl, Only::OneOf { argument: 1, values: &[libc::FIONBIO as i64] }),
    // Files.
    call!("preadv2", libc::SYS_preadv2), // without waiting for the disk
    call!("pread64", libc::SYS_pread64), // where the file system cannot do that
    call!("openat", libc::SYS_openat, Only::Without { argument: 2, bits: WRITING }),
    call!("close", libc::SYS_close),
    call!("statx", libc::SYS_statx),
    call!("getdents64", libc::SYS_getdents64),
    call!("inotify_init1", libc::SYS_inotify_init1), // when the content directory comes back
    call!("inotify_add_watch", libc::SYS_inotify_add_watch),
    // Memory. glibc does with `brk` alone.
    call!("brk", libc::SYS_brk),
    call!("munmap", libc::SYS_munmap), // what was mapped before
    // The process.
    call!("rt_sigreturn", libc::SYS_rt_sigreturn), // from the handler that reports an overflow of the stack
    call!("exit_group", libc::SYS_exit_group),
];

/// musl maps its heap.
#[cfg(target_env = "musl")]
const OF_THIS_LIBRARY: &[Call] = &[
    #[cfg(not(target_arch = "arm"))]
    call!("mmap", libc::SYS_mmap, NOT_EXECUTABLE),
    #[cfg(target_arch = "arm")]
    call!("mmap2", libc::SYS_mmap2, NOT_EXECUTABLE),
    call!("mprotect", libc::SYS_mprotect, NOT_EXECUTABLE),
    call!("mremap", libc::SYS_mremap),
    call!("madvise", libc::SYS_madvise),
    #[cfg(not(target_arch = "aarch64"))]
    call!("open", libc::SYS_open, Only::Without { argument: 1, bits: WRITING }),
];

/// glibc does `recv` and `send` by calls of their own where the architecture has them; elsewhere they are `recvfrom` and `sendto`.
#[cfg(not(target_env = "musl"))]
const OF_THIS_LIBRARY: &[Call] = &[
    #[cfg(target_arch = "arm")]
    call!("recv", libc::SYS_recv),
    #[cfg(target_arch = "arm")]
    call!("send", libc::SYS_send, Only::Without { argument: 3, bits: CONNECTING }),
];

/// Data, not code.
#[cfg(target_env = "musl")]
const NOT_EXECUTABLE: Only = Only::Without { argument: 2, bits: libc::PROT_EXEC as u32 };
const DESCRIPTOR_FLAGS: Only = Only::OneOf {
    argument: 1,
    values: &[libc::F_GETFD as i64, libc::F_SETFD as i64, libc::F_GETFL as i64, libc::F_SETFL as i64],
};

/// On 64-bit architectures. Which of the two ways to ask for a file's size is taken depends on the library and its version.
#[cfg(not(target_arch = "arm"))]
const OF_THIS_ARCHITECTURE: &[Call] = &[
    call!("fcntl", libc::SYS_fcntl, DESCRIPTOR_FLAGS),
    call!("newfstatat", libc::SYS_newfstatat),
    call!("fstat", libc::SYS_fstat),
    call!("lseek", libc::SYS_lseek),
    call!("fadvise64", libc::SYS_fadvise64),
    call!("clock_gettime", libc::SYS_clock_gettime), // where the kernel's page has no clock
];

/// On 32-bit ARM. Calls with 64-bit times came later and have the same numbers on all 32-bit architectures.
#[cfg(target_arch = "arm")]
const OF_THIS_ARCHITECTURE: &[Call] = &[
    call!("fcntl64", libc::SYS_fcntl64, DESCRIPTOR_FLAGS),
    call!("fstat64", libc::SYS_fstat64),
    call!("fstatat64", libc::SYS_fstatat64),
    call!("_llseek", libc::SYS__llseek),
    call!("arm_fadvise64_64", 270),
    call!("clock_gettime64", 403), // where the kernel's page has no clock
    call!("timerfd_settime64", 411),
    call!("futex_time64", 422),
    call!("clock_gettime", libc::SYS_clock_gettime), // before Linux 5.1
];
