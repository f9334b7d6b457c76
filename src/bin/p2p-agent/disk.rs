//! The disk side of a transfer: what of a content is there, and then what comes.
//!
//! Peers and local clients read alike. A complete file is read to its end; a growing `.part` is followed as long as something here
//! makes it grow. The last bytes are served from the `.part`, without waiting for its own verification: otherwise a chain of N devices
//! would verify one after the other.

use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::Async;
use log::warn;
use md5::{Digest, Md5};
use p2p_agent::content::PublicId;
use p2p_agent::limits::{GROWTH_BATCH, GROWTH_LINGER, HEARTBEAT, LEASE_STALL, RECORD_BYTES, RELAYS};
use p2p_agent::record::RECORD_HEADER;
use p2p_agent::time::Instant;
use p2p_agent::want::Want;
use smol::future::yield_now;

use crate::api::asked::ContentRequest as Request;
use crate::api::response::{Body, Problem};
use crate::clock;
use crate::device::{Device, Lent};
use crate::history::Source;
use crate::store::{Extent, Opened};
use crate::stream::Watchdog;
use crate::tally::add;

/// The next part of a transfer.
pub enum Piece {
    /// `length` bytes lie behind the header's place in the buffer.
    Data {
        /// Zero only for the end of a content whose end was not known before.
        length: usize,
        /// The content ends with them.
        last: bool,
    },
    /// Nothing came for a while; the reader should know that somebody is there.
    Heartbeat,
    /// There is no more, and nothing here makes it grow.
    Exhausted,
}

/// Reads one content from an offset on.
pub struct Reader {
    id: PublicId,
    file: Opened,
    offset: u64,
    ended: bool,
    grown_at: Instant,
    watchdog: Watchdog,
}

impl Reader {
    /// A reader of `file` from `offset` on.
    pub fn new(id: PublicId, file: Opened, offset: u64) -> Self {
        Self { id, file, offset, ended: false, grown_at: clock::now(), watchdog: Watchdog::default() }
    }

    /// Where the next piece starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The file is not what its name says.
    fn refuse(&self, device: &Device) {
        device.store.refuse(&self.file);
    }

    /// Total size where it is known: of a complete file, or told by whoever wants it here, unless the file belies it.
    pub fn size(&mut self, device: &Device) -> Option<u64> {
        self.file.available().ok().and_then(|extent| self.total(device, &extent))
    }

    fn total(&self, device: &Device, extent: &Extent) -> Option<u64> {
        if extent.complete {
            return Some(extent.available);
        }
        let told = device.agent.borrow().want(self.id).and_then(Want::size);
        told.filter(|size| *size >= extent.available)
    }

    /// Puts the next piece behind the header's place in `buffer`, at most what fits there, waiting for a growing file if need be.
    pub async fn next(&mut self, device: &Device, buffer: &mut [u8]) -> Result<Piece, &'static str> {
        let waits_since = clock::now();
        loop {
            let seen = device.store.growth();
            let extent = self.file.available().map_err(|gone| {
                warn!("{}: the file changed while it was served: {gone}", self.id.short());
                "the file changed"
            })?;
            let total = self.total(device, &extent);
            let ready = extent.available.saturating_sub(self.offset);
            let ends = total == Some(extent.available);
            let waited = clock::now().since(waits_since);
            // Small pieces of a growing file are gathered for a moment: a record costs a MAC and two system calls.
            if ready > 0 && (ready >= GROWTH_BATCH || ends || waited >= GROWTH_LINGER) {
                let room = buffer.len().saturating_sub(RECORD_HEADER).min(RECORD_BYTES);
                let length = usize::try_from(ready).unwrap_or(room).min(room);
                let data = buffer.get_mut(RECORD_HEADER..RECORD_HEADER + length).ok_or("no buffer")?;
                let count = self.file.read_at(self.offset, data).await.map_err(|error| {
                    warn!("{}: the file cannot be read: {error}", self.id.short());
                    "the file cannot be read"
                })?;
                if count == 0 {
                    return Err("the file ended early");
                }
                self.offset += count as u64;
                self.grown_at = clock::now();
                self.ended = total == Some(self.offset);
                return Ok(Piece::Data { length: count, last: self.ended });
            }
            if ends && !self.ended {
                self.ended = true;
                return Ok(Piece::Data { length: 0, last: true });
            }
            // Who got all of it writes the last bytes in a moment.
            let writes = clock::now().since(self.grown_at) < LEASE_STALL;
            let live = device.agent.borrow().want(self.id).is_some_and(|w| w.is_live() || writes && w.has_all());
            if ready == 0 && !live && waited >= GROWTH_LINGER {
                return Ok(Piece::Exhausted);
            }
            if ready == 0 && waited >= HEARTBEAT {
                return Ok(Piece::Heartbeat);
            }
            let patience = if ready > 0 || !live { GROWTH_LINGER } else { HEARTBEAT };
            device.store.grown(seen, &mut self.watchdog, patience.saturating_sub(waited)).await;
        }
    }
}

