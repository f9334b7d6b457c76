//! The local API on a Unix socket: HTTP/1.1, made for `curl --unix-socket` as much as for a sync client.
//!
//! ```text
//! GET  /v1/content/{md5}[?size=N&verify=client]   the content, or 404 with an advice
//! POST /v1/report                                 what the client took from the internet
//! POST /v1/wanted                                 what it will want: neighbours are asked about all of it at once
//! GET  /v1/status /v1/recent /v1/peers /v1/clock /v1/explain/{md5} /metrics
//! ```

pub mod asked;
mod metrics;
mod report;
pub mod response;
mod status;

use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use async_io::{Async, Timer};
use log::debug;
use nix::sys::socket::{getsockopt, sockopt};
use p2p_agent::http::parse_request;
use p2p_agent::limits::{HEAD_TIMEOUT, HEARTBEAT, LOCAL_CONNECTIONS, LOCAL_IDLE_TIMEOUT};
use smol::future::yield_now;

use crate::device::Device;
use crate::relay;
use crate::stream::{HeadInbox, NoHead, await_head};
use asked::{Asked, Fault};
use response::{Problem, fail};

/// Serves local clients until dropped.
pub async fn accept(device: Rc<Device>, listener: Async<UnixListener>) {
    let places = Rc::new(());
    loop {
        // Nobody who connects or asks fast enough keeps the one thread.
        yield_now().await;
        let Ok((mut stream, _)) = listener.accept().await else {
            Timer::after(HEARTBEAT).await;
            continue;
        };
        // One count is the list's own.
        if Rc::strong_count(&places) > LOCAL_CONNECTIONS {
            debug!("too many local connections; one is sent away");
            // Nothing else is in the socket's buffer: this takes no time.
            _ = fail(&mut stream, &Problem::TooManyConnections).await;
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
        let asked = asked::read(&head);
        drop(head);
        inbox.consume(used);
        let outcome = match asked {
            Err(Fault::NoSuchPath) => Err(Problem::NoSuchPath),
            Err(Fault::Method(allowed)) => Err(Problem::Method(allowed)),
            Err(Fault::Bad(sentence)) => Err(Problem::Bad(sentence)),
            // A body where none belongs is not read; the connection ends.
            Ok(Asked::Report) => report::answer_request(device, &mut stream, &mut inbox, body_bytes).await,
            Ok(Asked::Wanted) => report::answer_wanted(device, &mut stream, &mut inbox, body_bytes).await,
            Ok(_) if body_bytes > 0 => Err(Problem::Bad("This request takes no body.")),
            Ok(Asked::Content(request)) => {
                relay::respond(device, &mut stream, request).await;
                return;
            }
            Ok(Asked::Look(look, json)) => status::answer(device, &mut stream, look, json).await,
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
