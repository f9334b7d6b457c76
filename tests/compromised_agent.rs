//! An agent that is in the attacker's hands answers the sync client with whatever it likes. `p2p-fetch` ends with the right file or with
//! an error, in bounded memory and time, and never with a wrong file under the content's name.
#![cfg(feature = "fetch")]
#![allow(dead_code)]

mod support;

use std::os::unix::process::CommandExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use support::bytes;
use support::client::{Device, Fetched, Running};
use support::local_api::{Asked, LocalApi, Say, advice, fetch, relay, relay_chunked, text};
use support::origin::Origin;

const SIZE: usize = 300_000;
/// Heap and stacks of the program; what is streamed past it is far more.
const MEMORY_BYTES: u64 = 64 << 20;
/// No file of a run becomes larger: an endless body ends here instead of at the end of the disk.
const FILE_BYTES: u64 = 64 << 20;
/// Everything that an agent can make the client wait for, several times over.
const PATIENCE: Duration = Duration::from_secs(120);
/// Agents out of their minds, each with another script.
const CASES: usize = 96;
/// Of them at once.
const WORKERS: usize = 6;

/// One answer.
#[derive(Clone, Debug)]
enum Answer {
    /// The content from the asked byte on, cut after so many bytes.
    Right(usize),
    /// As it should be, with so many of the bytes turned.
    Poison(usize),
    /// Other bytes, as many as there should be and so many more or fewer.
    Other(isize),
    /// A head like this and then these bytes.
    Head { status: u16, length: Option<u64>, range: Option<(u64, u64, u64)>, chunked: bool, body: Vec<u8> },
    /// The same body again and again.
    Endless { chunked: bool, length: Option<u64>, body: Vec<u8> },
    /// Lines of a head, and no end of it.
    EndlessHead(Vec<u8>),
    /// Everything, and then trailer fields without an end.
    EndlessTrailer,
    /// Chunks whose sizes are these words.
    Chunks(Vec<String>),
    /// It sends the client away.
    Fetch,
    /// It has no time; said again and again it costs ten minutes, so not here.
    Busy,
    /// It follows, goes on, or says something else.
    Advice(String),
    /// Anything.
    Bytes(Vec<u8>),
}

fn answer() -> impl Strategy<Value = Answer> {
    let number = || prop_oneof![Just(0), Just(1), 0..2 * SIZE as u64, Just(1 << 44), Just(u64::MAX), any::<u64>()];
    let body = || prop::collection::vec(any::<u8>(), 0..3_000);
    let status = prop_oneof![Just(200), Just(206), Just(416), Just(404), Just(100), Just(302), 100..600u16];
    let word = prop_oneof![
        Just("0".to_owned()),
        Just("ffffffffffffffff".to_owned()),
        Just("10000000000000000".to_owned()),
        Just("-1".to_owned()),
        "[0-9a-f]{1,4}",
        "[0-9a-f]{1,2};[a-z=]{0,20}",
        "[ -~]{0,20}",
    ];
    prop_oneof![
        (0..SIZE).prop_map(Answer::Right),
        (1..50usize).prop_map(Answer::Poison),
        prop_oneof![Just(0), -1_000..1_000isize].prop_map(Answer::Other),
        (status, prop::option::of(number()), prop::option::of((number(), number(), number())), any::<bool>(), body())
            .prop_map(|(status, length, range, chunked, body)| Answer::Head { status, length, range, chunked, body }),
        (any::<bool>(), prop::option::of(number()), prop::collection::vec(any::<u8>(), 2_000..60_000))
            .prop_map(|(chunked, length, body)| Answer::Endless { chunked, length, body }),
        prop_oneof![Just(b"A: b\r\n".to_vec()), Just(b"a".to_vec()), body()].prop_map(Answer::EndlessHead),
        Just(Answer::EndlessTrailer),
        prop::collection::vec(word, 0..6).prop_map(Answer::Chunks),
        Just(Answer::Fetch),
        Just(Answer::Busy),
        prop_oneof![Just("follow".to_owned()), Just("continue".to_owned()), "[ -~]{0,30}"].prop_map(Answer::Advice),
        body().prop_map(Answer::Bytes),
    ]
}

