//! A standing as header fields.

use crate::content::{Rank, Standing, State};
use crate::http::{Head, decimal};

const STATE: &str = "P2P-State";
const SIZE: &str = "P2P-Size";
const AVAILABLE: &str = "P2P-Available";
const ACTIVE: &str = "P2P-Active";
const RANK: &str = "P2P-Rank";
const ATTEMPT: &str = "P2P-Attempt";

/// Adds the fields; the size only where it is known.
pub(super) fn write<const N: usize>(head: Head<N>, standing: &Standing) -> Head<N> {
    head.field(STATE, standing.state.as_str())
        .optional(SIZE, standing.size)
        .field(AVAILABLE, standing.available)
        .field(ACTIVE, standing.active)
        .field(RANK, standing.rank)
        .field(ATTEMPT, standing.attempt)
}

/// Reads the fields; `None` when one is missing, unreadable or contradicts another.
pub(super) fn read<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Option<Standing> {
    let small = |name| field(name).and_then(decimal).and_then(|number| u8::try_from(number).ok());
    let standing = Standing {
        state: field(STATE).and_then(State::parse)?,
        size: match field(SIZE) {
            None => None,
            Some(size) => Some(decimal(size)?),
        },
        available: field(AVAILABLE).and_then(decimal)?,
        active: small(ACTIVE)?,
        rank: field(RANK).and_then(Rank::parse)?,
        attempt: small(ATTEMPT)?,
    };
    standing.is_plausible().then_some(standing)
}
