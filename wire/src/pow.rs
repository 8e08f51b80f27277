//! Proof of work: hashcash over BLAKE3, bound to what it pays for, so that it can be neither reused nor sold.

/// What a proof of work pays for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Puzzle {
    seed: [u8; 32],
    bits: u32,
}

/// The number that solves a [`Puzzle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solution(pub u64);

impl Puzzle {
    /// A puzzle for one `purpose` at one server (its peer key), in one session (the server's nonce), for one `subject`.
    /// `bits` leading zero bits are asked for: 2^bits hashes on average.
    pub fn new(purpose: &str, server: &[u8], nonce: &[u8], subject: &[u8], bits: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 proof of work v1");
        for part in [purpose.as_bytes(), server, nonce, subject] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self { seed: *hasher.finalize().as_bytes(), bits }
    }

    /// Whether this is a solution.
    pub fn check(&self, solution: Solution) -> bool {
        let hash = blake3::keyed_hash(&self.seed, &solution.0.to_le_bytes());
        let mut zeros = 0;
        for byte in hash.as_bytes() {
            zeros += byte.leading_zeros();
            if *byte != 0 {
                break;
            }
        }
        zeros >= self.bits
    }

    /// Searches for a solution; blocks for about 2^bits × 0.1 µs.
    pub fn solve(&self) -> Solution {
        let mut n = 0;
        loop {
            if self.check(Solution(n)) {
                return Solution(n);
            }
            n += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_pays_once_for_one_thing() {
        let puzzle = Puzzle::new("inbox", b"server", b"nonce", b"bob", 12);
        let solution = puzzle.solve();
        assert!(puzzle.check(solution));
        let others = ["inbox", "register"].iter().flat_map(|p| (0..64u8).map(move |i| (p, i)));
        let also = others.filter(|(p, i)| Puzzle::new(p, b"server", b"nonce", &[*i], 12).check(solution)).count();
        assert!(also <= 2, "{also} of 128 other puzzles are solved, too");
    }
}
