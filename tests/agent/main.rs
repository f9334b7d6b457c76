//! The daemon as its neighbours and its own sync client meet it: the real program, several on one machine, each on a loopback
//! address of its own, without root.
//!
//! Behaviours 5, 11, 13–16, 18–20, 22–24, 26, 27, 29, 32–36, 38, 45–59 as far as they show from outside. Every test has a port of its
//! own, so that its agents find each other and nobody else's.

mod api;
mod bounds;
mod command_line;
mod domain;
mod hostile;
mod lab;
mod liars;
mod local_clients;
mod sharing;
mod slots;
mod switch;
