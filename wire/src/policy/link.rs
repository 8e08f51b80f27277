//! Links by which accounts come into a group that nobody has invited.

use super::Account;

/// Links of one group.
pub const MAX_JOIN_LINKS: usize = 16;

/// A link into a group. Whoever has its secret may come in by it, as often as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLink {
    /// Its id.
    pub id: [u8; 16],
    /// The public key (Ed25519) of its secret.
    pub key: [u8; 32],
    /// When it ends, milliseconds since 1970; 0 if it does not end by itself. Members do not judge commits by a clock: who opens the way looks at it.
    pub expires: u64,
    /// How many accounts may still come in by it; none if any number may.
    pub uses: Option<u32>,
    /// Whether somebody who may invite has to approve.
    pub approve: bool,
    /// The account that has made it.
    pub by: Account,
}

impl JoinLink {
    /// The id of the link with this public key.
    pub fn id_of(key: &[u8; 32]) -> [u8; 16] {
        let hash = blake3::derive_key("starling 2026 group link id v1", key);
        std::array::from_fn(|at| hash[at])
    }

    /// The secret of the log with the way in by the link with this public key. Members know it, to keep the way up to date, and whoever has the link;
    /// nobody else does, as the key is in the policy alone.
    pub fn log_secret(key: &[u8; 32]) -> [u8; 32] {
        blake3::derive_key("starling 2026 group link log v1", key)
    }

    /// The secret of the log with the requests to be let in by it.
    pub fn box_secret(key: &[u8; 32]) -> [u8; 32] {
        blake3::derive_key("starling 2026 group link requests v1", key)
    }
}