fn say(answer: &Answer, asked: &Asked, content: &[u8]) -> Vec<Say> {
    let first = asked.first.unwrap_or(0).min(content.len());
    let chunked_field = "Transfer-Encoding: chunked\r\n";
    match answer {
        Answer::Right(bytes) => relay(&Asked { first: asked.first.map(|_| first), ..asked.clone() }, content, *bytes),
        Answer::Poison(turned) => {
            let mut poison = content.to_vec();
            (0..*turned).for_each(|number| poison[number * 7_919 % content.len()] ^= 1);
            relay(&Asked { first: asked.first.map(|_| first), ..asked.clone() }, &poison, poison.len())
        }
        Answer::Other(more) => {
            let other = support::bytes(9, content.len().saturating_add_signed(*more));
            let first = asked.first.map(|_| first.min(other.len()));
            relay(&Asked { first, ..asked.clone() }, &other, other.len())
        }
        Answer::Head { status, length, range, chunked, body } => {
            let mut head = format!("HTTP/1.1 {status} Word\r\n");
            length.iter().for_each(|length| head += &format!("Content-Length: {length}\r\n"));
            range.iter().for_each(|(a, b, c)| head += &format!("Content-Range: bytes {a}-{b}/{c}\r\n"));
            head += if *chunked { chunked_field } else { "" };
            vec![Say::Bytes([head.as_bytes(), b"\r\n", body].concat())]
        }
        Answer::Endless { chunked, length, body } => {
            let length = length.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
            let length = if *chunked { chunked_field.to_owned() } else { length };
            let body = if *chunked {
                [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
            } else {
                body.clone()
            };
            vec![
                Say::Bytes(format!("HTTP/1.1 200 OK\r\n{length}\r\n").into_bytes()),
                Say::Endless(body, Duration::ZERO),
            ]
        }
        Answer::EndlessHead(line) => {
            let line = if line.is_empty() { b" ".to_vec() } else { line.clone() };
            vec![Say::Bytes(b"HTTP/1.1 200 OK\r\n".to_vec()), Say::Endless(line, Duration::ZERO)]
        }
        Answer::EndlessTrailer => {
            let mut said = relay_chunked(&Asked { first: asked.first.map(|_| first), ..asked.clone() }, content);
            // Without the empty line at its end.
            if let Some(Say::Bytes(bytes)) = said.last_mut() {
                bytes.truncate(bytes.len() - 2);
            }
            said.push(Say::Endless(b"Field: value\r\n".to_vec(), Duration::ZERO));
            said
        }
        Answer::Chunks(words) => {
            let chunks: String = words.iter().map(|word| format!("{word}\r\nabcdefgh\r\n")).collect();
            text(&format!("HTTP/1.1 200 OK\r\n{chunked_field}\r\n{chunks}"))
        }
        Answer::Fetch => fetch("elected"),
        Answer::Busy => text("HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"),
        Answer::Advice(word) => advice(word),
        Answer::Bytes(bytes) => vec![Say::Bytes(bytes.clone())],
    }
}

/// Runs the client against this agent, within its bounds; how it ended, and after how long.
fn run(device: &Device, origin: &Origin, script: &dyn std::fmt::Debug) -> (Fetched, Duration) {
    let mut command = device.command(&origin.url());
    // SAFETY: between fork and exec only two system calls are made.
    unsafe {
        command.pre_exec(|| {
            setrlimit(Resource::RLIMIT_DATA, MEMORY_BYTES, MEMORY_BYTES)?;
            setrlimit(Resource::RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES)?;
            // SIGXFSZ would end the program before it can say what is wrong; so does a full disk not.
            nix::libc::signal(nix::libc::SIGXFSZ, nix::libc::SIG_IGN);
            Ok(())
        });
    }
    let started = Instant::now();
    let mut running = Running(command.spawn().unwrap());
    while running.0.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < PATIENCE, "it does not end: {script:?}");
        thread::sleep(Duration::from_millis(10));
    }
    let mut said = [Vec::new(), Vec::new()];
    use std::io::Read as _;
    running.0.stdout.take().unwrap().read_to_end(&mut said[0]).unwrap();
    running.0.stderr.take().unwrap().read_to_end(&mut said[1]).unwrap();
    let [stdout, stderr] = said;
    let status = running.0.wait().unwrap();
    (Fetched::from(std::process::Output { status, stdout, stderr }), started.elapsed())
}

