//! The local API: what a client's request, its Range, its parameters and its form are taken for.
//!
//! - No number is larger than a content, no name has two spellings, and only the methods that are offered do anything.
//! - What is understood says the same when it is written in the usual way.

use p2p_agent::http::{chunk_size, parse_request};
use p2p_agent::limits::{CONTENT_BYTES, SURVEY_IDS};

#[path = "../../src/bin/p2p-agent/api/asked.rs"]
#[allow(dead_code)]
mod asked;

use asked::{Asked, ContentRequest, Fault, Look, Report};

/// A request with its body; the body alone; a line in front of a chunk.
pub fn local(data: &[u8]) {
    if let Some(bytes) = chunk_size(data) {
        let digits = String::from_utf8(data.to_ascii_lowercase()).expect("digits");
        let plain = digits.trim_start_matches('0');
        assert!(!digits.is_empty() && format!("{bytes:x}").trim_start_matches('0') == plain);
    }
    form(data);
    let Ok(Some(head)) = parse_request(data) else { return };
    let read = asked::read(&head);
    match read {
        Ok(Asked::Content(request)) => {
            assert_eq!(head.method, "GET");
            content(&request);
        }
        Ok(Asked::Look(look, _)) => {
            assert_eq!(head.method, "GET");
            let path = head.target.split('?').next().unwrap_or_default();
            match look {
                Look::Explain(md5) => assert_eq!(path, format!("/v1/explain/{md5}")),
                Look::Metrics => assert_eq!(path, "/metrics"),
                Look::Status | Look::Recent | Look::Peers | Look::Clock => assert!(path.starts_with("/v1/")),
            }
        }
        Ok(Asked::Report) => {
            assert_eq!(head.method, "POST");
            form(data.get(head.head_bytes..).unwrap_or_default());
        }
        Ok(Asked::Wanted) => assert_eq!(head.method, "POST"),
        Err(Fault::Method(allowed)) => assert_ne!(head.method, allowed),
        Err(Fault::NoSuchPath | Fault::Bad(_)) => {}
    }
}

fn content(request: &ContentRequest) {
    let ContentRequest { md5, offset, ranged, size, verify } = *request;
    assert!(offset <= CONTENT_BYTES && size.is_none_or(|size| size <= CONTENT_BYTES));
    assert!(ranged || offset == 0);
    let verified = if verify { "agent" } else { "client" };
    let size = size.map(|size| format!("&size={size}")).unwrap_or_default();
    let range = if ranged { format!("Range: bytes={offset}-\r\n") } else { String::new() };
    let usual = format!("GET /v1/content/{md5}?verify={verified}{size} HTTP/1.1\r\nHost: localhost\r\n{range}\r\n");
    let head = parse_request(usual.as_bytes()).expect("a good head").expect("a whole head");
    match asked::read(&head) {
        Ok(Asked::Content(again)) => assert_eq!(format!("{again:?}"), format!("{request:?}")),
        other => panic!("{other:?}"),
    }
}

fn form(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Some(wanted) = asked::wanted(text) {
        assert!((1..=SURVEY_IDS).contains(&wanted.len()));
        let usual: Vec<String> = wanted.iter().map(|md5| format!("content={md5}")).collect();
        assert_eq!(asked::wanted(&usual.join("&")), Some(wanted));
    }
    let Some(report) = asked::report(text) else { return };
    let Report { md5, offset, internet, size, .. } = report;
    assert!([offset, internet, size.unwrap_or(0)].iter().all(|bytes| *bytes <= CONTENT_BYTES));
    assert!(text.contains(&md5.to_string()), "one spelling");
}
