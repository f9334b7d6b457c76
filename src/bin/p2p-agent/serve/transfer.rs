//! One transfer: admitted to a slot, and its records from the file to the reader.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use log::debug;
use p2p_agent::agent::Held;
use p2p_agent::content::PublicId;
use p2p_agent::exchange::PeerRequest;
use p2p_agent::handshake::Granted;
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{HEAD_BYTES, READER_STALL, SLOTS};
use p2p_agent::record::{RECORD_HEADER, Sealer};
use p2p_agent::slots::{Admission, SlotId};
use smol::future::{or, yield_now};
use smol::io::AsyncWriteExt as _;

use super::{Connection, Known};
use crate::clock;
use crate::device::{Device, Lent};
use crate::disk::{Piece, Reader};
use crate::guests::Standing;
use crate::stream::{Watchdog, send};
use crate::tally::add;

impl Connection {
    /// Serves a GET that follows the query of what is `known`; the connection ends with it.
    pub(super) async fn take(mut self, known: Option<Known>, request: &PeerRequest) {
        let PeerRequest::Take { id, offset, alternative, .. } = *request else { return };
        let Some(Known { md5, keys, answerer }) = known else { return self.refuse(403).await };
        let Ok(granted) = answerer.handle_take(&keys, request) else { return self.refuse(403).await };
        let Ok(Some(mut file)) = self.device.store.open_content(&md5) else { return self.refuse(404).await };
        let Ok(extent) = file.available() else { return self.refuse(404).await };
        let (slot, buffer) = match self.admit(id, (offset, alternative), extent.held()) {
            Ok(admitted) => admitted,
            Err(status) => {
                add(&self.device.tally.transfers_refused, 1);
                return self.refuse(status).await;
            }
        };
        self.seat.handle_standing(Instant::now(), Standing::Reader);
        add(&self.device.tally.transfers_served, 1);
        let reader = Reader::new(id, file, offset);
        if let Err(why) = self.pump(slot.id, buffer, reader, (&keys, granted)).await {
            debug!("transfer to {} ended: {why}", self.peer);
        }
    }

    /// A slot and its buffer, or the status of the refusal.
    fn admit(&self, id: PublicId, take: (u64, bool), held: Held) -> Result<(SlotGuard, Lent<SLOTS>), u16> {
        let mut agent = self.device.agent.borrow_mut();
        let now = clock::now();
        let mut admission = agent.admit(now, self.peer, id, take, held);
        if let Admission::Displaces(old) = admission {
            agent.slots.release(old);
            self.device.displaced.notify();
            admission = agent.admit(now, self.peer, id, take, held);
        }
        drop(agent);
        let slot = match admission {
            Admission::Granted(slot) => slot,
            Admission::NotAhead => return Err(416),
            Admission::Full | Admission::Displaces(_) => return Err(503),
        };
        let guard = SlotGuard { device: self.device.clone(), id: slot };
        // A displaced transfer hands its buffer back when it next looks; until then there may be none.
        Ok((guard, self.device.slot_buffer().ok_or(503_u16)?))
    }

    async fn pump(
        &mut self,
        slot: SlotId,
        mut buffer: Lent<SLOTS>,
        mut reader: Reader,
        (keys, granted): (&ContentKeys, Granted),
    ) -> Result<(), &'static str> {
        let nonce = self.device.agent.borrow_mut().random();
        let (given, mut sealer) = granted.give(keys, nonce);
        let size = reader.size(&self.device);
        let head = given.head::<HEAD_BYTES>(reader.offset(), size).map_err(|_| "no head")?;
        send(&mut self.stream, &head, READER_STALL).await.map_err(|_| "the reader is gone")?;
        let mut watchdog = Watchdog::default();
        loop {
            let room = buffer.get_mut(..RECORD_HEADER + self.device.upload_pace.piece()).ok_or("no buffer")?;
            let step = reader.next(&self.device, room).await?;
            let (length, last) = match step {
                Piece::Data { length, last } => (length, last),
                Piece::Heartbeat => (0, false),
                Piece::Exhausted => return Err("nothing more to serve"),
            };
            self.device.upload_pace.take(length).await;
            if !self.device.agent.borrow().slots.holds(clock::now(), slot) {
                return Err("the slot is lost");
            }
            let message = seal(&mut sealer, &mut buffer, length, last).ok_or("no record")?;
            let write = watchdog.limit(READER_STALL, self.stream.write_all(message));
            let sent = or(write, lost(&self.device, slot)).await;
            sent.map_err(|_| "the reader is gone or too slow")?;
            self.device.agent.borrow_mut().slots.handle_progress(clock::now(), slot, length as u64);
            add(&self.device.tally.to_peers, length as u64);
            if last {
                return Ok(());
            }
            // A fast reader never makes this task wait; the others get their turn all the same.
            yield_now().await;
        }
    }
}

/// Ends when the slot has been given to a fail-over of the same device: its buffer is wanted.
async fn lost(device: &Device, slot: SlotId) -> io::Result<()> {
    loop {
        let seen = device.displaced.generation();
        if !device.agent.borrow().slots.holds(clock::now(), slot) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        device.displaced.past(seen).await;
    }
}

/// Gives the slot back, however its transfer ends.
struct SlotGuard {
    device: Rc<Device>,
    id: SlotId,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.device.agent.borrow_mut().slots.release(self.id);
    }
}

fn seal<'a>(sealer: &mut Sealer, buffer: &'a mut [u8], length: usize, last: bool) -> Option<&'a [u8]> {
    let (header, data) = buffer.split_first_chunk_mut::<RECORD_HEADER>()?;
    *header = sealer.seal(data.get_mut(..length)?, last).ok()?;
    buffer.get(..RECORD_HEADER + length)
}
