//! Wakes the agent when an interface or an IPv4 address came, went or changed (rtnetlink(7)).
//!
//! Only a wake-up: what has changed is not read here, the caller asks [`usable`](super::interfaces::usable) again. So a lost
//! message (ENOBUFS) loses nothing, and nothing that is in a message can mislead anyone.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use async_io::Async;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

/// An open netlink socket.
#[derive(Debug)]
pub struct LinkWatch(Async<OwnedFd>);

impl LinkWatch {
    /// Listens from now on; a change between here and [`changed`](Self::changed) is kept.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        Ok(Self(Async::new_nonblocking(socket)?))
    }

    /// Waits until something changed. Everything that is known by then counts as one change. An error is the reactor's
    /// and lasting.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            if self.drain() {
                return Ok(());
            }
        }
    }

    /// Throws away what has come; was there anything?
    fn drain(&self) -> bool {
        let mut any = false;
        // The kernel discards the rest of a message that is longer than this.
        let mut start = [0; 16];
        loop {
            match recv(self.0.as_raw_fd(), &mut start, MsgFlags::MSG_DONTWAIT) {
                // ENOBUFS: messages were lost, so there were some. The kernel says so once.
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_io::Timer;
    use smol::future::{block_on, or};

    use super::*;

    #[test]
    fn nothing_changed_is_no_wake_up() {
        let watch = LinkWatch::open().unwrap();
        let changed = async { watch.changed().await.map(|()| true) };
        let quiet = async {
            Timer::after(Duration::from_millis(50)).await;
            Ok(false)
        };
        assert!(!block_on(or(changed, quiet)).unwrap());
    }
}
