//! Somebody on the link who means harm, with real sockets and forged packets, against whole devices in network namespaces.
//!
//! What must not happen under an attack is an ordinary test. How much it may slow honest devices down is measured as a ratio within one
//! run, on links whose speed is the bottleneck, with an attacker behind a slower one: those tests are ignored by default and run by
//! `cargo test --test attack -- --ignored`. Lies within the protocol are in `tests/agent/liars.rs`; docs/threat-model.md maps
//! every attack to its test.

#[path = "../support/lab/mod.rs"]
mod lab;

mod attacker;
mod fakes;
mod files;
mod floods;
mod proofs;
mod readers;
mod throughput;
