//! Connections to peers, and those of them that are kept for the next query.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use p2p_agent::http::parse_response;
use p2p_agent::limits::PEERS;
use p2p_agent::time::Duration;

use super::Target;
use crate::device::Device;
use crate::net::interfaces::Interface;
use crate::net::outgoing::Connection;
use crate::stream::{Inbox, NoHead, await_head};

/// Answers of peers are short; a longer one is none of ours.
const ANSWER_BYTES: usize = 1_024;

/// One connection to a peer.
pub struct Line {
    /// The connection.
    pub stream: Connection,
    /// What it sent beyond the last head.
    pub inbox: Inbox<ANSWER_BYTES>,
    /// Own address.
    pub local: Ipv4Addr,
    /// The peer's.
    pub peer: Ipv4Addr,
}

/// Idle connections that wait for the next query; the oldest makes room.
#[derive(Default)]
pub struct Pool {
    lines: RefCell<heapless::Deque<Box<Line>, PEERS>>,
}

impl Pool {
    /// The idle connection to a peer, if there is one.
    pub fn take(&self, peer: Ipv4Addr) -> Option<Box<Line>> {
        let mut lines = self.lines.borrow_mut();
        let mut found = None;
        for _ in 0..lines.len() {
            let line = lines.pop_front()?;
            if line.peer == peer && found.is_none() {
                found = Some(line);
            } else {
                // It was in there a moment ago.
                let _ = lines.push_back(line);
            }
        }
        found
    }

    /// Keeps a connection for the next query, at most one for each peer.
    pub fn give_back(&self, line: Box<Line>) {
        let mut lines = self.lines.borrow_mut();
        if !line.inbox.pending().is_empty() || lines.iter().any(|known| known.peer == line.peer) {
            return;
        }
        if lines.is_full() {
            lines.pop_front();
        }
        // There is room now.
        let _ = lines.push_back(line);
    }

    /// Closes the one that waits longest; false: there is none.
    fn drop_oldest(&self) -> bool {
        let oldest = self.lines.borrow_mut().pop_front();
        oldest.is_some()
    }

    /// Closes all of them.
    pub fn clear(&self) {
        self.lines.borrow_mut().clear();
    }
}

/// A new connection, from the address of the interface on which the peer is.
pub async fn connect(device: &Device, target: Target, patience: Duration) -> io::Result<Box<Line>> {
    let interface: Interface = device
        .interfaces
        .borrow()
        .iter()
        .find(|interface| interface.index == target.interface.0)
        .cloned()
        .ok_or(io::ErrorKind::NetworkUnreachable)?;
    let to = SocketAddrV4::new(target.peer, device.port);
    let stream = device.outgoing.connect(&interface, to, patience, || device.pool.drop_oldest()).await?;
    Ok(Box::new(Line { stream, inbox: Inbox::default(), local: interface.addr, peer: target.peer }))
}

/// Takes the head of an answer off a connection.
pub async fn read_head<T>(
    line: &mut Line,
    patience: Duration,
    parse: impl FnOnce(&p2p_agent::http::Response<'_>) -> Option<T>,
) -> io::Result<T> {
    let complete = |bytes: &[u8]| parse_response(bytes).map(|response| response.is_some());
    match await_head(&mut line.inbox, &mut line.stream, (patience, patience), complete).await {
        Ok(()) => {}
        Err(NoHead::Closed) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(NoHead::Refused(_)) => return Err(io::ErrorKind::InvalidData.into()),
    }
    let Ok(Some(response)) = parse_response(line.inbox.pending()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (used, parsed) = (response.head_bytes, parse(&response));
    drop(response);
    line.inbox.consume(used);
    parsed.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
