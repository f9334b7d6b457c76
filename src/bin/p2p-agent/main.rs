//! The daemon.

#[allow(dead_code)]
mod net;

fn main() {}
