//! What a log keeps, inside the sealing: a message of the epoch, a candidate to end it or a part of one, or what tells of a fork.

use bytes::Bytes;
use prost::Message as _;

use crate::{PartNames, PartsError, Piece, SealedBeacon};

/// Begins an encoded [`Candidate`]. A message in the encoding of RFC 9420 begins with its version, whose first byte is 0.
const CANDIDATE: u8 = 0xc1;
/// Begins an encoded [`SealedBeacon`].
const BEACON: u8 = 0xc2;

/// A commit that moves the group to its next epoch, if it is the first valid one in its log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Candidate {
    /// An `MLSMessage` with the commit.
    #[prost(bytes = "bytes", tag = "1")]
    pub commit: Bytes,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogContent {
    /// An `MLSMessage`.
    Message(Bytes),
    /// A commit.
    Candidate(Candidate),
    /// A commit that somebody has followed instead of the one that leads to this log.
    Beacon(SealedBeacon),
    /// A part of a commit that is larger than an entry. By itself it is nothing.
    Part(Bytes),
    /// A candidate whose commit is in parts, which stand before it in the log.
    LargeCandidate(PartNames),
}

/// An entry that is marked as something and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// As a candidate or beacon.
    #[error("a malformed entry: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// As a part, or as what names parts.
    #[error(transparent)]
    Parts(#[from] PartsError),
}

impl LogContent {
    /// The encoded form, before it is padded and sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => message.to_vec(),
            Self::Candidate(candidate) => [&[CANDIDATE][..], &candidate.encode_to_vec()].concat(),
            Self::Beacon(beacon) => [&[BEACON][..], &beacon.encode_to_vec()].concat(),
            Self::Part(part) => Piece::Part(part.clone()).to_bytes(),
            Self::LargeCandidate(names) => Piece::Names(names.clone()).to_bytes(),
        }
    }

    /// Reads what [`LogContent::to_bytes`] has made. Whether a message is one is not looked at.
    ///
    /// # Errors
    /// If it is marked as something and is none.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, CandidateError> {
        if let Some(piece) = Piece::from_bytes(&bytes) {
            return Ok(match piece? {
                Piece::Part(part) => Self::Part(part),
                Piece::Names(names) => Self::LargeCandidate(names),
            });
        }
        match bytes.split_first() {
            Some((&CANDIDATE, _)) => Ok(Self::Candidate(Candidate::decode(bytes.slice(1..))?)),
            Some((&BEACON, _)) => Ok(Self::Beacon(SealedBeacon::decode(bytes.slice(1..))?)),
            _ => Ok(Self::Message(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_messages_is_marked_and_read_back() {
        let candidate = LogContent::Candidate(Candidate { commit: Bytes::from("a commit") });
        let message = LogContent::Message(Bytes::from_static(&[0, 1, 2]));
        let beacon = SealedBeacon { epoch: 7, sealed: Bytes::from("sealed"), ..SealedBeacon::default() };
        let (beacon, empty) = (LogContent::Beacon(beacon), LogContent::Message(Bytes::new()));
        let part = Bytes::from("a part");
        let large = LogContent::LargeCandidate(PartNames::of(std::slice::from_ref(&part)));
        for content in [candidate, beacon, message, empty, LogContent::Part(part), large] {
            assert_eq!(LogContent::from_bytes(content.to_bytes().into()), Ok(content));
        }
        for mark in [CANDIDATE, BEACON, crate::parts::NAMES] {
            assert!(LogContent::from_bytes(Bytes::from(vec![mark, 0xff])).is_err());
        }
    }
}
