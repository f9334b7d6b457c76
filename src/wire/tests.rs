//! Datagrams both ways, and everything that is almost one.

use std::string::{String, ToString};

use proptest::prelude::*;

use super::*;
use crate::vectors;

pub(crate) const NODE: NodeId = NodeId([1, 2, 3, 4, 5, 6, 7, 8]);
pub(crate) const NONCE: [u8; 16] = [64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79];

fn sample_probe() -> Probe {
    let flags = Flags { wired: true, metered: false, starved: true };
    let origin = Timestamp::from_nanos(1_700_000_000_000_000_001);
    Probe { node: NODE, os: os_version("Linux 6.12.47"), nonce: NONCE, origin, interval_ms: 3_000, flags }
}

fn sample_reply() -> Reply {
    Reply {
        node: NodeId([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]),
        os: os_version("Buildroot 2026.02"),
        interval_ms: 60_000,
        flags: Flags { wired: false, metered: true, starved: false },
        echo: Echo::from(&sample_probe()),
        receive: Timestamp::from_nanos(1_700_000_000_000_300_000),
        transmit: Timestamp::from_nanos(-5),
        probe: Some([80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95]),
    }
}

fn encoded(datagram: &Datagram) -> [u8; DATAGRAM_BYTES] {
    let mut bytes = [0xff; DATAGRAM_BYTES];
    datagram.encode(&mut bytes);
    bytes
}

/// The bytes under `name` mean `datagram`, and the other way round.
pub(crate) fn assert_golden(name: &str, datagram: &Datagram) {
    let golden = vectors::array::<DATAGRAM_BYTES>(name);
    assert_eq!(encoded(datagram), golden, "{name}");
    assert_eq!(Datagram::decode(&golden).as_ref(), Ok(datagram), "{name}");
}

#[test]
fn probes_and_replies_are_the_golden_ones_both_ways() {
    assert_golden("probe", &Datagram::Probe(sample_probe()));
    assert_golden("reply", &Datagram::Reply(sample_reply()));
}

#[test]
fn the_largest_reply_fits() {
    let (os, late) = (os_version(&"x".repeat(40)), Timestamp::from_nanos(i64::MIN));
    let flags = Flags { wired: true, metered: true, starved: true };
    let echo = Echo { node: NODE, nonce: [0xff; 16], origin: late, os: os.clone() };
    let reply = Reply {
        node: NODE,
        os,
        interval_ms: u16::MAX,
        flags,
        echo,
        receive: late,
        transmit: late,
        probe: Some([0xff; 16]),
    };
    let datagram = Datagram::Reply(reply);
    assert_eq!(Datagram::decode(&encoded(&datagram)), Ok(datagram));
}

#[test]
fn another_length_version_or_kind_is_refused_by_name() {
    let good = encoded(&Datagram::Probe(sample_probe()));
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Datagram::decode(&bytes)
    };
    assert_eq!(Datagram::decode(&[]), Err(WireError::Length));
    assert_eq!(Datagram::decode(&good[..191]), Err(WireError::Length));
    assert_eq!(Datagram::decode(&[good.as_slice(), &[0]].concat()), Err(WireError::Length));
    assert_eq!(with(0, 2), Err(WireError::Version));
    assert_eq!(with(1, 0), Err(WireError::Kind));
    assert_eq!(with(1, 4), Err(WireError::Kind));
    assert_eq!(with(191, 1), Err(WireError::Trailing));
    assert_eq!(with(10, 33), Err(WireError::Body), "an OS version that is longer than it may be");
}

#[test]
fn zeros_are_nobodys_datagram() {
    assert_eq!(Datagram::decode(&[0; DATAGRAM_BYTES]), Err(WireError::Version));
}

#[test]
fn what_would_upset_a_terminal_neither_leaves_nor_comes_in() {
    assert_eq!(os_version("a\x1b[2J\nä€b"), "a?[2J???b");
    assert_eq!(os_version(&"é".repeat(99)).len(), OS_VERSION_BYTES);
    let mut bytes = encoded(&Datagram::Probe(sample_probe()));
    bytes[11] = 0x1b;
    assert_eq!(Datagram::decode(&bytes), Err(WireError::Body));
}

#[test]
fn flags_of_later_versions_are_ignored() {
    assert_eq!(Flags::from(0b1111_1001), Flags { wired: true, metered: false, starved: false });
}

#[test]
fn a_reason_for_every_refusal_has_its_own_word() {
    let all = [WireError::Length, WireError::Version, WireError::Kind, WireError::Body, WireError::Trailing];
    let words: std::collections::HashSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), all.len());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Datagram::decode(&bytes);
    }

    #[test]
    fn any_body_of_a_known_kind_that_is_read_is_written_to_the_same_meaning(
        kind in 1_u8..=3,
        body in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        let mut bytes = [0; DATAGRAM_BYTES];
        bytes[..2].copy_from_slice(&[1, kind]);
        bytes[2..2 + body.len()].copy_from_slice(&body);
        if let Ok(datagram) = Datagram::decode(&bytes) {
            prop_assert_eq!(Datagram::decode(&encoded(&datagram)), Ok(datagram));
        }
    }

    #[test]
    fn any_probe_and_its_reply_make_the_round_trip(
        os in "[ -~]{0,32}", node: [u8; 8], nonce: [u8; 16], times: [i64; 3], interval_ms: u16, bits in 0_u8..8, back: bool,
    ) {
        let [origin, receive, transmit] = times.map(Timestamp::from_nanos);
        let (node, os, flags) = (NodeId(node), os_version(&os), Flags::from(bits));
        let probe = Probe { node, os: os.clone(), nonce, origin, interval_ms, flags };
        let reply = Reply { node, os, interval_ms, flags, echo: Echo::from(&probe), receive, transmit, probe: back.then_some(probe.nonce) };
        for datagram in [Datagram::Probe(probe), Datagram::Reply(reply)] {
            prop_assert_eq!(Datagram::decode(&encoded(&datagram)), Ok(datagram));
        }
    }
}
