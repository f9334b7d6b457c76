//! How far the own wall clock is from the peers' (behaviours 43 and 44): offset and delay of one exchange, a filter per peer, and
//! the comparison with all of them.
//!
//! RFC 5905 section 8, with T1 origin, T2 receive, T3 transmit, T4 destination:
//!
//! ```text
//! theta (offset) = 1/2 * [(T2-T1) + (T3-T4)]
//! delta (delay)  = (T4-T1) - (T3-T2)
//! ```
//!
//! The true offset lies within theta ± delta/2, whatever the two directions took. Section 10, the clock filter: of the last eight samples
//! the one with the least delay counts, its error growing by PHI = 15 ppm while it ages. Three departures, for players without a
//! battery-backed clock: T4-T1 is taken from the monotonic clock, so that a step of the own clock in between does no harm; all
//! samples are dropped when the own clock steps; and a sample that contradicts the earlier ones means that the peer's clock stepped.
//!
//! Nothing here is trusted further than a restart of the NTP client goes: peers are not authenticated by these datagrams.

use heapless::{Deque, Vec};

use crate::limits;
use crate::time::{Duration, Instant, Timestamp};

/// What this node knows about its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClockReport {
    /// Nodes with an error bound small enough to compare with.
    pub peers_compared: usize,
    /// Nodes of those that agree with each other.
    pub peers_agreeing: usize,
    /// What must be added to the own clock to get the peers' time; `None` without enough agreeing peers.
    pub offset_ns: Option<i64>,
    /// The clocks of all agreeing peers lie within `offset_ns` ± this.
    pub error_ns: u64,
    /// The own clock is wrong enough to act on.
    pub off: bool,
}

impl ClockReport {
    /// The median of the estimates that are small in error and agree with each other.
    ///
    /// Two medians: the first, of all that are precise enough, finds the majority; who lies further from it than the agreement
    /// and its own error is left out, and the second, of the rest, is the answer, if they are enough and more than half.
    pub fn combine(estimates: impl Iterator<Item = Estimate>) -> Self {
        let precise = estimates.filter(|estimate| estimate.error <= limits::CLOCK_ERROR_MAX);
        let mut compared: Vec<Estimate, { limits::PEERS }> = Vec::new();
        for estimate in precise {
            if compared.push(estimate).is_err() {
                break;
            }
        }
        let peers_compared = compared.len();
        let Some(first) = median(&mut compared) else { return Self::default() };
        compared.retain(|estimate| {
            estimate.offset_ns.abs_diff(first) <= nanos(limits::CLOCK_AGREEMENT.saturating_add(estimate.error))
        });
        let peers_agreeing = compared.len();
        let enough = peers_agreeing >= limits::CLOCK_PEERS && peers_agreeing * 2 > peers_compared;
        let Some(offset_ns) = median(&mut compared).filter(|_| enough) else {
            return Self { peers_compared, peers_agreeing, ..Self::default() };
        };
        let reach = |estimate: &Estimate| estimate.offset_ns.abs_diff(offset_ns).saturating_add(nanos(estimate.error));
        let error_ns = compared.iter().map(reach).max().unwrap_or(u64::MAX);
        let off = offset_ns.unsigned_abs() > nanos(limits::CLOCK_OFF) && offset_ns.unsigned_abs() > error_ns;
        Self { peers_compared, peers_agreeing, offset_ns: Some(offset_ns), error_ns, off }
    }
}

/// The lower median of the offsets; sorts.
fn median(estimates: &mut [Estimate]) -> Option<i64> {
    estimates.sort_unstable_by_key(|estimate| estimate.offset_ns);
    let middle = estimates.len().checked_sub(1)? / 2;
    estimates.get(middle).map(|estimate| estimate.offset_ns)
}

/// What the filter says about one peer's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Peer's clock minus own clock.
    pub offset_ns: i64,
    /// Round trip without the peer's processing.
    pub delay: Duration,
    /// The true offset lies within `offset_ns` ± this.
    pub error: Duration,
}

/// The last samples of one peer.
#[derive(Clone, Debug, Default)]
pub struct ClockFilter {
    samples: Deque<Sample, { limits::CLOCK_SAMPLES }>,
}

impl ClockFilter {
    /// A filter that knows nothing.
    pub const fn new() -> Self {
        Self { samples: Deque::new() }
    }

