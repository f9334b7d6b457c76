//! HTTP heads as the server (peers and local clients) and as the client read them, and what is said in them.
//!
//! - A head consumes no more than is there, and reads the same when something follows it.
//! - A prefix of a good head is incomplete, never refused and never a shorter head.
//! - What was understood can be written, fits its buffer, and reads back as the same.

use p2p_agent::content::ContentMd5;
use p2p_agent::exchange::{Answer, Given, PeerRequest};
use p2p_agent::http::{ContentRange, Range, Refusal, parse_request, parse_response};
use p2p_agent::limits::{CONTENT_BYTES, HEAD_BYTES, SURVEY_IDS};
use p2p_agent::survey::{ASKED_BYTES, Survey};
use std::net::Ipv4Addr;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);

/// What both kinds of head are held to; `read` gives the head's length.
fn framing(data: &[u8], forgiven: usize, read: impl Fn(&[u8]) -> Result<Option<usize>, Refusal>) -> bool {
    let said = read(data);
    let Ok(Some(length)) = said else {
        if said == Ok(None) {
            assert!(data.len() < HEAD_BYTES + forgiven, "a head of this length is refused");
        }
        return false;
    };
    assert!(length <= data.len() && length <= HEAD_BYTES + forgiven);
    let head = &data[..length];
    assert!(head.ends_with(b"\r\n\r\n"));
    assert_eq!(read(head), said, "what follows a head does not matter");
    let cuts = [1, 2, 3, length / 3, length / 2, length - 3, length - 2, length - 1];
    for cut in cuts.into_iter().filter(|cut| *cut < length) {
        assert_eq!(read(&head[..cut]), Ok(None), "cut at {cut}");
    }
    true
}

fn written(head: &[u8]) {
    assert_eq!(head.windows(4).position(|four| four == b"\r\n\r\n"), Some(head.len() - 4), "one head and no more");
}

/// Requests of peers and of local clients.
pub fn request(data: &[u8]) {
    if !framing(data, 2, |bytes| parse_request(bytes).map(|head| head.map(|head| head.head_bytes))) {
        return;
    }
    let head = parse_request(data).expect("as before").expect("as before");
    assert!(head.target.starts_with('/') || head.target == "*");
    assert!(head.target.bytes().chain(head.method.bytes()).all(|byte| byte.is_ascii_graphic()));
    let path = head.target.split('?').next().unwrap_or_default();
    if let Some(md5) = path.strip_prefix("/v1/content/").and_then(ContentMd5::parse) {
        assert_eq!(format!("/v1/content/{md5}"), path, "a content has one name");
    }
    if let Some(Ok(range)) = head.range() {
        assert!(range.last.is_none_or(|last| range.first <= last));
        assert_eq!(Range::parse(&range.to_string()), Ok(range));
    }
    if let Some(Ok((nonce, length))) = Survey::is_asked(&head) {
        assert!(PeerRequest::parse(&head).is_err() && length <= SURVEY_IDS * ASKED_BYTES);
        let body = data.get(head.head_bytes..head.head_bytes + length).unwrap_or_default();
        if let Some(survey) = Survey::parse(nonce, body) {
            let again = survey.message(SERVER).expect("it fits");
            let head = parse_request(&again).expect("our own head").expect("a whole one");
            assert_eq!(Survey::is_asked(&head), Some(Ok((nonce, length))));
            assert_eq!(Survey::parse(nonce, &again[head.head_bytes..]), Some(survey));
        }
    }
    let Ok(asked) = PeerRequest::parse(&head) else { return };
    match asked {
        PeerRequest::Query { asker, .. } => assert!(asker.is_plausible()),
        PeerRequest::Take { offset, .. } => assert!(offset <= CONTENT_BYTES),
    }
    assert!(head.content_length.is_none_or(|length| length == 0));
    let again = asked.head::<HEAD_BYTES>(SERVER).expect("it fits");
    written(&again);
    let head = parse_request(&again).expect("our own head").expect("a whole one");
    assert_eq!(PeerRequest::parse(&head), Ok(asked));
}

/// Responses of peers, and of the agent to its local client.
pub fn response(data: &[u8]) {
    if !framing(data, 0, |bytes| parse_response(bytes).map(|head| head.map(|head| head.head_bytes))) {
        return;
    }
    let head = parse_response(data).expect("as before").expect("as before");
    assert!((100..=599).contains(&head.status));
    assert!(!head.chunked || head.content_length.is_none(), "one framing");
    if let Some(range) = head.header("content-range").and_then(ContentRange::parse) {
        assert_eq!(ContentRange::parse(&range.to_string()), Some(range));
        if let ContentRange::Part { first, last, size } = range {
            assert!(first <= last && size.is_none_or(|size| last < size));
        }
    }
    if let Ok(answer) = Answer::parse(&head) {
        if let Answer::Known { standing, .. } = answer {
            assert!(standing.is_plausible());
        }
        let again = answer.head::<HEAD_BYTES>().expect("it fits");
        written(&again);
        let head = parse_response(&again).expect("our own head").expect("a whole one");
        assert_eq!(Answer::parse(&head), Ok(answer));
    }
    if let Ok(given) = Given::parse(&head) {
        for (offset, size) in [(0, None), (1, Some(1)), (5, Some(CONTENT_BYTES))] {
            let again = given.head::<HEAD_BYTES>(offset, size).expect("it fits");
            written(&again);
            let head = parse_response(&again).expect("our own head").expect("a whole one");
            assert_eq!(Given::parse(&head), Ok(given));
        }
    }
}
