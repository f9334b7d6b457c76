//! Byte streams of peers and local clients: heads in bounded buffers, writes with a deadline.

use std::io;
use std::time::{Duration, Instant};

use async_io::Timer;
use p2p_agent::limits::HEAD_BYTES;
use smol::future::or;
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Runs `work` for at most `span`.
pub async fn within<T>(span: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    or(work, async {
        Timer::after(span).await;
        Err(io::ErrorKind::TimedOut.into())
    })
    .await
}

/// One timer that bounds many operations one after the other. It is set as rarely as can be, because setting one costs four
/// system calls: an operation that begins while the timer runs leaves it alone, and only when it fires the deadline is looked at.
pub struct Watchdog {
    timer: Timer,
    fires: Option<Instant>,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { timer: Timer::never(), fires: None }
    }
}

impl Watchdog {
    /// Runs `work` for at most `span`.
    pub async fn limit<T>(&mut self, span: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let deadline = Instant::now() + span;
        if self.fires.is_none_or(|fires| fires > deadline) {
            self.set(deadline);
        }
        or(work, async {
            loop {
                (&mut self.timer).await;
                if Instant::now() >= deadline {
                    self.fires = None;
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.set(deadline);
            }
        })
        .await
    }

    fn set(&mut self, at: Instant) {
        self.timer.set_at(at);
        self.fires = Some(at);
    }
}

/// Bytes received and not yet used: the head of the next message, and what came with it.
pub struct Inbox<const N: usize> {
    bytes: [u8; N],
    from: usize,
    to: usize,
}

impl<const N: usize> Default for Inbox<N> {
    fn default() -> Self {
        Self { bytes: [0; N], from: 0, to: 0 }
    }
}

impl<const N: usize> Inbox<N> {
    /// What has been received and not been used.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// Drops the first `count` pending bytes.
    pub fn consume(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.to - self.from == N
    }

    /// Receives more; 0 means the other side is done. Nothing is received when full.
    pub async fn receive(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let Some(room) = self.bytes.get_mut(self.to..).filter(|room| !room.is_empty()) else { return Ok(0) };
        let count = stream.read(room).await?;
        self.to += count;
        Ok(count)
    }

    /// Fills `out`, first from what is pending, then from the stream, which may fall silent for `stall` and take `whole` in all.
    pub async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        out: &mut [u8],
        (watchdog, stall, whole): (&mut Watchdog, Duration, Duration),
    ) -> io::Result<()> {
        let ready = self.pending().len().min(out.len());
        let (first, rest) = out.split_at_mut(ready);
        first.copy_from_slice(self.pending().get(..ready).unwrap_or_default());
        self.consume(ready);
        let mut filled = 0;
        let until = Instant::now() + whole;
        while let Some(room) = rest.get_mut(filled..).filter(|room| !room.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            match watchdog.limit(stall.min(left), stream.read(room)).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }
}

/// How reading a head ended without a head.
#[derive(Debug)]
pub enum NoHead {
    /// The other side closed, fell silent or the connection broke.
    Closed,
    /// The bytes are no head.
    Refused(p2p_agent::http::Refusal),
}

/// Receives until `complete` says that a head is pending. The first byte may take `idle`, the rest `head`.
pub async fn await_head<const N: usize>(
    inbox: &mut Inbox<N>,
    stream: &mut (impl AsyncRead + Unpin),
    (idle, head): (Duration, Duration),
    mut complete: impl FnMut(&[u8]) -> Result<bool, p2p_agent::http::Refusal>,
) -> Result<(), NoHead> {
    let mut deadline = None;
    loop {
        // Half a head in a full buffer never becomes a whole one.
        match complete(inbox.pending()) {
            Ok(true) => return Ok(()),
            Ok(false) if inbox.is_full() => return Err(NoHead::Refused(p2p_agent::http::Refusal::TooLarge)),
            Ok(false) => {}
            Err(refusal) => return Err(NoHead::Refused(refusal)),
        }
        let begun = !inbox.pending().is_empty();
        let until = match (begun, deadline) {
            (true, Some(until)) => until,
            (true, None) => *deadline.insert(Instant::now() + head),
            (false, _) => Instant::now() + idle,
        };
        let receive = or(inbox.receive(stream), async {
            Timer::at(until).await;
            Err(io::ErrorKind::TimedOut.into())
        });
        match receive.await {
            Ok(count) if count > 0 => {}
            _ => return Err(NoHead::Closed),
        }
    }
}

/// Sends everything within `span`.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], span: Duration) -> io::Result<()> {
    within(span, stream.write_all(bytes)).await
}

/// The inbox of a request head.
pub type HeadInbox = Inbox<HEAD_BYTES>;

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, pending};

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_timer_that_runs_for_an_earlier_operation_neither_ends_a_later_one_nor_keeps_its_deadline_off() {
        block_on(async {
            let mut watchdog = Watchdog::default();
            let late = |error: io::Error| error.kind() == io::ErrorKind::TimedOut;
            let later = |span| async move {
                Timer::after(span).await;
                Ok(())
            };
            // Set for SHORT and left alone by the second, which is still at work when it fires.
            watchdog.limit(SHORT, later(SHORT / 10)).await.unwrap();
            watchdog.limit(LONG, later(3 * SHORT)).await.unwrap();
            // Set for LONG meanwhile.
            let started = Instant::now();
            assert!(watchdog.limit(SHORT, pending::<io::Result<()>>()).await.is_err_and(late));
            assert!(watchdog.limit(SHORT, pending::<io::Result<()>>()).await.is_err_and(late), "and again");
            assert!(started.elapsed() >= 2 * SHORT && started.elapsed() < LONG / 2);
        });
    }
}
