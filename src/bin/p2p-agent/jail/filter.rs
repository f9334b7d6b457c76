//! The filter of system calls (seccomp(2)): a classic BPF program made of the table in `calls`. What is not in it is refused
//! with `EPERM`; a call by the numbers of another architecture ends the process.

use nix::libc::{self, sock_filter, sock_fprog};

use super::calls::{Call, Only, calls};
use super::{Report, failure};
use crate::Failure;

// linux/seccomp.h
const SET_MODE_FILTER: u32 = 1;
const OVER_ALL_THREADS: u32 = 1; // SECCOMP_FILTER_FLAG_TSYNC
const KILL_PROCESS: u32 = 0x8000_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
const ALLOW: u32 = 0x7fff_0000;
// struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

// linux/audit.h: EM_* with the bits for 64-bit and little-endian.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "arm")]
const NATIVE: u32 = 0x4000_0028;

/// Numbers from here on are the x32 table of x86-64.
#[cfg(target_arch = "x86_64")]
const FOREIGN_NUMBERS: u32 = 0x4000_0000;

const _: () = assert!(cfg!(target_endian = "little"), "the low half of an argument is taken to come first");

/// Instructions that tell whether it is this pair.
const PAIR: u8 = 4;

/// Instructions: 16 bits of length in sock_fprog; the kernel takes 4,096.
type Program = heapless::Vec<sock_filter, 512>;

/// Over all threads, for good.
pub fn install(report: &mut Report) -> Result<(), Failure> {
    // SAFETY: takes integers only. What fails later is a mistake here and not of the kernel's making.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP) } < 0 {
        report.lacks("filter", "this kernel has no seccomp");
        return Ok(());
    }
    let mut program = program(calls()).ok_or_else(|| failure("make its filter of system calls", "it is too long"))?;
    let handed = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `handed` describes `program`, which outlives the call; the kernel copies it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, OVER_ALL_THREADS, &raw const handed) };
    match result {
        0 => {}
        -1 => return Err(failure("install its filter of system calls", nix::errno::Errno::last().desc())),
        thread => return Err(failure("filter the calls of all its threads", format!("thread {thread} differs"))),
    }
    let names: Vec<_> = calls().map(|call| call.name).collect();
    report.add("system calls", format!("{} allowed: {}", names.len(), names.join(" ")));
    Ok(())
}

fn program(calls: impl Iterator<Item = &'static Call>) -> Option<Program> {
    let mut program = Program::new();
    let mut add = |instruction| program.push(instruction).ok();
    add(load(ARCHITECTURE))?;
    add(if_equal(NATIVE, 1, 0))?;
    add(give(KILL_PROCESS))?;
    add(load(NUMBER))?;
    #[cfg(target_arch = "x86_64")]
    {
        add(if_at_least(FOREIGN_NUMBERS, 0, 1))?;
        add(give(KILL_PROCESS))?;
    }
    for call in calls {
        let number = u32::try_from(call.number).ok()?;
        let length = call.only.iter().map(Only::instructions).sum::<usize>() + 1;
        add(if_equal(number, 0, u8::try_from(length).ok()?))?;
        for only in call.only {
            match *only {
                Only::Without { argument, bits } => {
                    add(load(ARGUMENTS + 8 * argument))?;
                    add(if_any_bit(bits, 0, 1))?;
                }
                Only::OneOf { argument, values } => {
                    add(load(ARGUMENTS + 8 * argument))?;
                    // Each over those behind it, and the refusal.
                    for (left, value) in (1..=u8::try_from(values.len()).ok()?).rev().zip(values) {
                        add(if_equal(*value as u32, left, 0))?;
                    }
                }
                Only::PairOf { argument, values } => {
                    for (left, (one, next)) in (0..u8::try_from(values.len()).ok()?).rev().zip(values) {
                        add(load(ARGUMENTS + 8 * argument))?;
                        // To the next pair, and over the rest of them and the refusal.
                        add(if_equal(*one as u32, 0, 2))?;
                        add(load(ARGUMENTS + 8 * (argument + 1)))?;
                        add(if_equal(*next as u32, left.checked_mul(PAIR)?.checked_add(1)?, 0))?;
                    }
                }
            }
            add(give(REFUSE))?;
        }
        add(give(ALLOW))?;
    }
    add(give(REFUSE))?;
    Some(program)
}

impl Only {
    /// Of the part of the program that tells.
    fn instructions(&self) -> usize {
        match self {
            Self::Without { .. } => 3,
            Self::OneOf { values, .. } => values.len() + 2,
            Self::PairOf { values, .. } => values.len() * usize::from(PAIR) + 1,
        }
    }
}

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

const fn give(action: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

const fn if_equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: then, jf: otherwise, k: value }
}

#[cfg(target_arch = "x86_64")]
const fn if_at_least(value: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16, jt: then, jf: otherwise, k: value }
}

