//! The record stream.
//!
//! - Any bytes are read as a stream of records: nothing opens, nothing panics, nothing longer than a record is asked for.
//! - A true stream opens to what was sealed; one that was changed in any bit, cut, reordered or repeated opens only up to the change, and
//!   a tag that was wrong once ends it for good.

use super::bytes::Bytes;
use p2p_agent::keys::TransferKeys;
use p2p_agent::limits::RECORD_BYTES;
use p2p_agent::record::{Opener, RECORD_HEADER, RecordError, Sealer};

/// Bytes as a stream (first byte even), or a stream made, changed and opened.
pub fn records(data: &[u8]) {
    let mut input = Bytes(data);
    match input.byte() & 1 {
        0 => arbitrary(input.0),
        _ => mutated(input),
    }
}

fn keys() -> TransferKeys {
    TransferKeys { aes: *b"yellow submarine", iv: *b"8 bytes." }
}

/// Opens a stream as a relay does: header, so many bytes, next. The plaintexts, and how it ended.
fn opened(stream: &[u8]) -> (Vec<Vec<u8>>, Option<RecordError>, bool) {
    let mut opener = Opener::new(&keys());
    let (mut records, mut rest, mut complete) = (Vec::new(), stream, false);
    while let Some((header, behind)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let said = match opener.header(header) {
            Ok(said) => said,
            Err(error) => return (records, Some(error), complete),
        };
        assert!(said.length <= RECORD_BYTES, "bounded before it is proven");
        let Some((data, behind)) = behind.split_at_checked(said.length) else { break };
        let mut data = data.to_vec();
        let before = data.clone();
        match opener.open(header, &mut data) {
            Ok(last) => {
                assert_eq!(last, said.last);
                complete = last;
                records.push(data);
            }
            Err(error) => {
                assert_eq!(data, before, "on an error the data is left as it came");
                assert_eq!(opener.open(header, &mut data), Err(RecordError::Over), "nobody gets a second guess");
                return (records, Some(error), complete);
            }
        }
        rest = behind;
    }
    (records, None, complete)
}

fn arbitrary(stream: &[u8]) {
    let (records, _, complete) = opened(stream);
    assert!(records.is_empty() && !complete, "a tag was guessed");
}

fn mutated(mut input: Bytes<'_>) {
    let mut sealer = Sealer::new(&keys());
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    let count = 1 + input.below(5);
    for number in 1..=count {
        let most = if input.flag() { RECORD_BYTES } else { 40 };
        let length = input.number(most as u64) as usize;
        let seed = input.byte();
        let text: Vec<u8> = (0..length).map(|at| (at as u8) ^ seed).collect();
        let mut data = text.clone();
        let header = sealer.seal(&mut data, number == count).expect("a record");
        plain.push(text);
        sealed.push([header.as_slice(), &data].concat());
    }
    assert_eq!(sealer.seal(&mut [], false), Err(RecordError::Over), "nothing follows the last record");
    let whole = sealed.concat();
    assert_eq!(opened(&whole), (plain.clone(), None, true));

    let stream = changed(&sealed, &mut input);
    // Only whole records in front of the first difference can open.
    let same = whole.iter().zip(&stream).take_while(|(a, b)| a == b).count();
    let mut end = 0;
    let intact = sealed.iter().take_while(|record| {
        end += record.len();
        end <= same
    });
    let intact = intact.count();
    let (records, error, complete) = opened(&stream);
    assert_eq!(records, plain[..intact]);
    assert_eq!(complete, intact == count);
    assert!(error.is_none() || !complete || stream.len() > whole.len());
}

/// The stream after some of what a path or a peer can do to it.
fn changed(sealed: &[Vec<u8>], input: &mut Bytes<'_>) -> Vec<u8> {
    let mut order: Vec<usize> = (0..sealed.len()).collect();
    let action = input.byte();
    match action % 4 {
        1 => order.swap(input.below(sealed.len()), input.below(sealed.len())),
        2 => order.insert(input.below(sealed.len() + 1), input.below(sealed.len())),
        3 => _ = order.remove(input.below(sealed.len())),
        _ => {}
    }
    let mut stream: Vec<u8> = order.into_iter().flat_map(|place| &sealed[place]).copied().collect();
    for _ in 0..action / 4 % 4 {
        // Headers are small and everything hangs on them: every other change is near the front.
        let span = if input.flag() { 2 * RECORD_HEADER } else { stream.len() }.min(stream.len());
        let at = usize::try_from(input.long() % (span.max(1) as u64)).unwrap_or(0);
        if let Some(byte) = stream.get_mut(at) {
            *byte ^= input.byte();
        }
    }
    if action / 16 % 4 == 1 {
        stream.truncate(usize::from(input.short()));
    }
    if action / 64 == 1 {
        stream.extend_from_slice(input.slice(RECORD_HEADER + 8));
    }
    stream
}
