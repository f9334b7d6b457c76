//! `no-p2p` (behaviours 5, 14 and 38).

use std::io::ErrorKind;
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use p2p_agent::limits::PORT_SETS;

use crate::lab::local::End;
use crate::lab::{Agent, Content, Site, wait_for};

/// Nobody answers on TCP, and anybody may have both ports.
fn is_closed(agent: &Agent) -> bool {
    let address = SocketAddrV4::new(agent.address, agent.port);
    // An open port takes no notice of who is, by the TTL, not on its link.
    let refused = TcpStream::connect_timeout(&address.into(), Duration::from_millis(100))
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    refused && UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}

#[test]
fn no_p2p_closes_both_ports_within_a_second_and_its_removal_brings_them_back() {
    let site = Site::new();
    let [holder, device] = site.agents();
    let content = Content::random(90, 100_000);
    holder.hold(&content);
    let mine = Content::random(91, 1_000);
    device.hold(&mine);
    assert!(!is_closed(&device));

    device.switch_off(true);
    let off = wait_for("both ports are closed", || is_closed(&device));
    // Promised is 1 s; the rest is for a machine that does much else.
    assert!(off < Duration::from_millis(2_500), "{off:?}");
    assert_eq!(device.metric("p2p_enabled"), 0);
    assert_eq!(device.metric("p2p_peers"), 0);
    device.get(&content.path()).assert_fetch(&["disabled"]);
    // What is here is here.
    device.get(&mine.path()).assert_is(&mine.bytes);

    device.switch_off(false);
    device.wait_for_peers(1);
    assert!(!is_closed(&device));
    device.get(&content.path()).assert_is(&content.bytes);
}

#[test]
fn no_p2p_ends_transfers_in_both_directions() {
    let site = Site::new();
    let slow: &[&str] = &["--max-upload", "500kB"];
    let [device, other] = site.agents_with([slow, slow]);
    let (up, down) = (Content::random(92, 2 << 20), Content::random(93, 2 << 20));
    device.hold(&up);
    other.hold(&down);
    let (mut upload, mut download) = (other.get(&up.path()), device.get(&down.path()));
    upload.at_least(1);
    download.at_least(1);
    device.switch_off(true);
    let switched = Instant::now();
    assert_eq!(download.rest().1, End::Cut);
    assert!(switched.elapsed() < Duration::from_millis(2_500), "{:?}", switched.elapsed());
    assert_eq!(upload.rest().1, End::Cut);
    device.get(&down.path()).assert_fetch(&["disabled"]);
    assert_eq!(device.metric("p2p_transfers_active"), 0);
}

/// Each time takes a set of the sockets that were made before the jail.
#[test]
fn no_p2p_comes_and_goes_until_the_sockets_are_used_up_and_then_the_daemon_wants_a_new_start() {
    let site = Site::new();
    let mut device = site.device();
    device.start(&[]);
    let switch = |off| {
        device.switch_off(off);
        wait_for("P2P is as switched", || device.metric("p2p_enabled") == u64::from(!off));
    };
    for _ in 1..PORT_SETS {
        switch(true);
        switch(false);
    }
    switch(true);
    device.switch_off(false);
    assert_eq!(device.wait_for_end().code(), Some(75));
    assert_eq!(device.log().matches("start again").count(), 1, "{}", device.log());
    device.start(&[]);
    wait_for("P2P is on again", || device.metric("p2p_enabled") == 1);
}

#[test]
fn with_no_p2p_at_the_start_no_port_is_ever_opened() {
    let site = Site::new();
    let mut device = site.device();
    device.switch_off(true);
    device.start(&[]);
    assert!(is_closed(&device));
    let asked = Instant::now();
    device.get(&Content::random(94, 1).path()).assert_fetch(&["disabled"]);
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert!(device.get_with("/v1/status", "Accept: text/plain\r\n").text().contains("P2P is off"));
    device.switch_off(false);
    wait_for("P2P is on", || device.metric("p2p_enabled") == 1);
}
