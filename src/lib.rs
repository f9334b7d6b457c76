//! The agent's mind: discovery, clock estimate, query, transfer and lease as plain state machines.
//!
//! No sockets, no files, no clock, no threads, no heap, no `unsafe`: time and randomness come in as arguments, datagrams and
//! decisions go out as values. The daemon (`src/bin/p2p-agent`) is the body around it.
//!
//! Lower layers never import higher ones:
//!
//! ```text
//! limits, time, random  <-  content, keys, record, wire, http  <-  exchange  <-  peer, clock  <-  discovery, slots, want  <-  agent
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod announce;
pub mod clock;
pub mod content;
pub mod discovery;
pub mod domain;
pub mod exchange;
pub mod guard;
pub mod hex;
pub mod http;
pub mod keys;
pub mod limits;
pub mod offenders;
pub mod peer;
pub mod random;
pub mod record;
pub mod time;
pub mod transcript;
pub mod wire;

pub mod agent;
pub mod blame;
pub mod handshake;
pub mod policy;
pub mod rank;
pub mod rate;
pub mod slots;
pub mod survey;
#[cfg(test)]
mod vectors;
pub mod want;
pub mod whereabouts;
