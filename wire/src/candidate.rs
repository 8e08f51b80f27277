//! What a log keeps, inside the sealing: a message of the epoch, a candidate to end it, or what tells of a fork.

use bytes::Bytes;
use prost::Message as _;

use crate::SealedBeacon;

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
}

/// An entry that is marked as a candidate or beacon and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a malformed entry: {0}")]
pub struct CandidateError(#[from] prost::DecodeError);

impl LogContent {
    /// The encoded form, before it is padded and sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => message.to_vec(),
            Self::Candidate(candidate) => [&[CANDIDATE][..], &candidate.encode_to_vec()].concat(),
            Self::Beacon(beacon) => [&[BEACON][..], &beacon.encode_to_vec()].concat(),
        }
    }

    /// Reads what [`LogContent::to_bytes`] has made. Whether a message is one is not looked at.
    ///
    /// # Errors
    /// If it is marked as a candidate or beacon and is none.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, CandidateError> {
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
    fn candidates_and_beacons_are_marked_and_read_back() {
        let candidate = LogContent::Candidate(Candidate { commit: Bytes::from("a commit") });
        let message = LogContent::Message(Bytes::from_static(&[0, 1, 2]));
        let beacon = SealedBeacon { epoch: 7, sealed: Bytes::from("sealed"), ..SealedBeacon::default() };
        for content in [candidate, LogContent::Beacon(beacon), message, LogContent::Message(Bytes::new())] {
            assert_eq!(LogContent::from_bytes(content.to_bytes().into()), Ok(content));
        }
        for mark in [CANDIDATE, BEACON] {
            assert!(LogContent::from_bytes(Bytes::from(vec![mark, 0xff])).is_err());
        }
    }
}
