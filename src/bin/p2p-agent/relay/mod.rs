//! `GET /v1/content/{md5}`: bytes from peers to the local client, source after source, until the whole is verified.
//!
//! The client sees one response. A source that ends, stalls or lies is replaced at the byte reached. Where the mind decides that
//! the bytes have to come from the internet, the answer is a 404 with the reason, or, in mid-response, an aborted connection; the
//! reason then waits for the repeated request.

mod records;

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::{Async, Timer};
use log::{debug, warn};
use md5::Md5;
use p2p_agent::agent::Refused;
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::limits::RELAYS;
use p2p_agent::time::Instant;
use p2p_agent::want::{Answered, Reason, SourceEnd, Step, Want};
use smol::future::or;

use crate::api::asked::ContentRequest as Request;
use crate::api::response::{Body, Problem, client_gone, fail};
use crate::ask::{self, Found};
use crate::clock;
use crate::device::{Device, Lent};
use crate::disk;
use crate::stream::Watchdog;
use crate::tally::add;
use records::End;

/// How a response ended that did not end well.
enum Stop {
    /// Say so in a proper response: nothing has been sent yet.
    Say(Problem),
    /// Cut the connection.
    Abort,
}

/// Answers the request on `stream`, which is closed afterwards.
pub async fn respond(device: &Rc<Device>, stream: &mut Async<UnixStream>, request: Request) {
    let outcome = respond_inner(device, stream, request).await;
    if let Err(Stop::Say(problem)) = outcome {
        if let Problem::Fetch(reason) = problem {
            device.handle_reason(device.keys(&request.md5).id(), reason);
        }
        // A client that is gone needs no answer.
        let _ = fail(stream, &problem).await;
    }
}

async fn respond_inner(device: &Rc<Device>, stream: &mut Async<UnixStream>, request: Request) -> Result<(), Stop> {
    let Some(buffer) = device.relay_buffer() else { return Err(Stop::Say(Problem::AllRelaysBusy)) };
    if device.is_complete(&request.md5) {
        return disk::respond(device, stream, request, buffer).await.map_err(stop);
    }
    if !device.enabled.get() {
        return Err(Stop::Say(Problem::Fetch(Reason::Disabled)));
    }
    if request.size.is_some_and(|size| request.offset >= size && size > 0) {
        return Err(Stop::Say(Problem::BeyondEnd(request.size.unwrap_or_default())));
    }
    let keys = device.keys(&request.md5);
    let id = keys.id();
    let served = device.agent.borrow().want(id).is_some_and(Want::is_served);
    if request.verify && device.agent.borrow().want(id).is_some_and(|want| want.is_known_to_be_wrong(request.offset)) {
        return Err(Stop::Say(Problem::WrongPrefix));
    }
    // Before the content is wanted: a long prefix takes longer to hash than anybody waits for bytes.
    let hash = if request.verify && !served { Some(prefix(device, stream, &request).await?) } else { None };
    let taken = device.agent.borrow_mut().handle_request(clock::now(), keys, request.offset, request.size);
    match taken {
        Ok(()) => {}
        // Another client gets it already: this one reads along behind it.
        Err(Refused::AlreadyServed) => {
            return disk::respond(device, stream, request, buffer).await.map_err(stop);
        }
        Err(Refused::Full) => return Err(Stop::Say(Problem::AllRelaysBusy)),
    }
    device.remember(id, request.md5);
    let guard = Attached { device: device.clone(), id };
    let body = Body::new(request.offset, request.ranged);
    let mut relay = Relay {
        device,
        id,
        md5: request.md5,
        size: request.size,
        size_is_certain: request.size.is_some(),
        offset: request.offset,
        hash,
        body,
        buffer,
        watchdog: Watchdog::default(),
    };
    let outcome = relay.run(stream).await;
    drop(relay);
    if let Err(Stop::Say(Problem::Fetch(_))) = &outcome {
        device.agent.borrow_mut().handle_told(clock::now(), id);
        device.stirred.notify();
    }
    drop(guard);
    outcome
}

/// The hash of what the client has, unless that hangs up meanwhile.
async fn prefix(device: &Device, stream: &Async<UnixStream>, request: &Request) -> Result<Md5, Stop> {
    or(async { disk::hash_prefix(device, request).await.map_err(Stop::Say) }, async {
        client_gone(stream).await;
        Err(Stop::Abort)
    })
    .await
}

fn stop(problem: Option<Problem>) -> Stop {
    problem.map_or(Stop::Abort, Stop::Say)
}

/// Tells the mind that the response is over, however it ended.
struct Attached {
    device: Rc<Device>,
    id: PublicId,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(want) = self.device.agent.borrow_mut().want_mut(self.id) {
            want.handle_response_end(clock::now());
        }
    }
}

struct Relay<'a> {
    device: &'a Rc<Device>,
    id: PublicId,
    md5: ContentMd5,
    size: Option<u64>,
    /// The client told the size.
    size_is_certain: bool,
    offset: u64,
    hash: Option<Md5>,
    body: Body,
    buffer: Lent<RELAYS>,
    watchdog: Watchdog,
}

