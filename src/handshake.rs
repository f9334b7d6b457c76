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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{ContentMd5, State};
    use crate::keys::DomainKey;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const THIRD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
    const HOLDER: Standing = Standing {
        state: State::Complete,
        size: Some(1_000),
        available: 1_000,
        active: 3,
        rank: crate::content::Rank([0; 16]),
        attempt: 1,
    };

    fn keys(md5: u8) -> ContentKeys {
        ContentKeys::derive(&DomainKey::open(), &ContentMd5([md5; 16]))
    }

    fn asker() -> Asker {
        Asker::new(&keys(1), CLIENT, SERVER, Standing::default(), [5; 16])
    }

    /// Both halves up to the answer.
    fn acquainted() -> (Asker, Answerer) {
        let (keys, mut asker) = (keys(1), asker());
        let mut answerer = Answerer::accept(&keys, CLIENT, SERVER, &asker.query(&keys)).expect("a proven query");
        let answer = answerer.answer(&keys, HOLDER, [6; 16]);
        assert_eq!(asker.handle_answer(&keys, &answer), Ok(HOLDER));
        (asker, answerer)
    }

    #[test]
    fn who_knows_the_content_gets_it() {
        let (keys, (mut asker, answerer)) = (keys(1), acquainted());
        let granted =
            answerer.handle_take(&keys, &asker.take(&keys, 400, true)).map_err(|_| ()).expect("a proven take");
        let (given, mut sealer) = granted.give(&keys, [7; 16]);
        let mut opener = asker.handle_given(&keys, &given).map_err(|_| ()).expect("a proven give");
        let mut data = *b"plain";
        let header = sealer.seal(&mut data, true).expect("a record");
        assert_ne!(&data, b"plain");
        assert_eq!(opener.open(&header, &mut data), Ok(true));
        assert_eq!(&data, b"plain");
    }

    #[test]
    fn who_does_not_know_the_content_can_neither_ask_nor_answer() {
        let stranger = keys(2);
        let guessed = Asker::new(&stranger, CLIENT, SERVER, Standing::default(), [5; 16]).query(&stranger);
        let PeerRequest::Query { nonce, asker: standing, proof, .. } = guessed else { panic!() };
        // Even with the right id, which anybody can overhear.
        let forged = PeerRequest::Query { id: keys(1).id(), nonce, asker: standing, proof };
        assert!(Answerer::accept(&keys(1), CLIENT, SERVER, &forged).is_err());

        let keys = keys(1);
        let mut asker = asker();
        let mut answerer =
            Answerer::accept(&keys, CLIENT, SERVER, &asker.query(&keys)).map_err(|_| ()).expect("proven");
        let answer = answerer.answer(&stranger, HOLDER, [6; 16]);
        assert_eq!(asker.handle_answer(&keys, &answer), Err(NotProven));
    }

    #[test]
    fn a_query_sent_on_to_a_third_device_proves_nothing_there() {
        let keys = keys(1);
        let query = asker().query(&keys);
        assert!(Answerer::accept(&keys, CLIENT, THIRD, &query).is_err());
        assert!(Answerer::accept(&keys, THIRD, SERVER, &query).is_err());
        assert!(Answerer::accept(&keys, SERVER, CLIENT, &query).is_err());
    }

    #[test]
    fn an_answer_changed_in_flight_is_no_answer() {
        let keys = keys(1);
        let asker = asker();
        let mut answerer =
            Answerer::accept(&keys, CLIENT, SERVER, &asker.query(&keys)).map_err(|_| ()).expect("proven");
        let Answer::Known { standing, challenge, proof } = answerer.answer(&keys, HOLDER, [6; 16]) else { panic!() };
        for changed in [
            Standing { active: 0, ..standing },
            Standing { available: 999, ..standing },
            Standing { state: State::Fetching, ..standing },
        ] {
            let mut asker = self::asker();
            let answer = Answer::Known { standing: changed, challenge, proof };
            assert_eq!(asker.handle_answer(&keys, &answer), Err(NotProven));
        }
    }

    #[test]
    fn a_take_is_bound_to_its_challenge_its_range_and_its_connection() {
        let keys = keys(1);
        let (mut asker, answerer) = acquainted();
        let PeerRequest::Take { id, alternative, proof, .. } = asker.take(&keys, 400, true) else { panic!() };
        let other_range = PeerRequest::Take { id, offset: 401, alternative, proof };
        assert!(answerer.handle_take(&keys, &other_range).is_err());

        // The same take over another connection, whose challenge is another one.
        let mut answerer =
            Answerer::accept(&keys, CLIENT, SERVER, &self::asker().query(&keys)).map_err(|_| ()).expect("ok");
        let _ = answerer.answer(&keys, HOLDER, [66; 16]);
        let replayed = PeerRequest::Take { id, offset: 400, alternative, proof };
        assert!(answerer.handle_take(&keys, &replayed).is_err());
    }

    #[test]
    fn the_servers_own_proof_cannot_be_reflected() {
        let keys = keys(1);
        let (mut asker, answerer) = acquainted();
        let take = asker.take(&keys, 0, true);
        let PeerRequest::Take { proof, .. } = take else { panic!() };
        let _ = answerer;
        assert!(asker.handle_given(&keys, &Given::Records { nonce: [7; 16], proof }).is_err());
    }
}
