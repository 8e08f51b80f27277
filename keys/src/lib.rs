//! Starling's accounts, devices, recovery phrase, and sealing of data at rest.
//!
//! No network, no database, no clock: callers pass bytes and times in. Secret types are zeroized when dropped and are never `Debug` or `Serialize`.

mod account;
mod address;
pub mod chain;
mod code;
mod core_dump;
mod device;
mod endpoint;
mod join;
mod keyfile;
pub mod legacy;
mod names;
mod phrase;
mod random;
mod safety;
mod seal;
mod username;

pub use account::{AccountId, AccountKey, InvalidId};
pub use address::{Address, Invite, InviteError, InviteProof, InviteTicket, InviteToken, LINK_SCHEME, TOKEN_LEN};
pub use chain::{DeviceChain, DeviceEntry, DeviceList, MAX_DEVICES, MAX_HOMES};
pub use code::{CodeError, CodeExchange, ShortCode};
pub use core_dump::prevent_core_dumps;
pub use device::{Certificate, CertificateError, DeviceId, DeviceKey};
pub use endpoint::{EndpointError, Host, RendezvousAddr, ServerPlace, Transport};
pub use join::{GroupLink, JOIN_SECRET_LEN, JoinSecret, verify_link};
pub use keyfile::{KeyFile, KeyFileError, Protection};
pub use names::NameCipher;
pub use phrase::{PhraseError, RecoveryPhrase};
pub use random::random;
#[cfg(feature = "seeded")]
pub use random::{is_seeded, seed};
pub use safety::{SafetyHalf, SafetyNumber};
pub use seal::{Plaintext, SealError, StorageKey};
pub use username::username_key;
