//! Asking peers: queries in parallel over kept-alive connections, and the GET that follows the best answer.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;

use async_io::Async;
use p2p_agent::agent::{Held, Hint};
use p2p_agent::content::{ContentMd5, PublicId, Standing};
use p2p_agent::exchange::{Answer, Given, PeerRequest};
use p2p_agent::handshake::Asker;
use p2p_agent::http::parse_response;
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{HEAD_BYTES, PEERS, QUERY_TIMEOUT, ROUND_GRACE};
use p2p_agent::record::Opener;
use p2p_agent::time::Duration;
use p2p_agent::want::{Answered, Round, SourceEnd};

use crate::clock;
use crate::device::Device;
use crate::net::interfaces::Interface;
use crate::net::tcp;
use crate::store::Signal;
use crate::stream::{Inbox, NoHead, await_head, send};
use crate::tally::add;

/// Answers of peers are short; a longer one is none of ours.
const ANSWER_BYTES: usize = 1_024;

/// One connection to a peer.
pub struct Line {
    /// The socket.
    pub stream: Async<TcpStream>,
    /// What it sent beyond the last head.
    pub inbox: Inbox<ANSWER_BYTES>,
    local: Ipv4Addr,
    peer: Ipv4Addr,
}

impl Drop for Line {
    fn drop(&mut self) {
        tcp::part(self.stream.get_ref());
    }
}

/// Idle connections that wait for the next query; the oldest makes room.
#[derive(Default)]
pub struct Pool {
    lines: RefCell<heapless::Deque<Box<Line>, PEERS>>,
}

