//! Asking peers: queries in parallel over kept-alive connections, and the GET that follows the best answer.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;

use async_io::Async;
use p2p_agent::agent::{Held, Hint};
use p2p_agent::content::{ContentMd5, Standing};
use p2p_agent::exchange::{Answer, Given, PeerRequest};
use p2p_agent::handshake::{Asker, NotProven};
use p2p_agent::http::parse_response;
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{HEAD_BYTES, PEERS, QUERY_TIMEOUT, ROUND_GRACE, SURVEYS_AT_ONCE};
use p2p_agent::record::Opener;
use p2p_agent::survey::{Frame, TOLD_BYTES};
use p2p_agent::time::Duration;
use p2p_agent::want::{Answered, Round, SourceEnd};

use crate::clock;
use crate::device::Device;
use crate::net::interfaces::Interface;
use crate::net::tcp;
use crate::store::Signal;
use crate::stream::{Inbox, NoHead, Watchdog, await_head, send};
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
    subject: Rc<Subject>,
    /// It knows the content by the other domain key.
    by_other: bool,
}

/// What is asked about.
struct Subject {
    keys: ContentKeys,
    /// Under the other domain key, while keys are rotated.
    other: Option<ContentKeys>,
    held: Held,
}

impl Subject {
    fn new(device: &Device, md5: &ContentMd5) -> Rc<Self> {
        Rc::new(Self { keys: device.keys(md5), other: device.other_keys(md5), held: device.held(md5) })
    }

    fn keys(&self, by_other: bool) -> &ContentKeys {
        self.other.as_ref().filter(|_| by_other).unwrap_or(&self.keys)
    }
}

/// Who is asked.
#[derive(Clone, Copy)]
struct Target {
    peer: Ipv4Addr,
    wired: bool,
    delay: Duration,
    interface: p2p_agent::agent::IfIndex,
}

impl Target {
    fn new(peer: &p2p_agent::peer::Peer) -> Self {
        Self {
            peer: peer.addr,
            wired: peer.flags.wired,
            delay: peer.delay().unwrap_or_default(),
            interface: peer.interface,
        }
    }

    /// How long its answer is awaited.
    fn patience(&self) -> Duration {
        QUERY_TIMEOUT + self.delay.min(QUERY_TIMEOUT)
    }
}

