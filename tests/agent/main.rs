//! The daemon as its neighbours and its own sync client meet it: the real program, several on one machine, each on a loopback
//! address of its own, without root.
//!
//! Which behaviours they show is in docs/behaviours.md. Every test has a port of its own, so that its agents find each other and
//! nobody else's.

mod api;
mod bounds;
mod clocks;
mod command_line;
mod domain;
mod hostile;
mod jail;
mod lab;
mod liars;
mod local_clients;
mod mounts;
mod service_manager;
mod sharing;
mod slots;
mod survey;
mod switch;
mod turns;
