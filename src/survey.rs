//! Asking a peer about many contents at once: a sync of 30 files costs two packets there and two back, not thirty queries.
//!
//! ```text
//! POST /p2p/1/survey     nonce; then for each content: public id 16, proof 16
//!   200                  in the same order: standing 36, proof 16; 52 zeros where nothing is known or nothing was proven
//!   404                  nothing at all is told: as to a query
//! ```
//!
//! The answers only tell whom to ask first ([`crate::whereabouts`]): they carry no challenge, so no bytes can be taken on them. The proofs are those of
//! a query, over the same transcript, under roles of their own: both ends prove each content by itself, for these two addresses and this nonce, which
//! is remembered like that of a query.

use core::net::Ipv4Addr;

use heapless::Vec;

use crate::content::{PublicId, Standing};
use crate::exchange::ExchangeError;
use crate::hex::{self, Hex};
use crate::http::{Head, HeadError, Request, Response};
use crate::keys::{ContentKeys, Proof, Role, Transcript};
use crate::limits::{PORT, PROTOCOL_VERSION, SURVEY_IDS};

/// Bytes for each content that is asked about.
pub const ASKED_BYTES: usize = 32;
/// Bytes for each content in the answer.
pub const TOLD_BYTES: usize = 52;
/// The longest message, either way; a head is far below the rest.
pub const SURVEY_BYTES: usize = SURVEY_IDS * TOLD_BYTES + 256;

const NONCE: &str = "P2P-Nonce";

/// The contents that are asked about, each with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The client's, fresh.
    pub nonce: [u8; 16],
    /// In the order of the answers.
    pub asked: Vec<(PublicId, Proof), SURVEY_IDS>,
}

/// Who asks whom, with which nonce: what every proof of a survey covers besides the content.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The client's address, as both see it.
    pub client: Ipv4Addr,
    /// The server's.
    pub server: Ipv4Addr,
    /// The client's nonce.
    pub nonce: [u8; 16],
}

impl Frame {
    fn transcript(&self, keys: &ContentKeys, answer: Standing) -> Transcript {
        Transcript {
            client: self.client.octets(),
            server: self.server.octets(),
            id: keys.id(),
            client_nonce: self.nonce,
            answer,
            ..Transcript::default()
        }
    }

    /// A survey about the contents of `keys`; those beyond [`SURVEY_IDS`] are left out.
    pub fn ask<'a>(&self, keys: impl Iterator<Item = &'a ContentKeys>) -> Survey {
        let proof = |keys: &ContentKeys| keys.proof(Role::Survey, &self.transcript(keys, Standing::default()));
        Survey { nonce: self.nonce, asked: keys.take(SURVEY_IDS).map(|keys| (keys.id(), proof(keys))).collect() }
    }

    /// Whether the client knows this content.
    pub fn is_proven(&self, keys: &ContentKeys, proof: &Proof) -> bool {
        keys.verify(Role::Survey, &self.transcript(keys, Standing::default()), proof)
    }

    /// What the server says about it.
    pub fn tell(&self, keys: &ContentKeys, standing: Standing) -> [u8; TOLD_BYTES] {
        let mut told = [0; TOLD_BYTES];
        let (said, proof) = told.split_at_mut(TOLD_BYTES - 16);
        said.copy_from_slice(&standing.bytes());
        proof.copy_from_slice(&keys.proof(Role::Tell, &self.transcript(keys, standing)).0);
        told
    }

    /// What the server said, if it knows the content, too.
    pub fn read(&self, keys: &ContentKeys, told: &[u8]) -> Option<Standing> {
        let (said, proof) = told.split_first_chunk()?;
        let (standing, proof) = (Standing::read(said)?, Proof(proof.try_into().ok()?));
        keys.verify(Role::Tell, &self.transcript(keys, standing), &proof).then_some(standing)
    }
}

