//! The origin: HTTPS (or HTTP) with Range, redirects and time limits, in a thread that hands the bytes over.
//!
//! The thread owns the connection and nothing else. Whoever wants no more of it drops the receiver: the next chunk is
//! refused and the connection closed.

use std::io::Read;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use p2p_agent::http::ContentRange;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};

use crate::limits::{CHUNK_BYTES, CONNECT_TIMEOUT, READ_TIMEOUT, RESPONSE_TIMEOUT, RETRY_AFTER_MAX};

/// The client for all origins.
#[derive(Clone)]
pub struct Internet {
    client: ureq::Agent,
}

/// What a download thread tells.
pub enum Event {
    /// The bytes from `start` on are coming.
    Head {
        /// Offset of the first one: the one asked for, or 0 when the origin does not do ranges.
        start: u64,
        /// Size of the whole content, when the origin tells.
        size: Option<u64>,
    },
    /// Bytes as they came.
    Bytes(Vec<u8>),
    /// No more bytes come.
    End(End),
    /// Not from the download: the agent wants it stopped.
    Follow,
}

/// How a download ended.
pub enum End {
    /// With its last byte, as far as the origin says.
    Clean,
    /// There is nothing from the offset on: the content ends there.
    Short,
    /// Broken on the way; worth another try, after the given time if the origin named one.
    Cut {
        /// For a person.
        why: String,
        /// Retry-After.
        retry_after: Option<Duration>,
    },
    /// The origin answered the Range with something else; worth another try without one.
    BadRange,
    /// Refused for good.
    Refused {
        /// For a person.
        why: String,
    },
}

impl Internet {
    /// A client with our time limits. The proxy variables of the environment are obeyed.
    pub fn new(roots: RootCerts) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("p2p-fetch/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .max_idle_connections(0)
            .build();
        Self { client: config.into() }
    }

    /// Downloads from byte `offset` on; every event carries `generation`. With `ranges` off it starts at 0.
    pub fn start(
        &self,
        url: &str,
        offset: u64,
        ranges: bool,
        generation: u32,
        to: SyncSender<(u32, Event)>,
    ) -> std::io::Result<()> {
        let (client, url) = (self.client.clone(), url.to_owned());
        let download = move || {
            let end =
                download(&client, &url, if ranges { offset } else { 0 }, &|event| to.send((generation, event)).is_ok());
            if let Some(end) = end {
                let _ = to.send((generation, Event::End(end)));
            }
        };
        std::thread::Builder::new().name("internet".into()).spawn(download).map(drop)
    }
}

/// `None`: nobody listens any more.
fn download(client: &ureq::Agent, url: &str, offset: u64, tell: &dyn Fn(Event) -> bool) -> Option<End> {
    let mut request = client.get(url);
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let mut response = match request.call() {
        Ok(response) => response,
        Err(error) => return Some(failed(&error)),
    };
    let (start, size, expected) = match read_head(&response, offset) {
        Ok(head) => head,
        Err(end) => return Some(end),
    };
    if !tell(Event::Head { start, size }) {
        return None;
    }
    let mut reader = response.body_mut().as_reader();
    let mut received: u64 = 0;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        match reader.read(&mut chunk) {
            Ok(0) if expected.is_some_and(|expected| received < expected) => return Some(cut("it ended too early")),
            Ok(0) => return Some(End::Clean),
            Ok(read) => {
                chunk.truncate(read);
                received = received.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                if !tell(Event::Bytes(chunk)) {
                    return None;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Some(cut(error)),
        }
    }
}

type Head = (u64, Option<u64>, Option<u64>);

fn read_head<B>(response: &Response<B>, offset: u64) -> Result<Head, End> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let length: Option<u64> = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let range = text(header::CONTENT_RANGE).and_then(ContentRange::parse);
    match response.status() {
        StatusCode::OK => Ok((0, length, length)),
        StatusCode::PARTIAL_CONTENT => match range {
            Some(ContentRange::Part { first, size, .. }) if first == offset => Ok((offset, size, length)),
            _ => Err(End::BadRange),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => match range {
            // Less than what is there, says a status line: let it show the whole.
            Some(ContentRange::Unsatisfied { size }) if size == offset => Err(End::Short),
            _ => Err(End::BadRange),
        },
        status if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) => {
            let seconds = text(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
            let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            Err(End::Cut { why: format!("the origin answered with status {}", status.as_u16()), retry_after })
        }
        status => Err(End::Refused { why: format!("the origin answered with status {}", status.as_u16()) }),
    }
}

fn failed(error: &ureq::Error) -> End {
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TooManyRedirects => End::Refused { why: error.to_string() },
        error => cut(error),
    }
}

fn cut(why: impl ToString) -> End {
    End::Cut { why: why.to_string(), retry_after: None }
}
