//! `POST /v1/report`: what the sync client takes from the internet, and whether it should go on.

use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::Async;
use p2p_agent::content::ContentMd5;
use p2p_agent::limits::{CONTENT_BYTES, HEAD_BYTES, HEAD_TIMEOUT};

use super::pairs;
use super::response::{Problem, answer};
use crate::clock;
use crate::device::Device;
use crate::stream::{HeadInbox, Watchdog};
use crate::tally::add;

const FORM: &str =
    "A report is a form: content=<md5>&event=fetching|fetched|verify-failed|gone-wrong&offset=N&internet=N[&size=N].";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Fetching,
    Fetched,
    VerifyFailed,
    GoneWrong,
}

struct Report {
    md5: ContentMd5,
    event: Event,
    offset: u64,
    internet: u64,
    size: Option<u64>,
}

/// Reads the form and answers with `P2P-Advice: continue` or `follow`.
fn take_in(device: &Device, report: &str) -> Result<&'static str, Problem> {
    let report = parse(report).ok_or(Problem::Bad(FORM))?;
    add(&device.tally.from_internet, report.internet);
    let keys = device.keys(&report.md5);
    let id = keys.id();
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
    let length = usize::try_from(body_bytes).ok().filter(|length| (1..=HEAD_BYTES).contains(length));
    let mut body = vec![0; length.ok_or(Problem::Bad(FORM))?];
    let mut watchdog = Watchdog::default();
    let received = inbox.fill(stream, &mut body, (&mut watchdog, HEAD_TIMEOUT, HEAD_TIMEOUT)).await;
    received.map_err(|_| Problem::Bad("The body of the report did not come."))?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::Bad(FORM))?;
    let advice = take_in(device, text)?;
    let said = format!("{{\"advice\":\"{advice}\"}}\n");
    // A client that is gone needs no answer.
    _ = answer(stream, "application/json", Some(("P2P-Advice", advice)), said.as_bytes()).await;
    Ok(())
}

fn parse(text: &str) -> Option<Report> {
    let (mut md5, mut event) = (None, None);
    let (mut offset, mut internet, mut size) = (0, 0, None);
    let bytes = |value: &str| value.parse::<u64>().ok().filter(|bytes| *bytes <= CONTENT_BYTES);
    for (name, value) in pairs(text.trim_end()) {
        match name {
            "content" => md5 = Some(ContentMd5::parse(value)?),
            "event" => {
                event = Some(match value {
                    "fetching" => Event::Fetching,
                    "fetched" => Event::Fetched,
                    "verify-failed" => Event::VerifyFailed,
                    "gone-wrong" => Event::GoneWrong,
                    _ => return None,
                });
            }
            "offset" => offset = bytes(value)?,
            "internet" => internet = bytes(value)?,
            "size" => size = Some(bytes(value)?),
            _ => return None,
        }
    }
    Some(Report { md5: md5?, event: event?, offset, internet, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_curl_sends_it() {
        let text = "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=10&internet=5&size=20";
        let report = parse(text).expect("a report");
        assert!(report.event == Event::Fetching);
        assert_eq!((report.offset, report.internet, report.size), (10, 5, Some(20)));
    }

    #[test]
    fn anything_else_is_no_report() {
        for text in [
            "",
            "content=d41d8cd98f00b204e9800998ecf8427e",
            "event=fetching",
            "content=D41D8CD98F00B204E9800998ECF8427E&event=fetching",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=dancing",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=-1",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=99999999999999999999",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&color=red",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
