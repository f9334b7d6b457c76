//! What peers get: answers to their queries, and [transfers](transfer) in twenty slots.
//!
//! A connection carries any number of queries one after the other (also pipelined) and ends with its first transfer. Nothing is
//! served before the peer has proved, over this connection's own challenge, that it knows the content.

mod transfer;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::{Rc, Weak};
use std::time::Instant;

use async_io::{Async, Timer};
use log::debug;
use p2p_agent::agent::IfIndex;
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::exchange::{Answer, PeerRequest};
use p2p_agent::handshake::Answerer;
use p2p_agent::http::parse_request;
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{
    HEAD_BYTES, HEAD_TIMEOUT, HEARTBEAT, IDLE_TIMEOUT, PROOF_TIMEOUT, READER_STALL, UPLOAD_SHARE_PERCENT,
};
use p2p_agent::survey::{self, Survey};
use smol::LocalExecutor;
use smol::future::yield_now;

use crate::clock;
use crate::device::Device;
use crate::guests::{Guests, Seat, Standing};
use crate::net::interfaces::Interface;
use crate::net::tcp;
use crate::rehash;
use crate::stream::{HeadInbox, NoHead, Watchdog, await_head, send};
use crate::tally::add;

/// Accepts peers until dropped; every connection is a task of `executor`, which is dropped with it.
pub async fn accept(device: Rc<Device>, executor: Weak<LocalExecutor<'static>>, listener: Async<TcpListener>) {
    let guests: Rc<Guests> = Rc::default();
    loop {
        // A flood of connections never makes this task wait.
        yield_now().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors or the peer is gone already: neither gets better by hurry.
                debug!("cannot accept a connection: {error}");
                Timer::after(HEARTBEAT).await;
                continue;
            }
        };
        let admitted = on_link(&device, stream.get_ref())
            .and_then(|(link, peer)| Some((link, peer, guests.admit(Instant::now(), peer)?)));
        let Some((link, peer, (seat, displaced))) = admitted else {
            add(&device.tally.connections_refused, 1);
            continue;
        };
        if displaced {
            add(&device.tally.connections_displaced, 1);
        }
        let (local, interface) = (link.addr, IfIndex(link.index));
        let number = seat.number;
        let connection = Connection { device: device.clone(), stream, peer, local, interface, seat };
        // Without it P2P is being switched off.
        let Some(executor) = executor.upgrade() else { return };
        guests.handle_task(number, executor.spawn(connection.run()));
    }
}

/// The link and the neighbour of an accepted connection, made ready for use.
fn on_link(device: &Device, stream: &TcpStream) -> Option<(Interface, Ipv4Addr)> {
    let (local, peer) = tcp::addresses(stream).ok()?;
    tcp::prepare_accepted(stream).ok()?;
    let link = tcp::on_link(*local.ip(), *peer.ip(), &device.interfaces.borrow())?.clone();
    // A full send queue would delay the acknowledgements of what this device itself downloads.
    let rate = link.link_mbit.map(|mbit| mbit.saturating_mul(1_250 * UPLOAD_SHARE_PERCENT));
    if let Err(error) = tcp::set_pacing(stream, rate) {
        debug!("a transfer cannot be paced: {error}");
    }
    Some((link, *peer.ip()))
}

struct Connection {
    device: Rc<Device>,
    stream: Async<TcpStream>,
    peer: Ipv4Addr,
    local: Ipv4Addr,
    interface: IfIndex,
    seat: Seat,
}

impl Drop for Connection {
    fn drop(&mut self) {
        tcp::part(self.stream.get_ref());
    }
}

/// A query that was answered and may be followed by its GET.
struct Known {
    md5: ContentMd5,
    keys: ContentKeys,
    answerer: Answerer,
}

