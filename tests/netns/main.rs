//! Whole devices against each other: the real daemon and the real sync client in network namespaces on a bridge, with an
//! origin behind a slow uplink. One kernel plays every device, so everything from Ethernet upwards is real.
//!
//! Every scenario runs in a process of its own inside `unshare`: a user, a network and a mount namespace that nobody else
//! sees, that need no root, and that end with the process. Where that is not possible a scenario says `SKIPPED` and passes;
//! with `P2P_REQUIRE_NETNS=1` in the environment it fails instead.

#[cfg(target_arch = "x86_64")]
#[path = "../support/inside.rs"]
mod inside;
#[path = "../support/lab/mod.rs"]
mod lab;

#[cfg(target_arch = "x86_64")]
mod jailed;
mod losing;
mod presence;
mod privacy;
mod sharing;
mod slots;
