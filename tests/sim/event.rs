//! What happens on a site, in (time, id) order.

use std::rc::Rc;

use p2p_agent::content::PublicId;
use p2p_agent::exchange::{Answer, PeerRequest};
use p2p_agent::limits::DATAGRAM_BYTES;
use p2p_agent::slots::SlotId;
use p2p_agent::survey::Survey;

use crate::node::Us;

/// What happens, to whom.
pub enum Event {
    Boot(usize),
    Fault(usize),
    Datagram {
        to: usize,
        from: usize,
        bytes: Rc<[u8; DATAGRAM_BYTES]>,
    },
    Timer {
        node: usize,
        epoch: u32,
    },
    Query {
        from: usize,
        to: usize,
        content: usize,
        ask: Ask,
        request: PeerRequest,
    },
    Answer {
        from: usize,
        to: usize,
        content: usize,
        ask: Ask,
        answer: Option<Answer>,
    },
    Patience {
        node: usize,
        peer: usize,
        content: usize,
        ask: Ask,
    },
    Enough {
        node: usize,
        content: usize,
        ask: Ask,
    },
    Take {
        from: usize,
        to: usize,
        content: usize,
        serial: u32,
        alternative: bool,
    },
    Taken {
        from: usize,
        to: usize,
        content: usize,
        serial: u32,
        taken: Taken,
    },
    Relay {
        node: usize,
        content: usize,
        serial: u32,
    },
    Client {
        node: usize,
        content: usize,
        serial: u32,
    },
    Report {
        node: usize,
        content: usize,
        serial: u32,
    },
    Watch {
        node: usize,
        epoch: u32,
    },
    Hostile(usize),
    /// The sync client names what it will want.
    Named {
        node: usize,
        epoch: u32,
    },
    Survey {
        from: usize,
        to: usize,
        survey: Survey,
    },
    Surveyed {
        node: usize,
        peer: usize,
        survey: Survey,
        told: Vec<u8>,
    },
    Tick,
}

/// Which question an answer belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Round(u32),
    Look(u32),
    Hint(PublicId, u32),
}

/// What a take led to.
#[derive(Clone, Copy)]
pub enum Taken {
    Records(Option<SlotId>),
    Busy,
    NotAhead,
    TimedOut,
}

/// One entry of the queue.
pub struct Entry {
    pub at: Us,
    pub id: u64,
    /// Boxed: the heap moves its entries about.
    pub event: Box<Event>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.id) == (other.at, other.id)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.id).cmp(&(other.at, other.id))
    }
}
