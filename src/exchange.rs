//! What two peers say to each other over TCP (design, section 6), both ways: written by one end, read by the other.
//!
//! ```text
//! HEAD /p2p/1/{public id}   query: the asker's standing, a nonce, a proof
//!   200                     answer: the answerer's standing, a challenge, a proof
//! GET /p2p/1/{public id}    take, on the same connection: Range, a proof
//!   200 or 206              give: a nonce, a proof; records follow until the connection closes
//! 403 404 416 503           refused
//! ```

mod standing;

use core::fmt;
use core::net::Ipv4Addr;

use heapless::Vec;

use crate::content::{PublicId, Standing};
use crate::hex::{self, Hex};
use crate::http::{ContentRange, Head, HeadError, Range, Request, Response};
use crate::keys::Proof;
use crate::limits::{CONTENT_BYTES, PORT, PROTOCOL_VERSION, RETRY_AFTER};

const NONCE: &str = "P2P-Nonce";
const CHALLENGE: &str = "P2P-Challenge";
const PROOF: &str = "P2P-Proof";
const ALTERNATIVE: &str = "P2P-Alternative";

/// Why a message was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError {
    /// Another path, another version, or a query that does not show knowledge of anything.
    NotFound,
    /// A take without a proof.
    NoProof,
    /// A method other than HEAD and GET.
    Method,
    /// A range that no content has.
    Range,
    /// A field is missing or says nothing that could be.
    Malformed,
}

impl ExchangeError {
    /// The status to answer with.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::NoProof => 403,
            Self::Method => 405,
            Self::Range => 416,
            Self::Malformed => 400,
        }
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not a query for a content",
            Self::NoProof => "a take without a proof",
            Self::Method => "a method other than HEAD and GET",
            Self::Range => "a range that no content has",
            Self::Malformed => "a missing or impossible field",
        })
    }
}

impl core::error::Error for ExchangeError {}

/// What one peer asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// "What do you know about this content?"
    Query {
        /// The content.
        id: PublicId,
        /// The client's, fresh.
        nonce: [u8; 16],
        /// What the client says about itself.
        asker: Standing,
        /// For the query.
        proof: Proof,
    },
    /// "Give it to me from here on."
    Take {
        /// The content.
        id: PublicId,
        /// First byte wanted.
        offset: u64,
        /// Whether the client has other sources; who has none is admitted first.
        alternative: bool,
        /// For the take.
        proof: Proof,
    },
}

impl PeerRequest {
    /// The head that says so to the peer at `server`; nothing follows it.
    pub fn head<const N: usize>(&self, server: Ipv4Addr) -> Result<Vec<u8, N>, HeadError> {
        let start = |method, id: &PublicId| {
            let head = Head::request(method, format_args!("/p2p/{PROTOCOL_VERSION}/{id}"));
            head.field("Host", format_args!("{server}:{PORT}"))
        };
        match self {
            Self::Query { id, nonce, asker, proof } => {
                let head = start("HEAD", id).field(NONCE, Hex(nonce));
                standing::write(head, asker).field(PROOF, proof).finish()
            }
            Self::Take { id, offset, alternative, proof } => {
                let range = (*offset > 0).then_some(Range { first: *offset, last: None });
                let head = start("GET", id).optional("Range", range);
                head.optional(ALTERNATIVE, (!alternative).then_some("none")).field(PROOF, proof).finish()
            }
        }
    }

    /// Reads a request. Its body, if any, is not for us: whoever sends one is refused.
    pub fn parse(request: &Request<'_>) -> Result<Self, ExchangeError> {
        let id = content_in(request.target).ok_or(ExchangeError::NotFound)?;
        if request.content_length.is_some_and(|length| length > 0) {
            return Err(ExchangeError::Malformed);
        }
        let proof = request.header(PROOF).and_then(Proof::parse);
        match request.method {
            "HEAD" => Ok(Self::Query {
                id,
                proof: proof.ok_or(ExchangeError::NotFound)?,
                nonce: request.header(NONCE).and_then(hex::parse).ok_or(ExchangeError::Malformed)?,
                asker: standing::read(|name| request.header(name)).ok_or(ExchangeError::Malformed)?,
            }),
            "GET" => Ok(Self::Take {
                id,
                proof: proof.ok_or(ExchangeError::NoProof)?,
                offset: offset(request)?,
                alternative: match request.header(ALTERNATIVE) {
                    None => true,
                    Some("none") => false,
                    Some(_) => return Err(ExchangeError::Malformed),
                },
            }),
            _ => Err(ExchangeError::Method),
        }
    }
}

