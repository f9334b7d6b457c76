//! What both ends of one transfer have said so far, in fixed width (design, section 4). Every proof covers it together
//! with the role of the message that carries the proof: a proof can neither be replayed (nonces), nor relayed to a third
//! node (addresses), nor reflected (role), and nothing it covers can be changed in flight.
//!
//! | bytes | field | first said in |
//! |---|---|---|
//! | 1 | protocol version | |
//! | 1 | role | |
//! | 4, 4 | client address, server address | query |
//! | 16 | public id | query |
//! | 16 | client nonce | query |
//! | 36 | asker's standing | query |
//! | 16 | challenge | answer |
//! | 36 | answerer's standing | answer |
//! | 8 | offset, big endian | take |
//! | 1 | alternative: 1 = the client has other sources | take |
//! | 16 | server nonce | give |

use crate::content::{PublicId, Standing};
use crate::limits::PROTOCOL_VERSION;

/// Which of the four messages a proof is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The client's `HEAD`.
    Query = 1,
    /// The server's 200 to it.
    Answer = 2,
    /// The client's `GET` on the same connection.
    Take = 3,
    /// The server's 200 or 206 to that.
    Give = 4,
    /// The client's batched query, for one of its contents.
    Survey = 5,
    /// The server's answer to it.
    Tell = 6,
}

/// Everything the two ends have said. Fields that a message comes too early for count as zero, whatever they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Transcript {
    /// IPv4 address of the asking end, as both see it.
    pub client: [u8; 4],
    /// IPv4 address of the asked end, as both see it.
    pub server: [u8; 4],
    /// The content in question.
    pub id: PublicId,
    /// Chosen by the client for one query.
    pub client_nonce: [u8; 16],
    /// What the client said about itself.
    pub asker: Standing,
    /// Chosen by the server for one connection, used once.
    pub challenge: [u8; 16],
    /// What the server said about itself.
    pub answer: Standing,
    /// First byte that the client wants.
    pub offset: u64,
    /// Whether the client has other sources.
    pub alternative: bool,
    /// Chosen by the server for one transfer.
    pub server_nonce: [u8; 16],
}

impl Transcript {
    /// Hands version, role and every field to `sink`, 155 bytes in all.
    pub(crate) fn feed(&self, role: Role, sink: &mut impl FnMut(&[u8])) {
        let said = self.until(role);
        sink(&[PROTOCOL_VERSION, role as u8]);
        sink(&said.client);
        sink(&said.server);
        sink(said.id.as_bytes());
        sink(&said.client_nonce);
        said.asker.feed(sink);
        sink(&said.challenge);
        said.answer.feed(sink);
        sink(&said.offset.to_be_bytes());
        sink(&[u8::from(said.alternative)]);
        sink(&said.server_nonce);
    }

    fn until(&self, role: Role) -> Self {
        let mut said = *self;
        if role > Role::Give {
            let Self { client, server, id, client_nonce, answer, .. } = *self;
            let answer = if role == Role::Tell { answer } else { Standing::default() };
            return Self { client, server, id, client_nonce, answer, ..Self::default() };
        }
        if role < Role::Give {
            said.server_nonce = [0; 16];
        }
        if role < Role::Take {
            said.offset = 0;
            said.alternative = false;
        }
        if role < Role::Answer {
            said.challenge = [0; 16];
            said.answer = Standing::default();
        }
        said
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::content::{Rank, State};
    use crate::vectors;

    /// The transcript of the golden vectors.
    pub(crate) fn sample() -> Transcript {
        Transcript {
            client: [192, 168, 1, 10],
            server: [192, 168, 1, 20],
            id: PublicId(vectors::array("domain id")),
            client_nonce: [0x11; 16],
            asker: Standing {
                state: State::Wanting,
                size: None,
                available: 5,
                active: 3,
                rank: Rank([0xaa; 16]),
                attempt: 1,
            },
            challenge: [0x22; 16],
            answer: Standing {
                state: State::Complete,
                size: Some(500_000_000),
                available: 500_000_000,
                active: 20,
                rank: Rank([0xbb; 16]),
                attempt: 2,
            },
            offset: 1 << 33,
            alternative: true,
            server_nonce: [0x33; 16],
        }
    }

    pub(crate) const ROLES: [(Role, &str); 4] =
        [(Role::Query, "query"), (Role::Answer, "answer"), (Role::Take, "take"), (Role::Give, "give")];

    fn bytes(transcript: &Transcript, role: Role) -> Vec<u8> {
        let mut all = Vec::new();
        transcript.feed(role, &mut |part| all.extend_from_slice(part));
        all
    }

    #[test]
    fn the_bytes_under_every_proof_are_the_golden_ones() {
        for (role, name) in ROLES {
            assert_eq!(bytes(&sample(), role), vectors::bytes(&std::format!("{name} transcript")));
        }
    }

    #[test]
    fn a_message_covers_nothing_that_is_said_after_it() {
        let Transcript { client, server, id, client_nonce, asker, .. } = sample();
        let asked = Transcript { client, server, id, client_nonce, asker, ..Transcript::default() };
        assert_eq!(bytes(&sample(), Role::Query), bytes(&asked, Role::Query));
        assert_ne!(bytes(&sample(), Role::Answer), bytes(&asked, Role::Answer));
    }
}
