//! The reference sync client.
fn main() {}
