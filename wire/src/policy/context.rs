//! What the context of a group holds: its policy, and the record of who has made its last commits.

use prost::Message as _;

use super::{POLICY_VERSION, POLICY_WITH_AUTHORS, POLICY_WITH_RULES, Policy, PolicyError, proto};
use crate::CommitAuthors;

/// Bytes of what the context of a group holds.
const MAX_CONTEXT: usize = 48 * 1024;
/// Bytes of that of a large group: of 1,000 accounts, and of as many that were removed as are remembered.
const MAX_LARGE_CONTEXT: usize = 160 * 1024;
/// Bytes of it that the record of authors takes at most: it grows with commits that do not bring a policy.
const MAX_RECORD: usize = 512;

impl Policy {
    fn most_bytes(&self) -> usize {
        if self.large { MAX_LARGE_CONTEXT } else { MAX_CONTEXT }
    }

    /// Whether it can be read by all members, whatever becomes of the record of authors. Groups without rules go on as before.
    pub(super) fn fits(&self) -> bool {
        self.rules.is_none() || self.to_proto(None).encoded_len() + MAX_RECORD <= self.most_bytes()
    }
}

/// What the context of a group holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyContext {
    /// Its policy.
    pub policy: Policy,
    /// Who has made its last commits; none in a group of version [`POLICY_VERSION`].
    pub authors: Option<CommitAuthors>,
}

impl PolicyContext {
    /// Encoded. Equal ones have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.policy.to_proto(self.authors.as_ref()).encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// As of [`Policy::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_LARGE_CONTEXT {
            return Err(PolicyError::Malformed);
        }
        // Another version may have anything but the number of the version in another way.
        let version = proto::Version::decode(bytes).map_err(|_| PolicyError::Malformed)?.version;
        if version > POLICY_WITH_RULES {
            return Err(PolicyError::Newer);
        }
        let encoded = proto::Policy::decode(bytes).map_err(|_| PolicyError::Malformed)?;
        let authors = match version {
            POLICY_VERSION => None,
            POLICY_WITH_AUTHORS | POLICY_WITH_RULES => {
                Some(CommitAuthors::from_bytes(&encoded.authors).ok_or(PolicyError::Malformed)?)
            }
            _ => return Err(PolicyError::Malformed),
        };
        let read = Self { policy: Policy::from_proto(encoded)?, authors };
        let is_whole = read.policy.says_nothing_twice() && bytes.len() <= read.policy.most_bytes();
        // There is one way only to encode it.
        if is_whole && read.to_bytes() == bytes { Ok(read) } else { Err(PolicyError::Malformed) }
    }
}
