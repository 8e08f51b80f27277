//! What a log keeps, inside the sealing: a message of the epoch, or a candidate to end it.

use bytes::Bytes;
use prost::Message as _;

/// Begins an encoded [`Candidate`]. A message in the encoding of RFC 9420 begins with its version, whose first byte is 0.
const CANDIDATE: u8 = 0xc1;

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
}

/// An entry that is marked as a candidate and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a malformed candidate: {0}")]
pub struct CandidateError(#[from] prost::DecodeError);

impl LogContent {
    /// The encoded form, before it is padded and sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => message.to_vec(),
            Self::Candidate(candidate) => [&[CANDIDATE][..], &candidate.encode_to_vec()].concat(),
        }
    }

    /// Reads what [`LogContent::to_bytes`] has made. Whether a message is one is not looked at.
    ///
    /// # Errors
    /// If it is marked as a candidate and is none.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, CandidateError> {
        match bytes.split_first() {
            Some((&CANDIDATE, _)) => Ok(Self::Candidate(Candidate::decode(bytes.slice(1..))?)),
            _ => Ok(Self::Message(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_marked_and_read_back() {
        let candidate = LogContent::Candidate(Candidate { commit: Bytes::from("a commit") });
        let message = LogContent::Message(Bytes::from_static(&[0, 1, 2]));
        for content in [candidate, message, LogContent::Message(Bytes::new())] {
            assert_eq!(LogContent::from_bytes(content.to_bytes().into()), Ok(content));
        }
        assert!(LogContent::from_bytes(Bytes::from_static(&[CANDIDATE, 0xff])).is_err());
    }
}
