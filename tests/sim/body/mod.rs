//! What the daemon and the sync client do with the mind's decisions: the counterparts of `src/bin/p2p-agent/{run, ask, relay,
//! serve, disk}.rs` and of `src/bin/p2p-fetch/{fetch, download, report}.rs`, without sockets.

mod ask;
mod client;
mod relay;
mod run;
mod serve;

use p2p_agent::agent::Held;
use p2p_agent::content::PublicId;
use p2p_agent::time::Instant;

use crate::node::Us;
use crate::world::{MS, World};

/// The kernel's first retransmission of data on a fast link.
pub(super) const DATA_TIMEOUT: Us = 200 * MS;

impl World {
    fn local(&self, node: usize) -> Instant {
        self.nodes[node].clock.local(self.now)
    }

    fn held(&self, node: usize, content: usize) -> Held {
        let file = &self.nodes[node].files[content];
        match (file.complete, file.part) {
            (true, size) => Held::Complete(size),
            (false, 0) => Held::Nothing,
            (false, part) => Held::Part(part),
        }
    }

    fn content_of(&self, id: PublicId) -> Option<usize> {
        self.contents.iter().position(|content| content.keys.id() == id)
    }
}
