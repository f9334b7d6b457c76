//! A rate that several transfers share: `--max-upload`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use async_io::Timer;
use p2p_agent::limits::{RECORD_BYTES, UPLOAD_PIECE};

/// A shared rate limit; without a rate it never waits.
pub struct Pace {
    bytes_per_second: Option<u64>,
    /// When everything granted so far will have left.
    free_at: Cell<Option<Instant>>,
}

impl Pace {
    /// A limit of so many bytes per second.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, free_at: Cell::new(None) }
    }

    /// The most that one record may carry, so that those of the other readers are not late.
    pub fn piece(&self) -> usize {
        let piece = self.bytes_per_second.map(|rate| u128::from(rate) * UPLOAD_PIECE.as_millis() / 1_000);
        piece.and_then(|bytes| usize::try_from(bytes).ok()).map_or(RECORD_BYTES, |bytes| bytes.clamp(1, RECORD_BYTES))
    }

    /// Waits until `bytes` more may leave.
    pub async fn take(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let now = Instant::now();
        let start = self.free_at.get().map_or(now, |free_at| free_at.max(now));
        let micros = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
        self.free_at.set(Some(start + Duration::from_micros(micros)));
        if start > now {
            Timer::at(start).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_users_share_one_rate() {
        let pace = Pace::new(Some(1_000_000));
        let start = Instant::now();
        async_io::block_on(async {
            for _ in 0..2 {
                smol::future::zip(pace.take(20_000), pace.take(20_000)).await;
            }
            pace.take(1).await;
        });
        assert!(start.elapsed() >= Duration::from_millis(80));
    }

    #[test]
    fn no_rate_never_waits() {
        async_io::block_on(async { Pace::new(None).take(usize::MAX).await });
    }
}
