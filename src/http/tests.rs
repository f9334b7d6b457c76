//! Heads as they come: good, bad, cut and two at once.

use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn request(head: &str) -> Result<Request<'_>, Refusal> {
    parse_request(head.as_bytes()).map(|parsed| parsed.expect("complete"))
}

fn with(fields: &str) -> String {
    std::format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn refused(fields: &str) -> u16 {
    request(&with(fields)).map(|parsed| std::format!("{parsed:?}")).expect_err(fields).status()
}

#[test]
fn a_request_says_what_it_wants() {
    let parsed = request("POST /v1/report?a=b HTTP/1.1\r\nHost: x:1\r\ncontent-length:  12 \r\n\r\nbody").unwrap();
    assert_eq!((parsed.method, parsed.target, parsed.content_length), ("POST", "/v1/report?a=b", Some(12)));
    assert_eq!((parsed.header("HOST"), parsed.header("Range")), (Some("x:1"), None));
    assert!(parsed.keep_alive);
}

#[test]
fn pipelined_heads_are_parsed_one_by_one() {
    let both = std::format!("{}HEAD /second HTTP/1.1\r\nHost: a\r\n\r\n", with(""));
    let first = request(&both).unwrap();
    assert_eq!(first.target, "/");
    let second = request(&both[first.head_bytes..]).unwrap();
    assert_eq!((second.method, second.target), ("HEAD", "/second"));
    assert_eq!(first.head_bytes + second.head_bytes, both.len());
}

#[test]
fn an_incomplete_head_consumes_nothing_wherever_it_is_cut() {
    let whole = with("P2P-Proof: 00\r\nRange: bytes=5-\r\n");
    for end in 0..whole.len() {
        assert!(parse_request(&whole.as_bytes()[..end]).unwrap().is_none(), "{end}");
    }
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    for end in 0..response.len() {
        assert!(parse_response(&response.as_bytes()[..end]).unwrap().is_none(), "{end}");
    }
}

#[test]
fn one_empty_line_in_front_is_forgiven_and_counted() {
    let late = std::format!("\r\n{}", with(""));
    assert_eq!(request(&late).unwrap().head_bytes, late.len());
    assert_eq!(request(&std::format!("\r\n{late}")).unwrap_err(), Refusal::Malformed);
    assert_eq!(parse_request(b"\r").map(|parsed| parsed.is_none()), Ok(true), "half of it may still be coming");
}

#[test]
fn two_lengths_are_refused_even_if_they_agree() {
    assert_eq!(refused("Content-Length: 5\r\nContent-Length: 6\r\n"), 400);
    assert_eq!(refused("Content-Length: 5\r\ncontent-length: 5\r\n"), 400);
    assert_eq!(refused("Content-Length: 5, 5\r\n"), 400);
}

#[test]
fn a_length_is_digits_and_fits() {
    for length in ["+5", "-1", "5 5", "0x5", "", "5.0", "18446744073709551616", "5;"] {
        assert_eq!(refused(&std::format!("Content-Length: {length}\r\n")), 400, "{length:?}");
    }
}

#[test]
fn a_transfer_coding_on_a_request_is_not_implemented() {
    for coding in ["chunked", "identity", "xchunked", "", "gzip, chunked"] {
        assert_eq!(refused(&std::format!("Transfer-Encoding: {coding}\r\n")), 501, "{coding:?}");
    }
    assert_eq!(refused("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 501);
    assert_eq!(request("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err().status(), 501);
}

#[test]
fn a_folded_line_is_refused() {
    assert_eq!(refused("A: b\r\n c\r\n"), 400);
    assert_eq!(refused("A: b\r\n\tc\r\n"), 400);
    assert_eq!(refused(" Content-Length: 5\r\n"), 400);
}

#[test]
fn a_name_that_another_reader_could_read_differently_is_refused() {
    for field in
        ["Content-Length : 5\r\n", ": 5\r\n", "A B: 5\r\n", "A\r\n", "A\t: 5\r\n", "A(b): c\r\n", "A:\u{b}c\r\n"]
    {
        assert_eq!(refused(field), 400, "{field:?}");
    }
}

#[test]
fn bare_line_breaks_and_control_characters_are_refused() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \u{7f}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: ä\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(parse_request(head.as_bytes()).map(drop), Err(Refusal::Malformed), "{head:?}");
    }
}

#[test]
fn nonsense_is_refused_before_it_ends() {
    for start in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\n ", b"\r\n\r"] {
        assert_eq!(parse_request(start).map(drop), Err(Refusal::Malformed), "{start:?}");
    }
}

#[test]
fn a_field_that_says_two_things_is_refused_and_a_list_is_not() {
    for name in ["Host", "Range", "P2P-Proof", "p2p-anything", "Content-Type"] {
        assert_eq!(refused(&std::format!("{name}: a\r\n{name}: a\r\n")), 400, "{name}");
    }
    assert!(request(&with("Accept: a\r\nAccept: b\r\n")).is_ok());
}

#[test]
fn http_1_1_needs_a_host_and_1_0_does_not() {
    assert_eq!(request("GET / HTTP/1.1\r\n\r\n").unwrap_err().status(), 400);
    assert_eq!(request("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n").unwrap_err().status(), 400);
    assert!(!request("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
    assert!(!request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().keep_alive);
}

#[test]
fn close_is_heard_wherever_it_stands() {
    assert!(request(&with("Connection: keep-alive\r\n")).unwrap().keep_alive);
    assert!(!request(&with("Connection: Close\r\n")).unwrap().keep_alive);
    assert!(!request(&with("Connection: a\r\nConnection: b , close\r\n")).unwrap().keep_alive);
}

#[test]
fn other_versions_are_refused_as_such() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(request(preface).unwrap_err().status(), 505);
    assert_eq!(request("GET / HTTP/1.2\r\nHost: a\r\n\r\n").unwrap_err().status(), 505);
    assert_eq!(request("GET /\r\n\r\n").unwrap_err().status(), 400);
    assert_eq!(request("GET / http/1.1\r\nHost: a\r\n\r\n").unwrap_err().status(), 505);
}

#[test]
fn a_target_is_read_from_its_path_on() {
    let target = |target: &str| {
        let head = std::format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        request(&head).map(|parsed| String::from(parsed.target))
    };
    assert_eq!(target("/a?b").as_deref(), Ok("/a?b"));
    assert_eq!(target("http://x:1/a").as_deref(), Ok("/a"));
    assert_eq!(target("HTTP://x").as_deref(), Ok("/"));
    assert_eq!(target("*").as_deref(), Ok("*"));
    for other in ["a", "x:443", "https://x/", "http://x?/a", "h"] {
        assert_eq!(target(other), Err(Refusal::Malformed), "{other:?}");
    }
}

#[test]
fn a_head_is_as_long_as_it_may_be_and_no_longer() {
    let of = |bytes: usize| with(&std::format!("A: {}\r\n", "x".repeat(bytes - with("A: \r\n").len())));
    assert_eq!(request(&of(HEAD_BYTES)).unwrap().head_bytes, HEAD_BYTES);
    assert_eq!(request(&of(HEAD_BYTES + 1)).unwrap_err().status(), 431);
    assert_eq!(parse_request(&[b'x'; HEAD_BYTES]).map(drop), Err(Refusal::TooLarge));
    let head = std::format!("{}{}", with(""), "x".repeat(HEAD_BYTES));
    assert!(request(&head).is_ok(), "what follows the head does not count");
}

#[test]
fn a_head_has_as_many_fields_as_it_may_and_no_more() {
    assert!(request(&with(&"A: b\r\n".repeat(HEADER_FIELDS - 1))).is_ok());
    assert_eq!(refused(&"A: b\r\n".repeat(HEADER_FIELDS)), 431);
}

#[test]
fn a_response_says_how_its_body_ends() {
    let parse = |fields: &str| {
        let head = std::format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        parse_response(head.as_bytes()).map(|parsed| {
            let parsed = parsed.unwrap();
            (parsed.content_length, parsed.chunked, parsed.keep_alive)
        })
    };
    assert_eq!(parse(""), Ok((None, false, true)));
    assert_eq!(parse("Content-Length: 7\r\nConnection: close\r\n"), Ok((Some(7), false, false)));
    assert_eq!(parse("Transfer-Encoding: Chunked\r\n"), Ok((None, true, true)));
    assert_eq!(parse("Transfer-Encoding: gzip, chunked\r\n"), Err(Refusal::Coding));
    assert_eq!(parse("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n"), Err(Refusal::Malformed));
    assert_eq!(parse("Content-Length: 7\r\nContent-Length: 8\r\n"), Err(Refusal::Malformed));
}

#[test]
fn a_status_is_three_digits_that_mean_something() {
    let status = |line: &str| {
        let head = std::format!("{line}\r\n\r\n");
        parse_response(head.as_bytes()).map(|parsed| parsed.map(|parsed| parsed.status))
    };
    assert_eq!(status("HTTP/1.1 503 Service Unavailable"), Ok(Some(503)));
    assert_eq!(status("HTTP/1.1 404 "), Ok(Some(404)));
    for line in ["HTTP/1.1 99 x", "HTTP/1.1 600 x", "HTTP/1.1 000 x", "HTTP/1.1 20 x", "HTTP/1.1 2000 x", "ICY 200 OK"]
    {
        assert!(status(line).is_err(), "{line:?}");
    }
}

fn almost_heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(std::vec![
        "GET / HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "A: b\r\n",
        "\r\n",
        "\n",
        " ",
        ":",
        "Transfer-Encoding: chunked\r\n",
        "Range: bytes=1-\r\n",
        "\r",
        "\0",
        "Connection: close\r\n",
        "GET",
        "\u{e4}",
    ]);
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_are_read_refused_or_awaited(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        let _ = parse_request(&bytes);
        let _ = parse_response(&bytes);
    }

    #[test]
    fn what_is_refused_early_is_refused_whole_and_what_is_read_ends_in_an_empty_line(bytes in almost_heads(), cut: prop::sample::Index) {
        let start = &bytes[..cut.index(bytes.len() + 1)];
        if let Ok(Some(parsed)) = parse_request(&bytes) {
            prop_assert!(bytes[..parsed.head_bytes].ends_with(b"\r\n\r\n"));
            prop_assert!(parse_request(start).is_ok());
        }
        if let Ok(Some(parsed)) = parse_response(&bytes) {
            prop_assert!(bytes[..parsed.head_bytes].ends_with(b"\r\n\r\n"));
            prop_assert!(parse_response(start).is_ok());
        }
    }
}
