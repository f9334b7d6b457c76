//! Messages both ways, and everything that is almost one.

use std::string::String;

use proptest::prelude::*;

use super::*;
use crate::content::tests::standings;
use crate::content::{Rank, State};
use crate::http::{parse_request, parse_response};
use crate::limits::HEAD_BYTES;

const ID: PublicId = PublicId([0xab; 16]);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);

fn text(head: Result<Vec<u8, HEAD_BYTES>, HeadError>) -> String {
    String::from_utf8(head.unwrap().to_vec()).unwrap()
}

fn read(head: &str) -> Result<PeerRequest, ExchangeError> {
    PeerRequest::parse(&parse_request(head.as_bytes()).unwrap().expect("complete"))
}

fn answer(head: &str) -> Result<Answer, ExchangeError> {
    Answer::parse(&parse_response(head.as_bytes()).unwrap().expect("complete"))
}

fn given(head: &str) -> Result<Given, ExchangeError> {
    Given::parse(&parse_response(head.as_bytes()).unwrap().expect("complete"))
}

fn sample_standing() -> Standing {
    let rank = Rank([0xcc; 16]);
    Standing { state: State::Partial, size: Some(500), available: 100, active: 3, rank, attempt: 1 }
}

fn sample_query() -> PeerRequest {
    PeerRequest::Query { id: ID, nonce: [0x11; 16], asker: sample_standing(), proof: Proof([0x22; 16]) }
}

fn sample_take() -> PeerRequest {
    PeerRequest::Take { id: ID, offset: 65_536, alternative: false, proof: Proof([0x22; 16]) }
}

#[test]
fn a_query_is_these_lines() {
    let head = "HEAD /p2p/1/abababababababababababababababab HTTP/1.1\r\n\
        Host: 192.168.1.20:11111\r\n\
        P2P-Nonce: 11111111111111111111111111111111\r\n\
        P2P-State: partial\r\n\
        P2P-Size: 500\r\n\
        P2P-Available: 100\r\n\
        P2P-Active: 3\r\n\
        P2P-Rank: cccccccccccccccccccccccccccccccc\r\n\
        P2P-Attempt: 1\r\n\
        P2P-Proof: 22222222222222222222222222222222\r\n\r\n";
    assert_eq!(text(sample_query().head(SERVER)), head);
    assert_eq!(read(head), Ok(sample_query()));
}

#[test]
fn a_take_is_these_lines() {
    let head = "GET /p2p/1/abababababababababababababababab HTTP/1.1\r\n\
        Host: 192.168.1.20:11111\r\n\
        Range: bytes=65536-\r\n\
        P2P-Alternative: none\r\n\
        P2P-Proof: 22222222222222222222222222222222\r\n\r\n";
    assert_eq!(text(sample_take().head(SERVER)), head);
    assert_eq!(read(head), Ok(sample_take()));
}

