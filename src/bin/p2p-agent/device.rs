//! What all tasks of the daemon share. One thread, so `Cell` and `RefCell`; no borrow is held across an await.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use p2p_agent::agent::{Agent, Held};
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::keys::{ContentKeys, DomainKey};
use p2p_agent::limits::{DOMAIN_KEYS, RECORD_BYTES, RELAYS, SLOTS, WANTS};
use p2p_agent::record::RECORD_HEADER;
use p2p_agent::time::Instant;
use p2p_agent::want::Reason;
use smol::LocalExecutor;

use crate::ask::{Line, Pool};
use crate::clock;
use crate::history::{History, Source};
use crate::net::Mode;
use crate::net::interfaces::Interfaces;
use crate::net::outgoing::Outgoing;
use crate::pace::Pace;
use crate::store::Signal;
use crate::store::{Kind, Store};
use crate::tally::{Tally, add};

/// Room for one record with its header.
pub type RecordBuffer = Box<[u8]>;

/// Shared state of the daemon.
pub struct Device {
    /// The mind.
    pub agent: RefCell<Agent>,
    /// The content directory.
    pub store: Rc<Store>,
    /// The executor of every task that may run while P2P is off, too.
    pub executor: Rc<LocalExecutor<'static>>,
    /// Links in use; empty while P2P is off.
    pub interfaces: RefCell<Interfaces>,
    /// Loopback or the real links.
    pub mode: Mode,
    /// UDP and TCP.
    pub port: u16,
    /// The first is asked with, the other where that is not known; all are answered to.
    pub domain_keys: heapless::Vec<DomainKey, DOMAIN_KEYS>,
    /// Counters.
    pub tally: Tally,
    /// What became of single contents.
    pub history: History,
    /// Raised when the mind may have something new to say.
    pub stirred: Signal,
    /// Raised when the mind's next deadline may be nearer than it was.
    pub due: Signal,
    /// Raised when a transfer loses its slot to another one of the same peer.
    pub displaced: Signal,
    /// Raised when P2P is switched on or off.
    pub switched: Signal,
    /// Whether P2P is on.
    pub enabled: Cell<bool>,
    /// Why it is off, in half a sentence.
    pub off_because: RefCell<String>,
    /// Sockets for connections to peers.
    pub outgoing: Rc<Outgoing>,
    /// Kept-alive connections to peers.
    pub pool: Pool,
    /// Limit of all uploads together.
    pub upload_pace: Pace,
    /// Names of the contents that are wanted or fetched, for looking at their files.
    pub wanted: RefCell<heapless::Vec<(PublicId, ContentMd5), WANTS>>,
    /// Alive while neighbours are being asked about many contents at once.
    pub survey: RefCell<Weak<()>>,
    /// The same under the other domain key, where there is one.
    other_names: RefCell<heapless::Vec<(PublicId, ContentMd5), WANTS>>,
    slot_buffers: RefCell<heapless::Vec<RecordBuffer, SLOTS>>,
    relay_buffers: RefCell<heapless::Vec<RecordBuffer, RELAYS>>,
    /// When the daemon started.
    pub started_at: Instant,
    /// Told to peers.
    pub os_version: String,
}

/// What a device is made of.
pub struct Parts {
    /// The mind.
    pub agent: Agent,
    /// The content directory.
    pub store: Rc<Store>,
    /// The executor.
    pub executor: Rc<LocalExecutor<'static>>,
    /// Loopback or the real links.
    pub mode: Mode,
    /// Sockets for connections to peers.
    pub outgoing: Rc<Outgoing>,
    /// UDP and TCP.
    pub port: u16,
    /// Keys.
    pub domain_keys: heapless::Vec<DomainKey, DOMAIN_KEYS>,
    /// Bytes per second for all uploads.
    pub max_upload: Option<u64>,
    /// Told to peers.
    pub os_version: String,
}

impl Device {
    /// Allocates every record buffer that will ever be used.
    pub fn new(parts: Parts) -> Self {
        let buffer = || vec![0; RECORD_HEADER + RECORD_BYTES].into_boxed_slice();
        Self {
            agent: RefCell::new(parts.agent),
            store: parts.store,
            executor: parts.executor,
            interfaces: RefCell::default(),
            mode: parts.mode,
            outgoing: parts.outgoing,
            port: parts.port,
            domain_keys: parts.domain_keys,
            tally: Tally::default(),
            history: History::default(),
            stirred: Signal::default(),
            due: Signal::default(),
            displaced: Signal::default(),
            switched: Signal::default(),
            enabled: Cell::new(false),
            off_because: RefCell::new("it has not begun yet".into()),
            pool: Pool::default(),
            upload_pace: Pace::new(parts.max_upload),
            wanted: RefCell::default(),
            survey: RefCell::default(),
            other_names: RefCell::default(),
            slot_buffers: RefCell::new((0..SLOTS).map(|_| buffer()).collect()),
            relay_buffers: RefCell::new((0..RELAYS).map(|_| buffer()).collect()),
            started_at: clock::now(),
            os_version: parts.os_version,
        }
    }

    /// Keys of a content as this device asks for it.
    pub fn keys(&self, md5: &ContentMd5) -> ContentKeys {
        let open = DomainKey::open();
        ContentKeys::derive(self.domain_keys.first().unwrap_or(&open), md5)
    }

