//! The local API on a Unix socket: HTTP/1.1, made for `curl --unix-socket` as much as for a sync client.
//!
//! ```text
//! GET  /v1/content/{md5}[?size=N&verify=client]   the content, or 404 with an advice
//! POST /v1/report                                 what the client took from the internet
//! GET  /v1/status /v1/peers /v1/clock /v1/explain/{md5} /metrics
//! ```

mod report;
pub mod response;
mod status;

use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use async_io::{Async, Timer};
use log::debug;
use nix::sys::socket::{getsockopt, sockopt};
use p2p_agent::content::ContentMd5;
use p2p_agent::http::{Range, RangeError, Request, parse_request};
use p2p_agent::limits::{CONTENT_BYTES, HEAD_TIMEOUT, HEARTBEAT, LOCAL_CONNECTIONS, LOCAL_IDLE_TIMEOUT};
use smol::future::yield_now;

use crate::device::Device;
use crate::relay;
use crate::stream::{HeadInbox, NoHead, await_head};
use response::{Problem, fail};

/// Serves local clients until dropped.
pub async fn accept(device: Rc<Device>, listener: Async<UnixListener>) {
    let places = Rc::new(());
    loop {
        // Nobody who connects or asks fast enough keeps the one thread.
        yield_now().await;
        let Ok((stream, _)) = listener.accept().await else {
            Timer::after(HEARTBEAT).await;
            continue;
        };
        // One count is the list's own.
        if Rc::strong_count(&places) > LOCAL_CONNECTIONS {
            debug!("too many local connections; one is closed");
            continue;
        }
        if let Ok(who) = getsockopt(&stream, sockopt::PeerCredentials) {
            debug!("local client: pid {} uid {}", who.pid(), who.uid());
        }
        let (device, place) = (device.clone(), places.clone());
        device
            .executor
            .clone()
            .spawn(async move {
                serve(&device, stream).await;
                drop(place);
            })
            .detach();
    }
}

async fn serve(device: &Rc<Device>, mut stream: Async<UnixStream>) {
    let mut inbox = HeadInbox::default();
    loop {
        let complete = |bytes: &[u8]| parse_request(bytes).map(|request| request.is_some());
        match await_head(&mut inbox, &mut stream, (LOCAL_IDLE_TIMEOUT, HEAD_TIMEOUT), complete).await {
            Ok(()) => {}
            Err(NoHead::Closed) => return,
            Err(NoHead::Refused(refusal)) => {
                _ = fail(&mut stream, &Problem::Refused(refusal)).await;
                return;
            }
        }
        let Ok(Some(head)) = parse_request(inbox.pending()) else { return };
        let (used, keep_alive, body_bytes) = (head.head_bytes, head.keep_alive, head.content_length.unwrap_or(0));
        let call = route(&head);
        drop(head);
        inbox.consume(used);
        let outcome = match call {
            Err(problem) => Err(problem),
            // A body where none belongs is not read; the connection ends.
            Ok(Call::Report) => report::answer_request(device, &mut stream, &mut inbox, body_bytes).await,
            Ok(_) if body_bytes > 0 => Err(Problem::Bad("This request takes no body.")),
            Ok(Call::Content(request)) => {
                relay::respond(device, &mut stream, request).await;
                return;
            }
            Ok(Call::Look(look, json)) => status::answer(device, &mut stream, look, json).await,
        };
        match outcome {
            Ok(()) if keep_alive => yield_now().await,
            Ok(()) => return,
            Err(problem) => {
                _ = fail(&mut stream, &problem).await;
                return;
            }
        }
    }
}

enum Call {
    Content(relay::Request),
    Report,
    Look(status::Look, bool),
}

fn route(head: &Request<'_>) -> Result<Call, Problem> {
    let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
    let get = |call| if head.method == "GET" { Ok(call) } else { Err(Problem::Method("GET")) };
    let json = !head.header("Accept").is_some_and(|accept| accept.contains("text/plain"));
    if let Some(md5) = path.strip_prefix("/v1/content/") {
        let Some(md5) = ContentMd5::parse(md5) else {
            return Err(Problem::Bad("A content is named by its MD5: 32 lower-case hexadecimal digits."));
        };
        return get(Call::Content(content_request(head, md5, query)?));
    }
    if let Some(md5) = path.strip_prefix("/v1/explain/") {
        let Some(md5) = ContentMd5::parse(md5) else {
            return Err(Problem::Bad("A content is named by its MD5: 32 lower-case hexadecimal digits."));
        };
        return get(Call::Look(status::Look::Explain(md5), json));
    }
    match path {
        "/v1/report" if head.method == "POST" => Ok(Call::Report),
        "/v1/report" => Err(Problem::Method("POST")),
        "/v1/status" => get(Call::Look(status::Look::Status, json)),
        "/v1/peers" => get(Call::Look(status::Look::Peers, json)),
        "/v1/clock" => get(Call::Look(status::Look::Clock, json)),
        "/metrics" => get(Call::Look(status::Look::Metrics, json)),
        _ => Err(Problem::NoSuchPath),
    }
}

fn content_request(head: &Request<'_>, md5: ContentMd5, query: &str) -> Result<relay::Request, Problem> {
    let mut request = relay::Request { md5, offset: 0, ranged: false, size: None, verify: true };
    for (name, value) in pairs(query) {
        match (name, value) {
            ("size", value) => {
                let size = value.parse().ok().filter(|size| *size <= CONTENT_BYTES);
                request.size = Some(size.ok_or(Problem::Bad("size takes the content's length in bytes."))?);
            }
            ("verify", "client") => request.verify = false,
            ("verify", "agent") => request.verify = true,
            ("verify", _) => return Err(Problem::Bad("verify takes agent or client.")),
            _ => return Err(Problem::Bad("The parameters of a content are size and verify.")),
        }
    }
    match head.range() {
        // RFC 9110 section 14.2: a range in another unit or of another form may be ignored.
        None | Some(Err(RangeError::Unit)) => {}
        Some(Ok(Range { first, last: None })) if first <= CONTENT_BYTES => {
            request.offset = first;
            request.ranged = true;
        }
        Some(_) => return Err(Problem::Bad("Only ranges of the form bytes=K- are served.")),
    }
    Ok(request)
}

/// `name=value` pairs of a query or form. No value of ours needs percent-encoding.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