    /// Takes a sample in; the oldest leaves.
    pub fn handle_sample(&mut self, sample: Sample) {
        if self.samples.iter().any(|earlier| earlier.contradicts(&sample)) {
            self.samples.clear();
        }
        if self.samples.is_full() {
            self.samples.pop_front();
        }
        // Cannot be full: room was made above.
        let _ = self.samples.push_back(sample);
    }

    /// Forgets everything, because the own clock stepped or somebody else took the address.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// The sample that counts, aged to `now`.
    pub fn estimate(&self, now: Instant) -> Option<Estimate> {
        let aged = |sample: &Sample| Estimate {
            offset_ns: sample.offset_ns,
            delay: sample.delay,
            error: sample.error_at(now),
        };
        self.samples.iter().map(aged).min_by_key(|estimate| estimate.error)
    }

    /// The least delay among the samples.
    pub fn delay(&self) -> Option<Duration> {
        self.samples.iter().map(|sample| sample.delay).min()
    }
}

/// One exchange, reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    offset_ns: i64,
    delay: Duration,
    at: Instant,
}

impl Sample {
    /// Half the delay, the resolution of the stamps, and 15 ppm of the age.
    fn error_at(&self, now: Instant) -> Duration {
        let age_us = now.since(self.at).as_micros();
        let drift_ns = age_us.saturating_mul(u128::from(limits::CLOCK_DRIFT_PPM)) / 1_000;
        let drift = Duration::from_nanos(u64::try_from(drift_ns).unwrap_or(u64::MAX));
        (self.delay / 2).saturating_add(limits::CLOCK_PRECISION).saturating_add(drift)
    }

    /// The two intervals of possible offsets are further apart than any drift explains: a clock has stepped between them.
    fn contradicts(&self, later: &Self) -> bool {
        let possible =
            self.error_at(later.at).saturating_add(later.error_at(later.at)).saturating_add(limits::CLOCK_STEP);
        self.offset_ns.abs_diff(later.offset_ns) > nanos(possible)
    }
}

/// The four timestamps of one probe and its reply.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// T1, own clock.
    pub origin: Timestamp,
    /// T2, the peer's clock.
    pub receive: Timestamp,
    /// T3, the peer's clock.
    pub transmit: Timestamp,
    /// T4, own clock, from the kernel where it gives one.
    pub destination: Timestamp,
    /// T4-T1 by the monotonic clock.
    pub elapsed: Duration,
}

impl Exchange {
    /// The sample, or `None` when the peer claims to have spent more time on it than passed here, or less than none.
    pub fn sample(&self, now: Instant) -> Option<Sample> {
        let [t1, t2, t3] = [self.origin, self.receive, self.transmit].map(|stamp| i128::from(stamp.as_nanos()));
        let elapsed = i128::try_from(self.elapsed.as_nanos()).unwrap_or(i128::MAX);
        // The kernel's stamp is earlier, thus better, than the moment at which a busy device gets to reading it. One that lies
        // outside the exchange comes from a clock that stepped meanwhile.
        let t4 = match i128::from(self.destination.as_nanos()) {
            stamp if (t1..=t1.saturating_add(elapsed)).contains(&stamp) => stamp,
            _ => t1.saturating_add(elapsed),
        };
        let processing = t3 - t2;
        if processing < 0 || processing > elapsed {
            return None;
        }
        let offset = ((t2 - t1) + (t3 - t4)) / 2;
        let offset_ns = i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX });
        let delay = Duration::from_nanos(u64::try_from(elapsed - processing).unwrap_or(u64::MAX));
        Some(Sample { offset_ns, delay, at: now })
    }
}

/// Notices steps of the own wall clock: it and the monotonic clock, which NTP slews alike, then no longer advance together.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepWatch {
    difference_ns: Option<i128>,
}

impl StepWatch {
    /// Watches from the first observation on.
    pub const fn new() -> Self {
        Self { difference_ns: None }
    }

    /// Compares the two clocks, read together. True: the wall clock has stepped since the last call.
    #[must_use]
    pub fn observe(&mut self, now: Instant, wall: Timestamp) -> bool {
        let difference_ns = i128::from(wall.as_nanos()) - i128::from(now.as_micros()) * 1_000;
        let before = self.difference_ns.replace(difference_ns);
        before.is_some_and(|before| before.abs_diff(difference_ns) > limits::CLOCK_STEP.as_nanos())
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