impl Pool {
    fn take(&self, peer: Ipv4Addr) -> Option<Box<Line>> {
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

    /// Closes all of them.
    pub fn clear(&self) {
        self.lines.borrow_mut().clear();
    }
}

/// A peer that proved that it knows the content, with the connection over which its bytes can be had.
pub struct Found {
    /// What it said.
    pub answered: Answered,
    line: Box<Line>,
    asker: Asker,
}

/// What is asked about.
struct Subject {
    keys: ContentKeys,
    held: Held,
}

/// Who is asked.
#[derive(Clone, Copy)]
struct Target {
    peer: Ipv4Addr,
    wired: bool,
    delay: Duration,
    interface: p2p_agent::agent::IfIndex,
}

/// Asks every peer at once and waits for each answer or its timeout; once a source has answered only a moment longer, so that
/// devices that are gone hold nobody up.
pub async fn round(device: &Rc<Device>, md5: &ContentMd5) -> (Round, Vec<Found>) {
    let subject = Rc::new(Subject { keys: device.keys(md5), held: device.held(md5) });
    let (now, id) = (clock::now(), subject.keys.id());
    let targets: heapless::Vec<Target, PEERS> = {
        let agent = device.agent.borrow();
        let target = |peer: &p2p_agent::peer::Peer| Target {
            peer: peer.addr,
            wired: peer.flags.wired,
            delay: peer.delay().unwrap_or_default(),
            interface: peer.interface,
        };
        // As many as the peer table holds.
        let peers = agent.discovery.peers().routable().filter(|peer| agent.is_worth_asking(now, id, peer.addr));
        peers.map(target).take(PEERS).collect()
    };
    let arrivals: Rc<Arrivals> = Rc::default();
    // Whoever has not answered at the end is dropped with its task.
    let tasks: Vec<_> = targets
        .iter()
        .map(|target| {
            let (device, subject, arrivals, target) = (device.clone(), subject.clone(), arrivals.clone(), *target);
            let executor = device.executor.clone();
            executor.spawn(async move {
                let outcome = query(&device, &subject, target).await;
                arrivals.outcomes.borrow_mut().push(outcome);
                arrivals.signal.notify();
            })
        })
        .collect();
    let mut round = Round { asked: targets.len(), silent: 0 };
    let mut found: Vec<Found> = Vec::new();
    let (mut left, mut enough_at) = (tasks.len(), None);
    while left > 0 {
        let seen = arrivals.signal.generation();
        for outcome in arrivals.outcomes.take() {
            left -= 1;
            match outcome {
                Ok(one) => {
                    let enough = device.agent.borrow().is_enough(clock::now(), subject.keys.id(), &one.answered);
                    if enough && enough_at.is_none() {
                        enough_at = Some(std::time::Instant::now() + ROUND_GRACE);
                    }
                    found.push(one);
                }
                Err(NotFound::Unknown) => {}
                Err(NotFound::Silent) => round.silent += 1,
            }
        }
        if left == 0 {
            break;
        }
        let arrived = async {
            arrivals.signal.past(seen).await;
            false
        };
        let over = async {
            match enough_at {
                Some(at) => _ = async_io::Timer::at(at).await,
                None => std::future::pending().await,
            }
            true
        };
        if smol::future::or(arrived, over).await {
            break;
        }
    }
    round.silent += left;
    (round, found)
}

/// What has come of a round's queries.
#[derive(Default)]
struct Arrivals {
    outcomes: RefCell<Vec<Result<Found, NotFound>>>,
    signal: Signal,
}

/// Asks the device that announced something, and tells the mind what it proved.
pub async fn follow_hint(device: Rc<Device>, hint: Hint) {
    let md5 = device.wanted.borrow().iter().find(|(id, _)| *id == hint.id).map(|(_, md5)| *md5);
    let Some(md5) = md5 else { return };
    let target = Target { peer: hint.peer, wired: true, delay: Duration::ZERO, interface: hint.interface };
    let subject = Subject { keys: device.keys(&md5), held: device.held(&md5) };
    if let Ok(found) = query(&device, &subject, target).await {
        let Found { answered, line, .. } = found;
        device.keep(line);
        let woken = device.agent.borrow_mut().handle_standing(clock::now(), hint.id, hint.peer, answered.standing);
        if woken {
            device.stirred.notify();
        }
    }
}

/// Why a peer is not [`Found`].
enum NotFound {
    /// It answered, and knows nothing or proved nothing.
    Unknown,
    /// It did not answer in time.
    Silent,
}

async fn query(device: &Rc<Device>, subject: &Subject, target: Target) -> Result<Found, NotFound> {
    let patience = QUERY_TIMEOUT + target.delay.min(QUERY_TIMEOUT);
    add(&device.tally.queries_asked, 1);
    let asked = smol::future::or(
        async {
            // A kept connection may have died unnoticed; a fresh one then decides.
            if let Some(line) = device.pool.take(target.peer) {
                if let Ok(asked) = exchange(device, subject, line).await {
                    return Some(asked);
                }
            }
            let line = connect(device, target, patience).await.ok()?;
            exchange(device, subject, line).await.ok()
        },
        async {
            async_io::Timer::after(patience).await;
            None
        },
    );
    let Some((line, mut asker, answer)) = asked.await else { return Err(NotFound::Silent) };
    match asker.handle_answer(&subject.keys, &answer) {
        Ok(standing) => {
            let Target { peer, wired, delay, interface } = target;
            device.agent.borrow_mut().discovery.handle_authenticated(clock::now(), interface, peer);
            Ok(Found { answered: Answered { peer, standing, wired, delay }, line, asker })
        }
        Err(_) => {
            device.keep(line);
            Err(NotFound::Unknown)
        }
    }
}

async fn connect(device: &Device, target: Target, patience: Duration) -> io::Result<Box<Line>> {
    let interface: Interface = device
        .interfaces
        .borrow()
        .iter()
        .find(|interface| interface.index == target.interface.0)
        .cloned()
        .ok_or(io::ErrorKind::NetworkUnreachable)?;
    let stream = tcp::connect(&interface, device.mode, target.peer, device.port, patience).await?;
    Ok(Box::new(Line { stream, inbox: Inbox::default(), local: interface.addr, peer: target.peer }))
}

async fn exchange(device: &Device, subject: &Subject, mut line: Box<Line>) -> io::Result<(Box<Line>, Asker, Answer)> {
    let Subject { keys, held } = subject;
    let asker = device.agent.borrow_mut().ask(clock::now(), keys, line.local, line.peer, *held);
    let head = asker.query(keys).head::<HEAD_BYTES>(line.peer).map_err(|_| io::ErrorKind::InvalidInput)?;
    send(&mut line.stream, &head, QUERY_TIMEOUT).await?;
    let answer = read_head(&mut line, QUERY_TIMEOUT * 2, |response| Answer::parse(response).ok()).await?;
    Ok((line, asker, answer))
}

async fn read_head<T>(
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

/// Records follow on this connection.
pub struct Taken {
    /// The connection.
    pub line: Box<Line>,
    /// For the records.
    pub opener: Opener,
    /// What the source said about itself.
    pub standing: Standing,
}

impl Found {
    /// Gives the connection back unused.
    pub fn release(self, device: &Device) {
        device.keep(self.line);
    }

    /// Asks for the bytes from `offset` on.
    pub async fn take(
        mut self,
        device: &Device,
        id: PublicId,
        keys: &ContentKeys,
        offset: u64,
        alternative: bool,
    ) -> Result<Taken, SourceEnd> {
        debug_assert_eq!(id, keys.id());
        let request: PeerRequest = self.asker.take(keys, offset, alternative);
        let Ok(head) = request.head::<HEAD_BYTES>(self.line.peer) else {
            return Err(SourceEnd::Cut);
        };
        let patience = device.agent.borrow().patience(self.line.peer) * 2;
        if send(&mut self.line.stream, &head, patience).await.is_err() {
            return Err(SourceEnd::Cut);
        }
        match read_head(&mut self.line, patience, |response| Given::parse(response).ok()).await {
            Ok(Given::Refused(503)) => Err(SourceEnd::Busy),
            Ok(Given::Refused(416)) => Err(SourceEnd::Exhausted),
            Ok(given) => match self.asker.handle_given(keys, &given) {
                Ok(opener) => Ok(Taken { line: self.line, opener, standing: self.answered.standing }),
                Err(_) => Err(SourceEnd::Cut),
            },
            Err(_) => Err(SourceEnd::Cut),
        }
    }
}