#[test]
fn a_give_is_these_lines() {
    let records = Given::Records { nonce: [0x33; 16], proof: Proof([0x44; 16]) };
    let head = "HTTP/1.1 206 Partial Content\r\n\
        P2P-Nonce: 33333333333333333333333333333333\r\n\
        P2P-Proof: 44444444444444444444444444444444\r\n\
        Connection: close\r\n\
        Content-Range: bytes 100-499/500\r\n\r\n";
    assert_eq!(text(records.head(100, Some(500))), head);
    assert_eq!(given(head), Ok(records));
    assert!(text(records.head(0, Some(500))).starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(!text(records.head(100, None)).contains("Content-Range"));
}

#[test]
fn a_refusal_has_no_body_and_a_full_house_says_when_to_come_back() {
    assert_eq!(text(Answer::Refused(404).head()), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let busy = text(Given::Refused(503).head(0, None));
    assert_eq!(busy, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(given(&busy), Ok(Given::Refused(503)));
    assert_eq!(answer("HTTP/1.1 404 x\r\n\r\n"), Ok(Answer::Refused(404)));
}

#[test]
fn who_proves_nothing_learns_nothing() {
    let without = |request: PeerRequest| {
        let head = text(request.head(SERVER));
        read(&head.replace("P2P-Proof: 22222222222222222222222222222222\r\n", "")).unwrap_err().status()
    };
    assert_eq!(without(sample_query()), 404);
    assert_eq!(without(sample_take()), 403);
}

#[test]
fn another_path_version_method_or_body_is_refused_by_name() {
    let head = text(sample_take().head(SERVER));
    let status = |from: &str, to: &str| read(&head.replace(from, to)).unwrap_err().status();
    for path in ["/p2p/2/", "/p2p/01/", "/p2p/+1/", "/p2p/1/x/", "/p2p//", "/v1/content/", "/p2p/1//"] {
        assert_eq!(status("/p2p/1/", path), 404, "{path}");
    }
    assert_eq!(status("abab ", "abaB "), 404);
    assert_eq!(status("abab ", "abab/ "), 404);
    assert_eq!(status("abab ", "abab?a=b "), 404);
    assert_eq!(status("GET", "PUT"), 405);
    assert_eq!(status("none", "some"), 400);
    assert_eq!(status("Range:", "Content-Length: 1\r\nRange:"), 400);
}

#[test]
fn a_range_that_no_content_has_is_not_satisfiable() {
    let head = text(sample_take().head(SERVER));
    for range in
        ["bytes=0-5", "bytes=-5", "bytes=0-,7-", "bytes=18446744073709551616-", "bytes=17592186044417-", "lines=1-"]
    {
        assert_eq!(read(&head.replace("bytes=65536-", range)).unwrap_err().status(), 416, "{range}");
    }
    let from_start = read(&head.replace("bytes=65536-", "bytes=0-"));
    assert_eq!(from_start, read(&head.replace("Range: bytes=65536-\r\n", "")));
}

#[test]
fn a_field_missing_or_impossible_makes_the_message_malformed() {
    let head = text(sample_query().head(SERVER));
    for line in head.lines().filter(|line| line.starts_with("P2P-")) {
        if line.starts_with("P2P-Proof") || line.starts_with("P2P-Size") {
            continue;
        }
        assert_eq!(read(&head.replace(&std::format!("{line}\r\n"), "")), Err(ExchangeError::Malformed), "{line}");
    }
    for (from, to) in [
        ("partial", "Partial"),
        ("Size: 500", "Size: 99"),
        ("Size: 500", "Size: "),
        ("Active: 3", "Active: 256"),
        ("Available: 100", "Available: 0x1"),
        ("Available: 100", "Available: 18446744073709551616"),
        ("Rank: cc", "Rank: CC"),
        ("Nonce: 11", "Nonce: 1"),
    ] {
        assert_eq!(read(&head.replace(from, to)), Err(ExchangeError::Malformed), "{to}");
    }
}

#[test]
fn records_with_a_length_or_in_chunks_are_no_records() {
    let records = Given::Records { nonce: [0x33; 16], proof: Proof([0x44; 16]) };
    let head = text(records.head(0, None));
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let framed = head.replace("Connection: close", field);
        assert_eq!(given(&framed), Err(ExchangeError::Malformed));
    }
    for status in ["301", "204", "100"] {
        let line = std::format!("HTTP/1.1 {status} x\r\n\r\n");
        assert_eq!((given(&line), answer(&line)), (Err(ExchangeError::Malformed), Err(ExchangeError::Malformed)));
    }
    assert_eq!(answer("HTTP/1.1 206 x\r\n\r\n"), Err(ExchangeError::Malformed));
}

proptest! {
    #[test]
    fn any_query_and_answer_make_the_round_trip(id: [u8; 16], nonce: [u8; 16], standing in standings(), proof: [u8; 16]) {
        let (id, proof) = (PublicId(id), Proof(proof));
        let query = PeerRequest::Query { id, nonce, asker: standing, proof };
        prop_assert_eq!(read(&text(query.head(SERVER))), Ok(query));
        let known = Answer::Known { standing, challenge: nonce, proof };
        let head = text(known.head());
        prop_assert!(head.len() < 700);
        prop_assert_eq!(answer(&head), Ok(known));
    }

    #[test]
    fn any_take_and_give_make_the_round_trip(offset in 0..=CONTENT_BYTES, size: Option<u64>, alternative: bool, nonce: [u8; 16], status in 400_u16..=599) {
        let proof = Proof(nonce);
        let take = PeerRequest::Take { id: ID, offset, alternative, proof };
        prop_assert_eq!(read(&text(take.head(SERVER))), Ok(take));
        for give in [Given::Records { nonce, proof }, Given::Refused(status)] {
            prop_assert_eq!(given(&text(give.head(offset, size))), Ok(give));
        }
    }

    #[test]
    fn any_values_in_the_fields_are_read_or_refused(
        method in "HEAD|GET",
        state in "idle|complete|partial|x",
        numbers in prop::collection::vec("[0-9]{1,21}|[ -~]{0,20}", 4),
        hex in "[0-9a-f]{31,33}",
        range in "bytes=[0-9]{1,21}-[0-9]{0,3}|[ -~]{0,20}",
    ) {
        let head = Head::<HEAD_BYTES>::request(&method, format_args!("/p2p/1/{ID}"))
            .field("Host", "a")
            .field("Range", &range)
            .field("P2P-State", &state)
            .field("P2P-Size", &numbers[0])
            .field("P2P-Available", &numbers[1])
            .field("P2P-Active", &numbers[2])
            .field("P2P-Attempt", &numbers[3])
            .field("P2P-Nonce", &hex)
            .field("P2P-Rank", &hex)
            .field("P2P-Proof", &hex);
        let bytes = head.finish().unwrap();
        if let Ok(request) = PeerRequest::parse(&parse_request(&bytes).unwrap().unwrap()) {
            let head = text(request.head(SERVER));
            prop_assert_eq!(read(&head), Ok(request));
        }
    }
}
