//! Asking peers: queries in parallel over kept-alive connections, and the GET that follows the best answer.

mod line;
mod survey;

pub use line::{Line, Pool};
pub use survey::survey;

use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use p2p_agent::agent::{Held, Hint};
use p2p_agent::content::{ContentMd5, Standing};
use p2p_agent::exchange::{Answer, Given, PeerRequest};
use p2p_agent::handshake::{Asker, NotProven};
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{HEAD_BYTES, PEERS, QUERY_TIMEOUT, ROUND_GRACE};
use p2p_agent::record::Opener;
use p2p_agent::time::Duration;
use p2p_agent::want::{Answered, Round, SourceEnd};

use line::{connect, read_head};

use crate::clock;
use crate::device::Device;
use crate::store::Signal;
use crate::stream::{send, within};
use crate::tally::add;

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
    patience: Duration,
    interface: p2p_agent::agent::IfIndex,
}

impl Target {
    fn new(peer: &p2p_agent::peer::Peer) -> Self {
        Self {
            peer: peer.addr,
            wired: peer.flags.wired,
            delay: peer.delay().unwrap_or_default(),
            patience: peer.patience(),
            interface: peer.interface,
        }
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
        let peers = agent.discovery.peers().routable().filter(|peer| asked.contains(&peer.addr));
        let mut targets = heapless::Vec::<Target, PEERS>::new();
        for target in peers.map(Target::new) {
            // Two links into one network show everybody twice.
            if !targets.iter().any(|known| known.peer == target.peer) {
                // As many as the peer table holds.
                let _ = targets.push(target);
            }
        }
        targets
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
    let Some((md5, _)) = device.find(&hint.id) else { return };
    let target = Target {
        peer: hint.peer,
        wired: true,
        delay: Duration::ZERO,
        patience: QUERY_TIMEOUT,
        interface: hint.interface,
    };
    let subject = Subject::new(&device, &md5);
    if let Ok(found) = query(&device, &subject, target).await {
        let Found { answered, line, .. } = found;
        device.keep(line);
        device.look_at_own(hint.id, &md5);
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
    let patience = target.patience;
    add(&device.tally.queries_asked, 1);
    let asked = smol::future::or(
        async {
            // A kept connection may have died unnoticed; a fresh one then decides.
            if let Some(line) = device.pool.take(target.peer) {
                if let Ok(asked) = within(patience / 2, exchange_both(device, subject, line)).await {
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
            let Target { peer, wired, delay, interface, .. } = target;
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
