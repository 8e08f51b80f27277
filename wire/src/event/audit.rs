//! A part of a group's audit log, as members hand it to who has come.

use bytes::Bytes;

use crate::{EventError, MAX_AUDIT_ENTRY};

/// Bytes of a part.
pub const MAX_AUDIT_PART: usize = 32 * 1024;

/// Entries that follow one another. Whoever knows the hash of the log after them can check them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditPart {
    /// The number of the first, from 0.
    pub first: u64,
    /// The hash of all before it.
    pub before: [u8; 32],
    /// The entries, encoded ([`crate::AuditEntry`]).
    pub entries: Vec<Bytes>,
}

pub(super) mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AuditPart {
        #[prost(uint64, tag = "1")]
        pub first: u64,
        #[prost(bytes = "vec", tag = "2")]
        pub before: Vec<u8>,
        #[prost(bytes = "bytes", repeated, tag = "3")]
        pub entries: Vec<Bytes>,
    }
}

impl AuditPart {
    pub(super) fn to_proto(&self) -> proto::AuditPart {
        proto::AuditPart { first: self.first, before: self.before.to_vec(), entries: self.entries.clone() }
    }

    pub(super) fn from_proto(part: proto::AuditPart) -> Result<Self, EventError> {
        let before = part.before.as_slice().try_into().map_err(|_| EventError::Malformed)?;
        let size: usize = part.entries.iter().map(Bytes::len).sum();
        let fits = size <= MAX_AUDIT_PART && part.entries.iter().all(|entry| entry.len() <= MAX_AUDIT_ENTRY);
        if !fits {
            return Err(EventError::Malformed);
        }
        Ok(Self { first: part.first, before, entries: part.entries })
    }
}
