//! Reads an input as a list of small decisions. When it is used up every further one is zero.

/// What is left of an input.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let taken = self.slice(N);
        out[..taken.len()].copy_from_slice(taken);
        out
    }

    pub fn byte(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub fn long(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// Any of the numbers that matter: small, around a power of two, or any, but not above `most`.
    pub fn number(&mut self, most: u64) -> u64 {
        let number = match self.byte() {
            small @ 0..=63 => u64::from(small),
            power @ 64..=127 => (1u64 << (power - 64)).saturating_sub(1) + u64::from(self.byte() % 3),
            128..=159 => most.saturating_sub(u64::from(self.byte())),
            160..=207 => u64::from(self.short()) << 16 | u64::from(self.short()),
            _ => self.long(),
        };
        number.min(most)
    }

    /// At most `n` bytes.
    pub fn slice(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
