//! The command line.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value};
use lexopt::{Parser, ValueExt};
use p2p_agent::content::ContentMd5;
use p2p_agent::hex;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, parse_pem};

use crate::failure::{Failure, Kind};
use crate::limits::{JOBS, KEEP_PARTS_DAYS, RETRIES, SHUFFLED};

/// What the command line asks for.
pub enum Command {
    /// Fetch.
    Run(Options),
    /// Print this and be done.
    Say(String),
}

/// How to fetch, and what.
pub struct Options {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The content directory.
    pub content: PathBuf,
    /// Whom HTTPS trusts.
    pub roots: RootCerts,
    /// Files at once.
    pub jobs: usize,
    /// Rounds without a byte before giving up.
    pub retries: u32,
    /// Age up to which foreign `.part` files are kept.
    pub keep_parts: Duration,
    /// No progress, no summary.
    pub quiet: bool,
    /// The summary as JSON.
    pub json: bool,
    /// The files, at least one.
    pub wanted: Vec<Wanted>,
}

/// One file.
pub struct Wanted {
    /// Its MD5, which is its name.
    pub md5: ContentMd5,
    /// Where the internet has it.
    pub url: String,
    /// Checked as well, where given.
    pub sha256: Option<[u8; 32]>,
    /// Its size, where known beforehand.
    pub size: Option<u64>,
}

const HELP: &str = "\
Gets a file from the other devices of this site, and from the internet what they do not have.

Usage: p2p-fetch [OPTIONS] MD5 URL
       p2p-fetch [OPTIONS] --list FILE

The file is written to DIR/MD5.part, resumed from there if it is interrupted, and renamed to DIR/MD5 only when its MD5
is right. A file that is already there is not fetched again.

Example: fetch a video; the agent (p2p-agent run) of this device finds out who has it
  p2p-fetch 9e107d9d372bb6826bd81d3542a419d6 https://cdn.example.com/spring.mp4

What to get:
  MD5 URL               32 hex digits, and an https:// or http:// address
      --sha256 HEX      check the SHA-256 too, of what is fetched
      --size BYTES      its size, if you know it: lack of room is noticed at once
      --list FILE       several files: lines of `MD5 URL [SHA256]`; # begins a comment; - is stdin. Neighbours in
                        the list change places, so that the devices of a site fetch different files

Where to:
      --content DIR     content directory, the same that the agent reads (default: /var/lib/p2p/content)
      --keep-parts-days N   remove other .part files that are older than this (default: 30)

How:
      --socket PATH     the agent's socket (default: /run/p2p-agent/agent.sock); without an agent it
                        downloads from the internet
      --ca FILE         trust the certificates in FILE (PEM) instead of the well-known authorities
      --jobs N          with --list: files at once, 1 to 4 (default: 4)
      --retries N       rounds without a single byte before giving up (default: 4)

What to say:
  -q, --quiet           only errors
      --json            the summary as one JSON object per file
  -h, --help            this text
  -V, --version         the version

Exit status: 0 done, 64 wrong usage, 65 the content at URL does not match MD5, 69 not reachable, 73 cannot create
(no room, no permission), 74 disk error, 75 another p2p-fetch is working on it. Start it again after 69, 73, 74 and 75:
it continues where it stopped.
";