#[test]
fn whatever_a_compromised_agent_says_the_file_is_right_or_there_is_an_error_and_no_file() {
    let content = bytes(1, SIZE);
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(answer(), 1..6);
    let scripts: Vec<_> = (0..CASES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let (next, right) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(script) = scripts.get(next.fetch_add(1, Ordering::SeqCst)) {
            let device = Device::new(&content);
            let origin = Origin::start(content.clone(), None);
            let turn = AtomicUsize::new(0);
            let _api = LocalApi::start(&device.socket(), {
                let (script, content) = (script.clone(), content.clone());
                move |asked| {
                    let turn = turn.fetch_add(1, Ordering::SeqCst);
                    let answer = &script[turn % script.len()];
                    let tired = matches!(answer, Answer::Busy) && turn > 20;
                    say(if tired { &Answer::Fetch } else { answer }, asked, &content)
                }
            });
            let (fetched, took) = run(&device, &origin, script);
            match fetched.code {
                Some(0) => {
                    device.assert_whole();
                    right.fetch_add(1, Ordering::SeqCst);
                }
                // Killed by nobody, and in words.
                Some(_) => assert!(!fetched.err.contains("panicked"), "{fetched:?}"),
                None => panic!("it was killed: {fetched:?} by {script:?}"),
            }
            if fetched.code != Some(0) {
                device.assert_nothing();
                println!(
                    "{:?} after {took:?}: {}",
                    fetched.code,
                    fetched.err.trim().chars().take(200).collect::<String>()
                );
            }
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|_| _ = scope.spawn(work)));
    let right = right.into_inner();
    println!("{right} of {CASES} ended with the right file");
    // The origin is there all the time. What is left are bodies without an end that fill the disk.
    assert!(right >= CASES * 3 / 4, "{right} of {CASES}");
}

#[test]
fn an_agent_that_dribbles_is_left_like_one_that_is_silent() {
    let content = bytes(1, SIZE);
    let dribble = |head: &'static str, byte: &'static [u8]| {
        let device = Device::new(&content);
        let origin = Origin::start(content.clone(), None);
        let _api = LocalApi::start(&device.socket(), move |asked| {
            if asked.line.starts_with("POST") {
                return advice("continue");
            }
            vec![Say::Bytes(head.as_bytes().to_vec()), Say::Endless(byte.to_vec(), Duration::from_millis(100))]
        });
        let (fetched, took) = run(&device, &origin, &"");
        fetched.assert_done();
        device.assert_whole();
        println!("{took:?}");
    };
    thread::scope(|scope| {
        for (head, byte) in [
            ("HTTP/1.1 200 OK\r\nA: ", &b"a"[..]),
            ("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", b"a"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
        ] {
            scope.spawn(move || dribble(head, byte));
        }
    });
}

#[test]
fn relays_that_bring_a_few_bytes_each_do_not_keep_the_client_from_the_internet() {
    let content = bytes(1, SIZE);
    let device = Device::new(&content);
    let origin = Origin::start(content.clone(), None);
    let api = LocalApi::start(&device.socket(), move |asked| match asked.line.starts_with("POST") {
        true => advice("continue"),
        false => relay(asked, &content, 10),
    });
    let (fetched, _) = run(&device, &origin, &"");
    fetched.assert_done();
    device.assert_whole();
    assert!(api.requests().len() <= 5, "{} requests", api.requests().len());
    assert!(origin.sent() >= SIZE as u64 - 50);
}

#[test]
fn a_size_that_cannot_be_is_the_agents_fault_and_not_that_of_the_disk() {
    let content = bytes(1, SIZE);
    for size in [1u64 << 44, 1 << 60, u64::MAX] {
        let device = Device::new(&content);
        let origin = Origin::start(content.clone(), None);
        let _api = LocalApi::start(&device.socket(), move |_| {
            text(&format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\nabc"))
        });
        let (fetched, _) = run(&device, &origin, &"");
        fetched.assert_done();
        device.assert_whole();
    }
}
