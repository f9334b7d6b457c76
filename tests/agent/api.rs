//! The local API beyond the contents themselves: what a person or a program is told, and what they are told when they ask wrongly.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::time::Duration;

use p2p_agent::limits::LOCAL_CONNECTIONS;
use serde_json::Value;

use crate::lab::agent::{finish, program};
use crate::lab::local::{self, Reply};
use crate::lab::{Agent, Content, SOON, Site, wait_for};

fn alone() -> (Site, Agent) {
    let site = Site::new();
    let [agent] = site.agents();
    (site, agent)
}

#[track_caller]
fn json(agent: &Agent, target: &str) -> Value {
    let reply = agent.get(target);
    assert_eq!((reply.status, reply.field("Content-Type").as_deref()), (200, Some("application/json")), "{target}");
    let text = reply.text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{target}: {error}: {text}"))
}

/// One line that begins like a sentence and ends like one.
#[track_caller]
fn assert_sentence(text: &str) {
    let line = text.strip_suffix('\n').unwrap_or(text);
    assert!(line.ends_with('.') && !line.contains('\n') && line.len() > 10, "{text:?}");
}

#[test]
fn status_peers_clock_and_explain_are_json_that_any_parser_reads() {
    let site = Site::new();
    let [holder, agent] = site.agents_with([&["--os-version", "A \"quoted\" \\ version"], &[]]);
    let content = Content::random(130, 5_000);
    holder.hold(&content);
    agent.get(&content.path()).assert_is(&content.bytes);

    let status = json(&agent, "/v1/status");
    assert_eq!((&status["enabled"], &status["peers"]), (&Value::from(true), &Value::from(1)));
    assert_eq!(status["bytes_from_peers"], 5_000);
    assert_eq!((&status["transfers_max"], &status["relays_free"]), (&Value::from(20), &Value::from(4)));
    assert_eq!(json(&holder, "/v1/status")["contents"], 1);

    let peers = json(&agent, "/v1/peers");
    assert_eq!(peers.as_array().unwrap().len(), 1);
    assert_eq!(peers[0]["address"], holder.address.to_string());
    assert!(peers[0]["os_version"].as_str().unwrap().contains("\"quoted\" \\"));
    wait_for("round trip and clock are measured", || {
        let peer = &json(&agent, "/v1/peers")[0];
        peer["delay_us"].is_u64() && peer["offset_us"].is_i64()
    });

    let clock = json(&agent, "/v1/clock");
    assert_eq!((&clock["off"], clock["peers_compared"].as_u64()), (&Value::from(false), Some(1)));

    let explained = json(&holder, &format!("/v1/explain/{}", content.md5));
    assert_eq!((&explained["state"], &explained["size"]), (&Value::from("complete"), &Value::from(5_000)));
    let id = content.keys().id().to_string();
    assert_eq!(explained["public_id"], id);
    let unknown = Content::random(131, 1);
    agent.get(&unknown.path()).assert_fetch(&["nobody-has-it"]);
    let explained = json(&agent, &format!("/v1/explain/{}", unknown.md5));
    assert_eq!(explained["last_reason"], "nobody-has-it");
    assert_sentence(explained["sentence"].as_str().unwrap());
}

#[test]
fn a_file_that_a_client_has_and_the_agent_cannot_read_is_told() {
    let (_site, agent) = alone();
    let [here, elsewhere, hidden] = [136, 137, 138].map(|seed| Content::random(seed, 1_000));
    agent.hold(&here);
    agent.hold(&hidden);
    let file = agent.content_directory().join(&hidden.md5);
    fs::set_permissions(file, Permissions::from_mode(0o000)).unwrap();
    for content in [&here, &elsewhere, &hidden] {
        agent.report(&format!("content={}&event=fetched&offset=1000&internet=0", content.md5));
    }
    let told = |content: &Content| {
        let name = &content.keys().id().to_string()[..8];
        agent.log().lines().any(|line| line.contains(name) && line.contains("a client has it, but"))
    };
    assert_eq!([&here, &elsewhere, &hidden].map(told), [false, true, true]);
    let explained = json(&agent, &format!("/v1/explain/{}", hidden.md5));
    assert!(explained["sentence"].as_str().unwrap().contains("may not read it"), "{explained}");
}

#[test]
fn status_and_explain_are_also_there_for_people() {
    let (_site, agent) = alone();
    let status = agent.get_with("/v1/status", "Accept: text/plain\r\n");
    assert_eq!(status.field("Content-Type").as_deref(), Some("text/plain"));
    let status = status.text();
    assert!(status.starts_with("p2p-agent ") && status.contains("P2P is on"), "{status}");
    let explained = agent.get_with(&format!("/v1/explain/{}", Content::random(132, 1).md5), "Accept: text/plain\r\n");
    assert!(explained.text().starts_with("Nobody here asked for it lately.\n"));
}

