//! What a local client asks for: read from the head of its request, or from the form of its report. No I/O, so that anything can be
//! tried on it.

use p2p_agent::content::ContentMd5;
use p2p_agent::http::{Range, RangeError, Request, decimal};
use p2p_agent::limits::{CONTENT_BYTES, SURVEY_IDS};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// The bytes of a content.
    Content(ContentRequest),
    /// A form follows, see [`report`].
    Report,
    /// A form follows, see [`wanted`].
    Wanted,
    /// Something to look at, as JSON or as text.
    Look(Look, bool),
}

/// Which content, and how.
#[derive(Clone, Copy, Debug)]
pub struct ContentRequest {
    /// Which content.
    pub md5: ContentMd5,
    /// First byte wanted.
    pub offset: u64,
    /// The request had a Range, so the answer is a 206.
    pub ranged: bool,
    /// Total size, where the client knows it.
    pub size: Option<u64>,
    /// The agent hashes; otherwise the client does.
    pub verify: bool,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// Everything in short.
    Status,
    /// Every peer.
    Peers,
    /// The own clock against theirs.
    Clock,
    /// What became of the contents of late.
    Recent,
    /// Counters for a collector.
    Metrics,
    /// One content.
    Explain(ContentMd5),
}

/// Why it is not to be had.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// No such resource.
    NoSuchPath,
    /// Not with this method; with which.
    Method(&'static str),
    /// Something in the request is wrong; the sentence says what.
    Bad(&'static str),
}

/// What the client's form says.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Which content.
    pub md5: ContentMd5,
    /// What has happened.
    pub event: Event,
    /// End of the client's `.part`.
    pub offset: u64,
    /// Bytes from the internet since the last report.
    pub internet: u64,
    /// Total size, where the client knows it.
    pub size: Option<u64>,
}

/// What has happened to a download from the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It goes on.
    Fetching,
    /// It is complete.
    Fetched,
    /// What came from peers was not the content.
    VerifyFailed,
    /// It was given up.
    GoneWrong,
}

/// Reads the head of a request.
pub fn read(head: &Request<'_>) -> Result<Asked, Fault> {
    let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
    let get = |asked| if head.method == "GET" { Ok(asked) } else { Err(Fault::Method("GET")) };
    let json = !head.header("Accept").is_some_and(|accept| accept.contains("text/plain"));
    let look = |look| get(Asked::Look(look, json));
    if let Some(name) = path.strip_prefix("/v1/content/") {
        return get(Asked::Content(content(head, md5(name)?, query)?));
    }
    if let Some(name) = path.strip_prefix("/v1/explain/") {
        return look(Look::Explain(md5(name)?));
    }
    match path {
        "/v1/report" if head.method == "POST" => Ok(Asked::Report),
        "/v1/wanted" if head.method == "POST" => Ok(Asked::Wanted),
        "/v1/report" | "/v1/wanted" => Err(Fault::Method("POST")),
        "/v1/status" => look(Look::Status),
        "/v1/peers" => look(Look::Peers),
        "/v1/clock" => look(Look::Clock),
        "/v1/recent" => look(Look::Recent),
        "/metrics" => look(Look::Metrics),
        _ => Err(Fault::NoSuchPath),
    }
}

fn md5(name: &str) -> Result<ContentMd5, Fault> {
    ContentMd5::parse(name).ok_or(Fault::Bad("A content is named by its MD5: 32 lower-case hexadecimal digits."))
}

fn content(head: &Request<'_>, md5: ContentMd5, query: &str) -> Result<ContentRequest, Fault> {
    let mut request = ContentRequest { md5, offset: 0, ranged: false, size: None, verify: true };
    for (name, value) in pairs(query) {
        match (name, value) {
            ("size", value) => {
                request.size = Some(bytes(value).ok_or(Fault::Bad("size takes the content's length in bytes."))?);
            }
            ("verify", "client") => request.verify = false,
            ("verify", "agent") => request.verify = true,
            ("verify", _) => return Err(Fault::Bad("verify takes agent or client.")),
            _ => return Err(Fault::Bad("The parameters of a content are size and verify.")),
        }
    }
    match head.range() {
        // RFC 9110 section 14.2: a range in another unit or of another form may be ignored.
        None | Some(Err(RangeError::Unit)) => {}
        Some(Ok(Range { first, last: None })) if first <= CONTENT_BYTES => {
            request.offset = first;
            request.ranged = true;
        }
        Some(_) => return Err(Fault::Bad("Only ranges of the form bytes=K- are served.")),
    }
    Ok(request)
}

/// Reads the body of a report.
pub fn report(text: &str) -> Option<Report> {
    let (mut md5, mut event) = (None, None);
    let (mut offset, mut internet, mut size) = (0, 0, None);
    for (name, value) in pairs(text.trim_end()) {
        match name {
            "content" => md5 = Some(ContentMd5::parse(value)?),
            "event" => {
                event = Some(match value {
                    "fetching" => Event::Fetching,
                    "fetched" => Event::Fetched,
                    "verify-failed" => Event::VerifyFailed,
                    "gone-wrong" => Event::GoneWrong,
                    _ => return None,
                });
            }
            "offset" => offset = bytes(value)?,
            "internet" => internet = bytes(value)?,
            "size" => size = Some(bytes(value)?),
            _ => return None,
        }
    }
    Some(Report { md5: md5?, event: event?, offset, internet, size })
}

/// Reads the body that names what will be wanted.
pub fn wanted(text: &str) -> Option<Vec<ContentMd5>> {
    let md5 = |(name, value)| if name == "content" { ContentMd5::parse(value) } else { None };
    let wanted: Vec<ContentMd5> = pairs(text.trim_end()).map(md5).collect::<Option<_>>()?;
    (1..=SURVEY_IDS).contains(&wanted.len()).then_some(wanted)
}

fn bytes(value: &str) -> Option<u64> {
    decimal(value).filter(|bytes| *bytes <= CONTENT_BYTES)
}

/// `name=value` pairs of a query or form. No value of ours needs percent-encoding.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_curl_sends_it() {
        let text = "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=10&internet=5&size=20";
        let report = report(text).expect("a report");
        assert!(report.event == Event::Fetching);
        assert_eq!((report.offset, report.internet, report.size), (10, 5, Some(20)));
    }

    #[test]
    fn one_to_thirty_two_contents_can_be_named_in_advance() {
        let one = "content=d41d8cd98f00b204e9800998ecf8427e";
        let many = |count| wanted(&vec![one; count].join("&")).map(|wanted| wanted.len());
        assert_eq!((many(1), many(SURVEY_IDS), many(SURVEY_IDS + 1)), (Some(1), Some(SURVEY_IDS), None));
        for text in ["", "content=d41d8", &format!("{one}&size=5"), &format!("{one}&content=")] {
            assert!(wanted(text).is_none(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_report() {
        for text in [
            "",
            "content=d41d8cd98f00b204e9800998ecf8427e",
            "event=fetching",
            "content=D41D8CD98F00B204E9800998ECF8427E&event=fetching",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=dancing",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=-1",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=+1",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&offset=99999999999999999999",
            "content=d41d8cd98f00b204e9800998ecf8427e&event=fetching&color=red",
        ] {
            assert!(report(text).is_none(), "{text}");
        }
    }
}