impl Relay<'_> {
    async fn run(&mut self, stream: &mut Async<UnixStream>) -> Result<(), Stop> {
        let mut found: Vec<Found> = Vec::new();
        loop {
            let seen = self.device.stirred.generation();
            if !self.device.enabled.get() {
                return Err(self.fetch(Reason::Disabled));
            }
            let step = self.device.agent.borrow_mut().poll_want(clock::now(), self.id);
            // A claim has announcements that are due now.
            self.device.due.notify();
            if !matches!(step, Some(Step::Follow { .. })) {
                // Nobody of them is followed: their connections are for the next round.
                found.drain(..).for_each(|found| found.release(self.device));
            }
            match step {
                Some(Step::Query) => found = self.query(stream).await?,
                Some(Step::Follow { peer, alternative }) => {
                    let source = found.iter().position(|found| found.answered.peer == peer);
                    let source = source.map(|place| found.swap_remove(place));
                    found.drain(..).for_each(|found| found.release(self.device));
                    self.follow(stream, peer, source, alternative).await?;
                    if self.body.is_finished() {
                        return Ok(());
                    }
                }
                Some(Step::Wait { until }) => {
                    let stirred = self.device.stirred.past(seen);
                    let wait = or(stirred, async { _ = Timer::at(clock::deadline(until)).await });
                    let wait = or(wait, self.device.off());
                    let gone = or(
                        async {
                            wait.await;
                            false
                        },
                        async {
                            client_gone(stream).await;
                            true
                        },
                    )
                    .await;
                    if gone {
                        return Err(Stop::Abort);
                    }
                }
                Some(Step::Fetch { reason }) => return Err(self.fetch(reason)),
                None => return Err(self.fetch(Reason::Timeout)),
            }
        }
    }

    /// When bytes have to come at the latest.
    fn dry_at(&self) -> Instant {
        self.device.agent.borrow().want(self.id).map_or(clock::now(), Want::dry_at)
    }

    fn fetch(&self, reason: Reason) -> Stop {
        if self.body.is_begun() {
            debug!("a response is cut: {}", reason.sentence());
            Stop::Abort
        } else {
            Stop::Say(Problem::Fetch(reason))
        }
    }

    async fn query(&mut self, stream: &Async<UnixStream>) -> Result<Vec<Found>, Stop> {
        let asked = async { Ok(ask::round(self.device, &self.md5).await) };
        let gone = async {
            client_gone(stream).await;
            Err(Stop::Abort)
        };
        let off = async {
            self.device.off().await;
            Err(self.fetch(Reason::Disabled))
        };
        let (round, found) = or(or(asked, gone), off).await?;
        let answers: Vec<Answered> = found.iter().map(|found| found.answered).collect();
        self.device.agent.borrow_mut().handle_round(clock::now(), self.id, round, &answers);
        Ok(found)
    }

    async fn follow(
        &mut self,
        stream: &mut Async<UnixStream>,
        mut peer: Ipv4Addr,
        source: Option<Found>,
        alternative: bool,
    ) -> Result<(), Stop> {
        let taken = match source {
            Some(source) => {
                let ended = async {
                    or(self.device.off(), async { _ = Timer::at(clock::deadline(self.dry_at())).await }).await;
                    Err(SourceEnd::Cut)
                };
                or(source.take(self.device, self.offset, alternative), ended).await
            }
            None => Err(SourceEnd::Cut),
        };
        let end = match taken {
            Err(end) => End::Source(end),
            Ok(mut taken) => loop {
                if self.size.is_none() {
                    self.size = taken.standing.size;
                }
                match self.records(stream, &mut taken).await {
                    End::Moved(to, better) => {
                        debug!("moved from {peer} to {to} after byte {}", self.offset);
                        (peer, taken) = (to, *better);
                    }
                    end => break end,
                }
            },
        };
        match end {
            End::Left => {
                debug!("{peer} is left for a moment after byte {}", self.offset);
                Ok(())
            }
            End::Source(end) => {
                debug!("source ended after byte {}: {end:?}", self.offset);
                if end == SourceEnd::Corrupt {
                    warn!("{peer} sent a record that was altered on the way; it is not asked again for a while");
                    add(&self.device.tally.corrupt_records, 1);
                }
                let left = self.device.agent.borrow_mut().handle_source_end(clock::now(), self.id, peer, end);
                if let Some(span) = left {
                    let seconds = span.as_secs();
                    warn!("{peer} failed with one content after the other; it is asked for none for {seconds} s");
                    add(&self.device.tally.peers_left, 1);
                }
                Ok(())
            }
            End::Complete => {
                self.device.handle_complete(self.id);
                let mut agent = self.device.agent.borrow_mut();
                let _ = agent.handle_source_end(clock::now(), self.id, peer, SourceEnd::Finished);
                Ok(())
            }
            End::Wrong => {
                warn!("a content from {peer} was complete and not what its name promises; dropped");
                add(&self.device.tally.corrupt_contents, 1);
                if let Some(want) = self.device.agent.borrow_mut().want_mut(self.id) {
                    want.handle_content_failed(clock::now());
                }
                Err(self.fetch(Reason::Md5Failed))
            }
            End::WrongSize => {
                let mut agent = self.device.agent.borrow_mut();
                let _ = agent.handle_source_end(clock::now(), self.id, peer, SourceEnd::Cut);
                if let Some(want) = agent.want_mut(self.id) {
                    want.handle_size_in_doubt();
                }
                self.size = None;
                // A response that has promised a length cannot take it back.
                if self.body.is_begun() { Err(Stop::Abort) } else { Ok(()) }
            }
            // By the switch, or by the client.
            End::Dropped if !self.device.enabled.get() => Err(self.fetch(Reason::Disabled)),
            End::Dropped | End::Moved(..) => Err(Stop::Abort),
        }
    }
}
