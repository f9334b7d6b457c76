//! Who should use the uplink for one content: an order that every node of the site computes alike.
//!
//! Best first: not starved, may fetch at all, furthest ahead (in steps of 1 MiB), wired, on a fast link, idle, and at last a hash of
//! content and node, so that different contents get different fetchers.

use crate::content::Rank;
use crate::limits::FAST_LINK;

/// What a node is judged by; [`Rank`] is its big-endian form, so that comparing bytes compares ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// The device's timers are late: it is too busy to lead.
    pub starved: bool,
    /// The device may use its uplink: it is not metered, not told never to fetch, and has not just lost a lease.
    pub may_fetch: bool,
    /// Bytes of the content that it has.
    pub offset: u64,
    /// Its link to the site is a wire.
    pub wired: bool,
    /// [`speed`] of that link.
    pub speed: u8,
    /// Contents it fetches already.
    pub fetching: u8,
    /// HMAC over content and node.
    pub tie_break: [u8; 8],
}

impl Standpoint {
    /// The comparable form; larger is better.
    pub fn rank(&self) -> Rank {
        let mut out = [0; 16];
        let steps = u32::try_from(self.offset / STEP_BYTES).unwrap_or(u32::MAX).to_be_bytes();
        let head = [u8::from(!self.starved), u8::from(self.may_fetch)];
        let tail = [u8::from(self.wired) << 7 | self.speed, u8::MAX - self.fetching];
        for (to, from) in out.iter_mut().zip(head.into_iter().chain(steps).chain(tail).chain(self.tie_break)) {
            *to = from;
        }
        Rank(out)
    }
}

/// The class of a link of so many bytes per second; unknown is 0. Beyond [`FAST_LINK`] all are alike: faster than most uplinks.
pub fn speed(bytes_per_second: u64) -> u8 {
    let known = if bytes_per_second == 0 { FAST_LINK } else { bytes_per_second.min(FAST_LINK) };
    known.ilog2() as u8
}

/// Whole steps of the content that the node of this rank has.
pub fn steps(rank: Rank) -> u32 {
    let Rank([_, _, a, b, c, d, ..]) = rank;
    u32::from_be_bytes([a, b, c, d])
}

/// Class and speed of the link of the node of this rank.
fn link(rank: Rank) -> u8 {
    let Rank([_, _, _, _, _, _, link, ..]) = rank;
    link
}

/// Whether the node of `rank` has a better link than that of `other` and could use it for the site.
pub fn relieves(rank: Rank, other: Rank) -> bool {
    let Rank([rested, may_fetch, ..]) = rank;
    rested == 1 && may_fetch == 1 && link(rank) > link(other)
}

/// Less than this ahead decides nothing.
pub const STEP_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Standpoint = Standpoint {
        starved: false,
        may_fetch: true,
        offset: 0,
        wired: true,
        speed: 23,
        fetching: 0,
        tie_break: [9; 8],
    };

    #[test]
    fn the_order_is_starved_metered_offset_wire_load_hash() {
        let better_to_worse = [
            Standpoint { offset: 5 << 20, wired: false, ..PLAIN },
            Standpoint { offset: 4 << 20, ..PLAIN },
            PLAIN,
            Standpoint { tie_break: [8; 8], ..PLAIN },
            Standpoint { fetching: 1, ..PLAIN },
            Standpoint { speed: 20, ..PLAIN },
            Standpoint { wired: false, ..PLAIN },
            Standpoint { may_fetch: false, offset: 9 << 20, ..PLAIN },
            Standpoint { starved: true, offset: 9 << 20, ..PLAIN },
        ];
        assert!(better_to_worse.is_sorted_by(|a, b| a.rank() > b.rank()));
    }

    #[test]
    fn a_slow_link_is_told_from_a_fast_one_and_an_unknown_one_is_not() {
        assert!(speed(1_250_000) < speed(12_500_000));
        assert_eq!([speed(0), speed(125_000_000)], [speed(12_500_000); 2]);
        let station = Standpoint { wired: false, ..PLAIN }.rank();
        assert!(relieves(PLAIN.rank(), station) && !relieves(station, PLAIN.rank()));
        assert!(!relieves(Standpoint { may_fetch: false, ..PLAIN }.rank(), station), "a wire that may not fetch");
        assert!(!relieves(Standpoint { starved: true, ..PLAIN }.rank(), station));
    }

    #[test]
    fn less_than_a_mebibyte_ahead_decides_nothing() {
        assert_eq!(Standpoint { offset: 700_000, ..PLAIN }.rank(), PLAIN.rank());
        assert!(Standpoint { offset: STEP_BYTES, ..PLAIN }.rank() > PLAIN.rank());
    }
}