#[test]
fn metrics_are_openmetrics_to_the_last_line() {
    let (_site, agent) = alone();
    agent.get(&Content::random(133, 1).path()).assert_fetch(&["no-peers"]);
    let reply = agent.get("/metrics");
    assert!(reply.field("Content-Type").unwrap().starts_with("application/openmetrics-text"));
    let text = reply.text();
    let lines = text.strip_suffix("# EOF\n").expect("it ends with # EOF").lines();
    let (mut family, mut kind) = ("", "");
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    for line in lines {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            (family, kind) = declared.split_once(' ').unwrap();
            assert!(["gauge", "counter"].contains(&kind) && families.insert(family), "{line}");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.starts_with(family) && help.ends_with('.'), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<u64>().is_ok() && samples.insert(sample), "{line}");
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            assert_eq!(name, format!("{family}{suffix}"));
            assert!(labels == "}" || labels.ends_with("\"}") && labels.contains("=\""), "{line}");
        }
    }
    assert!(families.len() > 10 && samples.len() > 30);
    assert!(text.contains("p2p_fetch_advice_total{reason=\"no-peers\"} 1\n"));
}

#[test]
fn whoever_asks_wrongly_is_told_in_one_sentence_what_is_right() {
    let (_site, agent) = alone();
    let md5 = Content::random(134, 1).md5;
    let content = format!("/v1/content/{md5}");
    let get = |target: &str| agent.get(target);
    let any = |request: &str| {
        local::request(&agent.socket(), &format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")).unwrap()
    };
    let cases: Vec<(&str, Reply, u16, &str)> = vec![
        ("no such path", get("/"), 404, "/v1/content/<md5>"),
        ("no such path", get("/v2/status"), 404, "/v1/status"),
        ("no such path", get("/v1/status/"), 404, "/v1/status"),
        ("too short", get("/v1/content/abc"), 400, "32"),
        ("upper case", get(&format!("/v1/content/{}", md5.to_uppercase())), 400, "lower-case"),
        ("beyond", get(&format!("{content}0")), 400, "32"),
        ("upwards", get("/v1/content/../../../etc/passwd"), 400, "32"),
        ("explain", get("/v1/explain/xyz"), 400, "32"),
        ("size", get(&format!("{content}?size=-1")), 400, "size"),
        ("size", get(&format!("{content}?size=99999999999999999999")), 400, "size"),
        ("verify", get(&format!("{content}?verify=maybe")), 400, "verify"),
        ("parameter", get(&format!("{content}?color=red")), 400, "size and verify"),
        ("range", agent.get_with(&content, "Range: bytes=0-5\r\n"), 400, "bytes=K-"),
        ("range", agent.get_with(&content, "Range: bytes=-5\r\n"), 400, "bytes=K-"),
        ("range", agent.get_with(&content, "Range: bytes=99999999999999999999-\r\n"), 400, "bytes=K-"),
        ("method", any(&format!("POST {content}")), 405, "GET"),
        ("method", any("DELETE /v1/status"), 405, "GET"),
        ("method", any("GET /v1/report"), 405, "POST"),
        ("body", agent.get_with("/v1/status", "Content-Length: 5\r\n"), 400, "body"),
        ("no HTTP", any("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\nGET"), 200, ""),
        ("version", local::request(&agent.socket(), "GET / HTTP/3.0\r\n\r\n").unwrap(), 505, "HTTP/1.1"),
        ("no HTTP", local::request(&agent.socket(), "\x01\x02\x03\r\n\r\n").unwrap(), 400, "HTTP/1.1"),
        ("long", agent.get_with("/v1/status", &format!("X: {}\r\n", "y".repeat(3_000))), 431, "2 KiB"),
    ];
    for (what, reply, status, hint) in cases {
        assert_eq!(reply.status, status, "{what}");
        if status == 200 {
            continue;
        }
        if status == 405 {
            assert_eq!(reply.field("Allow").as_deref(), Some(hint));
        }
        assert_eq!(reply.field("Content-Type").as_deref(), Some("text/plain"), "{what}");
        let text = reply.text();
        assert_sentence(&text);
        assert!(text.contains(hint), "{what}: {text}");
    }
}

#[test]
fn a_report_is_a_form_and_anything_else_is_explained() {
    let (_site, agent) = alone();
    let md5 = Content::random(135, 1).md5;
    for (event, internet) in
        [("fetching", 500), ("fetching", 700), ("fetched", 300), ("gone-wrong", 1), ("verify-failed", 0)]
    {
        let form = format!("content={md5}&event={event}&offset=100&internet={internet}&size=2000");
        let reply = agent.report(&form);
        assert_eq!((reply.status, reply.field("P2P-Advice").as_deref()), (200, Some("continue")), "{event}");
        assert_eq!(serde_json::from_str::<Value>(&reply.text()).unwrap()["advice"], "continue");
    }
    assert_eq!(agent.metric("p2p_bytes_total{from=\"internet\"}"), 1_501);
    for wrong in [
        String::new(),
        "hello".to_owned(),
        format!("content={md5}"),
        format!("content={md5}&event=dancing"),
        format!("content={md5}&event=fetching&offset=-1"),
        format!("content={md5}&event=fetching&internet=1e3"),
        format!("content={md5}&event=fetching&{}", "a=b&".repeat(1_000)),
        "event=fetching&offset=0&internet=0".to_owned(),
    ] {
        let reply = agent.report(&wrong);
        assert_eq!(reply.status, 400, "{wrong:.50}");
        let text = reply.text();
        assert_sentence(&text);
        assert!(text.contains("content=<md5>&event="), "{text}");
    }
}

#[test]
fn a_fetcher_without_progress_loses_the_lease_goes_on_and_has_it_again_with_its_first_bytes() {
    let site = Site::new();
    let [agent, _other] = site.agents();
    let content = Content::random(136, 100_000);
    agent.get(&content.path()).assert_fetch(&["nobody-has-it"]);
    agent.wait_until_known(&content.md5, "fetching");
    // It never begins.
    wait_for("the lease is lost", || {
        !agent.get(&format!("/v1/explain/{}", content.md5)).text().contains("\"fetching\"")
    });
    // Nobody is there to follow: an origin that takes long for its first byte is waited for.
    let report =
        |offset| agent.report(&format!("content={}&event=fetching&offset={offset}&internet={offset}", content.md5));
    assert_eq!(report(0).field("P2P-Advice").as_deref(), Some("continue"));
    let _part = agent.begin_part(&content, 10_000);
    assert_eq!(report(10_000).field("P2P-Advice").as_deref(), Some("continue"));
    agent.wait_until_known(&content.md5, "fetching");
}

#[test]
fn the_client_of_a_device_that_never_fetches_for_others_goes_on_with_its_own_download() {
    let site = Site::new();
    let [metered, _other] = site.agents_with([&["--never-fetch"], &[]]);
    let content = Content::random(138, 100_000);
    metered.get(&content.path()).assert_fetch(&["nobody-has-it", "timeout"]);
    for offset in [0, 0, 30_000] {
        let form = format!("content={}&event=fetching&offset={offset}&internet=0&size=100000", content.md5);
        assert_eq!(metered.report(&form).field("P2P-Advice").as_deref(), Some("continue"));
        assert!(!metered.get(&format!("/v1/explain/{}", content.md5)).text().contains("\"fetching\""));
    }
}

#[test]
fn what_came_from_where_and_why_not_from_peers_is_known_afterwards() {
    let site = Site::new();
    let [holder, agent] = site.agents();
    let (shared, lonely) = (Content::random(139, 5_000), Content::random(140, 9_000));
    holder.hold(&shared);
    agent.get(&shared.path()).assert_is(&shared.bytes);
    agent.get(&lonely.path()).assert_fetch(&["nobody-has-it"]);
    agent.report(&format!("content={}&event=fetching&offset=4000&internet=4000&size=9000", lonely.md5));
    agent.report(&format!("content={}&event=fetched&offset=9000&internet=5000&size=9000", lonely.md5));
    agent.hold(&lonely);
    agent.wait_until_known(&lonely.md5, "complete");
    agent.get(&lonely.path()).assert_is(&lonely.bytes);

    let recent = json(&agent, "/v1/recent");
    let one = |content: &Content| {
        let id = content.keys().id().to_string();
        recent.as_array().unwrap().iter().find(|entry| entry["public_id"] == id).unwrap().clone()
    };
    let bytes =
        |entry: &Value| ["peers", "internet", "disk"].map(|from| entry[format!("bytes_from_{from}")].as_u64().unwrap());
    assert_eq!(bytes(&one(&shared)), [5_000, 0, 0]);
    assert_eq!(bytes(&one(&lonely)), [0, 9_000, 9_000]);
    assert_eq!(
        (&one(&shared)["last_reason"], &one(&lonely)["last_reason"]),
        (&Value::Null, &Value::from("nobody-has-it"))
    );
    assert!([&shared, &lonely].iter().all(|content| one(content)["complete"] == true));

    let explained = agent.get_with(&format!("/v1/explain/{}", lonely.md5), "Accept: text/plain\r\n").text();
    assert!(explained.contains("It is here, complete.") && explained.contains("9000 from the internet"), "{explained}");
    assert!(explained.contains("last sent to the internet: nobody-has-it"), "{explained}");
    let id = &lonely.keys().id().to_string()[..8];
    assert!(
        explained.contains(id)
            && agent.log().contains(&format!("{id}: complete; bytes from peers 0, from the internet 9000"))
    );
    let table = agent.get_with("/v1/recent", "Accept: text/plain\r\n").text();
    assert!(
        table.lines().nth(1).is_some_and(|line| line.starts_with(id) && line.ends_with("nobody-has-it")),
        "{table}"
    );
    let status = agent.get_with("/v1/status", "Accept: text/plain\r\n").text();
    assert!(status.contains("9000 bytes; sent there 1 times: nobody-has-it 1"), "{status}");
}

#[test]
fn status_says_why_p2p_is_off() {
    let (_site, agent) = alone();
    assert_eq!(json(&agent, "/v1/status")["disabled_because"], Value::Null);
    agent.switch_off(true);
    wait_for("it is off", || json(&agent, "/v1/status")["enabled"] == false);
    assert!(json(&agent, "/v1/status")["disabled_because"].as_str().unwrap().contains("no-p2p exists"));
    assert!(agent.get_with("/v1/status", "Accept: text/plain\r\n").text().contains("no-p2p exists"));
}

#[test]
fn one_connection_serves_many_requests_also_when_they_come_together() {
    let (_site, agent) = alone();
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = "GET /v1/clock HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.repeat(3).as_bytes()).unwrap();
    stream.write_all(b"GET /v1/clock HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{text}");
}

#[test]
fn idle_local_connections_are_bounded_and_the_next_is_served_when_they_go() {
    let (_site, agent) = alone();
    let idle: Vec<_> = (0..LOCAL_CONNECTIONS).map(|_| UnixStream::connect(agent.socket()).unwrap()).collect();
    let mut late = UnixStream::connect(agent.socket()).unwrap();
    late.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"), "at once: {answer}");
    drop(idle);
    let status = || local::try_get(&agent.socket(), "/v1/status", "").map(|reply| reply.status);
    wait_for("there is room again", || status().is_ok_and(|status| status == 200));
}

#[test]
fn the_commands_status_and_explain_ask_the_running_agent() {
    let (_site, mut agent) = alone();
    let content = Content::random(137, 1_000);
    agent.hold(&content);
    let socket = agent.socket();
    let run = |arguments: &[&str]| -> Output {
        let mut command = std::process::Command::new(program());
        command.args(arguments).arg("--socket").arg(&socket);
        finish(command)
    };
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let status = run(&["status"]);
    assert!(status.status.success() && text(&status).contains("P2P is on"), "{status:?}");
    let status = serde_json::from_str::<Value>(&text(&run(&["status", "--json"]))).unwrap();
    assert_eq!((&status["contents"], &status["fetch_advice"]["no-peers"]), (&Value::from(1), &Value::from(0)));
    let explained = run(&["explain", &content.md5]);
    assert!(explained.status.success() && text(&explained).starts_with("It is here, complete.\n"), "{explained:?}");
    let explained = run(&["explain", &content.md5, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&text(&explained)).unwrap()["state"], "complete");
    assert!(run(&["explain", &content.md5.to_uppercase()]).status.success());
    assert_eq!(run(&["explain", "nonsense"]).status.code(), Some(64));
    for (verb, word) in [("recent", "complete"), ("peers", "["), ("clock", "peers_compared"), ("metrics", "# EOF")] {
        let said = run(&[verb]);
        assert!(said.status.success() && text(&said).contains(word), "{verb}: {said:?}");
    }
    agent.kill();
    let nobody = run(&["status"]);
    assert_eq!(nobody.status.code(), Some(69));
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(said.contains("is its service running"), "{said}");
    assert_sentence(&said);
}

#[test]
fn a_local_client_that_sends_half_a_request_does_not_hold_up_others() {
    let (_site, agent) = alone();
    let mut half = UnixStream::connect(agent.socket()).unwrap();
    half.write_all(b"GET /v1/sta").unwrap();
    assert_eq!(agent.get("/v1/status").status, 200);
    half.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(half.read(&mut [0]).unwrap_or(0), 0, "closed after its two seconds");
    let mut report = UnixStream::connect(agent.socket()).unwrap();
    report.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    report.write_all(b"POST /v1/report HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ncontent=").unwrap();
    let mut answer = String::new();
    report.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
