//! What must hold. Times are multiples of the ideal: the file (payload) at the rate of the slowest thing that it has to pass.
//! Headers alone make that 1.046.

/// The uplink of a site, Mbit/s.
pub const UPLINK_MBIT: u32 = 40;
/// The link of a device in either direction, Mbit/s.
pub const LINK_MBIT: u32 = 100;
/// The file.
pub const FILE_BYTES: usize = 64 << 20;

/// Once over the uplink: bytes that the origin gave ÷ the file.
pub const ONCE: f64 = 1.02;
/// The same when the others ask only after the first has it.
pub const ONCE_STAGGERED: f64 = 1.01;
/// A fetcher that loses its power takes with it what nobody else had yet.
pub const ONCE_KILLED: f64 = 1.05;
/// Nobody knows anybody yet, or packets are lost.
pub const ONCE_UNKNOWN: f64 = 1.10;
/// Several try at the moment at which the uplink is back, and get something until the next report.
pub const ONCE_AFTER_OUTAGE: f64 = 1.10;
/// Leftovers: 40 % are nowhere.
pub const ONCE_LEFTOVERS: f64 = 0.42;
/// Stations that cannot hear each other's claims.
pub const ONCE_AROUND_ONE_WIRED: f64 = 1.25;

/// The last device, besides a little for each device.
pub const LAST: f64 = 1.10;
/// What each device may add, seconds.
pub const LAST_PER_DEVICE: f64 = 0.025;
/// What a device that loses its power may cost the others, seconds.
pub const LOST_FETCHER: f64 = 3.0;
/// The others, when one device is slow or loses packets.
pub const LAST_BESIDE_A_BAD_LINK: f64 = 1.15;
/// Several files at once.
pub const LAST_OF_MANY_FILES: f64 = 1.15;
/// Where the device's link is the limit and not the uplink: 80 % of its rate.
pub const LAST_AT_LINK_RATE: f64 = 1.25;
/// The most that one device may take of a sync of many files.
pub const SHARE_OF_ONE_DEVICE: f64 = 0.30;
/// Who can reach nobody, compared with curl.
pub const LIKE_CURL: f64 = 1.02;

/// As in the simulator, which has the same: leftovers …
pub const LAST_WITH_LEFTOVERS: f64 = 1.60;
/// … an uplink that comes late, and clients that wait a while before they try again …
pub const LAST_AFTER_OUTAGE: f64 = 2.20;
/// … a wrong copy first, at link rate …
pub const LAST_AFTER_ROT: f64 = 2.20;
/// … and all through one wired link.
pub const LAST_AROUND_ONE_WIRED: f64 = 1.70;

/// What a line takes for a byte of payload: 1,514 for 1,448.
pub const LINE: f64 = 1.0456;
/// How far a shaped rate may be from what it is said to be.
pub const RATE_ERROR: f64 = 0.02;
