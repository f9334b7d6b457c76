//! Two kinds of time that never mix: [`Instant`] is monotonic and measures waits, [`Timestamp`] is the wall clock
//! (RFC 5905's system time) and is only compared with the clocks of peers. Both come in as arguments; the mind reads no clock.

pub use core::time::Duration;

/// Monotonic time in microseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The earliest instant.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline.
    pub const FAR: Self = Self(u64::MAX);

    /// An instant from microseconds since the caller's own start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the caller's own start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR`].
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Wall clock in nanoseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A timestamp from nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// `self - other` in nanoseconds; saturates.
    pub const fn minus(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        assert_eq!(Instant::FAR + Duration::from_secs(1), Instant::FAR);
        assert_eq!(Instant::ZERO.since(Instant::FAR), Duration::ZERO);
    }

    #[test]
    fn a_clock_before_1970_is_an_ordinary_timestamp() {
        assert_eq!(Timestamp::from_nanos(-5).minus(Timestamp::from_nanos(i64::MAX)), i64::MIN);
    }
}