const fn if_any_bit(bits: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16, jt: then, jf: otherwise, k: bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, on one call.
    fn verdict(architecture: u32, number: i64, arguments: [u32; 6]) -> u32 {
        let program = program(calls()).unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            let jump = |taken: bool| at + 1 + usize::from(if taken { step.jt } else { step.jf });
            at = match u32::from(step.code) {
                0x20 => {
                    value = match step.k {
                        NUMBER => number as u32,
                        ARCHITECTURE => architecture,
                        offset => arguments[((offset - ARGUMENTS) / 8) as usize],
                    };
                    at + 1
                }
                0x06 => return step.k,
                0x15 => jump(value == step.k),
                0x35 => jump(value >= step.k),
                0x45 => jump(value & step.k != 0),
                code => panic!("no such instruction: {code:#x}"),
            };
        }
    }

    #[test]
    fn every_call_of_the_table_is_allowed_as_it_says_and_not_otherwise() {
        for call in calls() {
            // Arguments that pass everything, and then one of them that does not.
            let mut passing = [u32::MAX; 6];
            for only in call.only {
                match *only {
                    Only::Without { argument, bits } => passing[argument as usize] &= !bits,
                    Only::OneOf { argument, values } => passing[argument as usize] = values[0] as u32,
                    Only::PairOf { argument, values } => {
                        (passing[argument as usize], passing[argument as usize + 1]) =
                            (values[0].0 as u32, values[0].1 as u32);
                    }
                }
            }
            assert_eq!(verdict(NATIVE, call.number, passing), ALLOW, "{}", call.name);
            for only in call.only {
                let with = |argument: u32, value: u32| {
                    let mut arguments = passing;
                    arguments[argument as usize] = value;
                    verdict(NATIVE, call.number, arguments)
                };
                match *only {
                    Only::Without { argument, bits } => {
                        for bit in (0..32).map(|bit| 1 << bit).filter(|bit| bits & bit != 0) {
                            assert_eq!(with(argument, bit), REFUSE, "{} {bit:#x}", call.name);
                        }
                    }
                    Only::OneOf { argument, values } => {
                        for value in values {
                            assert_eq!(with(argument, *value as u32), ALLOW, "{} {value}", call.name);
                            assert_eq!(with(argument, *value as u32 ^ 0x4000), REFUSE, "{}", call.name);
                        }
                    }
                    Only::PairOf { argument, values } => {
                        let with = |one: u32, next: u32| {
                            let mut arguments = passing;
                            (arguments[argument as usize], arguments[argument as usize + 1]) = (one, next);
                            verdict(NATIVE, call.number, arguments)
                        };
                        for (one, next) in (0..300).flat_map(|one| (0..300).map(move |next| (one, next))) {
                            let expected = if values.contains(&(one, next)) { ALLOW } else { REFUSE };
                            assert_eq!(with(one as u32, next as u32), expected, "{} {one} {next}", call.name);
                        }
                        assert_eq!(with(values[0].0 as u32 ^ 0x4000, values[0].1 as u32), REFUSE, "{}", call.name);
                    }
                }
            }
        }
    }

    #[test]
    fn no_call_stands_in_the_table_twice() {
        let mut numbers: Vec<_> = calls().map(|call| call.number).collect();
        numbers.sort_unstable();
        let before = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), before);
    }

    #[test]
    fn another_architecture_ends_the_process_and_an_unknown_number_is_refused() {
        let allowed = calls().next().unwrap().number;
        for foreign in [NATIVE ^ 1, 0x4000_0003, 0] {
            assert_eq!(verdict(foreign, allowed, [0; 6]), KILL_PROCESS);
        }
        assert_eq!(verdict(NATIVE, 4_000, [0; 6]), REFUSE);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(verdict(NATIVE, allowed | 0x4000_0000, [0; 6]), KILL_PROCESS, "x32");
    }

    #[test]
    fn no_socket_that_could_leave_the_link_can_be_made_and_none_that_is_there_be_let_off_it() {
        use nix::libc::*;
        for family in [AF_INET, AF_INET6, AF_UNIX, AF_PACKET] {
            for (kind, protocol) in [(SOCK_STREAM, 0), (SOCK_DGRAM, 0), (SOCK_RAW, 0), (SOCK_STREAM, IPPROTO_MPTCP)] {
                let arguments = [family as u32, kind as u32, protocol as u32, 0, 0, 0];
                assert_eq!(verdict(NATIVE, SYS_socket, arguments), REFUSE, "{family} {kind} {protocol}");
            }
        }
        for (level, option) in [
            (SOL_SOCKET, SO_DONTROUTE),
            (SOL_SOCKET, SO_BINDTODEVICE), // its other form, by number, is enough
            (SOL_SOCKET, SO_MARK),
            (SOL_SOCKET, SO_DETACH_FILTER),
            (IPPROTO_IP, IP_OPTIONS),
            (IPPROTO_IP, IP_HDRINCL),
            (IPPROTO_IP, IP_TRANSPARENT),
            (IPPROTO_IP, IP_FREEBIND),
            (IPPROTO_IP, IP_MULTICAST_TTL),
            (IPPROTO_IP, IP_MULTICAST_IF),
            (IPPROTO_IP, IP_TTL),
            (IPPROTO_TCP, TCP_ULP),
            (IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
        ] {
            let arguments = [3, level as u32, option as u32, 0, 0, 0];
            assert_eq!(verdict(NATIVE, SYS_setsockopt, arguments), REFUSE, "{level} {option}");
        }
    }

    #[test]
    fn what_would_make_foreign_code_or_another_process_is_refused() {
        use nix::libc::*;
        for number in [
            SYS_clone,
            SYS_clone3,
            SYS_execve,
            SYS_execveat,
            SYS_ptrace,
            SYS_kill,
            SYS_tgkill,
            SYS_openat2,
            SYS_mprotect,
            SYS_mount,
            SYS_bpf,
            SYS_prlimit64,
            SYS_setpriority,
            SYS_unlinkat,
            SYS_renameat2,
            SYS_linkat,
            SYS_symlinkat,
            SYS_mkdirat,
            SYS_mknodat,
            SYS_fchmodat,
            SYS_ftruncate,
            SYS_fallocate,
            SYS_io_uring_setup,
            SYS_keyctl,
            SYS_process_vm_writev,
            SYS_memfd_create,
            SYS_seccomp,
            SYS_prctl,
            SYS_sched_setscheduler,
            SYS_setuid,
            SYS_unshare,
            SYS_pidfd_open,
        ] {
            assert_eq!(verdict(NATIVE, number, [0; 6]), REFUSE, "{number}");
        }
    }
}
