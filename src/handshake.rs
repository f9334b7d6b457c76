//! The mutual proof around one transfer, as two halves that never see a socket.
//!
//! ```text
//! client                                   server
//! Asker::query      -- HEAD: nonce, proof --->  Answerer::accept
//! Asker::handle_answer <-- 200: challenge, proof --  Answerer::answer
//! Asker::take       -- GET: offset, proof --->  Answerer::handle_take
//! Asker::handle_given <-- 206: nonce, proof ----  Answerer::give
//! ```
//!
//! Every proof covers the whole transcript so far, both addresses as each side sees them and the sender's role. A proof can
//! therefore not be replayed (challenge and nonces), relayed to a third node (addresses), reflected (role) or used for
//! another range (offset). A side that does not know the content cannot produce any of them.

use core::net::Ipv4Addr;

use crate::content::Standing;
use crate::exchange::{Answer, Given, PeerRequest};
use crate::keys::{ContentKeys, Role, Transcript};
use crate::record::{Opener, Sealer};

/// The other side did not prove that it knows the content; treat it as if it had not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotProven;

/// The client's half.
pub struct Asker {
    transcript: Transcript,
}

impl Asker {
    /// A query from `client` to `server` with a fresh `nonce`; `asker` is what the client tells about itself.
    pub fn new(keys: &ContentKeys, client: Ipv4Addr, server: Ipv4Addr, asker: Standing, nonce: [u8; 16]) -> Self {
        let transcript = Transcript {
            client: client.octets(),
            server: server.octets(),
            id: keys.id(),
            client_nonce: nonce,
            asker,
            ..Transcript::default()
        };
        Self { transcript }
    }

    /// The HEAD request.
    pub fn query(&self, keys: &ContentKeys) -> PeerRequest {
        let Transcript { id, client_nonce: nonce, asker, .. } = self.transcript;
        PeerRequest::Query { id, nonce, asker, proof: keys.proof(Role::Query, &self.transcript) }
    }

    /// What the server knows, if it proved that it knows the content.
    pub fn handle_answer(&mut self, keys: &ContentKeys, answer: &Answer) -> Result<Standing, NotProven> {
        let Answer::Known { standing, challenge, proof } = answer else { return Err(NotProven) };
        self.transcript.answer = *standing;
        self.transcript.challenge = *challenge;
        if keys.verify(Role::Answer, &self.transcript, proof) { Ok(*standing) } else { Err(NotProven) }
    }

    /// The GET request from byte `offset` on; `alternative` tells whether another source is within reach.
    pub fn take(&mut self, keys: &ContentKeys, offset: u64, alternative: bool) -> PeerRequest {
        self.transcript.offset = offset;
        self.transcript.alternative = alternative;
        let proof = keys.proof(Role::Take, &self.transcript);
        PeerRequest::Take { id: self.transcript.id, offset, alternative, proof }
    }

    /// The opener for the records that follow.
    pub fn handle_given(&mut self, keys: &ContentKeys, given: &Given) -> Result<Opener, NotProven> {
        let Given::Records { nonce, proof } = given else { return Err(NotProven) };
        self.transcript.server_nonce = *nonce;
        if !keys.verify(Role::Give, &self.transcript, proof) {
            return Err(NotProven);
        }
        Ok(Opener::new(&keys.transfer(&self.transcript)))
    }
}

/// The server's half, one for each query; a challenge serves one GET.
pub struct Answerer {
    transcript: Transcript,
}

impl Answerer {
    /// Accepts the query of a client that knows the content.
    pub fn accept(
        keys: &ContentKeys,
        client: Ipv4Addr,
        server: Ipv4Addr,
        request: &PeerRequest,
    ) -> Result<Self, NotProven> {
        let PeerRequest::Query { id, nonce, asker, proof } = request else { return Err(NotProven) };
        let transcript = Transcript {
            client: client.octets(),
            server: server.octets(),
            id: keys.id(),
            client_nonce: *nonce,
            asker: *asker,
            ..Transcript::default()
        };
        if *id == keys.id() && keys.verify(Role::Query, &transcript, proof) {
            Ok(Self { transcript })
        } else {
            Err(NotProven)
        }
    }

    /// The 200 with a fresh `challenge`.
    pub fn answer(&mut self, keys: &ContentKeys, standing: Standing, challenge: [u8; 16]) -> Answer {
        self.transcript.answer = standing;
        self.transcript.challenge = challenge;
        Answer::Known { standing, challenge, proof: keys.proof(Role::Answer, &self.transcript) }
    }

    /// Checks the GET that follows on the same connection. Takes `self`: a challenge is good for one GET, right or wrong.
    pub fn handle_take(mut self, keys: &ContentKeys, request: &PeerRequest) -> Result<Granted, NotProven> {
        let PeerRequest::Take { id, offset, alternative, proof } = request else { return Err(NotProven) };
        self.transcript.offset = *offset;
        self.transcript.alternative = *alternative;
        if *id == self.transcript.id && keys.verify(Role::Take, &self.transcript, proof) {
            Ok(Granted { transcript: self.transcript })
        } else {
            Err(NotProven)
        }
    }
}

/// A proven GET, not yet answered.
pub struct Granted {
    transcript: Transcript,
}

impl Granted {
    /// The head of the answer with a fresh `nonce`, and the sealer for the records behind it.
    pub fn give(mut self, keys: &ContentKeys, nonce: [u8; 16]) -> (Given, Sealer) {
        self.transcript.server_nonce = nonce;
        let given = Given::Records { nonce, proof: keys.proof(Role::Give, &self.transcript) };
        (given, Sealer::new(&keys.transfer(&self.transcript)))
    }
}