/// Asks the peers that the mind names, all at once, and waits for each answer or its timeout; once a source has answered only a moment
/// longer, so that devices that are gone hold nobody up.
pub async fn round(device: &Rc<Device>, md5: &ContentMd5) -> (Round, Vec<Found>) {
    let subject = Subject::new(device, md5);
    let (now, id) = (clock::now(), subject.keys.id());
    let targets: heapless::Vec<Target, PEERS> = {
        let asked = device.agent.borrow_mut().whom_to_ask(now, id);
        let agent = device.agent.borrow();
        // As many as the peer table holds.
        let peers = agent.discovery.peers().routable().filter(|peer| asked.contains(&peer.addr));
        peers.map(Target::new).take(PEERS).collect()
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

/// Asks everybody about many contents at once, so that the mind knows whom to ask first. Few at a time: nobody waits for this.
pub fn survey(device: &Rc<Device>, contents: Vec<ContentKeys>) {
    if contents.is_empty() || !device.enabled.get() {
        return;
    }
    {
        let mut agent = device.agent.borrow_mut();
        contents.iter().for_each(|keys| agent.handle_surveying(clock::now(), keys.id()));
    }
    let targets: Vec<Target> = device.agent.borrow().discovery.peers().routable().map(Target::new).collect();
    let (contents, targets) = (Rc::new(contents), Rc::new(RefCell::new(targets)));
    for _ in 0..SURVEYS_AT_ONCE {
        let (executor, switch) = (device.executor.clone(), device.clone());
        let (device, contents, targets) = (device.clone(), contents.clone(), targets.clone());
        let work = async move {
            loop {
                let Some(target) = targets.borrow_mut().pop() else { return };
                let patience = target.patience();
                let asked = smol::future::or(survey_one(&device, &contents, target), async {
                    async_io::Timer::after(patience).await;
                });
                asked.await;
            }
        };
        // One whose answer does not come is simply not known.
        executor.spawn(smol::future::or(work, async move { switch.off().await })).detach();
    }
}

async fn survey_one(device: &Device, contents: &[ContentKeys], target: Target) {
    add(&device.tally.queries_asked, 1);
    if let Some(line) = device.pool.take(target.peer) {
        // A kept connection may have died unnoticed; a fresh one then decides.
        if let Ok(line) = exchange_survey(device, contents, target, line).await {
            return device.keep(line);
        }
    }
    if let Ok(line) = connect(device, target, target.patience()).await {
        if let Ok(line) = exchange_survey(device, contents, target, line).await {
            device.keep(line);
        }
    }
}

async fn exchange_survey(
    device: &Device,
    contents: &[ContentKeys],
    target: Target,
    mut line: Box<Line>,
) -> io::Result<Box<Line>> {
    let frame = Frame { client: line.local, server: line.peer, nonce: device.agent.borrow_mut().random() };
    let survey = frame.ask(contents.iter());
    let message = survey.message(line.peer).map_err(|_| io::ErrorKind::InvalidInput)?;
    send(&mut line.stream, &message, QUERY_TIMEOUT).await?;
    let length = read_head(&mut line, QUERY_TIMEOUT * 2, |response| Some(survey.told_bytes(response))).await?;
    let Some(length) = length else { return Ok(line) };
    let mut told = vec![0; length];
    let mut watchdog = Watchdog::default();
    let Line { inbox, stream, .. } = &mut *line;
    inbox.fill(stream, &mut told, (&mut watchdog, QUERY_TIMEOUT, QUERY_TIMEOUT * 2)).await?;
    let mut agent = device.agent.borrow_mut();
    let mut any = false;
    for (keys, told) in contents.iter().zip(told.chunks(TOLD_BYTES)) {
        if let Some(standing) = frame.read(keys, told) {
            agent.handle_surveyed(keys.id(), target.peer, &standing);
            any = true;
        }
    }
    if any {
        agent.discovery.handle_authenticated(clock::now(), target.interface, target.peer);
    }
    drop(agent);
    Ok(line)
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
    let subject = Subject::new(&device, &md5);
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

async fn query(device: &Rc<Device>, subject: &Rc<Subject>, target: Target) -> Result<Found, NotFound> {
    let patience = target.patience();
    add(&device.tally.queries_asked, 1);
    let asked = smol::future::or(
        async {
            // A kept connection may have died unnoticed; a fresh one then decides.
            if let Some(line) = device.pool.take(target.peer) {
                if let Ok(asked) = exchange_both(device, subject, line).await {
                    return Some(asked);
                }
            }
            let line = connect(device, target, patience).await.ok()?;
            exchange_both(device, subject, line).await.ok()
        },
        async {
            async_io::Timer::after(patience).await;
            None
        },
    );
    let Some((line, asker, proven, by_other)) = asked.await else { return Err(NotFound::Silent) };
    match proven {
        Ok(standing) => {
            let Target { peer, wired, delay, interface } = target;
            device.agent.borrow_mut().discovery.handle_authenticated(clock::now(), interface, peer);
            let answered = Answered { peer, standing, wired, delay };
            Ok(Found { answered, line, asker, subject: subject.clone(), by_other })
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

/// What a query came to: the connection, who asked, what was proven, and by which domain key.
type Exchanged = (Box<Line>, Asker, Result<Standing, NotProven>, bool);

/// Asks by the first domain key, and where that is not known by the other one, while there are two.
async fn exchange_both(device: &Device, subject: &Subject, line: Box<Line>) -> io::Result<Exchanged> {
    let (line, mut asker, answer) = exchange(device, subject.keys(false), subject.held, line).await?;
    let proven = asker.handle_answer(subject.keys(false), &answer);
    let Some(other) = subject.other.as_ref().filter(|_| proven.is_err()) else {
        return Ok((line, asker, proven, false));
    };
    let (line, mut asker, answer) = exchange(device, other, subject.held, line).await?;
    let proven = asker.handle_answer(other, &answer);
    Ok((line, asker, proven, true))
}

async fn exchange(
    device: &Device,
    keys: &ContentKeys,
    held: Held,
    mut line: Box<Line>,
) -> io::Result<(Box<Line>, Asker, Answer)> {
    let asker = device.agent.borrow_mut().ask(clock::now(), keys, line.local, line.peer, held);
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
    pub async fn take(mut self, device: &Device, offset: u64, alternative: bool) -> Result<Taken, SourceEnd> {
        let keys = self.subject.keys(self.by_other);
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