impl Survey {
    /// The whole request to the peer at `server`.
    pub fn message(&self, server: Ipv4Addr) -> Result<Vec<u8, SURVEY_BYTES>, HeadError> {
        let head = Head::request("POST", format_args!("/p2p/{PROTOCOL_VERSION}/survey"));
        let head = head.field("Host", format_args!("{server}:{PORT}")).field(NONCE, Hex(&self.nonce));
        let mut message = head.field("Content-Length", self.asked.len() * ASKED_BYTES).finish()?;
        for (id, proof) in &self.asked {
            for bytes in [id.as_bytes(), &proof.0] {
                message.extend_from_slice(bytes).map_err(|_| HeadError::Full)?;
            }
        }
        Ok(message)
    }

    /// Whether a request is a survey; its nonce, and the bytes that follow its head.
    pub fn is_asked(request: &Request<'_>) -> Option<Result<([u8; 16], usize), ExchangeError>> {
        let path = request.target.strip_prefix("/p2p/")?.strip_suffix("/survey")?;
        if path.len() != 1 || path.parse() != Ok(PROTOCOL_VERSION) {
            return None;
        }
        if request.method != "POST" {
            return Some(Err(ExchangeError::Method));
        }
        let length = request.content_length.and_then(|length| usize::try_from(length).ok());
        let length =
            length.filter(|length| *length > 0 && length % ASKED_BYTES == 0 && *length <= SURVEY_IDS * ASKED_BYTES);
        let nonce = request.header(NONCE).and_then(hex::parse);
        Some(nonce.zip(length).ok_or(ExchangeError::Malformed))
    }

    /// Reads what follows the head.
    pub fn parse(nonce: [u8; 16], body: &[u8]) -> Option<Self> {
        let mut asked = Vec::new();
        for item in body.chunks(ASKED_BYTES) {
            let (id, proof) = item.split_first_chunk()?;
            asked.push((PublicId(*id), Proof(proof.try_into().ok()?))).ok()?;
        }
        (!asked.is_empty()).then_some(Self { nonce, asked })
    }

    /// How many bytes follow the head of the answer; `None` when nothing is told.
    pub fn told_bytes(&self, response: &Response<'_>) -> Option<usize> {
        let length = self.asked.len() * TOLD_BYTES;
        (response.status == 200 && response.content_length == u64::try_from(length).ok()).then_some(length)
    }
}

