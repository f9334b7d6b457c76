//! What is known of the whole, and of bytes that were wrong.

use super::*;

#[test]
fn a_wrong_content_is_not_taken_again_from_where_it_came_nor_continued() {
    let mut want = want();
    let bad = says(2, State::Complete, 100, WORST);
    let prefix = says(3, State::Partial, 50, WORST);
    assert!(matches!(round(&mut want, START, &[bad]), Step::Follow { .. }));
    want.handle_progress(START, 100);
    want.handle_content_failed(START);
    want.handle_response_end(START);
    want.handle_request(START, 0, None);
    // Neither the blamed holder nor a prefix of the first attempt: a claim.
    assert_eq!(round(&mut want, START, &[bad, prefix]), Step::Query);
    want.handle_round(START, Round::default(), &[bad, prefix], HERE, &mut Random::from_seed([1; 16]));
    assert_eq!(want.poll(START, 3, START), Step::Fetch { reason: Reason::Md5Failed });
}

#[test]
fn who_says_another_size_than_the_client_is_no_source() {
    let mut want = Want::new(START, NodeId([1; 8]), keys(), 0, Some(100));
    let other = says(2, State::Complete, 99, WORST);
    let right = says(3, State::Complete, 100, WORST);
    assert_eq!(round(&mut want, START, &[other, right]), Step::Follow { peer: peer(3), alternative: false });
}

#[test]
fn a_size_that_only_a_peer_told_can_be_doubted() {
    let mut want = want();
    assert!(matches!(round(&mut want, START, &[says(2, State::Complete, 100, WORST)]), Step::Follow { .. }));
    want.handle_size_in_doubt();
    assert_eq!(want.size(), None);
    let mut certain = Want::new(START, NodeId([1; 8]), keys(), 0, Some(100));
    certain.handle_size_in_doubt();
    assert_eq!(certain.size(), Some(100));
}

#[test]
fn the_size_is_that_of_the_source_that_is_followed_and_nobody_elses() {
    let mut want = want();
    let mut liar = says(2, State::Wanting, 0, WORST);
    liar.standing.size = Some(1);
    assert_eq!(round(&mut want, START, &[liar]), Step::Query);
    assert_eq!(want.size(), None, "anybody may say anything");
    let sized = |last, size| {
        let mut source = says(last, State::Partial, 50, WORST);
        source.standing.size = size;
        source
    };
    let answers = [sized(3, Some(60))];
    want.handle_round(START, Round { asked: 1, silent: 0 }, &answers, HERE, &mut Random::from_seed([1; 16]));
    assert_eq!(want.size(), Some(60));
    // Of what it said nothing is left with the next one; nor is it told where the own bytes belie it.
    want.handle_moved(START, peer(4), Ok(sized(4, Some(20)).standing));
    assert_eq!(want.size(), Some(20));
    want.handle_progress(START, 30);
    assert_eq!(want.size(), None);
    for held in [None, Some(40)] {
        let said = want.standing(START, held, HERE);
        assert!(said.is_plausible() && said.size.is_none(), "nobody would listen to {said:?}");
    }
    want.handle_moved(START, peer(5), Ok(sized(5, None).standing));
    // Who came to the end of it knows it, for those who follow.
    want.handle_progress(START, 70);
    assert!(!want.has_all());
    want.handle_source_end(START, peer(5), SourceEnd::Finished);
    assert!(want.has_all() && want.size() == Some(70));
}

#[test]
fn bytes_that_were_wrong_are_known_until_the_client_has_others() {
    let mut want = want();
    assert!(matches!(round(&mut want, START, &[says(2, State::Complete, 100, WORST)]), Step::Follow { .. }));
    want.handle_progress(START, 90);
    assert!(!want.is_known_to_be_wrong(90));
    want.handle_content_failed(START);
    want.handle_response_end(START);
    assert_eq!(want.size(), None, "where it ended is as doubtful");
    assert!(want.is_known_to_be_wrong(90) && !want.is_known_to_be_wrong(0));
    want.handle_request(START, 90, None);
    assert!(want.is_known_to_be_wrong(90), "the client goes on with them");
    want.handle_growth(START, 10);
    assert!(!want.is_known_to_be_wrong(95), "its own download began anew");
}