/// Reads the command line, with the program's name in front.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    read(arguments).map_err(|sentence| Failure::new(Kind::Usage, format!("{sentence} (p2p-fetch --help tells more)")))
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_iter(arguments);
    let (mut list, mut free) = (None, Vec::new());
    let (mut sha256, mut size) = (None, None);
    let mut options = Options {
        socket: PathBuf::from("/run/p2p-agent/agent.sock"),
        content: PathBuf::from("/var/lib/p2p/content"),
        roots: RootCerts::WebPki,
        jobs: JOBS,
        retries: RETRIES,
        keep_parts: Duration::from_secs(KEEP_PARTS_DAYS * 86_400),
        quiet: false,
        json: false,
        wanted: Vec::new(),
    };
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Say(HELP.into())),
            Short('V') | Long("version") => {
                return Ok(Command::Say(concat!("p2p-fetch ", env!("CARGO_PKG_VERSION"), "\n").into()));
            }
            Short('q') | Long("quiet") => options.quiet = true,
            Long("json") => options.json = true,
            Long("socket") => options.socket = parser.value().map_err(wrong)?.into(),
            Long("content") => options.content = parser.value().map_err(wrong)?.into(),
            Long("list") => list = Some(PathBuf::from(parser.value().map_err(wrong)?)),
            Long("ca") => options.roots = read_roots(&PathBuf::from(parser.value().map_err(wrong)?))?,
            Long("sha256") => sha256 = Some(read_sha256(&text(&mut parser)?)?),
            Long("size") => size = Some(number(&mut parser, "--size")?).filter(|size| *size > 0),
            Long("retries") => options.retries = number(&mut parser, "--retries")?,
            Long("keep-parts-days") => {
                let days: u64 = number(&mut parser, "--keep-parts-days")?;
                options.keep_parts = Duration::from_secs(days.saturating_mul(86_400));
            }
            Long("jobs") => {
                options.jobs = number(&mut parser, "--jobs")?;
                if !(1..=JOBS).contains(&options.jobs) {
                    return Err(format!("--jobs must be 1 to {JOBS}: the agent serves no more at once"));
                }
            }
            Value(value) if free.len() < 2 => free.push(value.string().map_err(wrong)?),
            other => return Err(wrong(other.unexpected())),
        }
    }
    options.wanted = match (list, free.as_slice()) {
        (None, [md5, url]) => vec![Wanted { sha256, size, ..wanted(md5, url)? }],
        (Some(path), []) if sha256.is_none() && size.is_none() => read_list(&path)?,
        (Some(_), _) => {
            return Err("with --list the files and their SHA-256 stand in FILE, not on the command line".to_owned());
        }
        (None, _) => return Err("MD5 and URL are needed, or --list FILE".to_owned()),
    };
    Ok(Command::Run(options))
}

fn wanted(md5: &str, url: &str) -> Result<Wanted, String> {
    let md5 = hex::parse_any_case(md5.as_bytes())
        .map(ContentMd5)
        .ok_or_else(|| format!("{md5:?} is not an MD5; expected 32 hexadecimal digits"))?;
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err(format!("{url:?} is neither an https:// nor an http:// address"));
    }
    if !url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty())) {
        return Err(format!("{url:?} names no host, or has a character that no address has"));
    }
    Ok(Wanted { md5, url: url.to_owned(), sha256: None, size: None })
}

fn read_list(path: &Path) -> Result<Vec<Wanted>, String> {
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let text = text.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let mut places = HashMap::new();
    let mut list: Vec<Wanted> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().take_while(|field| !field.starts_with('#')).collect();
        let at = |mistake: String| format!("{}, line {}: {mistake}", path.display(), index + 1);
        let entry = match fields.as_slice() {
            [] => continue,
            [md5, url] => wanted(md5, url).map_err(at)?,
            [md5, url, sha256] => {
                Wanted { sha256: Some(read_sha256(sha256).map_err(at)?), ..wanted(md5, url).map_err(at)? }
            }
            _ => return Err(at("`MD5 URL [SHA256]` was expected".to_owned())),
        };
        // Another line of the same file can only add a check to the first.
        let place = *places.entry(entry.md5).or_insert(list.len());
        match list.get_mut(place) {
            None => list.push(entry),
            Some(first) if entry.sha256.is_none() || first.sha256 == entry.sha256 => {}
            Some(first) if first.sha256.is_none() => first.sha256 = entry.sha256,
            Some(_) => return Err(at(format!("{} has another SHA-256 in an earlier line", entry.md5))),
        }
    }
    // Every device shuffles what stands near each other, so that those of one site fetch different files and give them to each other.
    // A whole list in any order would put all of it on the uplink at once, and the last parts would come late.
    let order = RandomState::new();
    for near in list.chunks_mut(SHUFFLED) {
        near.sort_by_cached_key(|wanted: &Wanted| order.hash_one(wanted.md5.as_bytes()));
    }
    if list.is_empty() {
        return Err(format!("{} names no file", path.display()));
    }
    Ok(list)
}

fn read_roots(path: &Path) -> Result<RootCerts, String> {
    let pem = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(format!("there is no certificate in {}", path.display()));
    }
    Ok(RootCerts::from(certificates))
}

fn read_sha256(text: &str) -> Result<[u8; 32], String> {
    hex::parse_any_case(text.as_bytes())
        .ok_or_else(|| format!("{text:?} is not a SHA-256; expected 64 hexadecimal digits"))
}

fn text(parser: &mut Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(wrong)
}

fn number<T: std::str::FromStr>(parser: &mut Parser, option: &str) -> Result<T, String> {
    let text = text(parser)?;
    text.parse().map_err(|_| format!("{option} takes a whole number, not {text:?}"))
}

fn wrong(error: lexopt::Error) -> String {
    error.to_string()
}
