//! Whom to ask: a few of whom a source is likely, some by chance, or everybody.

use core::net::Ipv4Addr;

use super::{Answered, Phase, Reason, Want};
use crate::limits::{AWAITED, FEW, FEW_IN_A_ROW};
use crate::time::Instant;

/// Whom a round asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of whom a source is likely.
    Few,
    /// Some by chance: there are sources, and room is looked for.
    Wide,
    /// Everybody: whether to claim is decided only so.
    All,
}

/// How widely was asked since the request, and what that showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Whom the round that is under way asks.
    pub scope: Scope,
    /// More than one device has the content or wants it, as far as was last asked widely.
    pub elsewhere: bool,
    /// Rounds that may ask a few before one has to ask everybody.
    few_left: u8,
    /// Only a part was asked where there had been sources, and there was none.
    must_ask_all: bool,
    asked_all: bool,
}

impl Search {
    pub const fn new() -> Self {
        Self { scope: Scope::All, elsewhere: true, few_left: FEW_IN_A_ROW, must_ask_all: false, asked_all: false }
    }

    /// The client asks anew.
    pub fn restart(&mut self) {
        *self = Self { scope: self.scope, must_ask_all: self.must_ask_all, ..Self::new() };
    }

    /// A round begins.
    fn handle_asked(&mut self, scope: Scope) {
        self.scope = scope;
        self.asked_all |= scope == Scope::All;
        self.must_ask_all &= scope != Scope::All;
        self.few_left = if scope == Scope::Few { self.few_left.saturating_sub(1) } else { FEW_IN_A_ROW };
    }

    /// Whether more than one device answered: they have the content, look for a source, or have just found one, and with them a
    /// chain forms.
    pub fn handle_company(&mut self, company: bool) {
        self.elsewhere = company || self.scope == Scope::Few && self.elsewhere;
    }

    /// What those who were asked say decides nothing.
    pub fn handle_undecided(&mut self) {
        (self.few_left, self.must_ask_all) = (0, true);
    }
}

impl Want {
    /// Whether a round may begin with a few: those find a source, or confirm somebody to wait for. Whether to claim is decided only by asking
    /// everybody, and so does whoever looks round while bytes flow: that is rare.
    pub fn may_ask_few(&self) -> bool {
        self.phase == Phase::Asked && self.search.few_left > 0
    }

    /// Those whom this device waits for: they are asked again with the few.
    pub fn awaited(&self, now: Instant, is_there: impl Fn(Ipv4Addr) -> bool) -> heapless::Vec<Ipv4Addr, FEW> {
        if !(self.may_ask_few() && self.search.asked_all) {
            return heapless::Vec::new();
        }
        let awaited: heapless::Vec<_, AWAITED> =
            self.rivals.first(now, |peer| is_there(peer) && !self.avoided.is_distrusted(now, peer));
        awaited.into_iter().collect()
    }

    /// Whether a source is to be hoped for there: nobody to leave alone for now.
    pub fn may_be_asked_first(&self, now: Instant, peer: Ipv4Addr) -> bool {
        !self.avoided.contains(now, peer)
    }

    /// Whom the next round asks where there are few, or none, of whom a source is likely.
    pub fn scope(&self, any_likely: bool) -> Scope {
        let queues = self.trouble == Some(Reason::AllBusy) && self.phase == Phase::Asked;
        match any_likely && self.may_ask_few() {
            true => Scope::Few,
            false if queues && !self.search.must_ask_all => Scope::Wide,
            false => Scope::All,
        }
    }

    /// A round begins.
    pub fn handle_asked(&mut self, scope: Scope) {
        self.search.handle_asked(scope);
    }

    /// Whether this answer alone lets the round end soon. Who fetches wants to hear from everybody.
    pub fn is_enough(&self, now: Instant, answered: &Answered) -> bool {
        !self.is_fetching() && self.is_source(answered) && !self.avoided.contains(now, answered.peer)
    }

    /// Whether to ask this peer at all: not who just fell silent, whose answer would only be waited for, or who altered what it sent.
    pub fn is_worth_asking(&self, now: Instant, peer: Ipv4Addr) -> bool {
        !self.avoided.is_distrusted(now, peer)
    }

    /// Whether this peer has bytes that the client lacks.
    pub(super) fn is_source(&self, answered: &Answered) -> bool {
        answered.is_source(self.bytes.offset, self.bytes.attempt)
    }
}
