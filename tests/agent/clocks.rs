//! The comparison of clocks and what follows from it: neighbours whose clocks agree, and an NTP client that is restarted.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_agent::content::NodeId;
use p2p_agent::limits::DATAGRAM_BYTES;
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Datagram, Echo, Flags, Probe, Reply, os_version};

use crate::lab::agent::program;
use crate::lab::local::try_get;
use crate::lab::neighbour::{datagrams, fresh};
use crate::lab::{Agent, Site, wait_for};

/// A neighbour whose clock shows `ahead` nanoseconds more than this machine's. It answers probes until dropped.
struct Neighbour {
    gone: Arc<AtomicBool>,
}

impl Neighbour {
    fn introduce(site: &Site, agent: &Agent, ahead: i64) -> Self {
        let socket = datagrams(site.address(), site.port);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let gone = Arc::new(AtomicBool::new(false));
        let (end, target) = (gone.clone(), (agent.address, agent.port));
        thread::spawn(move || {
            let [node @ .., _, _, _, _, _, _, _, _] = fresh();
            let node = NodeId(node);
            let probe = Datagram::Probe(Probe {
                node,
                os: os_version("neighbour"),
                nonce: fresh(),
                origin: now(ahead),
                interval_ms: 3_000,
                flags: Flags::default(),
            });
            send(&socket, &probe, target);
            let mut bytes = [0; DATAGRAM_BYTES];
            while !end.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut bytes) else { continue };
                let receive = now(ahead);
                let asked = Datagram::decode(&bytes[..length]).ok().and_then(|datagram| datagram.asked());
                let Some(probe) = asked else { continue };
                let reply = Datagram::Reply(Reply {
                    node,
                    os: os_version("neighbour"),
                    interval_ms: 3_000,
                    flags: Flags::default(),
                    echo: Echo::from(&probe),
                    receive,
                    transmit: now(ahead),
                    probe: None,
                });
                send(&socket, &reply, target);
            }
        });
        Self { gone }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &UdpSocket, datagram: &Datagram, target: (Ipv4Addr, u16)) {
    let mut bytes = [0; DATAGRAM_BYTES];
    datagram.encode(&mut bytes);
    socket.send_to(&bytes, target).unwrap();
}

fn now(ahead: i64) -> Timestamp {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    Timestamp::from_nanos(i64::try_from(nanos).unwrap() + ahead)
}

/// `clock-guard` beside the agent: its command leaves the offset in a file.
struct Guard(Child);

impl Guard {
    fn start(agent: &Agent) -> Self {
        let mark = agent.path("restarts");
        let script = format!("echo \"$P2P_CLOCK_OFFSET_MS\" >> {}", mark.display());
        let mut command = Command::new(program());
        command.args(["clock-guard", "--interval", "1", "--exec", &script, "--socket"]).arg(agent.socket());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn restarts(agent: &Agent) -> Vec<i64> {
    let said = fs::read_to_string(agent.path("restarts")).unwrap_or_default();
    said.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn three_neighbours_that_agree_on_another_time_have_the_ntp_client_restarted() {
    let site = Site::new();
    let [agent] = site.agents();
    let _guard = Guard::start(&agent);
    let _neighbours: [_; 3] = std::array::from_fn(|_| Neighbour::introduce(&site, &agent, -5_000_000_000));
    wait_for("the command runs", || restarts(&agent).len() == 1);
    assert!((-5_050..=-4_950).contains(&restarts(&agent)[0]), "{:?}", restarts(&agent));
}

#[test]
fn neighbours_that_disagree_or_are_right_restart_nothing() {
    let site = Site::new();
    let [agent] = site.agents();
    let offsets = [-5_000_000_000, 5_000_000_000, 0, 0, 0];
    let _neighbours = offsets.map(|ahead| Neighbour::introduce(&site, &agent, ahead));
    wait_for("all five are compared, and three agree", || {
        let clock = try_get(&agent.socket(), "/v1/clock", "").unwrap().text();
        clock.contains("\"peers_compared\":5") && clock.contains("\"peers_agreeing\":3")
    });
    let _guard = Guard::start(&agent);
    // Long enough for a guard that would act to have acted.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(restarts(&agent), Vec::<i64>::new());
}