impl Connection {
    async fn run(mut self) {
        let mut inbox = HeadInbox::default();
        let mut known: Option<Known> = None;
        let mut proven = false;
        let proof_by = Instant::now() + PROOF_TIMEOUT;
        loop {
            // Who has proved nothing may not occupy a seat, neither in silence nor by asking for this and that.
            let left = proof_by.saturating_duration_since(Instant::now());
            let idle = if proven { IDLE_TIMEOUT } else { left.min(HEAD_TIMEOUT) };
            if idle.is_zero() {
                return;
            }
            let complete = |bytes: &[u8]| parse_request(bytes).map(|request| request.is_some());
            match await_head(&mut inbox, &mut self.stream, (idle, HEAD_TIMEOUT), complete).await {
                Ok(()) => {}
                Err(NoHead::Closed) => return,
                Err(NoHead::Refused(refusal)) => return self.refuse(refusal.status()).await,
            }
            let Ok(Some(head)) = parse_request(inbox.pending()) else { return };
            let (used, keep_alive) = (head.head_bytes, head.keep_alive);
            let survey = Survey::is_asked(&head);
            let request = PeerRequest::parse(&head);
            drop(head);
            inbox.consume(used);
            if let Some(survey) = survey {
                let told = match survey {
                    Ok((nonce, length)) => self.survey(nonce, length, &mut inbox).await,
                    Err(error) => return self.refuse(error.status()).await,
                };
                match told {
                    Ok(told) => proven |= told,
                    Err(_) => return,
                }
                if proven {
                    self.seat.handle_standing(Instant::now(), Standing::Known);
                }
                if !keep_alive {
                    return;
                }
                yield_now().await;
                continue;
            }
            let answered = match request {
                Err(error) => return self.refuse(error.status()).await,
                Ok(request @ PeerRequest::Query { id, .. }) => {
                    let (now_known, answer) = self.answer(id, &request).unzip();
                    known = now_known;
                    if known.is_some() {
                        proven = true;
                        self.seat.handle_standing(Instant::now(), Standing::Known);
                    }
                    let head = answer.unwrap_or(Answer::Refused(404)).head::<HEAD_BYTES>();
                    let sent = match head {
                        Ok(head) => send(&mut self.stream, &head, READER_STALL).await.is_ok(),
                        Err(_) => false,
                    };
                    sent && keep_alive
                }
                Ok(request) => return self.take(known.take(), &request).await,
            };
            if !answered {
                return;
            }
            // Who pipelines and reads fast enough never makes this task wait; the others get their turn all the same.
            yield_now().await;
        }
    }

    fn answer(&self, id: PublicId, request: &PeerRequest) -> Option<(Known, Answer)> {
        let tally = &self.device.tally;
        let answered = find(&self.device, &id).and_then(|(md5, keys)| {
            let held = || self.device.held(&md5);
            let addresses = (self.peer, self.local);
            let mut agent = self.device.agent.borrow_mut();
            let (answerer, answer, woken) =
                agent.handle_query(clock::now(), self.interface, addresses, &keys, request, held)?;
            Some((Known { md5, keys, answerer }, answer, woken))
        });
        let Some((known, answer, woken)) = answered else {
            self.device.agent.borrow_mut().handle_query_in_vain((self.peer, self.local), request);
            add(&tally.queries_refused, 1);
            return None;
        };
        add(&tally.queries_answered, 1);
        rehash::poll(&self.device);
        if woken {
            self.device.stirred.notify();
        }
        Some((known, answer))
    }

    /// Answers a batched query, whose body is still to come; true: something was proven and told.
    async fn survey(&mut self, nonce: [u8; 16], length: usize, inbox: &mut HeadInbox) -> io::Result<bool> {
        let mut body = vec![0; length];
        let mut watchdog = Watchdog::default();
        inbox.fill(&mut self.stream, &mut body, (&mut watchdog, HEAD_TIMEOUT, HEAD_TIMEOUT)).await?;
        let survey = Survey::parse(nonce, &body).ok_or(io::ErrorKind::InvalidData)?;
        let device = &self.device;
        let find = |id: &PublicId| find(device, id).map(|(md5, keys)| (keys, move || device.held(&md5)));
        let addresses = (self.peer, self.local);
        let told = device.agent.borrow_mut().handle_survey(clock::now(), self.interface, addresses, &survey, find);
        let (counter, message) = match &told {
            Some(told) => (&device.tally.queries_answered, survey::answer(told)),
            None => (&device.tally.queries_refused, Answer::Refused(404).head()),
        };
        add(counter, 1);
        let message = message.map_err(|_| io::ErrorKind::InvalidData)?;
        send(&mut self.stream, &message, READER_STALL).await?;
        Ok(told.is_some())
    }

    async fn refuse(mut self, status: u16) {
        add(&self.device.tally.bad_requests, 1);
        if let Ok(head) = Answer::Refused(status).head::<HEAD_BYTES>() {
            // Whoever cannot read it does not need it.
            let _ = send(&mut self.stream, &head, HEAD_TIMEOUT).await;
        }
    }
}

/// The content that a peer calls `id`. The keys of one that is not here are derived all the same: a stranger cannot tell from the time
/// of a refusal what is.
fn find(device: &Device, id: &PublicId) -> Option<(ContentMd5, ContentKeys)> {
    let found = device.find(id);
    if found.is_none() {
        std::hint::black_box(device.keys(&ContentMd5(id.0)));
    }
    found
}
