//! What the daemon tells a service manager: sd_notify(3) by datagrams to a socket of its own.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::lab::{Agent, Site};

/// The next message; panics after a time-out that is longer than any machine is slow.
fn hear(manager: &UnixDatagram) -> String {
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = [0; 512];
    let length = manager.recv(&mut bytes).expect("a message");
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

fn start(device: &mut Agent, watchdog: Option<&str>) -> UnixDatagram {
    let path = device.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut command = device.command("run");
    command.env("NOTIFY_SOCKET", path).env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
    if let Some(microseconds) = watchdog {
        command.env("WATCHDOG_USEC", microseconds);
    }
    device.spawn(command);
    manager
}

#[test]
fn it_says_when_it_is_ready_and_beats_as_long_as_its_loop_goes_round() {
    let site = Site::new();
    let mut device = site.device();
    let manager = start(&mut device, Some("300000"));
    assert_eq!(hear(&manager), "READY=1\nSTATUS=P2P is on\n");
    for _ in 0..5 {
        assert_eq!(hear(&manager), "WATCHDOG=1\n");
    }
}

#[test]
fn with_no_p2p_it_is_ready_and_says_that_it_is_off() {
    let site = Site::new();
    let mut device = site.device();
    device.switch_off(true);
    let manager = start(&mut device, None);
    let said = hear(&manager);
    assert!(said.starts_with("READY=1\nSTATUS=P2P is off: ") && said.contains("no-p2p"), "{said}");
    // Without a watchdog the next message is about the switch, not a heartbeat.
    device.switch_off(false);
    assert_eq!(hear(&manager), "READY=1\nSTATUS=P2P is on\n");
}

#[test]
fn a_service_manager_that_is_not_there_keeps_nobody_from_starting() {
    let site = Site::new();
    let mut device = site.device();
    drop(start(&mut device, Some("300000")));
    fs::remove_file(device.path("notify")).unwrap();
    crate::lab::wait_for("the agent answers", || {
        crate::lab::local::try_get(&device.socket(), "/v1/status", "").is_ok_and(|reply| reply.status == 200)
    });
}