/// The whole answer to a survey in which something is told.
pub fn answer(told: &[u8]) -> Result<Vec<u8, SURVEY_BYTES>, HeadError> {
    let mut message = Head::response(200).field("Content-Length", told.len()).finish()?;
    message.extend_from_slice(told).map_err(|_| HeadError::Full)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::tests::standings;
    use crate::content::{ContentMd5, State};
    use crate::http::{parse_request, parse_response};
    use crate::keys::DomainKey;
    use crate::keys::tests::sample_keys;
    use crate::transcript::tests::sample;
    use crate::vectors;
    use proptest::prelude::*;

    const FRAME: Frame =
        Frame { client: Ipv4Addr::new(192, 168, 1, 10), server: Ipv4Addr::new(192, 168, 1, 20), nonce: [0x11; 16] };

    fn keys(md5: u8) -> ContentKeys {
        ContentKeys::derive(&DomainKey::open(), &ContentMd5([md5; 16]))
    }

    #[test]
    fn what_is_asked_and_told_are_the_golden_bytes() {
        let asked = FRAME.ask([&sample_keys()].into_iter());
        let (id, proof) = asked.asked[0];
        assert_eq!([*id.as_bytes(), proof.0].concat(), vectors::bytes("survey asked"));
        assert_eq!(FRAME.tell(&sample_keys(), sample().answer)[..], vectors::bytes("survey told"));
        assert_eq!(FRAME.read(&sample_keys(), &vectors::bytes("survey told")), Some(sample().answer));
    }

    #[test]
    fn thirty_contents_are_asked_about_in_one_message_and_read_as_they_were_written() {
        let keys: std::vec::Vec<_> = (0..30).map(keys).collect();
        let survey = FRAME.ask(keys.iter());
        let message = survey.message(FRAME.server).expect("it fits");
        let request = parse_request(&message).expect("a head").expect("a whole one");
        let (nonce, length) = Survey::is_asked(&request).expect("a survey").expect("a good one");
        assert!(message.len() == request.head_bytes + length && message.len() < 1_400, "one packet");
        assert_eq!(Survey::parse(nonce, &message[request.head_bytes..]), Some(survey));
    }

    #[test]
    fn other_lengths_methods_and_paths_are_no_survey() {
        let message = FRAME.ask([&keys(1)].into_iter()).message(FRAME.server).expect("it fits");
        let head = std::string::String::from_utf8_lossy(&message[..message.len() - ASKED_BYTES]).into_owned();
        let asked = |from: &str, to: &str| {
            let changed = head.replace(from, to);
            Survey::is_asked(&parse_request(changed.as_bytes()).expect("a head").expect("whole")).map(|it| it.is_ok())
        };
        assert_eq!(asked("x", "y"), Some(true));
        for length in ["0", "31", "33", "1056", "18446744073709551615"] {
            assert_eq!(asked("Length: 32", &std::format!("Length: {length}")), Some(false), "{length}");
        }
        assert_eq!(asked("POST", "GET"), Some(false));
        assert_eq!(asked("Nonce: 11", "Nonce: 1"), Some(false));
        for path in ["/p2p/2/survey", "/p2p/1/surveys", "/p2p/+1/survey", "/p2p/survey"] {
            assert_eq!(asked("/p2p/1/survey", path), None, "{path}");
        }
    }

    #[test]
    fn a_proof_is_good_for_its_content_its_addresses_its_nonce_and_its_direction() {
        let (keys, other) = (keys(1), keys(2));
        let standing = Standing { state: State::Complete, size: Some(9), available: 9, ..Standing::default() };
        let (_, proof) = FRAME.ask([&keys].into_iter()).asked[0];
        let told = FRAME.tell(&keys, standing);
        assert!(FRAME.is_proven(&keys, &proof) && !FRAME.is_proven(&other, &proof));
        assert_eq!((FRAME.read(&keys, &told), FRAME.read(&other, &told)), (Some(standing), None));
        for frame in [
            Frame { client: FRAME.server, server: FRAME.client, ..FRAME },
            Frame { server: Ipv4Addr::new(192, 168, 1, 21), ..FRAME },
            Frame { nonce: [0x12; 16], ..FRAME },
        ] {
            assert!(!frame.is_proven(&keys, &proof) && frame.read(&keys, &told).is_none(), "{frame:?}");
        }
        // Neither end's proof serves as the other's, or as that of a query.
        let (_, reflected) = told.split_first_chunk::<36>().expect("longer");
        assert!(!FRAME.is_proven(&keys, &Proof(reflected.try_into().expect("16 bytes"))));
        let query = crate::handshake::Asker::new(&keys, FRAME.client, FRAME.server, Standing::default(), FRAME.nonce);
        let crate::exchange::PeerRequest::Query { proof, .. } = query.query(&keys) else { panic!() };
        assert!(!FRAME.is_proven(&keys, &proof));
        assert_eq!(FRAME.read(&keys, &[0; TOLD_BYTES]), None, "nothing is told");
    }

    proptest! {
        #[test]
        fn any_standing_is_told_and_any_change_to_it_is_refused(standing in standings(), at in 0..TOLD_BYTES, flip in 1_u8..) {
            let mut told = FRAME.tell(&keys(1), standing);
            let message = answer(&told).expect("it fits");
            let head = parse_response(&message).expect("a head").expect("whole");
            prop_assert_eq!(FRAME.ask([&keys(1)].into_iter()).told_bytes(&head), Some(TOLD_BYTES));
            prop_assert_eq!(FRAME.read(&keys(1), &told), Some(standing));
            told[at] ^= flip;
            prop_assert_eq!(FRAME.read(&keys(1), &told), None);
        }

        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..1_200)) {
            let whole = !body.is_empty() && body.len() % ASKED_BYTES == 0 && body.len() <= SURVEY_IDS * ASKED_BYTES;
            prop_assert_eq!(Survey::parse([1; 16], &body).is_some(), whole);
        }
    }
}