    /// Keys under which it asks who does not know it by the first, while keys are rotated.
    pub fn other_keys(&self, md5: &ContentMd5) -> Option<ContentKeys> {
        self.domain_keys.get(1).map(|domain| ContentKeys::derive(domain, md5))
    }

    /// The content that a peer calls `id`, held or wanted, with the keys that make it so.
    pub fn find(&self, id: &PublicId) -> Option<(ContentMd5, ContentKeys)> {
        if let Some(found) = self.store.find(id) {
            let keys = self.domain_keys.get(found.key).map(|domain| ContentKeys::derive(domain, &found.md5))?;
            return Some((found.md5, keys));
        }
        let named = |names: &[(PublicId, ContentMd5)]| names.iter().find(|(name, _)| name == id).map(|(_, md5)| *md5);
        if let Some(md5) = named(&self.wanted.borrow()) {
            return Some((md5, self.keys(&md5)));
        }
        let md5 = named(&self.other_names.borrow())?;
        Some((md5, self.other_keys(&md5)?))
    }

    /// What is on disk of a content.
    pub fn held(&self, md5: &ContentMd5) -> Held {
        if self.store.state(md5).is_none() {
            return Held::Nothing;
        }
        let opened = self.store.open_content(md5).ok().flatten();
        opened.and_then(|mut opened| opened.available().ok()).map_or(Held::Nothing, |extent| extent.held())
    }

    /// Tells the mind how far the file is that the client downloads: those who read it are compared with that.
    pub fn look_at_own(&self, id: PublicId, md5: &ContentMd5) {
        let held = self.held(md5);
        let mut agent = self.agent.borrow_mut();
        let Some(want) = agent.want_mut(id).filter(|want| want.is_watched()) else { return };
        match held {
            Held::Nothing => {}
            Held::Part(bytes) => want.handle_growth(clock::now(), bytes),
            Held::Complete(_) => want.handle_release(clock::now()),
        }
    }

    /// Whether all of the content is there.
    pub fn is_complete(&self, md5: &ContentMd5) -> bool {
        self.store.state(md5) == Some(Kind::Complete)
    }

    /// The local client got `bytes` of a content.
    pub fn handle_bytes(&self, id: PublicId, source: Source, bytes: u64) {
        let sum = match source {
            Source::Peers => &self.tally.from_peers,
            Source::Disk => &self.tally.from_disk,
            Source::Internet => &self.tally.from_internet,
        };
        add(sum, bytes);
        self.history.handle_bytes(id, source, bytes);
    }

    /// The local client was sent to the internet.
    pub fn handle_reason(&self, id: PublicId, reason: Reason) {
        self.tally.count_reason(reason);
        self.history.handle_reason(id, reason);
    }

    /// The local client has all of a content, without the internet at the end of it.
    pub fn handle_complete(&self, id: PublicId) {
        add(&self.tally.completed, 1);
        self.history.handle_complete(id);
    }

    /// Remembers the name behind an id as long as the mind knows the id.
    pub fn remember(&self, id: PublicId, md5: ContentMd5) {
        if let Some(keys) = self.other_keys(&md5) {
            let other = keys.id();
            if let Some(want) = self.agent.borrow_mut().want_mut(id) {
                want.handle_other_keys(keys);
            }
            let agent = self.agent.borrow();
            let mut names = self.other_names.borrow_mut();
            names.retain(|(known, _)| *known != other && agent.want(*known).is_some());
            // Never full, like the other one.
            let _ = names.push((other, md5));
        }
        let agent = self.agent.borrow();
        let mut wanted = self.wanted.borrow_mut();
        wanted.retain(|(known, _)| *known != id && agent.want(*known).is_some());
        // Never full: at most one less than the mind's own table is left.
        let _ = wanted.push((id, md5));
    }

    /// A record buffer for a transfer to a peer.
    pub fn slot_buffer(self: &Rc<Self>) -> Option<Lent<SLOTS>> {
        let buffer = self.slot_buffers.borrow_mut().pop()?;
        Some(Lent { buffer, device: self.clone(), home: |device| &device.slot_buffers })
    }

    /// A record buffer for a local response.
    pub fn relay_buffer(self: &Rc<Self>) -> Option<Lent<RELAYS>> {
        let buffer = self.relay_buffers.borrow_mut().pop()?;
        Some(Lent { buffer, device: self.clone(), home: |device| &device.relay_buffers })
    }

    /// Whether a local response is under way in every relay.
    pub fn relays_free(&self) -> usize {
        self.relay_buffers.borrow().len()
    }

    /// Keeps a connection for the next query, unless P2P has been switched off meanwhile.
    pub fn keep(&self, line: Box<Line>) {
        if self.enabled.get() {
            self.pool.give_back(line);
        }
    }

    /// Resolves when P2P is off.
    pub async fn off(&self) {
        loop {
            let seen = self.switched.generation();
            if !self.enabled.get() {
                return;
            }
            self.switched.past(seen).await;
        }
    }
}

/// A record buffer that finds its way home by itself.
pub struct Lent<const N: usize> {
    buffer: RecordBuffer,
    device: Rc<Device>,
    home: fn(&Device) -> &RefCell<heapless::Vec<RecordBuffer, N>>,
}

impl<const N: usize> std::ops::Deref for Lent<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl<const N: usize> std::ops::DerefMut for Lent<N> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

impl<const N: usize> Drop for Lent<N> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // It came from there, so there is room.
        let _ = (self.home)(&self.device).borrow_mut().push(buffer);
    }
}
