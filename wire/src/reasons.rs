//! Why a commit may do what its author's role alone does not allow: every member checks that by what the commit itself says.

use bytes::Bytes;
use prost::Message as _;

use crate::{EventError, JoinProof, Statement, join::ProofProto};

/// The domain of the signature in a [`Leave`].
pub const LEAVE_DOMAIN: &str = "starling group leave v1";
/// Device chains in one commit.
const MAX_REASON_CHAINS: usize = 4;
/// Accounts that a commit removes because they leave.
const MAX_REASON_LEAVES: usize = 32;
/// Bytes of all reasons of a commit, which has to fit an entry of a log.
pub const MAX_REASONS: usize = 80 * 1024;
/// Of these, for others than chains: the leaves, and a statement.
const BESIDE_CHAINS: usize = 16 * 1024;

/// What a commit gives as its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Encoded device chains in which devices were removed.
    pub chains: Vec<Bytes>,
    /// Accounts that leave.
    pub leaves: Vec<Leave>,
    /// By what link its author comes in.
    pub join: Option<JoinProof>,
    /// Who is in a community: of a commit there that changes it, and of one that carries it into a channel.
    pub statement: Option<Statement>,
}

/// A device's word that its account leaves a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The account.
    pub account: [u8; 32],
    /// Its device, which is in the group.
    pub device: [u8; 32],
    /// The group.
    pub group: [u8; 16],
    /// The epoch in which it was said: it counts for nobody who was let in again later.
    pub epoch: u64,
    /// The device's signature over [`Leave::statement`], in [`LEAVE_DOMAIN`].
    pub signature: [u8; 64],
}

/// Reasons that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a commit's reasons")]
pub struct ReasonsError;

mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Reasons {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub chains: Vec<Bytes>,
        #[prost(message, repeated, tag = "2")]
        pub leaves: Vec<Leave>,
        #[prost(message, optional, tag = "3")]
        pub join: Option<super::ProofProto>,
        #[prost(bytes = "vec", tag = "8")]
        pub statement: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Leave {
        #[prost(bytes = "vec", tag = "1")]
        pub account: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub device: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub group: Vec<u8>,
        #[prost(uint64, tag = "4")]
        pub epoch: u64,
        #[prost(bytes = "vec", tag = "5")]
        pub signature: Vec<u8>,
    }
}

pub(crate) use proto::Leave as LeaveProto;

impl Leave {
    /// What its device signs.
    pub fn statement(account: &[u8; 32], group: &[u8; 16], epoch: u64) -> Vec<u8> {
        [&account[..], group, &epoch.to_be_bytes()].concat()
    }

    pub(crate) fn to_proto(&self) -> proto::Leave {
        proto::Leave {
            account: self.account.to_vec(),
            device: self.device.to_vec(),
            group: self.group.to_vec(),
            epoch: self.epoch,
            signature: self.signature.to_vec(),
        }
    }

    pub(crate) fn from_proto(leave: &proto::Leave) -> Result<Self, EventError> {
        let malformed = |_| EventError::Malformed;
        Ok(Self {
            account: leave.account.as_slice().try_into().map_err(malformed)?,
            device: leave.device.as_slice().try_into().map_err(malformed)?,
            group: leave.group.as_slice().try_into().map_err(malformed)?,
            epoch: leave.epoch,
            signature: leave.signature.as_slice().try_into().map_err(malformed)?,
        })
    }

    /// Encoded.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReasonsError> {
        let leave = proto::Leave::decode(bytes).map_err(|_| ReasonsError)?;
        Self::from_proto(&leave).map_err(|_| ReasonsError)
    }
}

impl Reasons {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let says_of_others = !self.chains.is_empty() || !self.leaves.is_empty();
        !says_of_others && self.join.is_none() && self.statement.is_none()
    }

    /// Whether there is room for one more chain.
    pub fn has_room_for(&self, chain: &[u8]) -> bool {
        let bytes: usize = self.chains.iter().map(Bytes::len).sum();
        self.chains.len() < MAX_REASON_CHAINS && bytes + chain.len() <= MAX_REASONS - BESIDE_CHAINS
    }

    /// Encoded.
    pub fn to_bytes(&self) -> Vec<u8> {
        let leaves = self.leaves.iter().map(Leave::to_proto).collect();
        let join = self.join.as_ref().map(JoinProof::to_proto);
        let statement = self.statement.as_ref().map(Statement::to_bytes).unwrap_or_default();
        proto::Reasons { chains: self.chains.clone(), leaves, join, statement }.encode_to_vec()
    }

    /// Reads them.
    ///
    /// # Errors
    /// If they are malformed, or beyond their limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReasonsError> {
        if bytes.len() > MAX_REASONS {
            return Err(ReasonsError);
        }
        let reasons = proto::Reasons::decode(bytes).map_err(|_| ReasonsError)?;
        if reasons.chains.len() > MAX_REASON_CHAINS || reasons.leaves.len() > MAX_REASON_LEAVES {
            return Err(ReasonsError);
        }
        let leaves = reasons.leaves.iter().map(Leave::from_proto).collect::<Result<_, _>>();
        let join = reasons.join.as_ref().map(JoinProof::from_proto).transpose();
        let (leaves, join) = (leaves.map_err(|_| ReasonsError)?, join.map_err(|_| ReasonsError)?);
        let statement = match &reasons.statement[..] {
            [] => None,
            statement => Some(Statement::from_bytes(statement).map_err(|_| ReasonsError)?),
        };
        Ok(Self { chains: reasons.chains, leaves, join, statement })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_back() {
        let leave = Leave { account: [1; 32], device: [2; 32], group: [3; 16], epoch: 7, signature: [4; 64] };
        let statement = Statement {
            community: [5; 16],
            number: 3,
            members: vec![([1; 32], crate::Role::Owner), ([2; 32], crate::Role::Reader)],
            certificate: vec![7; 40],
            signature: [8; 64],
        };
        assert_eq!((statement.role(&[2; 32]), statement.role(&[3; 32])), (Some(crate::Role::Reader), None));
        let (chains, statement) = (vec![Bytes::from_static(b"chain")], Some(statement));
        let reasons = Reasons { chains, leaves: vec![leave.clone()], join: None, statement };
        assert_eq!(Reasons::from_bytes(&reasons.to_bytes()), Ok(reasons.clone()));
        assert_eq!(Leave::from_bytes(&leave.to_bytes()), Ok(leave.clone()));
        let join = Some(JoinProof { link: [5; 16], at: 6, signature: [7; 64] });
        let joins = Reasons { join, ..Reasons::default() };
        assert_eq!((Reasons::from_bytes(&joins.to_bytes()), joins.is_empty()), (Ok(joins.clone()), false));
        let many = Reasons { leaves: vec![leave; MAX_REASON_LEAVES + 1], ..reasons };
        assert_eq!(Reasons::from_bytes(&many.to_bytes()), Err(ReasonsError));
    }
}
