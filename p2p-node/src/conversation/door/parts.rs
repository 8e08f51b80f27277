//! What stands in the log of a door, or of a link: a way into a group, which may be larger than an entry. Then it is in parts, which an entry behind them
//! names.

use std::{collections::VecDeque, convert::Infallible, ops::Range};

use bytes::Bytes;
use starling_wire::{PartNames, Piece, eraser_of, part_name, rendezvous::LogRequest};

use super::limits::{DOOR_TRIM, MAX_DOOR_PARTS};
use crate::conversation::{
    group::{LogKeys, door_eraser},
    log::{limits::PARTS_AT_ONCE, parts_of},
};

/// Parts that were read in such a log, by their names, the newest last.
#[derive(Default)]
pub(in crate::conversation) struct ReadParts(VecDeque<([u8; 32], Bytes)>);

impl ReadParts {
    /// What an entry is, or completes.
    pub(in crate::conversation) fn whole(&mut self, content: Bytes) -> Option<Bytes> {
        match Piece::from_bytes(&content) {
            None => Some(content),
            Some(Ok(Piece::Part(part))) => {
                self.0.push_back((part_name(&part), part));
                if self.0.len() > MAX_DOOR_PARTS {
                    self.0.pop_front();
                }
                None
            }
            Some(Ok(Piece::Names(names))) => {
                let find = |name: &[u8; 32]| self.0.iter().find(|(of, _)| of == name).map(|(_, part)| part.clone());
                let Ok(whole) = names.join(|name| Ok::<_, Infallible>(find(name)));
                whole
            }
            Some(Err(_)) => None,
        }
    }
}

/// What such a log has of a way in: it, or its parts and what names them.
fn entries_of(way_in: &Bytes, may_have_parts: bool) -> Vec<Vec<u8>> {
    let Some(parts) = parts_of(way_in, may_have_parts) else { return vec![way_in.to_vec()] };
    let names = Piece::Names(PartNames::of(&parts));
    parts.into_iter().map(Piece::Part).chain([names]).map(|piece| piece.to_bytes()).collect()
}

/// The requests that write a way into a group into the log of this secret, the last one with what counts; and how many entries they are.
pub(in crate::conversation) fn appends(
    keys: &LogKeys,
    secret: &[u8],
    way_in: &Bytes,
    is_large: bool,
) -> (Vec<LogRequest>, u64) {
    let entries: Vec<Bytes> = entries_of(way_in, is_large).iter().map(|entry| keys.seal_entry(entry)).collect();
    let eraser = door_eraser(secret).filter(|_| is_large).map(|secret| eraser_of(&secret));
    let eraser = eraser.map(|eraser| Bytes::copy_from_slice(&eraser)).unwrap_or_default();
    let request =
        |batch: &[Bytes]| LogRequest { entries: batch.to_vec(), eraser: eraser.clone(), ..LogRequest::default() };
    (entries.chunks(PARTS_AT_ONCE).map(request).collect(), entries.len() as u64)
}

/// What deletes the ways in of before from the log of this secret, once one was written as so many entries up to this number: of a small group the one
/// that this device has written before, if it has.
pub(in crate::conversation) fn trim(
    secret: &[u8],
    before: u64,
    (sequence, count): (u64, u64),
    is_large: bool,
) -> Option<LogRequest> {
    let sequences: Vec<u64> = match is_large {
        true => old_entries(sequence, count).collect(),
        false => Some(before).filter(|before| *before != 0).into_iter().collect(),
    };
    let erasing = door_eraser(secret).filter(|_| is_large);
    let erasing = erasing.map(|secret| Bytes::copy_from_slice(&secret)).unwrap_or_default();
    (!sequences.is_empty()).then(|| LogRequest { sequences, erasing, ..LogRequest::default() })
}

/// Entries of a large group's door that are deleted when one of `count` entries was written, the last with this number: but for twice as many before
/// it, as somebody else may just have written one, and one that is read is not deleted under its reader's eyes.
fn old_entries(sequence: u64, count: u64) -> Range<u64> {
    let end = (sequence + 1).saturating_sub(3 * count).max(1);
    end.saturating_sub(DOOR_TRIM).max(1)..end
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_wire::{Door, cut};

    use super::*;

    fn door(epoch: u64, len: usize) -> Door {
        Door { epoch, secret: [1; 32], info: vec![epoch as u8; len].into() }
    }

    fn pieces(door: &Door) -> Vec<Bytes> {
        let parts = cut(&door.to_bytes().into(), 1_000);
        let names = Piece::Names(PartNames::of(&parts));
        parts.into_iter().map(Piece::Part).chain([names]).map(|piece| piece.to_bytes().into()).collect()
    }

    #[test]
    fn doors_in_parts_are_found_among_others() {
        let mut parts = ReadParts::default();
        let (first, second) = (pieces(&door(3, 2_500)), pieces(&door(4, 3_500)));
        // Of the second one a part is missing; the third is small enough.
        let read: Vec<Bytes> =
            first[..1].iter().chain(&second[1..4]).chain(&first[1..]).chain(&second[4..]).cloned().collect();
        let small = Bytes::from(door(5, 10).to_bytes());
        let found: Vec<u64> = read
            .into_iter()
            .chain([small])
            .filter_map(|content| parts.whole(content))
            .map(|content| Door::from_bytes(content).unwrap().epoch)
            .collect();
        assert_eq!(found, [3, 5]);
    }

    #[test]
    fn what_is_kept_of_parts_is_bounded() {
        let mut parts = ReadParts::default();
        for n in 0..2 * MAX_DOOR_PARTS {
            assert_eq!(parts.whole(Piece::Part(n.to_be_bytes().to_vec().into()).to_bytes().into()), None);
        }
        assert_eq!(parts.0.len(), MAX_DOOR_PARTS);
    }
}
