//! Asks the running daemon itself what it may do: a thread of it is stopped, made to try a system call, and sent on where it was.
#![allow(dead_code)] // two test programs use different parts

use std::fs;

use nix::errno::Errno;
use nix::libc::{self, c_long, c_ulonglong, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Below the stack, behind the 128 bytes that belong to the function that was interrupted (System V ABI for x86-64).
const SCRATCH_BELOW_STACK: u64 = 4_096;

/// A stopped thread; it goes on when the value goes.
pub struct Inside {
    thread: Pid,
    before: user_regs_struct,
    used: u64,
}

/// The TCP and UDP sockets of a process, by descriptor, with their types.
pub fn sockets(inside: &mut Inside, process: u32) -> Vec<(u64, i32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let socket = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        let mark = inside.used;
        if inside.option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN) == Ok(libc::AF_INET) {
            found.push((socket, inside.option(socket, libc::SOL_SOCKET, libc::SO_TYPE).unwrap()));
        }
        inside.used = mark;
    }
    found
}

/// The threads of a process.
pub fn threads(process: u32) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks.map(|task| Pid::from_raw(task.unwrap().file_name().to_str().unwrap().parse().unwrap())).collect()
}

impl Inside {
    /// Stops a thread that waits in a system call, as both of an idle daemon do.
    pub fn stop(thread: Pid) -> Self {
        for _ in 0..1_000 {
            ptrace::attach(thread).unwrap();
            wait_for_stop(thread);
            let before = ptrace::getregs(thread).unwrap();
            // It stands right behind the instruction `syscall`, which can be used again.
            let code = ptrace::read(thread, (before.rip - 2) as ptrace::AddressType).unwrap();
            if code & 0xffff == 0x050f {
                return Self { thread, before, used: 0 };
            }
            ptrace::detach(thread, None).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("thread {thread} is never idle");
    }

    /// Bytes in the daemon's memory; its address.
    pub fn memory(&mut self, bytes: &[u8]) -> u64 {
        let words = bytes.len().div_ceil(8);
        self.used += 8 * words as u64;
        let address = self.before.rsp - SCRATCH_BELOW_STACK - self.used;
        for (number, word) in bytes.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            let at = address + 8 * number as u64;
            ptrace::write(self.thread, at as ptrace::AddressType, c_long::from_ne_bytes(padded)).unwrap();
        }
        address
    }

    /// A path in the daemon's memory.
    pub fn path(&mut self, path: &str) -> u64 {
        self.memory(format!("{path}\0").as_bytes())
    }

    /// An option of a socket that is a number.
    pub fn option(&mut self, socket: u64, level: i32, name: i32) -> Result<i32, Errno> {
        let (value, length) = (self.memory(&[0; 8]), self.memory(&4_u64.to_ne_bytes()));
        self.call(libc::SYS_getsockopt, &[socket, level as u64, name as u64, value, length])?;
        Ok(ptrace::read(self.thread, value as ptrace::AddressType).unwrap() as i32)
    }

    /// No socket that could reach anybody can be made.
    pub fn is_refused_new_sockets(&mut self) {
        use nix::libc::*;
        for kind in [AF_UNIX, AF_INET, AF_INET6, AF_PACKET, AF_VSOCK, AF_BLUETOOTH, AF_ALG] {
            for flow in [SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET] {
                let refused = self.call(SYS_socket, &[kind as u64, flow as u64, 0]);
                assert_eq!(refused, Err(Errno::EPERM), "{kind} {flow}");
            }
        }
    }

    /// No option of a socket leads off the link, or changes what else was set at the start.
    pub fn is_refused_options(&mut self, descriptor: u64) {
        use nix::libc::*;
        let zero = self.memory(&[0; 64]);
        for (level, option) in [
            (SOL_SOCKET, SO_DONTROUTE),
            (SOL_SOCKET, SO_BINDTODEVICE),
            (SOL_SOCKET, SO_MARK),
            (SOL_SOCKET, SO_DETACH_FILTER),
            (SOL_SOCKET, SO_RCVBUF),
            (IPPROTO_IP, IP_OPTIONS),
            (IPPROTO_IP, IP_TRANSPARENT),
            (IPPROTO_IP, IP_TTL),
            (IPPROTO_IP, IP_MULTICAST_TTL),
            (IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
            (IPPROTO_TCP, TCP_ULP),
        ] {
            let refused = self.call(SYS_setsockopt, &[descriptor, level as u64, option as u64, zero, 4]);
            assert_eq!(refused, Err(Errno::EPERM), "{descriptor}: {level} {option}");
        }
    }

    /// Makes the thread try a system call.
    pub fn call(&mut self, number: c_long, arguments: &[u64]) -> Result<i64, Errno> {
        let argument = |position: usize| arguments.get(position).copied().unwrap_or_default() as c_ulonglong;
        let registers = user_regs_struct {
            rip: self.before.rip - 2,
            rax: number as c_ulonglong,
            // No call that was interrupted, so none to begin again.
            orig_rax: u64::MAX,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            r9: argument(5),
            ..self.before
        };
        ptrace::setregs(self.thread, registers).unwrap();
        ptrace::step(self.thread, None).unwrap();
        wait_for_stop(self.thread);
        let result = ptrace::getregs(self.thread).unwrap().rax as i64;
        match i32::try_from(result) {
            Ok(error @ -4_095..=-1) => Err(Errno::from_raw(-error)),
            _ => Ok(result),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = ptrace::setregs(self.thread, self.before);
        let _ = ptrace::detach(self.thread, None);
    }
}

fn wait_for_stop(thread: Pid) {
    match waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap() {
        WaitStatus::Stopped(..) => {}
        other => panic!("thread {thread} did not stop: {other:?}"),
    }
}

/// What the calls below take for the current directory.
pub const HERE: u64 = libc::AT_FDCWD as u64;
