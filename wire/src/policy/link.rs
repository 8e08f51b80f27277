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
