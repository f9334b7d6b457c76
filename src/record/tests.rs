//! Records both ways, and everything that is almost one.

use std::vec::Vec;

use md5::Digest;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::vectors;

fn keys() -> TransferKeys {
    let [aes @ .., _, _, _, _, _, _, _, _] = vectors::array::<24>("transfer keys");
    TransferKeys { aes, iv: vectors::bytes("transfer keys")[16..].try_into().unwrap() }
}

fn pair() -> (Sealer, Opener) {
    (Sealer::new(&keys()), Opener::new(&keys()))
}

fn plain(index: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at + index) % 251) as u8).collect()
}

#[test]
fn records_are_the_golden_ones_both_ways() {
    let (mut sealer, mut opener) = pair();
    for (index, (length, last)) in [(100, false), (0, false), (RECORD_BYTES, false), (1, true)].into_iter().enumerate()
    {
        let mut data = plain(index, length);
        let header = sealer.seal(&mut data, last).unwrap();
        let golden = vectors::bytes(&std::format!("record {index}"));
        assert_eq!(header, golden[..RECORD_HEADER]);
        if length == RECORD_BYTES {
            assert_eq!(Sha256::digest(&data).as_slice(), &golden[RECORD_HEADER..]);
        } else {
            assert_eq!(data, golden[RECORD_HEADER..]);
        }
        assert_eq!(opener.header(&header), Ok(Header { length, last }));
        assert_eq!(opener.open(&header, &mut data), Ok(last));
        assert_eq!(data, plain(index, length));
    }
}

#[test]
fn one_flipped_bit_anywhere_in_a_record_is_refused() {
    let mut data = plain(0, 50);
    let header = Sealer::new(&keys()).seal(&mut data, false).unwrap();
    let whole = [header.as_slice(), &data].concat();
    for bit in 0..whole.len() * 8 {
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let (header, data) = bent.split_at_mut(RECORD_HEADER);
        let (header, before) = (&header.to_vec().try_into().unwrap(), data.to_vec());
        assert!(Opener::new(&keys()).open(header, data).is_err(), "bit {bit}");
        assert_eq!(data, before, "bit {bit}: nothing is decrypted before it is verified");
    }
}

#[test]
fn after_a_wrong_tag_there_is_no_second_guess() {
    let (mut sealer, mut opener) = pair();
    let mut data = plain(0, 10);
    let header = sealer.seal(&mut data, true).unwrap();
    data[0] ^= 1;
    assert_eq!(opener.open(&header, &mut data), Err(RecordError::Tag));
    data[0] ^= 1;
    assert_eq!(opener.open(&header, &mut data), Err(RecordError::Over));
}

#[test]
fn a_record_left_out_repeated_or_swapped_is_out_of_order() {
    let (mut sealer, mut opener) = pair();
    let first = sealer.seal(&mut [], false).unwrap();
    let second = sealer.seal(&mut [], false).unwrap();
    assert_eq!(opener.header(&second), Err(RecordError::Order));
    assert_eq!(opener.open(&first, &mut []), Ok(false));
    assert_eq!(opener.open(&first, &mut []), Err(RecordError::Order));
    assert_eq!(opener.open(&second, &mut []), Ok(false));
}

#[test]
fn nothing_comes_after_the_last_record() {
    let (mut sealer, mut opener) = pair();
    let last = sealer.seal(&mut [], true).unwrap();
    assert_eq!(sealer.seal(&mut [], false), Err(RecordError::Over));
    assert_eq!(opener.open(&last, &mut []), Ok(true));
    assert_eq!(opener.open(&last, &mut []), Err(RecordError::Over));
}

#[test]
fn a_record_longer_than_a_record_is_neither_made_nor_read() {
    let (mut sealer, opener) = pair();
    let mut long = std::vec![0; RECORD_BYTES + 1];
    assert_eq!(sealer.seal(&mut long, false), Err(RecordError::Length));
    assert!(long.iter().all(|&byte| byte == 0), "what is refused is left as it was");
    let mut header = [0; RECORD_HEADER];
    header[4..8].copy_from_slice(&(RECORD_BYTES as u32 + 1).to_be_bytes());
    assert_eq!(opener.header(&header), Err(RecordError::Length));
}

#[test]
fn a_heartbeat_is_authenticated_like_data() {
    let (mut sealer, mut opener) = pair();
    let mut header = sealer.seal(&mut [], false).unwrap();
    header[4] |= 0x80;
    assert_eq!(opener.header(&header), Ok(Header { length: 0, last: true }));
    assert_eq!(opener.open(&header, &mut []), Err(RecordError::Tag));
}

#[test]
fn no_two_blocks_of_a_transfer_share_their_keystream() {
    let mut sealer = Sealer::new(&keys());
    let mut blocks = std::collections::HashSet::new();
    for _ in 0..3 {
        let mut data = std::vec![0; RECORD_BYTES];
        sealer.seal(&mut data, false).unwrap();
        assert!(data.chunks(16).all(|block| blocks.insert(block.to_vec())));
    }
}

#[test]
fn the_indices_end_before_they_repeat() {
    let mut sealer = Sealer::new(&keys());
    sealer.stream.next = Some(u32::MAX);
    assert!(sealer.seal(&mut [], false).is_ok());
    assert_eq!(sealer.seal(&mut [], false), Err(RecordError::Over));
}

proptest! {
    #[test]
    fn whatever_is_sealed_is_opened(lengths in prop::collection::vec(0..3_000_usize, 1..6)) {
        let (mut sealer, mut opener) = pair();
        for (index, &length) in lengths.iter().enumerate() {
            let mut data = plain(index, length);
            let last = index + 1 == lengths.len();
            let header = sealer.seal(&mut data, last).unwrap();
            prop_assert_eq!(opener.open(&header, &mut data), Ok(last));
            prop_assert_eq!(data, plain(index, length));
        }
    }

    #[test]
    fn any_header_and_data_are_refused(header: [u8; RECORD_HEADER], mut data in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut opener = Opener::new(&keys());
        if let Ok(said) = opener.header(&header) {
            prop_assert!(said.length <= RECORD_BYTES);
        }
        prop_assert!(opener.open(&header, &mut data).is_err());
    }

    #[test]
    fn a_good_header_for_other_data_is_refused(mut data in prop::collection::vec(any::<u8>(), 10)) {
        let header = Sealer::new(&keys()).seal(&mut plain(0, 10), false).unwrap();
        prop_assert_eq!(Opener::new(&keys()).open(&header, &mut data), Err(RecordError::Tag));
    }
}
