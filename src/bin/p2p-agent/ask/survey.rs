//! One message about many contents to every peer.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{QUERY_TIMEOUT, SURVEYS_AT_ONCE};
use p2p_agent::survey::{Frame, TOLD_BYTES};

use super::Target;
use super::line::{Line, connect, read_head};
use crate::clock;
use crate::device::Device;
use crate::stream::{Watchdog, send};
use crate::tally::add;

/// Asks everybody about many contents at once, so that the mind knows whom to ask first. Few at a time, and nothing while another
/// survey goes on: nobody waits for this.
pub fn survey(device: &Rc<Device>, contents: Vec<ContentKeys>) {
    let goes_on = device.survey.borrow().strong_count() > 0;
    if contents.is_empty() || !device.enabled.get() || goes_on {
        return;
    }
    {
        let mut agent = device.agent.borrow_mut();
        contents.iter().for_each(|keys| agent.handle_surveying(clock::now(), keys.id()));
    }
    let targets: Vec<Target> = device.agent.borrow().discovery.peers().routable().map(Target::new).collect();
    let (contents, targets) = (Rc::new(contents), Rc::new(RefCell::new(targets)));
    let survey = Rc::new(());
    *device.survey.borrow_mut() = Rc::downgrade(&survey);
    for _ in 0..SURVEYS_AT_ONCE {
        let (executor, switch) = (device.executor.clone(), device.clone());
        let (device, contents, targets) = (device.clone(), contents.clone(), targets.clone());
        let survey = survey.clone();
        let work = async move {
            let _goes_on = survey;
            loop {
                let Some(target) = targets.borrow_mut().pop() else { return };
                let patience = target.patience;
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
    if let Ok(line) = connect(device, target, target.patience).await {
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
