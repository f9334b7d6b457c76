//! With an agent, which says what a test wants said.

use super::*;

#[test]
fn what_peers_have_does_not_touch_the_internet() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), move |asked| {
        if asked.line.starts_with("POST") { advice("continue") } else { relay(asked, &content, SIZE) }
    });
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    assert_eq!(fetched.number("bytes_from_peers"), SIZE as u64);
    assert_eq!(origin.ranges(), []);
    let fetched = api.reports("fetched");
    assert_eq!((fetched.len(), fetched[0].number("internet"), fetched[0].number("offset")), (1, 0, SIZE as u64));
}

#[test]
fn a_cut_relay_is_asked_for_again_from_the_next_byte() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), move |asked| relay(asked, &content, 200_000));
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    let asked: Vec<_> = api.requests().iter().map(|asked| asked.first).collect();
    assert_eq!(asked, [None, Some(200_000), Some(400_000), Some(600_000), Some(800_000), Some(1_000_000)]);
}

#[test]
fn a_relay_of_unknown_length_ends_with_its_last_chunk() {
    let (device, origin) = site(None);
    let device = device.with_part(123_456);
    let content = origin.content().to_vec();
    let _api = LocalApi::start(&device.socket(), move |asked| relay_chunked(asked, &content));
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    assert_eq!(fetched.number("bytes_from_peers"), SIZE as u64 - 123_456);
}

#[test]
fn started_by_peers_and_finished_from_the_internet() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), move |asked| match asked.first {
        _ if asked.line.starts_with("POST") => advice("continue"),
        None => relay(asked, &content, 400_000),
        Some(_) => fetch("elected"),
    });
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    assert_eq!(fetched.number("bytes_from_peers"), 400_000);
    assert_eq!(fetched.number("bytes_from_internet"), SIZE as u64 - 400_000);
    assert!(fetched.out.contains("\"reason\":\"elected\""), "{fetched:?}");
    assert_eq!(origin.ranges(), [Some(400_000)]);
    assert_eq!(api.reports("fetching")[0].number("offset"), 400_000);
}

#[test]
fn started_from_the_internet_and_finished_by_peers_when_the_agent_says_follow() {
    let (device, origin) = site(Some(300_000));
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), move |asked| match asked.first {
        _ if asked.reports("fetching") && asked.number("offset") >= 100_000 => advice("follow"),
        _ if asked.line.starts_with("POST") => advice("continue"),
        None => fetch("elected"),
        Some(_) => relay(asked, &content, SIZE),
    });
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    let internet = fetched.number("bytes_from_internet");
    assert!((100_000..900_000).contains(&internet), "{internet}");
    assert_eq!(internet + fetched.number("bytes_from_peers"), SIZE as u64);
    assert_eq!(api.requests()[1].first, Some(usize::try_from(internet).unwrap()));
    let reported: u64 = api.asked().iter().map(|asked| asked.number("internet")).sum();
    assert_eq!(reported, internet, "the differences add up");
}

#[test]
fn reports_come_at_once_and_twice_a_second() {
    let (device, origin) = site(Some(500_000));
    let api = LocalApi::start(&device.socket(), |asked| {
        if asked.line.starts_with("POST") { advice("continue") } else { fetch("elected") }
    });
    device.fetch(&origin.url()).assert_done();
    let reports = api.reports("fetching");
    assert!((4..=7).contains(&reports.len()), "{} reports in 2.1 s", reports.len());
    assert_eq!((reports[0].number("offset"), reports[0].number("internet")), (0, 0));
    assert!(reports.iter().skip(2).all(|report| report.number("size") == SIZE as u64), "{reports:?}");
    assert_eq!(api.reports("fetched").len(), 1);
}

#[test]
fn a_busy_agent_is_asked_again_when_it_says() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let started = Instant::now();
    let api = LocalApi::start(&device.socket(), move |asked| {
        if started.elapsed() < Duration::from_millis(900) {
            text("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        } else {
            relay(asked, &content, SIZE)
        }
    });
    device.fetch(&origin.url()).assert_done();
    assert_eq!((api.requests().len(), origin.sent()), (2, 0));
}

#[test]
fn an_agent_that_is_out_of_its_mind_costs_nothing_but_the_question() {
    for nonsense in [
        "",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\n\r\nno length",
        "HTTP/1.1 500 Oh\r\n\r\n",
        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 416 No\r\nContent-Range: bytes */99\r\n\r\n",
    ] {
        let (device, origin) = site(None);
        let _api = LocalApi::start(&device.socket(), move |_| text(nonsense));
        device.fetch(&origin.url()).assert_done();
        device.assert_whole();
        assert_eq!(origin.sent(), SIZE as u64, "{nonsense:?}");
    }
}

