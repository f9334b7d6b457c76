//! The sockets of the two ports, made at the start: in the jail none can be made (`jail/calls`). A port that is closed gives its
//! socket up, because only that frees the port; so P2P can come on as often as there are sets, and then the daemon has to be
//! started again.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use async_io::Async;
use p2p_agent::limits::PORT_SETS;

use super::{Mode, tcp, udp};

/// What is left.
pub struct Ports {
    mode: Mode,
    sets: heapless::Vec<(udp::Sockets, OwnedFd), PORT_SETS>,
}

impl Ports {
    /// Makes so many sets, at most [`PORT_SETS`].
    pub fn new(mode: Mode, count: usize) -> io::Result<Self> {
        let mut sets = heapless::Vec::new();
        for _ in 0..count.min(PORT_SETS) {
            // Never more than there is room for.
            let _ = sets.push((udp::Sockets::new(mode)?, tcp::make_listener()?));
        }
        Ok(Self { mode, sets })
    }

    /// Nothing is left to open.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Opens both; an error says in one sentence what is in the way. Dropping them closes them at once.
    pub fn open(&mut self, port: u16) -> io::Result<(udp::Port, Async<TcpListener>)> {
        let (datagrams, listener) = self.sets.pop().ok_or(io::ErrorKind::NotFound)?;
        Ok((datagrams.open(port)?, tcp::listen(listener, self.mode, port)?))
    }
}
