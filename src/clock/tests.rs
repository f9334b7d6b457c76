use super::*;
use proptest::prelude::*;

const MS: i64 = 1_000_000;

fn exchange(t1: i64, t2: i64, t3: i64, elapsed_ms: u64) -> Exchange {
    Exchange {
        origin: Timestamp::from_nanos(t1),
        receive: Timestamp::from_nanos(t2),
        transmit: Timestamp::from_nanos(t3),
        destination: Timestamp::from_nanos(t1.saturating_add(elapsed_ms as i64 * MS)),
        elapsed: Duration::from_millis(elapsed_ms),
    }
}

fn sample(offset_ms: i64, delay_ms: u64, at_s: u64) -> Sample {
    let at = Instant::ZERO + Duration::from_secs(at_s);
    Sample { offset_ns: offset_ms * MS, delay: Duration::from_millis(delay_ms), at }
}

fn estimates(offsets_ms: &[i64]) -> impl Iterator<Item = Estimate> {
    let estimate =
        |&ms: &i64| Estimate { offset_ns: ms * MS, delay: Duration::from_millis(1), error: Duration::from_millis(1) };
    offsets_ms.iter().map(estimate)
}

#[test]
fn offset_and_delay_follow_rfc_5905() {
    // The peer is 500 ms ahead; 4 ms there, 2 ms of processing, 6 ms back: an asymmetry of 1 ms is inside the error.
    let got = exchange(1_000 * MS, 1_504 * MS, 1_506 * MS, 12).sample(Instant::ZERO).unwrap();
    assert_eq!((got.offset_ns, got.delay), (499 * MS, Duration::from_millis(10)));
    assert!(got.error_at(Instant::ZERO) >= Duration::from_millis(5));
}

#[test]
fn a_step_of_the_own_clock_during_the_exchange_does_no_harm() {
    let mut stepped = exchange(1_000 * MS, 1_005 * MS, 1_005 * MS, 10);
    for destination in [-7, 3_600_000 * MS, i64::MIN, i64::MAX] {
        stepped.destination = Timestamp::from_nanos(destination);
        assert_eq!(stepped.sample(Instant::ZERO).unwrap().offset_ns, 0);
    }
}

#[test]
fn the_kernels_earlier_stamp_is_preferred() {
    let mut read_late = exchange(1_000 * MS, 1_001 * MS, 1_001 * MS, 400);
    read_late.destination = Timestamp::from_nanos(1_002 * MS);
    assert_eq!(read_late.sample(Instant::ZERO).unwrap().offset_ns, 0);
}

#[test]
fn a_peer_that_spent_more_time_than_passed_gives_no_sample() {
    assert_eq!(exchange(0, 0, 20 * MS, 10).sample(Instant::ZERO), None);
    assert_eq!(exchange(0, 20 * MS, 0, 10).sample(Instant::ZERO), None);
}

#[test]
fn clocks_at_both_ends_of_time_saturate() {
    assert_eq!(exchange(i64::MIN, i64::MAX, i64::MAX, 1).sample(Instant::ZERO).unwrap().offset_ns, i64::MAX);
    assert_eq!(exchange(i64::MAX, i64::MIN, i64::MIN, 1).sample(Instant::ZERO).unwrap().offset_ns, i64::MIN);
    let before_1970 = exchange(-5_000 * MS, 0, 0, 0).sample(Instant::ZERO).unwrap();
    assert_eq!(before_1970.offset_ns, 5_000 * MS);
}

#[test]
fn of_the_last_eight_samples_the_one_with_least_delay_counts() {
    let mut filter = ClockFilter::new();
    filter.handle_sample(sample(10, 1, 0));
    for at in 1..=7 {
        filter.handle_sample(sample(14, 20, at));
    }
    let now = Instant::ZERO + Duration::from_secs(7);
    assert_eq!(filter.estimate(now).unwrap().offset_ns, 10 * MS);
    filter.handle_sample(sample(14, 20, 8));
    assert_eq!(filter.estimate(now).unwrap().offset_ns, 14 * MS, "the ninth sample pushes the first out");
}

