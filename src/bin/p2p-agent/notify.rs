//! Tells the service manager that the daemon is ready, and that it is alive: sd_notify(3) without its library. One datagram socket,
//! connected at the start, while its path can still be reached.
//!
//! The heartbeat is a task of the one executor, so a daemon whose loop hangs is as silent as a dead one.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use async_io::Timer;
use p2p_agent::limits::WATCHDOG_BEATS;

/// The line to the service manager; without one, nothing is said.
#[derive(Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Between two heartbeats.
    interval: Option<Duration>,
}

impl Notifier {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match connect(&name) {
            Ok(socket) => Self { socket: Some(socket), interval: interval() },
            Err(error) => {
                log::warn!("the service manager cannot be told anything: {}: {error}", name.to_string_lossy());
                Self::default()
            }
        }
    }

    /// The daemon does what it was started for; `status` says what that is.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// Says that the loop goes round, for ever.
    pub async fn beat(&self) -> std::convert::Infallible {
        let Some(interval) = self.interval else { return std::future::pending().await };
        loop {
            self.send("WATCHDOG=1\n");
            Timer::after(interval).await;
        }
    }

    fn send(&self, message: &str) {
        // Whoever does not listen any more needs no heartbeat.
        let _ = self.socket.as_ref().map(|socket| socket.send(message.as_bytes()));
    }
}

fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A full queue must not hold up the loop.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn interval() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    let interval = Duration::from_micros(number("WATCHDOG_USEC")?) / WATCHDOG_BEATS;
    (!interval.is_zero()).then_some(interval)
}
