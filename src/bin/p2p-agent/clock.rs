//! The only place where the daemon reads a clock.

use std::sync::LazyLock;
use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use p2p_agent::time::{Duration, Instant, Timestamp};

static START: LazyLock<StdInstant> = LazyLock::new(StdInstant::now);

/// Monotonic time since the daemon started, plus a second, so that "a moment ago" exists from the beginning.
pub fn now() -> Instant {
    Instant::ZERO + START.elapsed() + Duration::from_secs(1)
}

/// The wall clock, however wrong; before 1970 it is negative.
pub fn wall() -> Timestamp {
    let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    };
    Timestamp::from_nanos(nanos)
}

/// The moment on the reactor's clock at which `at` is reached.
pub fn deadline(at: Instant) -> StdInstant {
    let ahead = at.since(now()).min(Duration::from_secs(3600));
    StdInstant::now() + ahead
}