#[test]
fn an_agent_that_falls_silent_in_the_middle_is_left() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), move |asked| {
        if asked.line.starts_with("POST") {
            return advice("continue");
        }
        let mut say = relay(asked, &content, 300_000);
        say.push(Say::Pause(Duration::from_secs(60)));
        say
    });
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert_eq!(origin.ranges(), [Some(300_000)]);
    assert_eq!(api.requests().len(), 1);
}

#[test]
fn relays_that_bring_nothing_end_in_the_internet_without_a_storm() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), move |asked| relay(asked, &content, 0));
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert!(api.requests().len() <= 4, "{} requests", api.requests().len());
}

/// An agent that always says `follow`, a moment after it said `fetch`, until it has been asked `asked` times; then it has the file.
fn says_fetch_and_follow(device: &Device, origin: &Origin, asked: usize) -> LocalApi {
    for bytes in [1_000, 1_000, 1_000, 1_000, 1_000, 70_000, 70_000, 70_000, 70_000] {
        origin.fail_once(Fault::StallAfter(bytes));
    }
    let (content, times) = (origin.content().to_vec(), AtomicUsize::new(0));
    LocalApi::start(&device.socket(), move |request| {
        if request.line.starts_with("POST") {
            // By then those bytes are there, and the file is not.
            let mut say = advice("follow");
            say.insert(0, Say::Pause(Duration::from_millis(100)));
            say
        } else if times.fetch_add(1, Relaxed) < asked {
            fetch("elected")
        } else {
            relay(request, &content, SIZE)
        }
    })
}

#[test]
fn an_agent_that_says_fetch_and_follow_in_turn_does_not_keep_the_file_from_coming() {
    let (device, origin) = site(Some(2_000_000));
    let api = says_fetch_and_follow(&device, &origin, usize::MAX);
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert_eq!(api.requests().len(), 10, "five that brought next to nothing and four that brought little are enough");
}

/// Where the uplink was down, all devices have tried in turn, and none has followed anybody yet.
#[test]
fn an_advice_to_follow_is_still_obeyed_when_the_uplink_is_back() {
    let (device, origin) = site(Some(2_000_000));
    let api = says_fetch_and_follow(&device, &origin, 7);
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert_eq!((api.requests().len(), origin.sent()), (8, 5 * 1_000 + 2 * 70_000));
}

#[test]
fn poison_from_peers_is_dropped_first_and_told_then() {
    let (device, origin) = site(None);
    let (part, poison) = (device.part(), bytes(2, SIZE));
    let told_too_early = Arc::new(AtomicBool::new(false));
    let api = LocalApi::start(&device.socket(), {
        let told_too_early = told_too_early.clone();
        move |asked| {
            let still_there = fs::metadata(&part).is_ok_and(|found| found.len() > 0);
            told_too_early.fetch_or(asked.reports("verify-failed") && still_there, Relaxed);
            if asked.line.starts_with("POST") { advice("continue") } else { relay(asked, &poison, SIZE) }
        }
    });
    device.fetch(&origin.url()).assert_done();
    device.assert_whole();
    assert!(!told_too_early.load(Relaxed));
    assert_eq!(origin.sent(), SIZE as u64, "the third attempt is from the internet alone");
    assert_eq!((api.requests().len(), api.reports("verify-failed").len()), (2, 2));
}

#[test]
fn an_uplink_that_is_down_leaves_the_peers() {
    let (device, origin) = site(None);
    let content = origin.content().to_vec();
    let api = LocalApi::start(&device.socket(), {
        let failed = AtomicBool::new(false);
        move |asked| {
            failed.fetch_or(asked.reports("gone-wrong"), Relaxed);
            match failed.load(Relaxed) {
                _ if asked.line.starts_with("POST") => advice("continue"),
                false => fetch("elected"),
                true => relay(asked, &content, SIZE),
            }
        }
    });
    origin.fail_always(Fault::Status(404));
    let fetched = device.fetch(&origin.url());
    fetched.assert_done();
    device.assert_whole();
    assert_eq!(fetched.number("bytes_from_peers"), SIZE as u64);
    assert_eq!(api.reports("gone-wrong").len(), 1);
}