#[test]
fn an_old_sample_grows_less_certain() {
    let mut filter = ClockFilter::new();
    filter.handle_sample(sample(0, 2, 0));
    let error = |s| filter.estimate(Instant::ZERO + Duration::from_secs(s)).unwrap().error;
    assert_eq!(error(1_000) - error(0), Duration::from_millis(15));
}

#[test]
fn a_peer_that_steps_its_clock_is_believed_at_once() {
    let mut filter = ClockFilter::new();
    filter.handle_sample(sample(-9_000_000, 1, 0));
    filter.handle_sample(sample(3, 30, 3));
    assert_eq!(filter.estimate(Instant::ZERO).unwrap().offset_ns, 3 * MS);
}

#[test]
fn three_agreeing_peers_tell_the_time_and_two_do_not() {
    let three = ClockReport::combine(estimates(&[250, 252, 251]));
    assert_eq!((three.peers_compared, three.offset_ns, three.off), (3, Some(251 * MS), true));
    assert!(three.error_ns >= MS as u64);
    assert_eq!(ClockReport::combine(estimates(&[250, 252])).offset_ns, None);
    assert_eq!(ClockReport::combine(estimates(&[])), ClockReport::default());
}

#[test]
fn a_minority_of_liars_moves_nothing() {
    let report = ClockReport::combine(estimates(&[1, 2, 3, 4, 90_000, 90_000, -1_000_000]));
    assert_eq!((report.peers_compared, report.peers_agreeing), (7, 4));
    assert!(report.offset_ns.unwrap().abs() <= 4 * MS && !report.off);
}

#[test]
fn two_equal_parties_decide_nothing() {
    assert_eq!(ClockReport::combine(estimates(&[0, 0, 0, 5_000, 5_000, 5_000])).offset_ns, None);
}

#[test]
fn an_imprecise_peer_is_not_compared() {
    let vague = Estimate { offset_ns: 0, delay: Duration::from_secs(1), error: Duration::from_millis(500) };
    assert_eq!(ClockReport::combine([vague; 5].into_iter()).peers_compared, 0);
}

#[test]
fn a_step_is_noticed_and_a_slew_is_not() {
    let mut watch = StepWatch::new();
    let at = |s| Instant::ZERO + Duration::from_secs(s);
    assert!(!watch.observe(at(1), Timestamp::from_nanos(5_000 * MS)));
    assert!(!watch.observe(at(4), Timestamp::from_nanos(8_001 * MS)));
    assert!(watch.observe(at(5), Timestamp::from_nanos(-1)));
    assert!(watch.observe(at(5), Timestamp::from_nanos(i64::MAX)));
    assert!(watch.observe(Instant::FAR, Timestamp::from_nanos(i64::MIN)));
}

proptest! {
    #[test]
    fn no_timestamps_panic(t: [i64; 4], elapsed: u64, now: [u64; 2]) {
        let [origin, receive, transmit, destination] = t.map(Timestamp::from_nanos);
        let elapsed = Duration::from_micros(elapsed);
        let now = now.map(Instant::from_micros);
        let mut filter = ClockFilter::new();
        for (now, elapsed) in [(now[0], elapsed), (now[1], Duration::MAX)] {
            let exchange = Exchange { origin, receive, transmit, destination, elapsed };
            if let Some(sample) = exchange.sample(now) {
                filter.handle_sample(sample);
            }
            ClockReport::combine(filter.estimate(now).into_iter());
        }
    }

    #[test]
    fn the_true_offset_is_always_inside_the_error(there in 0u64..200_000, back in 0u64..200_000, busy in 0u64..200_000, ahead in -1_000_000_000_000i64..1_000_000_000_000) {
        let t2 = ahead + there as i64 * 1_000;
        let t3 = t2 + busy as i64 * 1_000;
        let elapsed = Duration::from_micros(there + busy + back);
        let exchange = Exchange { origin: Timestamp::from_nanos(0), receive: Timestamp::from_nanos(t2), transmit: Timestamp::from_nanos(t3), destination: Timestamp::from_nanos(elapsed.as_nanos() as i64), elapsed };
        let sample = exchange.sample(Instant::ZERO).unwrap();
        prop_assert!(sample.offset_ns.abs_diff(ahead) <= nanos(sample.error_at(Instant::ZERO)));
    }
}