/// What is said to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The content is known.
    Known {
        /// What the server says about itself.
        standing: Standing,
        /// The server's, for one take on this connection.
        challenge: [u8; 16],
        /// For the answer.
        proof: Proof,
    },
    /// Nothing is known, or nothing is said; the status.
    Refused(u16),
}

impl Answer {
    /// The head that says so; nothing follows it.
    pub fn head<const N: usize>(&self) -> Result<Vec<u8, N>, HeadError> {
        match self {
            Self::Known { standing, challenge, proof } => standing::write(Head::response(200), standing)
                .field(CHALLENGE, Hex(challenge))
                .field(PROOF, proof)
                .finish(),
            Self::Refused(status) => refused(*status),
        }
    }

    /// Reads the response to a query.
    pub fn parse(response: &Response<'_>) -> Result<Self, ExchangeError> {
        match response.status {
            200 => Ok(Self::Known {
                standing: standing::read(|name| response.header(name)).ok_or(ExchangeError::Malformed)?,
                challenge: response.header(CHALLENGE).and_then(hex::parse).ok_or(ExchangeError::Malformed)?,
                proof: response.header(PROOF).and_then(Proof::parse).ok_or(ExchangeError::Malformed)?,
            }),
            status @ 400.. => Ok(Self::Refused(status)),
            _ => Err(ExchangeError::Malformed),
        }
    }
}

/// What is said to a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Records follow, until the connection closes.
    Records {
        /// The server's, for this transfer.
        nonce: [u8; 16],
        /// For the give.
        proof: Proof,
    },
    /// Nothing follows; the status.
    Refused(u16),
}

impl Given {
    /// The head that says so to a take from `offset`, of a content of `size` bytes where known.
    pub fn head<const N: usize>(&self, offset: u64, size: Option<u64>) -> Result<Vec<u8, N>, HeadError> {
        match self {
            Self::Records { nonce, proof } if offset == 0 => records(Head::response(200), nonce, proof).finish(),
            Self::Records { nonce, proof } => records(Head::response(206), nonce, proof)
                .optional("Content-Range", size.and_then(|size| ContentRange::rest(offset, size)))
                .finish(),
            Self::Refused(status) => refused(*status),
        }
    }

    /// Reads the response to a take. Where the records start is in the proof, not in the status.
    pub fn parse(response: &Response<'_>) -> Result<Self, ExchangeError> {
        match response.status {
            200 | 206 if response.chunked || response.content_length.is_some() => Err(ExchangeError::Malformed),
            200 | 206 => Ok(Self::Records {
                nonce: response.header(NONCE).and_then(hex::parse).ok_or(ExchangeError::Malformed)?,
                proof: response.header(PROOF).and_then(Proof::parse).ok_or(ExchangeError::Malformed)?,
            }),
            status @ 400.. => Ok(Self::Refused(status)),
            _ => Err(ExchangeError::Malformed),
        }
    }
}

fn records<const N: usize>(head: Head<N>, nonce: &[u8; 16], proof: &Proof) -> Head<N> {
    head.field(NONCE, Hex(nonce)).field(PROOF, proof).field("Connection", "close")
}

fn refused<const N: usize>(status: u16) -> Result<Vec<u8, N>, HeadError> {
    let wait = (status == 503).then_some(RETRY_AFTER.as_secs());
    Head::response(status).optional("Retry-After", wait).field("Content-Length", 0).finish()
}

fn content_in(target: &str) -> Option<PublicId> {
    let (version, id) = target.strip_prefix("/p2p/")?.split_once('/')?;
    let known = version.len() == 1 && version.parse() == Ok(PROTOCOL_VERSION);
    PublicId::parse(id).filter(|_| known)
}

fn offset(request: &Request<'_>) -> Result<u64, ExchangeError> {
    match request.range() {
        None => Ok(0),
        Some(Ok(Range { first, last: None })) if first <= CONTENT_BYTES => Ok(first),
        Some(_) => Err(ExchangeError::Range),
    }
}

#[cfg(test)]
mod tests;
