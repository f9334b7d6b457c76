//! The fuzz targets: functions of any bytes that panic when a promise is broken.
//!
//! Each is called in two ways: by libFuzzer (`fuzz_targets/`), and over the committed corpora by an ordinary test of the main package
//! (`tests/fuzz_corpus.rs`), which takes this file in as a module. So nothing here depends on more than the main package and std.

mod bytes;
mod datagram;
mod heads;
mod local;
mod mind;
mod records;
mod site;
mod sums;

pub use datagram::datagram;
pub use heads::{request, response};
pub use local::local;
pub use mind::mind;
pub use records::records;
pub use sums::sums;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, under the names of their corpora.
pub const TARGETS: [(&str, Target); 7] = [
    ("datagram", datagram),
    ("request", request),
    ("response", response),
    ("local", local),
    ("records", records),
    ("sums", sums),
    ("mind", mind),
];
