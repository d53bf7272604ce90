//! Inputs that look random, and are the same in each run.

use crate::Target;

/// Numbers that look random (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or_default() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or_default()
    }
}

/// Inputs for a target: some made of its words and of noise, some mutated from what is in `seeds`.
#[derive(Debug)]
pub struct Inputs<'a> {
    target: Target,
    seeds: &'a [Vec<u8>],
    random: Random,
}

impl<'a> Inputs<'a> {
    /// The inputs that follow from `seed`.
    pub fn new(target: Target, seeds: &'a [Vec<u8>], seed: u64) -> Self {
        Self {
            target,
            seeds,
            random: Random::new(seed),
        }
    }

    fn built(&mut self) -> Vec<u8> {
        // The first bytes choose how a codec is made.
        let mut input: Vec<u8> = (0..self.random.below(5))
            .map(|_| self.random.byte())
            .collect();
        for _ in 0..self.random.below(12) {
            match self.random.below(5) {
                0 => input.push(self.random.byte()),
                // Bytes that mean something to telnet.
                1 if self.random.below(3) == 0 => {
                    input.push([255, 250, 240, 253, 244][self.random.below(5)]);
                }
                _ => {
                    let word = self.random.below(self.target.words.len());
                    input.extend_from_slice(self.target.words[word].as_bytes());
                }
            }
        }
        input
    }

    fn mutated(&mut self) -> Vec<u8> {
        let mut input = self.seeds[self.random.below(self.seeds.len())].clone();
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(input.len() + 1);
            let end = (at + self.random.below(8)).min(input.len());
            match self.random.below(5) {
                0 if at < end => input[at] ^= 1 << self.random.below(8),
                1 => input.insert(at, self.random.byte()),
                2 => drop(input.drain(at..end)),
                3 => {
                    let word = self.random.below(self.target.words.len());
                    drop(input.splice(at..at, self.target.words[word].bytes()));
                }
                _ => {
                    let again = input[at..end].to_vec();
                    drop(input.splice(at..at, again));
                }
            }
        }
        input
    }
}

impl Iterator for Inputs<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let is_mutated = !self.seeds.is_empty() && self.random.below(2) == 0;
        Some(if is_mutated {
            self.mutated()
        } else {
            self.built()
        })
    }
}
