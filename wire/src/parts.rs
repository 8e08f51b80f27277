//! What is larger than an entry of a log: it is cut into parts, each an entry of its own, and an entry behind them names them. A part is named by its
//! hash, so that nobody can change, exchange or repeat one of somebody else, and parts of several authors may stand in any order.
//!
//! Only the entry that names them counts, at its place: before it stands nobody waits for it, and when it stands all readers of the log find the same
//! parts before it, or miss the same.

use bytes::{Bytes, BytesMut};

use crate::limits::{MAX_LARGE, MAX_PART, MAX_PARTS};

/// Begins a part, in a log.
pub(crate) const PART: u8 = 0xc3;
/// Begins an encoded [`PartNames`], in a log.
pub(crate) const NAMES: u8 = 0xc4;

/// Which parts make up a commit or a door, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartNames(Vec<[u8; 32]>);

/// An entry that has to do with parts, and is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed part, or names of parts")]
pub struct PartsError;

/// An entry that has to do with parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A part.
    Part(Bytes),
    /// The names of some.
    Names(PartNames),
}

/// What names a part.
pub fn part_name(part: &[u8]) -> [u8; 32] {
    blake3::derive_key("starling 2026 part of a log entry v1", part)
}

/// Cuts a commit or door into parts of `size` bytes, at most [`MAX_PART`]; the last one may be shorter.
pub fn cut(body: &Bytes, size: usize) -> Vec<Bytes> {
    let size = size.clamp(1, MAX_PART);
    (0..body.len()).step_by(size).map(|at| body.slice(at..body.len().min(at + size))).collect()
}

impl PartNames {
    /// The names of these parts.
    pub fn of(parts: &[Bytes]) -> Self {
        Self(parts.iter().map(|part| part_name(part)).collect())
    }

    /// The names, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.0.iter()
    }

    /// Puts parts together again, which `find` gives by their names. `None` if one is missing, or if they are more than [`MAX_LARGE`] bytes.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn join<E>(&self, mut find: impl FnMut(&[u8; 32]) -> Result<Option<Bytes>, E>) -> Result<Option<Bytes>, E> {
        let mut body = BytesMut::new();
        for name in &self.0 {
            let Some(part) = find(name)? else { return Ok(None) };
            if body.len() + part.len() > MAX_LARGE {
                return Ok(None);
            }
            body.extend_from_slice(&part);
        }
        Ok(Some(body.freeze()))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, PartsError> {
        let (names, rest) = bytes.as_chunks::<32>();
        if rest.is_empty() && (1..=MAX_PARTS).contains(&names.len()) {
            Ok(Self(names.to_vec()))
        } else {
            Err(PartsError)
        }
    }
}

impl Piece {
    /// The encoded form, before it is padded and sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Part(part) => [&[PART][..], part].concat(),
            Self::Names(names) => [&[NAMES][..], names.0.as_flattened()].concat(),
        }
    }

    /// Reads what [`Piece::to_bytes`] has made; `None` of an entry that is marked as neither.
    ///
    /// # Errors
    /// If it is empty or too large.
    pub fn from_bytes(bytes: &Bytes) -> Option<Result<Self, PartsError>> {
        match bytes.split_first()? {
            (&PART, part) => Some(match part.len() {
                1..=MAX_PART => Ok(Self::Part(bytes.slice(1..))),
                _ => Err(PartsError),
            }),
            (&NAMES, names) => Some(PartNames::from_bytes(names).map(Self::Names)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, convert::Infallible};

    use super::*;
    use crate::{limits::MAX_PART_ENTRY, pad};

    fn join(names: &PartNames, parts: &[Bytes]) -> Option<Bytes> {
        let known: BTreeMap<[u8; 32], Bytes> = parts.iter().map(|part| (part_name(part), part.clone())).collect();
        let Ok(body) = names.join(|name| Ok::<_, Infallible>(known.get(name).cloned()));
        body
    }

    fn body(len: usize) -> Bytes {
        (0..len).map(|at| (at % 251) as u8 ^ (at / 7_000) as u8).collect()
    }

    #[test]
    fn parts_are_put_together_whatever_stands_between_them() {
        for len in [1, 999, 1_000, 1_001, 10_000] {
            let body = body(len);
            let mut parts = cut(&body, 1_000);
            let names = PartNames::of(&parts);
            assert_eq!(join(&names, &parts), Some(body));
            // In another order, twice, and among those of others.
            parts.reverse();
            parts.extend([parts[0].clone(), Bytes::from("of somebody else")]);
            assert!(join(&names, &parts).is_some());
        }
    }

    #[test]
    fn what_lacks_a_part_or_has_another_in_its_place_is_nothing() {
        let parts = cut(&body(4_500), 1_000);
        let names = PartNames::of(&parts);
        for missing in 0..parts.len() {
            let mut some = parts.clone();
            some.remove(missing);
            assert_eq!(join(&names, &some), None);
            let changed = [&some[..], &[Bytes::from([&parts[missing][..], b"x"].concat())]].concat();
            assert_eq!(join(&names, &changed), None);
        }
    }

    #[test]
    fn one_part_that_is_named_again_and_again_is_not_made_into_much() {
        let part = Bytes::from(vec![7; MAX_PART]);
        let many = PartNames(vec![part_name(&part); MAX_PARTS]);
        assert_eq!(join(&many, std::slice::from_ref(&part)), None);
        let largest = body(MAX_LARGE);
        let parts = cut(&largest, usize::MAX);
        assert!(parts.len() <= MAX_PARTS);
        assert_eq!(join(&PartNames::of(&parts), &parts), Some(largest));
    }

    #[test]
    fn a_piece_is_read_back_and_what_is_none_is_refused() {
        let names = PartNames::of(&[Bytes::from("a"), Bytes::from("b")]);
        for piece in [Piece::Part(Bytes::from("a")), Piece::Names(names)] {
            assert_eq!(Piece::from_bytes(&piece.to_bytes().into()), Some(Ok(piece)));
        }
        let too_many = [vec![NAMES], vec![1; 32 * (MAX_PARTS + 1)]].concat();
        let too_large = [vec![PART], vec![1; MAX_PART + 1]].concat();
        for bytes in [vec![PART], vec![NAMES], vec![NAMES; 32], too_many, too_large] {
            assert_eq!(Piece::from_bytes(&bytes.into()), Some(Err(PartsError)));
        }
        assert_eq!(Piece::from_bytes(&Bytes::new()), None);
        assert_eq!(Piece::from_bytes(&Bytes::from_static(&[0, 1])), None);
        // Sealing adds 40 bytes.
        let largest = Piece::Part(vec![1; MAX_PART].into());
        assert!(pad(largest.to_bytes()).len() + 40 <= MAX_PART_ENTRY);
    }
}