/// The MD5 so far of the client's own first bytes, from the `.part` in the content directory.
pub async fn hash_prefix(device: &Device, request: &Request) -> Result<Md5, Problem> {
    let mut hash = Md5::new();
    if request.offset == 0 {
        return Ok(hash);
    }
    let Ok(Some(file)) = device.store.open_content(&request.md5) else { return Err(Problem::CannotVerify) };
    let mut buffer = vec![0; RECORD_BYTES / 4];
    let mut offset = 0;
    while offset < request.offset {
        let room = usize::try_from(request.offset - offset).unwrap_or(buffer.len()).min(buffer.len());
        let Some(room) = buffer.get_mut(..room) else { break };
        match file.read_at(offset, room).await {
            Ok(count) if count > 0 => {
                hash.update(room.get(..count).unwrap_or_default());
                offset += count as u64;
            }
            _ => return Err(Problem::CannotVerify),
        }
        // The one thread belongs to the other transfers, too.
        yield_now().await;
    }
    Ok(hash)
}

/// Answers a local client from the own directory: the complete file, or the `.part` that another client makes grow. The error
/// is None when the response has begun and has to be cut.
pub async fn respond(
    device: &Rc<Device>,
    stream: &mut Async<UnixStream>,
    request: Request,
    mut buffer: Lent<RELAYS>,
) -> Result<(), Option<Problem>> {
    let Ok(Some(mut file)) = device.store.open_content(&request.md5) else {
        return Err(Some(Problem::ServedElsewhere));
    };
    let extent = file.available().map_err(|_| Some(Problem::ServedElsewhere))?;
    if extent.complete && request.offset >= extent.available && request.offset > 0 {
        return Err(Some(Problem::BeyondEnd(extent.available)));
    }
    let mut hash = if request.verify { Some(hash_prefix(device, &request).await.map_err(Some)?) } else { None };
    let mut reader = Reader::new(device.keys(&request.md5).id(), file, request.offset);
    let mut body = Body::new(request.offset, request.ranged);
    let size = reader.size(device).or(request.size);
    body.begin(stream, size).await.map_err(|_| None)?;
    loop {
        let (length, last) = match reader.next(device, &mut buffer).await {
            Ok(Piece::Data { length, last }) => (length, last),
            Ok(Piece::Heartbeat) if clock::now().since(reader.grown_at) < LEASE_STALL => continue,
            Ok(Piece::Heartbeat | Piece::Exhausted) | Err(_) => return Err(None),
        };
        let data = buffer.get(RECORD_HEADER..RECORD_HEADER + length).ok_or(None)?;
        let end = reader.offset();
        let last = last || size == Some(end);
        // The response has promised a length, by somebody's word.
        if size.is_some_and(|size| end > size || last && end < size) {
            return Err(None);
        }
        if let Some(running) = &mut hash {
            running.update(data);
            if last && hash.take().is_some_and(|hash| hash.finalize()[..] != request.md5.as_bytes()[..]) {
                warn!(
                    "{}: the file in the content directory does not match its MD5; it is not offered until it changes",
                    reader.id.short()
                );
                add(&device.tally.corrupt_contents, 1);
                reader.refuse(device);
                return Err(None);
            }
        }
        body.write(stream, data).await.map_err(|_| None)?;
        device.handle_bytes(reader.id, Source::Disk, length as u64);
        if last {
            device.handle_complete(reader.id);
            return body.finish(stream).await.map_err(|_| None);
        }
        // A file in the page cache and a fast client never make this task wait; the others get their turn all the same.
        yield_now().await;
    }
}
