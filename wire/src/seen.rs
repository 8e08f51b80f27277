//! What a reader has seen of a log. Readers compare it, so that no server can show them different entries under one number.

use bytes::Bytes;
use prost::Message as _;

/// Entries that are compared: the last ones.
const MAX_SEEN: usize = 16;
/// Bytes of an entry's hash.
const HASH_LEN: usize = 16;

/// The last entries of a log that a reader has seen. Entries are deleted once everybody has them, so two readers have rarely seen the same ones: what
/// both have seen is compared, entry by entry, and not the log as a whole.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeenEntries {
    /// Their numbers, ascending.
    #[prost(uint64, repeated, tag = "1")]
    sequences: Vec<u64>,
    /// The beginning of the BLAKE3 hash of each.
    #[prost(bytes = "bytes", tag = "2")]
    hashes: Bytes,
}

/// What is no list of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed list of entries")]
pub struct SeenError;

impl SeenEntries {
    /// Adds an entry, sealed as the server has it. One with a number that is not higher than those before is left out.
    pub fn note(&mut self, sequence: u64, sealed: &[u8]) {
        if self.sequences.last().is_some_and(|last| *last >= sequence) {
            return;
        }
        let surplus = (self.sequences.len() + 1).saturating_sub(MAX_SEEN);
        self.sequences.drain(..surplus);
        self.sequences.push(sequence);
        let hash = blake3::hash(sealed);
        self.hashes = [&self.hashes[surplus * HASH_LEN..], &hash.as_bytes()[..HASH_LEN]].concat().into();
    }

    /// The number of the last entry; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.sequences.last().copied().unwrap_or_default()
    }

    /// Whether another reader was shown something else under the number of an entry that both have seen.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.entries().any(|(sequence, hash)| other.entries().any(|(s, h)| s == sequence && h != hash))
    }

    fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.sequences.iter().copied().zip(self.hashes.chunks_exact(HASH_LEN))
    }

    /// The encoded form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads what [`SeenEntries::to_bytes`] has made.
    ///
    /// # Errors
    /// If it is none, if it names more entries than are compared, or if they are not in order.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, SeenError> {
        if bytes.len() > MAX_SEEN * (HASH_LEN + 10) + 16 {
            return Err(SeenError);
        }
        let seen = Self::decode(bytes).map_err(|_| SeenError)?;
        let count = seen.sequences.len();
        let fits =
            count <= MAX_SEEN && seen.hashes.len() == count * HASH_LEN && seen.sequences.is_sorted_by(|a, b| a < b);
        if fits { Ok(seen) } else { Err(SeenError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(entries: &[(u64, &str)]) -> SeenEntries {
        let mut seen = SeenEntries::default();
        entries.iter().for_each(|(sequence, sealed)| seen.note(*sequence, sealed.as_bytes()));
        seen
    }

    #[test]
    fn readers_contradict_each_other_only_where_both_have_seen_an_entry() {
        let one = seen(&[(1, "a"), (3, "c"), (4, "d")]);
        assert!(
            !one.contradicts(&seen(&[(1, "a"), (2, "b"), (4, "d"), (5, "e")])),
            "entries that one of them lacks were deleted"
        );
        assert!(one.contradicts(&seen(&[(2, "b"), (3, "x")])));
        assert!(!one.contradicts(&SeenEntries::default()));
        assert_eq!(seen(&[(3, "c"), (3, "x"), (2, "b")]), seen(&[(3, "c")]), "numbers only grow");
    }

    #[test]
    fn the_last_entries_are_read_back_and_what_is_malformed_is_refused() {
        let mut many = SeenEntries::default();
        (1..100).for_each(|sequence| many.note(sequence, b"entry"));
        assert_eq!((many.sequences.len(), many.last()), (MAX_SEEN, 99));
        for seen in [many.clone(), SeenEntries::default(), seen(&[(u64::MAX, "x")])] {
            assert_eq!(SeenEntries::from_bytes(seen.to_bytes().into()), Ok(seen));
        }
        let short = SeenEntries { hashes: many.hashes.slice(1..), ..many.clone() };
        let unordered = SeenEntries { sequences: many.sequences.iter().rev().copied().collect(), ..many.clone() };
        let mut long = many.clone();
        long.sequences.push(100);
        long.hashes = [&long.hashes[..], &[0; HASH_LEN]].concat().into();
        for wrong in [short, unordered, long] {
            assert_eq!(SeenEntries::from_bytes(wrong.to_bytes().into()), Err(SeenError));
        }
        assert_eq!(SeenEntries::from_bytes(vec![0; 10_000].into()), Err(SeenError));
    }
}
