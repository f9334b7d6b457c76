//! The records of one source: received, verified, hashed, handed to the local client; and the look for a better source meanwhile.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use async_io::{Async, Timer};
use md5::Digest as _;
use p2p_agent::content::State;
use p2p_agent::limits::{
    CONTENT_BYTES, LEASE_STALL, QUERY_TIMEOUT, READER_STALL, RECORD_BYTES, RECORD_TIMEOUT, SOURCE_STALL,
};
use p2p_agent::record::{Opener, RECORD_HEADER, RecordError};
use p2p_agent::time::Duration;
use p2p_agent::want::{Answered, Round, SourceEnd};
use smol::future::{or, yield_now};

use super::Relay;
use crate::ask::{self, Found, Line, Taken};
use crate::clock;
use crate::history::Source;

/// A query round on the side.
type Look = smol::Task<(Round, Vec<Found>)>;

/// How one source's bytes ended.
pub(super) enum End {
    /// This other source goes on from here.
    Moved(Ipv4Addr, Box<Taken>),
    Source(SourceEnd),
    /// The mind lets another device go ahead.
    Left,
    /// Its bytes do not fit the size that it or another source told.
    WrongSize,
    /// The local client has all of it.
    Complete,
    /// It has all of it, and it is something else.
    Wrong,
    /// The local client is gone, or P2P was switched off.
    Dropped,
}

