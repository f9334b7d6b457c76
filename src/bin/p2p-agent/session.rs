//! What exists only while P2P is on: the tasks around the two sockets. Dropping [`session`] drops all of it.

use std::rc::Rc;

use async_io::{Async, Timer};
use log::{debug, info, warn};
use p2p_agent::agent::{IfIndex, Transmit};
use p2p_agent::discovery::To;
use p2p_agent::limits::{DATAGRAM_BYTES, FETCH_BEACON, INTERFACE_CHECK};
use p2p_agent::time::Instant;
use smol::LocalExecutor;
use smol::future::or;

use crate::device::Device;
use crate::net::interfaces::{Filter, Interfaces, why_none};
use crate::net::link_watch::LinkWatch;
use crate::net::udp;
use crate::tally::add;
use crate::{ask, clock, serve};

/// Everything that exists only while P2P is on. Never returns; dropping it closes every socket.
pub async fn session(device: &Rc<Device>, filter: &Filter, udp: udp::Port, listener: Async<std::net::TcpListener>) {
    let executor: Rc<LocalExecutor<'static>> = Rc::default();
    // The connections are tasks of this executor, and go with it.
    executor.spawn(serve::accept(device.clone(), Rc::downgrade(&executor), listener)).detach();
    let tasks = executor.run(std::future::pending::<()>());
    or(or(tasks, follow_links(device, filter)), or(receive(device, &udp), drive(device, &udp))).await;
}

/// Keeps the list of links up to date.
async fn follow_links(device: &Device, filter: &Filter) {
    let watch = LinkWatch::open().map_err(|error| warn!("link changes are only noticed late: {error}")).ok();
    let mut said_none = false;
    loop {
        match device.mode.interfaces(filter) {
            Ok(links) => {
                take_links(device, links);
                let none = device.interfaces.borrow().is_empty();
                if none && !said_none {
                    warn!("there is no usable network interface{}; waiting for one", why_none(filter));
                }
                said_none = none;
            }
            Err(error) => warn!("cannot list the network interfaces: {error}"),
        }
        device.due.notify();
        let changed = async {
            match &watch {
                // An error is a change, too: look again, but not in a spin.
                Some(watch) => _ = watch.changed().await,
                None => std::future::pending().await,
            }
        };
        or(changed, async { _ = Timer::after(INTERFACE_CHECK).await }).await;
        // Changes come in bursts.
        Timer::after(FETCH_BEACON / 4).await;
    }
}

fn take_links(device: &Device, links: Interfaces) {
    let now = clock::now();
    let old = std::mem::replace(&mut *device.interfaces.borrow_mut(), links.clone());
    let mut agent = device.agent.borrow_mut();
    for link in old.iter().filter(|link| !links.iter().any(|new| new.index == link.index)) {
        info!("{} is gone", link.name);
        agent.handle_interface_down(now, IfIndex(link.index));
    }
    for link in links.iter().filter(|link| !old.contains(link)) {
        info!("using {} with {}/{}", link.name, link.addr, link.prefix);
        agent.handle_interface_up(now, IfIndex(link.index), link.addr, link.prefix, link.wired);
    }
    // The slowest counts: over it the site would wait.
    let slowest = links.iter().filter_map(|link| link.link_mbit).min().unwrap_or(0);
    agent.set_link_rate(u64::from(slowest) * 1_000_000 / 8);
}

/// Takes in datagrams.
async fn receive(device: &Rc<Device>, udp: &udp::Port) {
    // One byte more than ours have, so that a longer one shows.
    let mut bytes = [0; DATAGRAM_BYTES + 1];
    loop {
        let datagram = match udp.recv(&mut bytes).await {
            Ok(datagram) => datagram,
            Err(error) => {
                debug!("a datagram could not be received: {error}");
                Timer::after(FETCH_BEACON).await;
                continue;
            }
        };
        let payload = bytes.get(..datagram.len).unwrap_or_default();
        let (now, interface) = (clock::now(), IfIndex(datagram.interface));
        let hint = device.agent.borrow_mut().handle_datagram(now, datagram.received, interface, datagram.from, payload);
        if let Some(hint) = hint {
            device.executor.spawn(ask::follow_hint(device.clone(), hint)).detach();
        }
        device.due.notify();
        device.stirred.notify();
    }
}

/// Sends what the mind has to say, when it is due.
async fn drive(device: &Device, udp: &udp::Port) {
    loop {
        let seen = device.due.generation();
        while let Some(transmit) = next_transmit(device) {
            send(device, udp, &transmit);
        }
        let at = device.agent.borrow().poll_timeout();
        let timer = async {
            Timer::at(clock::deadline(at)).await;
            at
        };
        let due = or(timer, async {
            device.due.past(seen).await;
            Instant::ZERO
        })
        .await;
        device.agent.borrow_mut().handle_timeout(clock::now(), clock::wall(), due);
    }
}

fn next_transmit(device: &Device) -> Option<Transmit> {
    device.agent.borrow_mut().poll_transmit(clock::now(), clock::wall())
}

fn send(device: &Device, udp: &udp::Port, transmit: &Transmit) {
    let links = device.interfaces.borrow();
    for link in links.iter().filter(|link| transmit.interface.is_none_or(|index| index.0 == link.index)) {
        let sent = match transmit.to {
            To::Broadcast => udp.send_broadcast(link, &transmit.bytes),
            To::Unicast(address) => udp.send_to(link, address, &transmit.bytes),
        };
        if let Err(error) = sent {
            add(&device.tally.send_failures, 1);
            debug!("a datagram could not be sent: {error}");
        }
    }
}
