//! `POST /v1/report`: what the sync client takes from the internet, and whether it should go on. `POST /v1/wanted`: what it will want.

use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::Async;
use log::warn;
use p2p_agent::keys::ContentKeys;
use p2p_agent::limits::{HEAD_BYTES, HEAD_TIMEOUT};

use super::asked::{self, Event};
use super::response::{Problem, answer};
use crate::ask;
use crate::clock;
use crate::device::Device;
use crate::history::Source;
use crate::store::Kind;
use crate::stream::{HeadInbox, Watchdog};
use crate::tally::add;

const FORM: &str =
    "A report is a form: content=<md5>&event=fetching|fetched|verify-failed|gone-wrong&offset=N&internet=N[&size=N].";

const WANTED: &str = "What will be wanted is a form: content=<md5>&content=<md5>…, at most 32.";

/// Reads the form and answers with `P2P-Advice: continue` or `follow`.
fn take_in(device: &Device, report: &str) -> Result<&'static str, Problem> {
    let report = asked::report(report).ok_or(Problem::Bad(FORM))?;
    let keys = device.keys(&report.md5);
    let id = keys.id();
    device.handle_bytes(id, Source::Internet, report.internet);
    let now = clock::now();
    let goes_on = match report.event {
        Event::Fetching if device.enabled.get() => {
            let goes_on = device.agent.borrow_mut().handle_report(now, keys, report.offset, report.size);
            device.remember(id, report.md5);
            goes_on
        }
        Event::Fetching => true,
        Event::Fetched | Event::GoneWrong => {
            if let Some(want) = device.agent.borrow_mut().want_mut(id) {
                want.handle_release(now);
            }
            if report.event == Event::Fetched {
                device.history.handle_complete(id);
                // The directory itself is asked: the event of the renaming may not have come yet.
                let found = device.store.open_content(&report.md5);
                if !matches!(found, Ok(Some(opened)) if opened.kind() == Kind::Complete) {
                    let name = id.short();
                    warn!(
                        "{name}: a client has it, but in the content directory it cannot be read: no peer can get it from here. Does the client use another --content, or keep the file to itself?"
                    );
                }
            }
            true
        }
        Event::VerifyFailed => {
            add(&device.tally.corrupt_contents, 1);
            if let Some(want) = device.agent.borrow_mut().want_mut(id) {
                want.handle_content_failed(now);
            }
            true
        }
    };
    device.due.notify();
    Ok(if goes_on { "continue" } else { "follow" })
}

/// Reads the body of the request, then answers.
pub async fn answer_request(
    device: &Rc<Device>,
    stream: &mut Async<UnixStream>,
    inbox: &mut HeadInbox,
    body_bytes: u64,
) -> Result<(), Problem> {
    let text = body(stream, inbox, body_bytes, FORM).await?;
    let advice = take_in(device, &text)?;
    let said = format!("{{\"advice\":\"{advice}\"}}\n");
    // A client that is gone needs no answer.
    _ = answer(stream, "application/json", Some(("P2P-Advice", advice)), said.as_bytes()).await;
    Ok(())
}

/// Reads the body of `POST /v1/wanted`, answers, and asks the neighbours about what nobody was asked about lately.
pub async fn answer_wanted(
    device: &Rc<Device>,
    stream: &mut Async<UnixStream>,
    inbox: &mut HeadInbox,
    body_bytes: u64,
) -> Result<(), Problem> {
    let text = body(stream, inbox, body_bytes, WANTED).await?;
    let wanted = asked::wanted(&text).ok_or(Problem::Bad(WANTED))?;
    let said = format!("{{\"wanted\":{}}}\n", wanted.len());
    let missing = wanted.iter().filter(|md5| !device.is_complete(md5)).map(|md5| device.keys(md5));
    let due = |keys: &ContentKeys| device.agent.borrow_mut().handle_wanted_soon(clock::now(), keys);
    ask::survey(device, missing.filter(due).collect());
    // A client that is gone needs no answer.
    _ = answer(stream, "application/json", None, said.as_bytes()).await;
    Ok(())
}

async fn body(
    stream: &mut Async<UnixStream>,
    inbox: &mut HeadInbox,
    bytes: u64,
    form: &'static str,
) -> Result<String, Problem> {
    let length = usize::try_from(bytes).ok().filter(|length| (1..=HEAD_BYTES).contains(length));
    let mut body = vec![0; length.ok_or(Problem::Bad(form))?];
    let mut watchdog = Watchdog::default();
    let received = inbox.fill(stream, &mut body, (&mut watchdog, HEAD_TIMEOUT, HEAD_TIMEOUT)).await;
    received.map_err(|_| Problem::Bad("The body of the request did not come."))?;
    String::from_utf8(body).map_err(|_| Problem::Bad(form))
}