impl Relay<'_> {
    pub(super) async fn records(&mut self, stream: &mut Async<UnixStream>, taken: &mut Taken) -> End {
        let mut grown_at = clock::now();
        // What has come since, and how long it was waited for.
        let (mut came, mut waited) = (0, Duration::ZERO);
        let (mut look, mut client_paused) = (None, false);
        loop {
            if let Some((peer, better)) = self.look_round(&mut look).await {
                return End::Moved(peer, better);
            }
            if self.device.agent.borrow().want(self.id).is_some_and(|want| want.source().is_none()) {
                return End::Left;
            }
            let asked_at = clock::now();
            // Whatever the source still says: nobody waits longer than this without a byte.
            let left = self.dry_at().since(asked_at);
            let (length, last) = match self.record(&mut taken.line, &mut taken.opener, left).await {
                Ok(record) => record,
                // Rightly so, after the client's own pause.
                Err(End::Source(SourceEnd::Cut)) if client_paused => return End::Source(SourceEnd::Exhausted),
                Err(end) => return end,
            };
            // A source that has all of it has no reason to trickle. One that is still growing may have a slow uplink.
            (came, waited) = (came + length, waited + clock::now().since(asked_at));
            if waited >= RECORD_TIMEOUT {
                if came < RECORD_BYTES && taken.standing.state == State::Complete && !last {
                    return End::Source(SourceEnd::Stalled);
                }
                (came, waited) = (0, Duration::ZERO);
            }
            // A fast source never makes this task wait; the others get their turn all the same.
            yield_now().await;
            let now = clock::now();
            if length > 0 || last {
                grown_at = now;
            } else if now.since(grown_at) >= LEASE_STALL {
                // Who still waits itself for what this device lacks is no liar.
                let gave_all = taken.standing.state != State::Complete && self.offset >= taken.standing.available;
                return End::Source(if gave_all { SourceEnd::Dry } else { SourceEnd::Stalled });
            } else {
                continue;
            }
            let end = self.offset + length as u64;
            // More than the whole, or an end before the whole: a source of something else, or a wrong word about the size.
            if end > CONTENT_BYTES || self.size.is_some_and(|size| end > size || last && end < size) {
                return if self.size_is_certain { End::Source(SourceEnd::Corrupt) } else { End::WrongSize };
            }
            let complete = last || self.size == Some(end);
            let Some(data) = self.buffer.get(RECORD_HEADER..RECORD_HEADER + length) else {
                return End::Source(SourceEnd::Corrupt);
            };
            if let Some(hash) = &mut self.hash {
                hash.update(data);
                // The last record is held back until the whole is known to be right.
                if complete && self.hash.take().is_some_and(|hash| hash.finalize()[..] != self.md5.as_bytes()[..]) {
                    return End::Wrong;
                }
            }
            // The head goes out with the first good bytes: until then a proper answer is still possible.
            let sent = async {
                self.body.begin(stream, self.size).await?;
                self.body.write(stream, data).await
            };
            if sent.await.is_err() {
                return End::Dropped;
            }
            client_paused |= clock::now().since(now) >= READER_STALL;
            self.offset = end;
            self.device.handle_bytes(self.id, Source::Peers, length as u64);
            if let Some(want) = self.device.agent.borrow_mut().want_mut(self.id) {
                want.handle_progress(clock::now(), end);
            }
            if complete {
                return if self.body.finish(stream).await.is_ok() { End::Complete } else { End::Dropped };
            }
        }
    }

    /// Looks for a better source while the present one goes on, when the mind wants to; the better one once it has granted the bytes.
    async fn look_round(&mut self, look: &mut Option<Look>) -> Option<(Ipv4Addr, Box<Taken>)> {
        let Self { device, md5, id, .. } = self;
        match look.take() {
            None => {
                if device.agent.borrow_mut().poll_look(clock::now(), *id) {
                    let (device, md5) = (device.clone(), *md5);
                    *look = Some(device.executor.clone().spawn(async move { ask::round(&device, &md5).await }));
                }
                None
            }
            Some(task) if !task.is_finished() => {
                *look = Some(task);
                None
            }
            Some(task) => {
                let (_, mut found) = task.await;
                let answers: Vec<Answered> = found.iter().map(|found| found.answered).collect();
                // The present source waits meanwhile: a moment for all of them together, whoever keeps silent.
                let until = clock::deadline(clock::now() + QUERY_TIMEOUT);
                // After a refusal the same answers show the next one.
                let better = loop {
                    let better = device.agent.borrow_mut().handle_look(clock::now(), *id, &answers);
                    let place = better.and_then(|peer| found.iter().position(|found| found.answered.peer == peer));
                    let Some(source) = place.map(|place| found.swap_remove(place)) else { break None };
                    let peer = source.answered.peer;
                    let granted = source.take(device, self.offset, true);
                    let taken = or(granted, async {
                        Timer::at(until).await;
                        Err(SourceEnd::Cut)
                    })
                    .await;
                    let moved = taken.as_ref().map(|taken| taken.standing).map_err(|end| *end);
                    if let Some(want) = device.agent.borrow_mut().want_mut(*id) {
                        want.handle_moved(clock::now(), peer, moved);
                    }
                    match taken {
                        Ok(taken) => break Some((peer, Box::new(taken))),
                        Err(_) if std::time::Instant::now() >= until => break None,
                        Err(_) => {}
                    }
                };
                found.into_iter().for_each(|found| found.release(device));
                better
            }
        }
    }

    /// Receives and opens one record, which may take `left`; its data lies behind the header's place in the buffer.
    async fn record(&mut self, line: &mut Line, opener: &mut Opener, left: Duration) -> Result<(usize, bool), End> {
        let Self { device, buffer, watchdog, .. } = self;
        let Some((header, data)) = buffer.split_first_chunk_mut::<RECORD_HEADER>() else { return Err(End::Dropped) };
        let Line { stream, inbox, .. } = line;
        let whole = RECORD_TIMEOUT.min(left);
        let until = std::time::Instant::now() + whole;
        let receive = async {
            inbox.fill(stream, header, (&mut *watchdog, SOURCE_STALL, whole)).await.map_err(broken)?;
            let length = opener.header(header).map_err(corrupt)?.length;
            let data = data.get_mut(..length).ok_or(End::Source(SourceEnd::Corrupt))?;
            let left = until.saturating_duration_since(std::time::Instant::now());
            inbox.fill(stream, data, (&mut *watchdog, SOURCE_STALL, left)).await.map_err(broken)?;
            let last = opener.open(header, data).map_err(corrupt)?;
            Ok((length, last))
        };
        or(receive, async {
            device.off().await;
            Err(End::Dropped)
        })
        .await
    }
}

fn broken(error: std::io::Error) -> End {
    End::Source(if error.kind() == std::io::ErrorKind::TimedOut { SourceEnd::Stalled } else { SourceEnd::Cut })
}

fn corrupt(_: RecordError) -> End {
    End::Source(SourceEnd::Corrupt)
}
