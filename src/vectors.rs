//! Golden bytes of protocol version 1, made by `tests/vectors/make.py` and not by this code.

use std::vec::Vec;

use crate::hex;

const FILE: &str = include_str!("../tests/vectors/v1.txt");

/// The bytes under `name`.
pub fn bytes(name: &str) -> Vec<u8> {
    let line = FILE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    let digits = line.unwrap_or_else(|| panic!("no vector {name:?}")).as_bytes().chunks(2);
    digits.map(|pair| hex::parse::<1>(std::str::from_utf8(pair).unwrap()).unwrap()[0]).collect()
}

/// The `N` bytes under `name`.
pub fn array<const N: usize>(name: &str) -> [u8; N] {
    bytes(name).try_into().unwrap()
}
